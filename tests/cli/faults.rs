//! Faults of the server and the network: after temporary ones the job still completes, permanent ones end the watch
//! with their class.

use serde_json::{Value, json};

use crate::fixture::{CliOutput, Sandbox, SimFixture, faulty, job};

const GIVE_UP: [&str; 2] = ["--give-up-after", "500ms"];

/// A fault, its `error_kind` in events, and its HTTP status.
type Fault = (&'static str, &'static str, Option<u16>);

const FAULTS: [Fault; 19] = [
    ("delay = '1h'", "timeout", None),
    ("slow = { bytes = 1, every = '100ms' }", "timeout", None),
    ("reset_after = 0", "disconnected", None),
    ("reset_after = 40", "disconnected", None),
    ("reset_after = 200", "disconnected", None),
    ("truncate_after = 0", "disconnected", None),
    ("truncate_after = 250", "disconnected", None),
    ("status = 500", "server", Some(500)),
    (
        "status = 502\nbody = '<html>Bad Gateway</html>'",
        "server",
        Some(502),
    ),
    ("status = 503\nretry_after = '0'", "server", Some(503)),
    (
        "status = 429\nretry_after = 'soon'",
        "rate_limited",
        Some(429),
    ),
    ("status = 400", "http", Some(400)),
    ("status = 204", "http", Some(204)),
    ("redirect = 'http://127.0.0.1:1/'", "redirect", Some(302)),
    (
        "envelope = { message = 'image locked by diffid: 218595' }",
        "api_error",
        Some(200),
    ),
    ("bad_response = 'html'", "bad_response", Some(200)),
    ("bad_response = 'deep_json'", "bad_response", Some(200)),
    ("bad_response = 'empty'", "bad_response", Some(200)),
    ("bad_response = 'huge_header'", "bad_response", None),
];

/// Runs a watch with a request timeout of 300 ms.
fn watch(fixture: &SimFixture, args: &[&str]) -> CliOutput {
    let config = "[api]\ntimeout = '300ms'\nmax_body = '1MiB'\nmax_requests_per_second = 1000\n";
    let config = fixture.sandbox.file("forgewatch.toml", config);
    let named = ["--config", config.to_str().unwrap()];
    fixture.watch(&[&named, args].concat()).run()
}

#[test]
fn a_job_completes_after_a_temporary_fault() {
    for (fault, ..) in FAULTS {
        let fixture = SimFixture::new(&faulty("diff/1", "1-2", fault));
        let done = watch(&fixture, &["diff/1"]);
        assert_eq!(done.status, 0, "{fault}: {done:?}");
        assert_eq!(
            done.end_of("diff/1")["event_type"],
            "job.completed",
            "{fault}"
        );
        assert!(fixture.requests_for("diff/1").len() >= 3, "{fault}");
    }
}

#[test]
fn a_permanent_fault_ends_the_watch_with_its_error_kind() {
    for (fault, kind, http_status) in FAULTS {
        let fixture = SimFixture::new(&faulty("diff/1", "1-", fault));
        let done = watch(&fixture, &[&GIVE_UP[..], &["diff/1"]].concat());
        assert_eq!(done.status, 6, "{fault}: {done:?}");
        let end = done.end_of("diff/1");
        assert_eq!(end["event_type"], "job.gave_up", "{fault}");
        assert_eq!(end["error_kind"], kind, "{fault}: {end}");
        assert_eq!(
            end.get("http_status"),
            http_status.map(Value::from).as_ref(),
            "{end}"
        );
    }
}

#[test]
fn the_message_of_the_error_envelope_is_the_error_message() {
    let fixture = SimFixture::new(&faulty(
        "diff/1",
        "1-",
        "envelope = { code = 17, message = 'image locked' }",
    ));
    let end = watch(&fixture, &[&GIVE_UP[..], &["diff/1"]].concat()).end_of("diff/1");
    assert_eq!(end["error_message"], "image locked (error 17)");
}

#[test]
fn job_unreachable_and_job_reachable_are_each_emitted_once() {
    let fixture = SimFixture::new(&job(
        "diff/1",
        "duration = '1s'\n[[jobs.faults]]\nrequests = '2-6'\nstatus = 500",
    ));
    let config = fixture
        .sandbox
        .file("f.toml", "[schedule]\nunreachable_after = '10ms'\n");
    let done = fixture
        .watch(&["--config", config.to_str().unwrap(), "diff/1"])
        .run()
        .expect(0);
    let events_of_type = |kind: &str| {
        let mut events = done.events_of("diff/1");
        events.retain(|event| event["event_type"] == kind);
        events
    };
    let unreachable = events_of_type("job.unreachable");
    assert_eq!(unreachable.len(), 1, "{done:?}");
    assert_eq!(unreachable[0]["error_kind"], "server");
    assert_eq!(events_of_type("job.reachable").len(), 1, "{done:?}");
}

#[test]
fn a_response_truncated_at_any_byte_is_requested_again() {
    let length = response_length();
    assert!((200..1500).contains(&length), "{length}");
    // One job for each byte, all in one watch.
    let (mut script, mut names) = (String::new(), Vec::new());
    for cut in 0..length {
        let name = format!("diff/{}", cut + 1);
        script += &faulty(&name, "1", &format!("truncate_after = {cut}"));
        names.push(name);
    }
    let fixture = SimFixture::new(&script);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let done = watch(&fixture, &names).expect(0);
    assert_eq!(done.finished()["completed"], names.len());
}

/// The length of the simulator's first response for a diff, including its head.
fn response_length() -> usize {
    use std::io::{Read, Write};
    let fixture = SimFixture::new(&job("diff/1", ""));
    let mut stream = std::net::TcpStream::connect(fixture.server.addr()).unwrap();
    let request = "GET /cfp/v1/imagediff/1/status?accountserviceid=5678&diff_info=1 HTTP/1.1\r\nHost: x\r\n\
                   Authorization: Basic c2ltOnNpbQ==\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200"));
    response.len()
}

#[test]
fn retry_after_is_obeyed_in_both_forms() {
    for (header, min_wait) in [
        ("retry_after = '1'", 1000),
        ("retry_after_date = '2s'", 1000),
    ] {
        for status in [429, 503] {
            let fault = format!("status = {status}\n{header}");
            let fixture = SimFixture::new(&faulty("diff/1", "1", &fault));
            watch(&fixture, &["diff/1"]).expect(0);
            let requests = fixture.requests_for("diff/1");
            let waited = requests[1].at - requests[0].at;
            assert!(waited >= min_wait, "{fault}: polled after {waited} ms");
        }
    }
}

#[test]
fn retry_after_of_one_job_delays_the_polls_of_all_jobs() {
    let script = faulty("diff/1", "1", "status = 429\nretry_after = '1'") + &job("diff/2", "");
    let fixture = SimFixture::new(&script);
    watch(&fixture, &["--job-timeout", "10s", "diff/1", "diff/2"]).expect(0);
    let log = fixture.server.log();
    let busy = log
        .iter()
        .position(|request| request.served.contains("429"))
        .unwrap();
    // One request may have been in flight when the response came; the next one is after the delay.
    let later: Vec<_> = log.iter().skip(busy + 1).collect();
    assert!(later.len() > 1, "{log:?}");
    assert!(later[1].at >= log[busy].at + 1000, "{log:?}");
}

#[test]
fn a_clock_or_a_date_that_is_an_hour_off_has_no_effect() {
    for offset in [
        "clock_offset = '-1h'",
        "clock_offset = '1h'",
        "date_offset = '-1h'",
        "date_offset = '1h'",
    ] {
        let fixture = SimFixture::new(&format!("{offset}\n{}", job("diff/1", "duration = '1s'")));
        let done = fixture.watch(&["--timeout", "30s", "diff/1"]).run();
        assert_eq!(done.status, 0, "{offset}: {done:?}");
    }
    let one_response = faulty("diff/1", "2", "date_offset = '1h'");
    SimFixture::new(&one_response)
        .watch(&["diff/1"])
        .run()
        .expect(0);
}

#[test]
fn every_json_style_is_understood() {
    for style in ["plain", "strings", "sparse"] {
        let more = format!(
            "json_style = '{style}'\nqueued = '50ms'\nfiles = {{ added = 2, modified = 3 }}"
        );
        let fixture = SimFixture::new(&format!("gzip = true\n{}", job("diff/1", &more)));
        let end = fixture.watch(&["diff/1"]).run().expect(0).end_of("diff/1");
        // The n-th file has 1 + 7919 n mod 100,000 bytes.
        assert_eq!(end["files_added"], 2, "{style}");
        assert_eq!(end["bytes_added"], 1 + 7920, "{style}");
        assert_eq!(end["bytes_modified"], 1 + 7920 + 15839, "{style}");
    }
}

#[test]
fn a_closed_port_is_a_connection_error() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let sandbox = Sandbox::new();
    let watch = sandbox.watch_at(
        &format!("http://{closed}"),
        &[&GIVE_UP[..], &["diff/1"]].concat(),
    );
    let end = watch.run().expect(6).end_of("diff/1");
    assert_eq!(
        (&end["event_type"], &end["error_kind"]),
        (&json!("job.gave_up"), &json!("connect"))
    );
}

#[test]
fn an_unknown_host_name_is_a_dns_error() {
    let args = [&GIVE_UP[..], &["diff/1"]].concat();
    let sandbox = Sandbox::new();
    let watch = sandbox.watch_at("https://does-not-exist.invalid", &args);
    let end = watch.run().expect(6).end_of("diff/1");
    assert_eq!(
        (&end["event_type"], &end["error_kind"]),
        (&json!("job.gave_up"), &json!("dns"))
    );
}

#[test]
fn all_jobs_complete_after_an_outage_of_the_whole_api() {
    let mut script = "[[faults]]\nrequests = '9-20'\nstatus = 500\n".to_owned();
    let names: Vec<String> = (1..=8).map(|n| format!("diff/{n}")).collect();
    for name in &names {
        script += &job(name, "duration = '1s'");
    }
    let fixture = SimFixture::new(&script);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let done = watch(&fixture, &names).expect(0);
    assert_eq!(done.finished()["completed"], 8);
}

#[test]
fn a_permanent_outage_ends_every_watch() {
    let mut script = "[[faults]]\nrequests = '1-'\nreset_after = 0\n".to_owned();
    let names: Vec<String> = (1..=5).map(|n| format!("diff/{n}")).collect();
    for name in &names {
        script += &job(name, "");
    }
    let fixture = SimFixture::new(&script);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let done = watch(&fixture, &[&GIVE_UP[..], &names].concat()).expect(6);
    for name in names {
        assert_eq!(done.end_of(name)["event_type"], "job.gave_up");
    }
}

#[test]
fn a_job_has_at_most_one_request_in_flight() {
    // Each response takes ten times the wait between two polls.
    let script = job(
        "diff/1",
        "duration = '2s'\n[[jobs.faults]]\nrequests = '1-'\ndelay = '200ms'",
    );
    let fixture = SimFixture::new(&script);
    fixture
        .watch(&["--max-interval", "20ms", "diff/1"])
        .run()
        .expect(0);
    let requests = fixture.requests_for("diff/1");
    assert!(requests.len() > 3);
    for pair in requests.windows(2) {
        assert!(pair[1].at >= pair[0].at + 200, "{pair:?}");
    }
}

#[test]
fn a_pause_of_the_api_delays_no_end() {
    for status in [429, 503] {
        let pause = format!("status = {status}\nretry_after = '3600'");
        let names: Vec<String> = (1..=8).map(|n| format!("update/{n}")).collect();
        let script: String = names
            .iter()
            .map(|name| faulty(name, "1-", &pause))
            .collect();
        let fixture = SimFixture::new(&script);
        let args: Vec<&str> = names.iter().map(String::as_str).collect();
        let done = fixture
            .watch(&[&["--give-up-after", "1s"], &*args].concat())
            .run();
        // A pause lasts a minute, and a job's own hour does not end in this test.
        let elapsed = done.expect(6).finished()["elapsed_ms"].as_u64().unwrap();
        assert!(elapsed < 30_000, "{elapsed} ms");
        assert!(
            names
                .iter()
                .all(|name| fixture.requests_for(name).len() <= 1)
        );
    }
}

#[test]
fn unreachable_and_stalled_are_reported_during_a_pause() {
    let pause = "status = 429\nretry_after = '3600'";
    let long = format!("duration = '1h'\n[[jobs.faults]]\nrequests = '3-'\n{pause}");
    let fixture = SimFixture::new(&job("update/1", &long));
    let config = "[schedule]\nunreachable_after = '300ms'\nstalled_after = '1s'\n";
    let config = fixture.sandbox.file("forgewatch.toml", config);
    let args = [
        "--config",
        config.to_str().unwrap(),
        "--give-up-after",
        "2s",
        "update/1",
    ];
    let done = fixture.watch(&args).run().expect(6);
    let types: Vec<_> = done
        .events_of("update/1")
        .iter()
        .map(|e| e["event_type"].clone())
        .collect();
    assert!(
        types.ends_with(&[
            json!("job.unreachable"),
            json!("job.stalled"),
            json!("job.gave_up")
        ]),
        "{types:?}"
    );
    assert_eq!(fixture.requests_for("update/1").len(), 3);
}

#[test]
fn a_refusal_that_passes_ends_nothing() {
    let refused = "duration = '1s'\n[[jobs.faults]]\nrequests = '3-5'\nstatus = 401";
    let fixture = SimFixture::new(&job("update/1", refused));
    fixture.watch(&["update/1"]).run().expect(0);
}

#[test]
fn the_warning_that_the_api_is_down_says_why() {
    let script = faulty(
        "update/1",
        "1-",
        "status = 503\nbody = '{\"error_message\":\"maintenance\",\"success\":false}'",
    );
    let fixture = SimFixture::new(&script);
    let done = fixture
        .watch(&["--give-up-after", "1s", "update/1"])
        .run()
        .expect(6);
    let lines = done.lines();
    let warning = lines.iter().find(|line| {
        line["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("API is down"))
    });
    let warning = warning.unwrap();
    assert_eq!(warning["error_kind"], "server");
    assert!(
        warning["error_message"]
            .as_str()
            .unwrap()
            .contains("maintenance"),
        "{warning}"
    );
}
