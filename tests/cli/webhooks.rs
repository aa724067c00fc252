//! Webhooks, against a receiver that sends raw responses.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;

use crate::fixture::{CliOutput, SimFixture, TIMEOUT, job};
use crate::receiver::{ReceivedRequest, WebhookReceiver, receive, response, response_with};

const KEYS: [[u8; 32]; 2] = [[7; 32], [8; 32]];

/// Watches a job until it completes, with one webhook.
fn watch(receiver: &WebhookReceiver, more: &str) -> CliOutput {
    let fixture = SimFixture::new(&job("update/77", ""));
    let [variable, file] = KEYS.map(|key| format!("\u{feff}whsec_{}\r\n", STANDARD.encode(key)));
    fixture.sandbox.file("secret", file);
    let config = fixture.sandbox.file(
        "f.toml",
        format!(
            "[[hooks]]\nname = 'w'\non = ['job.completed']\nwebhook = '{}'\nsecret_files = ['secret']\nsecret_env = ['KEY']\n{more}\n",
            receiver.url
        ),
    );
    let done = fixture
        .watch(&["update/77", "--config", config.to_str().unwrap()])
        .env("KEY", variable)
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

fn assert_signed(request: &ReceivedRequest) {
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
fn a_webhook_request_is_signed_and_repeated_after_a_failure() {
    let receiver = receive(vec![
        response("500 Oh", "retry-after: 2\r\n"),
        response("204 No Content", ""),
    ]);
    let done = watch(&receiver, "").expect(0);
    let [first, second] = [(), ()].map(|()| receiver.requests.recv_timeout(TIMEOUT).unwrap());
    assert_eq!(first.head[0], "POST /canary-path HTTP/1.1");
    assert_eq!(first.header("content-type"), "application/cloudevents+json");
    assert_eq!(
        first.header("authorization"),
        "",
        "webhooks get no API credentials"
    );
    let id = done.end_of("update/77")["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        [first.header("webhook-id"), second.header("webhook-id")],
        [&*id, &*id]
    );
    let time =
        |request: &ReceivedRequest| request.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(
        time(&second) >= time(&first) + 2,
        "the time is that of the attempt, and Retry-After is a minimum"
    );
    for request in [&first, &second] {
        assert_signed(request);
        let event: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(event["id"], id.as_str());
        assert_eq!(event["data"]["event_type"], "job.completed");
    }
}

#[test]
fn a_receiver_with_status_410_gets_one_request() {
    let receiver = receive(vec![response("410 Gone", "")]);
    let done = watch(&receiver, "").expect(7);
    assert_eq!(receiver.requests.try_iter().count(), 1);
    let failed = done
        .events()
        .into_iter()
        .find(|e| e["event_type"] == "hook.failed");
    let error = failed.unwrap()["error_message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(error.starts_with("HTTP 410"), "{error}");
}

#[test]
fn redirects_are_not_followed() {
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
        let receiver = receive(vec![response(status, &location)]);
        watch(&receiver, "retries = 0").expect(7);
        assert_eq!(receiver.requests.try_iter().count(), 1);
    }
    assert!(trap.accept().is_err(), "a redirect was followed");
}

#[test]
fn a_receiver_that_never_responds_delays_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_sender, requests) = channel();
    let receiver = WebhookReceiver {
        url: format!("http://{}/canary-path", silent.local_addr().unwrap()),
        requests,
    };
    let done = watch(&receiver, "retries = 0\ntimeout = '300ms'").expect(7);
    assert_eq!(done.end_of("update/77")["event_type"], "job.completed");
    let failed = done
        .events()
        .into_iter()
        .find(|e| e["event_type"] == "hook.failed");
    assert_eq!(failed.unwrap()["error_message"], "no response in time");
}

#[test]
fn the_beginning_of_a_response_is_in_the_error_without_secrets_and_neutralized() {
    let key = STANDARD.encode(KEYS[1]);
    let body = format!(
        "no /canary-path \u{1b}[31m\n::error::x\u{202e} {key} ##[error] {}",
        "ä".repeat(300)
    );
    let receiver = receive(vec![response_with("400 Bad", &body)]);
    let done = watch(&receiver, "retries = 0").expect(7);
    let lines = done.lines();
    let is_about = |line: &&Value| {
        line["event_type"] == "hook.failed" || line["message"] == "hook attempt failed"
    };
    let errors: Vec<&Value> = lines.iter().filter(is_about).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    for line in errors {
        let error = line["error_message"].as_str().unwrap();
        let start = "HTTP 400; response: no [redacted] \\x1b[31m\\n::error::x\\u{202e} [redacted] ##\\[error] ä";
        assert!(error.starts_with(start), "{error}");
        let shown = error.strip_prefix("HTTP 400; response: ").unwrap();
        assert_eq!(shown.chars().count(), 200);
    }
}

#[test]
fn without_keys_a_request_has_no_signature() {
    let fixture = SimFixture::new(&job("update/77", ""));
    let receiver = receive(vec![response("200 OK", "")]);
    let hook = format!(
        "[[hooks]]\nname = 'w'\non = ['job.completed']\nwebhook = '{}'\n",
        receiver.url
    );
    let config = fixture.sandbox.file("f.toml", hook);
    let args = ["update/77", "--config", config.to_str().unwrap()];
    fixture.watch(&args).run().expect(0);
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_ne!(request.header("webhook-id"), "");
    assert_eq!(request.header("webhook-signature"), "");
}

/// Verifies with the reference library for Python, if it is available.
const VERIFIER: &str = "
import sys, json
from standardwebhooks.webhooks import Webhook
input = json.load(sys.stdin)
for secret in input['secrets']:
    Webhook(secret).verify(input['body'], input['headers'])
try:
    Webhook(input['secrets'][0]).verify(input['body'] + ' ', input['headers'])
except Exception:
    sys.exit(0)
sys.exit('a changed body was accepted')
";

/// A Python with the library: the system's, or a virtual environment in `folder`.
fn python(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let works = |python: &std::path::Path| {
        let import = Command::new(python)
            .args(["-c", "import standardwebhooks"])
            .output();
        import.is_ok_and(|done| done.status.success())
    };
    let of_system = std::path::PathBuf::from("python3");
    if works(&of_system) {
        return Some(of_system);
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
fn the_reference_library_accepts_our_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let Some(python) = python(folder.path()) else {
        eprintln!(
            "SKIPPED: Python's standardwebhooks is not available here; a unit test checks the published example"
        );
        return;
    };
    let receiver = receive(vec![response("200 OK", "")]);
    watch(&receiver, "").expect(0);
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), request.header(name).into()))
        .collect();
    let secrets = KEYS.map(|key| format!("whsec_{}", STANDARD.encode(key)));
    let input = serde_json::json!({"secrets": secrets, "headers": headers, "body": request.body});
    let mut verifier = Command::new(python)
        .args(["-c", VERIFIER])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = verifier.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    assert!(verifier.wait().unwrap().success());
}
