//! Hooks that are webhooks, against a receiver that answers raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;

use crate::place::{Done, PATIENCE, Stage, job};

/// One request as it came.
#[derive(Debug)]
struct Request {
    head: Vec<String>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let find = |line: &String| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        let line = self.head.iter().find(|line| find(line));
        line.and_then(|line| line.split_once(':'))
            .map_or("", |(_, value)| value.trim())
    }
}

/// A receiver that gives these answers, one a connection, the last of them for ever.
struct Receiving {
    url: String,
    requests: Receiver<Request>,
}

fn receive(answers: Vec<String>) -> Receiving {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/canary-path", listener.local_addr().unwrap());
    let (tell, requests) = channel();
    thread::spawn(move || serve(&listener, &answers, &tell));
    Receiving { url, requests }
}

fn serve(listener: &TcpListener, answers: &[String], tell: &Sender<Request>) {
    let mut answers = answers.iter();
    let mut answer = answers.next().unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let mut request = Request {
            head,
            body: String::new(),
        };
        let length = request.header("content-length").parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        request.body = String::from_utf8(body).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        if tell.send(request).is_err() {
            return;
        }
        answer = answers.next().unwrap_or(answer);
    }
}

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

const KEYS: [[u8; 32]; 2] = [[7; 32], [8; 32]];

/// Watches a job that completes, with one webhook.
fn watch(receiving: &Receiving, more: &str) -> Done {
    let stage = Stage::new(&job("update/77", ""));
    for (n, key) in KEYS.iter().enumerate() {
        stage.place.file(
            &format!("secret{n}"),
            format!("whsec_{}\n", STANDARD.encode(key)),
        );
    }
    let config = stage.place.file(
        "f.toml",
        format!(
            "[[hooks]]\nname = 'w'\non = ['job.completed']\nwebhook = '{}'\nsecret_files = ['secret0', 'secret1']\n{more}\n",
            receiving.url
        ),
    );
    let done = stage
        .watch(&["update/77", "--config", config.to_str().unwrap()])
        .env("FORGEWATCH_LOG", "trace")
        .env("http_proxy", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .run();
    let printed = format!("{}{}", done.stdout, done.stderr);
    for secret in KEYS.iter().map(|key| STANDARD.encode(key)) {
        assert!(!printed.contains(&secret), "a key is in the log");
    }
    done
}

fn assert_signed(request: &Request) {
    let (id, time) = (
        request.header("webhook-id"),
        request.header("webhook-timestamp"),
    );
    let signed = format!("{id}.{time}.{}", request.body);
    let signatures: Vec<&str> = request.header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), KEYS.len());
    for (signature, key) in signatures.iter().zip(KEYS) {
        let tag = STANDARD
            .decode(signature.strip_prefix("v1,").unwrap())
            .unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
    }
}

#[test]
fn a_webhook_is_posted_signed_and_after_a_failure_posted_again() {
    let receiving = receive(vec![
        answer("500 Oh", "retry-after: 2\r\n"),
        answer("204 No Content", ""),
    ]);
    let done = watch(&receiving, "").expect(0);
    let [first, second] = [(), ()].map(|()| receiving.requests.recv_timeout(PATIENCE).unwrap());
    assert_eq!(first.head[0], "POST /canary-path HTTP/1.1");
    assert_eq!(first.header("content-type"), "application/cloudevents+json");
    assert_eq!(
        first.header("authorization"),
        "",
        "the API's credentials are for the API"
    );
    let id = done.end_of("update/77")["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        [first.header("webhook-id"), second.header("webhook-id")],
        [&*id, &*id]
    );
    let time = |request: &Request| request.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(
        time(&second) >= time(&first) + 2,
        "the time is the attempt's, and Retry-After a floor"
    );
    for request in [&first, &second] {
        assert_signed(request);
        let event: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(event["id"], id.as_str());
        assert_eq!(event["data"]["event_type"], "job.completed");
    }
}

#[test]
fn a_receiver_that_is_gone_for_good_is_asked_once() {
    let receiving = receive(vec![answer("410 Gone", "")]);
    let done = watch(&receiving, "").expect(7);
    assert_eq!(receiving.requests.try_iter().count(), 1);
    let failed = done
        .events()
        .into_iter()
        .find(|e| e["event_type"] == "hook.failed");
    let error = failed.unwrap()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("HTTP 410"), "{error}");
}

#[test]
fn no_redirect_is_followed() {
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let location = format!("location: http://{}/\r\n", trap.local_addr().unwrap());
    for status in [
        "301 Moved",
        "302 Found",
        "303 See",
        "307 Temporary",
        "308 Permanent",
    ] {
        let receiving = receive(vec![answer(status, &location)]);
        watch(&receiving, "retries = 0").expect(7);
        assert_eq!(receiving.requests.try_iter().count(), 1);
    }
    assert!(trap.accept().is_err(), "somebody came");
}

#[test]
fn a_receiver_that_does_not_answer_in_time_harms_nobody_else() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_tell, requests) = channel();
    let receiving = Receiving {
        url: format!("http://{}/canary-path", silent.local_addr().unwrap()),
        requests,
    };
    let done = watch(&receiving, "retries = 0\ntimeout = '300ms'").expect(7);
    assert_eq!(done.end_of("update/77")["event_type"], "job.completed");
    let failed = done
        .events()
        .into_iter()
        .find(|e| e["event_type"] == "hook.failed");
    assert_eq!(failed.unwrap()["error"], "no answer in time");
}

/// What receivers run: the reference library for Python, where it can be had.
const VERIFIER: &str = "
import sys, json
from standardwebhooks.webhooks import Webhook
told = json.load(sys.stdin)
for secret in told['secrets']:
    Webhook(secret).verify(told['body'], told['headers'])
try:
    Webhook(told['secrets'][0]).verify(told['body'] + ' ', told['headers'])
except Exception:
    sys.exit(0)
sys.exit('a changed body was taken')
";

/// A Python with the library: of the machine, or made in `folder`.
fn python(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let works = |python: &std::path::Path| {
        let import = Command::new(python)
            .args(["-c", "import standardwebhooks"])
            .output();
        import.is_ok_and(|done| done.status.success())
    };
    let of_machine = std::path::PathBuf::from("python3");
    if works(&of_machine) {
        return Some(of_machine);
    }
    let venv = Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder)
        .output()
        .ok()?;
    let pip = folder.join("bin/pip");
    let install = [
        "install",
        "--quiet",
        "--timeout",
        "10",
        "--retries",
        "0",
        "standardwebhooks==1.0.1",
    ];
    let installed = venv
        .status
        .success()
        .then(|| Command::new(pip).args(install).output());
    let python = folder.join("bin/python");
    installed
        .and_then(Result::ok)
        .filter(|_| works(&python))
        .map(|_| python)
}

#[test]
fn the_reference_library_takes_our_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let Some(python) = python(folder.path()) else {
        eprintln!(
            "SKIPPED: Python's standardwebhooks cannot be had here; the published vector is tested all the same"
        );
        return;
    };
    let receiving = receive(vec![answer("200 OK", "")]);
    watch(&receiving, "").expect(0);
    let request = receiving.requests.recv_timeout(PATIENCE).unwrap();
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), request.header(name).into()))
        .collect();
    let secrets = KEYS.map(|key| format!("whsec_{}", STANDARD.encode(key)));
    let told = serde_json::json!({"secrets": secrets, "headers": headers, "body": request.body});
    let mut verifier = Command::new(python)
        .args(["-c", VERIFIER])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = verifier.stdin.take().unwrap();
    stdin.write_all(told.to_string().as_bytes()).unwrap();
    drop(stdin);
    assert!(verifier.wait().unwrap().success());
}
