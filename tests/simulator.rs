//! The simulator over real sockets: what it answers, how it ends jobs, and how it breaks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sim_client;

use std::io::ErrorKind;
use std::time::Duration;

use forgewatch::core::job::{JobRef, Outcome};
use forgewatch::sim::{Script, Server};
use sim_client::{Client, get};

const PATIENCE: Duration = Duration::from_secs(20);

fn job(name: &str) -> JobRef {
    name.parse().unwrap()
}

/// A server whose one job is a diff that takes a minute, with these lines added to it.
fn diff(lines: &str) -> Server {
    start(&format!(
        "[[jobs]]\njob = \"diff/1\"\nduration = \"60s\"\n{lines}"
    ))
}

fn start(script: &str) -> Server {
    Server::start(Script::parse(script).unwrap()).unwrap()
}

/// A server whose one job, of so many milliseconds, has ended.
fn ended(name: &str, lines: &str) -> (Server, Client) {
    let server = start(&format!(
        "[[jobs]]\njob = \"{name}\"\nduration = \"1ms\"\n{lines}"
    ));
    let mut client = Client::new(&server);
    client.status(name);
    while server.ended_at(job(name)).is_none() {
        std::thread::yield_now();
    }
    (server, client)
}

#[test]
fn a_running_diff_is_answered_as_the_vendor_does() {
    let server = diff("");
    let answer = Client::new(&server).status("diff/1");
    assert_eq!(answer.status, 200);
    let value = answer.json();
    assert_eq!(value["jobstateid"], 4);
    assert_eq!(value["jobstatename"], "Running");
    assert_eq!(value["jobfailed"], 0);
    assert_eq!(value["jobprogress"], 0);
    assert!(value["joberror"].is_null());
    assert!(value["jobstart"].is_string());
    assert_eq!(value["added"], serde_json::json!([]));
    assert_eq!(value["diffid"], 1);
    assert!(value.get("success").is_none());
    assert!(value.get("game").is_none());
    let created = value["jobcreated"].as_i64().unwrap();
    assert!(value["jobeta"].as_i64().unwrap() - created <= 60);
}

#[test]
fn a_queued_update_has_not_started_and_says_success() {
    let server = start("[[jobs]]\njob = \"update/7\"\nduration = \"60s\"\nqueued = \"50s\"\n");
    let value = Client::new(&server).status("update/7").json();
    assert_eq!(value["jobstateid"], 3);
    assert!(value["jobstart"].is_null());
    assert_eq!(value["success"], true);
    assert_eq!(value["updateid"], 7);
    assert!(value.get("added").is_none());
}

#[test]
fn diff_info_brings_the_names() {
    let server = diff("game = \"G\"\nimage = \"I\"\nmachine = \"M\"\n");
    let value = Client::new(&server)
        .send(&get(
            "/cfp/v1/imagediff/1/status?accountserviceid=5678&diff_info=1",
        ))
        .json();
    assert_eq!(value["game"]["name"], "G");
    assert_eq!(value["image"]["name"], "I");
    assert_eq!(value["machine"]["name"], "M");
}

#[test]
fn every_ending_is_told_in_its_own_words() {
    for (ending, state, failed, progress, error) in [
        ("completed", 5, 0, 100, None),
        ("failed", 6, 1, 99, Some("disk full")),
        ("squashed", 7, 0, 99, None),
        ("jobfailed_only", 4, 1, 99, Some("disk full")),
        ("progress_only", 4, 0, 100, None),
    ] {
        let text = error
            .map(|e| format!("error = {e:?}\n"))
            .unwrap_or_default();
        let (_server, mut client) = ended("update/7", &format!("ending = \"{ending}\"\n{text}"));
        let value = client.status("update/7").json();
        assert_eq!(value["jobstateid"], state, "{ending}");
        assert_eq!(value["jobfailed"], failed, "{ending}");
        assert_eq!(value["jobprogress"], progress, "{ending}");
        assert_eq!(value["joberror"].as_str(), error, "{ending}");
    }
}

#[test]
fn a_finished_diff_lists_its_files_and_goes_on_behind_them() {
    let (_server, mut client) = ended("diff/1", "files = { added = 3, modified = 2000 }\n");
    let answer = client.status("diff/1");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let value = answer.json();
    assert_eq!(value["added"].as_object().unwrap().len(), 3);
    assert_eq!(value["modified"].as_object().unwrap().len(), 2000);
    assert_eq!(value["removed"], serde_json::json!([]));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.find("\"jobupdated\"") > text.find("\"removed\""),
        "a field stands behind the maps"
    );
}

#[test]
fn shapes_vary_the_spelling_and_not_the_meaning() {
    let (_server, mut client) = ended("diff/1", "shape = \"strings\"\nfiles = { added = 1 }\n");
    let value = client.status("diff/1").json();
    assert_eq!(value["jobstateid"], "5");
    assert_eq!(value["jobstatename"], "Complete");
    assert_eq!(value["jobprogress"], "100.0");
    assert!(value["jobstart"].is_i64());
    let file = value["added"].as_object().unwrap().values().next().unwrap();
    assert!(file["filesize"].is_string());
    let (_server, mut client) = ended("diff/1", "shape = \"sparse\"\n");
    let value = client.status("diff/1").json();
    assert_eq!(value["jobstatename"], "Complete");
    for missing in ["jobstateid", "joberror", "added", "diffid"] {
        assert!(value.get(missing).is_none(), "{missing}");
    }
}

#[test]
fn the_door_is_checked_as_the_vendor_checks_it() {
    let server = diff("");
    let mut client = Client::new(&server);
    let target = "/cfp/v1/imagediff/1/status?accountserviceid=5678";
    let status = |client: &mut Client, request: &str| client.send(request).status;
    let raw = |method: &str, target: &str, auth: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{auth}\r\n")
    };
    let good = "Authorization: Basic c2ltOnNpbQ==\r\n";
    assert_eq!(status(&mut client, &raw("GET", target, good)), 200);
    assert_eq!(status(&mut client, &raw("GET", target, "")), 401);
    assert_eq!(
        status(
            &mut client,
            &raw("GET", target, "Authorization: Basic c2ltOnNpbX==\r\n")
        ),
        401
    );
    assert_eq!(
        status(
            &mut client,
            &raw("GET", target, "Authorization: Bearer x\r\n")
        ),
        401
    );
    assert_eq!(
        status(&mut client, &raw("GET", "/cfp/v1/imagediff/1/status", good)),
        403
    );
    assert_eq!(
        status(
            &mut client,
            &raw("GET", "/cfp/v1/imagediff/1/status?accountserviceid=1", good)
        ),
        403
    );
    assert_eq!(
        status(
            &mut client,
            &raw(
                "GET",
                "/cfp/v1/imagediff/2/status?accountserviceid=5678",
                good
            )
        ),
        404
    );
    assert_eq!(
        status(&mut client, &raw("GET", "/cfp/v1/images", good)),
        404
    );
    assert_eq!(
        status(
            &mut client,
            &raw("POST", target, &format!("{good}Content-Length: 0\r\n"))
        ),
        405
    );
    let refused = client.send(&raw("GET", target, "")).json();
    assert_eq!(refused["success"], false);
}

#[test]
fn a_job_appears_when_its_script_says() {
    let server =
        start("[[jobs]]\njob = \"update/7\"\nduration = \"60s\"\nappears_after = \"50ms\"\n");
    let mut client = Client::new(&server);
    assert_eq!(client.status("update/7").status, 404);
    while client.status("update/7").status == 404 {
        std::thread::yield_now();
    }
    assert_eq!(client.status("update/7").json()["jobstateid"], 4);
}

#[test]
fn status_faults_meet_the_requests_they_name_and_no_others() {
    let server = diff(
        "[[jobs.faults]]\nrequests = \"2\"\nstatus = 503\nretry_after = \"7\"\nbody = \"busy\"\n\
         [[jobs.faults]]\nrequests = \"3-4\"\nredirect = \"http://elsewhere.example/\"\n\
         [[jobs.faults]]\nrequests = \"6-\"\nenvelope = { message = \"image locked by diffid: 218595\" }\n",
    );
    let mut client = Client::new(&server);
    let statuses: Vec<u16> = (0..5).map(|_| client.status("diff/1").status).collect();
    assert_eq!(statuses, [200, 503, 302, 302, 200]);
    let envelope = client.status("diff/1");
    assert_eq!(envelope.status, 200);
    assert_eq!(
        envelope.json()["error_message"],
        "image locked by diffid: 218595"
    );
    assert!(envelope.json().get("jobstateid").is_none());
    let log: Vec<String> = server.log().into_iter().map(|hit| hit.served).collect();
    assert_eq!(log, ["200", "503", "302", "302", "200", "200"]);
}

#[test]
fn retry_after_is_seconds_or_a_date_on_the_server_s_clock() {
    let server = start(
        "clock_offset = \"-1h\"\n[[faults]]\nrequests = \"1\"\nstatus = 503\nretry_after = \"7\"\n\
         [[faults]]\nrequests = \"2\"\nstatus = 429\nretry_after_date = \"5s\"\n",
    );
    let mut client = Client::new(&server);
    assert_eq!(client.status("diff/1").header("retry-after"), Some("7"));
    let second = client.status("diff/1");
    let date = |name| httpdate::parse_http_date(second.header(name).unwrap()).unwrap();
    let ahead = date("retry-after").duration_since(date("date")).unwrap();
    assert_eq!(ahead, Duration::from_secs(5));
}

#[test]
fn the_server_s_clock_and_its_date_are_wrong_apart_from_each_other() {
    let server = start(
        "clock_offset = \"-1h\"\ndate_offset = \"10m\"\n[[jobs]]\njob = \"diff/1\"\nduration = \"60s\"\n\
         [[jobs.faults]]\nrequests = \"2\"\ndate = \"1day\"\n",
    );
    let mut client = Client::new(&server);
    let skew = |client: &mut Client| {
        let answer = client.status("diff/1");
        let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
        let date = date
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let updated = answer.json()["jobupdated"].as_i64().unwrap();
        let ours = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        (ours - updated, date - updated)
    };
    let (behind, date) = skew(&mut client);
    assert!((3600..3660).contains(&behind), "{behind}");
    assert_eq!(date, 600);
    assert_eq!(skew(&mut client).1, 600 + 86_400);
}

#[test]
fn a_response_is_cut_off_at_any_byte_of_it() {
    for after in [0, 1, 17, 90] {
        let server = diff(&format!(
            "[[jobs.faults]]\nrequests = \"1-\"\ntruncate = {after}\n"
        ));
        let (bytes, error) = Client::new(&server)
            .until_closed(&get("/cfp/v1/imagediff/1/status?accountserviceid=5678"));
        assert_eq!(bytes.len(), after);
        assert_eq!(error, None, "closed, not reset");
    }
}

#[test]
fn a_connection_is_reset_before_or_within_a_response() {
    for after in [0, 150] {
        let server = diff(&format!(
            "[[jobs.faults]]\nrequests = \"1\"\nreset = {after}\n"
        ));
        let (bytes, error) = Client::new(&server)
            .until_closed(&get("/cfp/v1/imagediff/1/status?accountserviceid=5678"));
        assert!(bytes.len() <= after);
        assert_eq!(error, Some(ErrorKind::ConnectionReset));
    }
}

#[test]
fn slow_and_delayed_responses_arrive_whole() {
    let server = diff(
        "[[jobs.faults]]\nrequests = \"1\"\nslow = { bytes = 50, every = \"1ms\" }\n\
         [[jobs.faults]]\nrequests = \"1\"\ndelay = \"20ms\"\n",
    );
    let before = std::time::Instant::now();
    let answer = Client::new(&server).status("diff/1");
    assert!(
        before.elapsed() >= Duration::from_millis(25),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(answer.json()["jobstateid"], 4);
    assert_eq!(server.log()[0].served, "200, delayed, slow");
}

#[test]
fn rubbish_is_no_status() {
    let server = diff(
        "[[jobs.faults]]\nrequests = \"1\"\nrubbish = \"html\"\n[[jobs.faults]]\nrequests = \"2\"\nrubbish = \"utf8\"\n\
         [[jobs.faults]]\nrequests = \"3\"\nrubbish = \"deep\"\n[[jobs.faults]]\nrequests = \"4\"\nrubbish = \"empty\"\n\
         [[jobs.faults]]\nrequests = \"5\"\nrubbish = \"huge_head\"\n[[jobs.faults]]\nrequests = \"6\"\nbody = \"{\"\n",
    );
    let mut client = Client::new(&server);
    let html = client.status("diff/1");
    assert_eq!(
        (html.status, html.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(html.body.starts_with(b"<!DOCTYPE html>"));
    assert!(String::from_utf8(client.status("diff/1").body).is_err());
    assert!(serde_json::from_slice::<serde_json::Value>(&client.status("diff/1").body).is_err());
    assert!(client.status("diff/1").body.is_empty());
    assert!(client.status("diff/1").header("x-padding").unwrap().len() >= 1 << 20);
    assert_eq!(client.status("diff/1").body, b"{");
}

#[test]
fn a_bomb_is_small_on_the_wire() {
    let server = diff("[[jobs.faults]]\nrequests = \"1\"\ngzip_bomb = \"100MiB\"\n");
    let answer = Client::new(&server).status("diff/1");
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert!(answer.body.len() < 1 << 20, "{}", answer.body.len());
    let mut decoder = flate2::read::GzDecoder::new(answer.body.as_slice());
    assert_eq!(
        std::io::copy(&mut decoder, &mut std::io::sink()).unwrap(),
        100 << 20
    );
}

#[test]
fn answers_are_compressed_for_those_who_ask() {
    let server = start("gzip = true\n[[jobs]]\njob = \"diff/1\"\nduration = \"60s\"\n");
    let mut client = Client::new(&server);
    let request = get("/cfp/v1/imagediff/1/status?accountserviceid=5678");
    assert_eq!(client.send(&request).header("content-encoding"), None);
    let asking = request.replace(
        "Host: x\r\n",
        "Host: x\r\nAccept-Encoding: br, gzip;q=0.9\r\n",
    );
    let answer = client.send(&asking);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::GzDecoder::new(answer.body.as_slice()),
        &mut text,
    )
    .unwrap();
    assert!(text.contains("\"jobstateid\":4"), "{text}");
}

#[test]
fn the_same_seed_errs_the_same_way_and_another_differently() {
    let eta = |seed: u32| {
        let server = start(&format!(
            "seed = {seed}\n[[jobs]]\njob = \"diff/1\"\nduration = \"10h\"\neta = \"fixed\"\ngrain = \"1s\"\n"
        ));
        let value = Client::new(&server).status("diff/1").json();
        value["jobeta"].as_i64().unwrap() - value["jobcreated"].as_i64().unwrap()
    };
    let (first, again, other) = (eta(1), eta(1), eta(2));
    assert!((first - again).abs() <= 1, "{first} {again}");
    assert!((first - other).abs() > 60, "{first} {other}");
}

#[test]
fn speed_makes_jobs_faster_and_etas_stay_true() {
    let script = Script::parse("[[jobs]]\njob = \"diff/1\"\nduration = \"1h\"\n").unwrap();
    let server = Server::start_with(script, "127.0.0.1:0".parse().unwrap(), 60.0).unwrap();
    let value = Client::new(&server).status("diff/1").json();
    let left = value["jobeta"].as_i64().unwrap() - value["jobcreated"].as_i64().unwrap();
    assert!((59..=60).contains(&left), "{left}");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let started = Server::start_with(
            Script::example().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            bad,
        );
        assert_eq!(started.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn requests_that_are_none_are_refused_and_the_server_goes_on() {
    let server = diff("");
    let oversized = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    for (request, status) in [
        ("\u{16}\u{3}\u{1} hello TLS\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        (&oversized, "431"),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "411",
        ),
        ("GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "400"),
    ] {
        let (bytes, _) = Client::new(&server).until_closed(request);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.30?}: {text}"
        );
    }
    assert_eq!(Client::new(&server).status("diff/1").status, 200);
}

#[test]
fn a_hundred_clients_at_once_are_all_answered() {
    let server = diff("");
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = Client::new(&server);
                for _ in 0..5 {
                    assert_eq!(client.status("diff/1").status, 200);
                }
            });
        }
    });
    assert!(server.wait_for_hits(Some(job("diff/1")), 500, PATIENCE));
    assert_eq!(server.log().len(), 500);
}

#[test]
fn it_starts_and_stops_inside_a_runtime_and_serves_inside_the_caller_s() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(diff("")); // returns once its thread has ended
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let asking = std::thread::spawn(move || {
            let status = Client::at(addr).status("update/77").status;
            stop.send(()).unwrap();
            status
        });
        let until = async { stopped.await.unwrap() };
        forgewatch::sim::serve(listener, Script::example().unwrap(), 1.0, until)
            .await
            .unwrap();
        assert_eq!(asking.join().unwrap(), 200);
    });
}

#[test]
fn the_log_has_what_was_asked_and_can_be_waited_on() {
    let server = diff("");
    assert!(!server.wait_for_hits(None, 1, Duration::from_millis(1)));
    std::thread::scope(|scope| {
        scope.spawn(|| Client::new(&server).status("diff/1"));
        assert!(server.wait_for_hits(Some(job("diff/1")), 1, PATIENCE));
    });
    let hit = &server.log()[0];
    assert_eq!(
        (hit.job, hit.n, hit.method.as_str()),
        (Some(job("diff/1")), 1, "GET")
    );
    assert_eq!(
        hit.target,
        "/cfp/v1/imagediff/1/status?accountserviceid=5678"
    );
    assert_eq!(hit.header("HOST"), Some("x"));
    assert_eq!(server.ended_at(job("diff/1")), None);
}

#[test]
fn the_shipped_scripts_play_and_say_how_their_jobs_end() {
    let outcomes = |script: &Script| {
        script
            .expected()
            .into_iter()
            .map(|(_, outcome)| outcome)
            .collect::<Vec<_>>()
    };
    let demo = Script::demo().unwrap();
    assert_eq!(demo.jobs().len(), 6);
    assert_eq!(
        outcomes(&demo)
            .iter()
            .filter(|o| **o == Outcome::Failed)
            .count(),
        1
    );
    let example = Script::example().unwrap();
    assert_eq!(outcomes(&example).len(), example.summary().lines().count());
    insta::assert_snapshot!(demo.summary(), @r"
    update/77  completes after 9s
    update/78  completes after 14s
    diff/1234  completes after 17s
    diff/1235  fails after 11s
    diff/1236  completes after 15s
    diff/1237  is squashed after 12s
    ");
    for script in [demo, example] {
        let server = Server::start(script.clone()).unwrap();
        let mut client = Client::new(&server).with_keys(script.access_key(), script.secret_key());
        for job in script.jobs() {
            assert!(
                [200, 404].contains(&client.status(&job.to_string()).status),
                "{job}"
            );
        }
    }
}

#[test]
fn the_manual_s_scripts_are_scripts_and_its_tables_name_every_key() {
    let manual = include_str!("../docs/simulator.md");
    let scripts: Vec<&str> = manual
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(scripts.len(), 3);
    for script in scripts {
        Script::parse(script).unwrap();
    }
    // an unknown key's message names all that are known
    for unknown in [
        "x = 1",
        "[[jobs]]\nx = 1",
        "[[faults]]\nx = 1",
        "[[jobs]]\nset_back = [{ x = 1 }]",
        "[[jobs]]\nshape = \"x\"",
        "[[jobs]]\neta = \"x\"",
        "[[jobs]]\nending = \"x\"",
        "[[faults]]\nrubbish = \"x\"",
    ] {
        let message = Script::parse(unknown).unwrap_err().message;
        let (_, known) = message.split_once("expected one of ").unwrap();
        for key in known.split(", ").map(|key| key.trim_matches('`')) {
            let forms = [
                format!("`{key}"),
                format!("\"{key}\""),
                format!("[[{key}]]"),
                format!(".{key}]]"),
            ];
            assert!(
                forms.iter().any(|form| manual.contains(form)),
                "{key} is not in the manual"
            );
        }
    }
}
