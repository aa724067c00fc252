//! Everything that can be wrong with an answer: it passes and the job still completes, or it lasts and the watch
//! says what it was.

use serde_json::{Value, json};

use crate::fixture::{CliOutput, Sandbox, SimFixture, faulty, job};

const GIVE_UP: [&str; 2] = ["--give-up-after", "500ms"];

/// A fault, with the kind that events tell it by and the HTTP status if there is one.
type Fault = (&'static str, &'static str, Option<u16>);

const FAULTS: [Fault; 20] = [
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
    ("bad_response = 'invalid_utf8'", "bad_response", Some(200)),
    ("bad_response = 'deep_json'", "bad_response", Some(200)),
    ("bad_response = 'empty'", "bad_response", Some(200)),
    ("bad_response = 'huge_header'", "disconnected", None),
];

/// A watch of diff/1 that waits no longer than 300 ms for an answer.
fn watch(fixture: &SimFixture, args: &[&str]) -> CliOutput {
    let config = "[api]\ntimeout = '300ms'\nmax_body = '1MiB'\nmax_requests_per_second = 1000\n";
    let config = fixture.sandbox.file("forgewatch.toml", config);
    let named = ["--config", config.to_str().unwrap()];
    fixture.watch(&[&named, args].concat()).run()
}

#[test]
fn a_fault_that_passes_is_survived() {
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
fn a_fault_that_lasts_is_given_up_and_told_by_its_kind() {
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
fn the_servers_own_words_about_a_refused_request_are_told() {
    let fixture = SimFixture::new(&faulty(
        "diff/1",
        "1-",
        "envelope = { code = 17, message = 'image locked' }",
    ));
    let end = watch(&fixture, &[&GIVE_UP[..], &["diff/1"]].concat()).end_of("diff/1");
    assert_eq!(end["error_message"], "image locked (error 17)");
}

#[test]
fn a_job_that_is_unreachable_and_reachable_again_says_so_once() {
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
    let told = |kind: &str| {
        let mut events = done.events_of("diff/1");
        events.retain(|event| event["event_type"] == kind);
        events
    };
    let unreachable = told("job.unreachable");
    assert_eq!(unreachable.len(), 1, "{done:?}");
    assert_eq!(unreachable[0]["error_kind"], "server");
    assert_eq!(told("job.reachable").len(), 1, "{done:?}");
}

#[test]
fn an_answer_cut_off_at_any_byte_is_asked_for_again() {
    let whole = whole_answer();
    assert!((200..1500).contains(&whole), "{whole}");
    // One job for each place to cut, all in a watch of one process.
    let (mut script, mut names) = (String::new(), Vec::new());
    for cut in 0..whole {
        let name = format!("diff/{}", cut + 1);
        script += &faulty(&name, "1", &format!("truncate_after = {cut}"));
        names.push(name);
    }
    let fixture = SimFixture::new(&script);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let done = watch(&fixture, &names).expect(0);
    assert_eq!(done.finished()["completed"], names.len());
}

/// How many bytes the simulator's first answer for a diff has, head included.
fn whole_answer() -> usize {
    use std::io::{Read, Write};
    let fixture = SimFixture::new(&job("diff/1", ""));
    let mut stream = std::net::TcpStream::connect(fixture.server.addr()).unwrap();
    let request = "GET /cfp/v1/imagediff/1/status?accountserviceid=5678&diff_info=1 HTTP/1.1\r\nHost: x\r\n\
                   Authorization: Basic c2ltOnNpbQ==\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    answer.len()
}

#[test]
fn retry_after_in_either_form_is_waited_for() {
    for (told, floor) in [
        ("retry_after = '1'", 1000),
        ("retry_after_date = '2s'", 1000),
    ] {
        for status in [429, 503] {
            let fault = format!("status = {status}\n{told}");
            let fixture = SimFixture::new(&faulty("diff/1", "1", &fault));
            watch(&fixture, &["diff/1"]).expect(0);
            let requests_for = fixture.requests_for("diff/1");
            let waited = requests_for[1].at - requests_for[0].at;
            assert!(waited >= floor, "{fault}: asked again after {waited} ms");
        }
    }
}

#[test]
fn a_server_that_is_busy_for_one_job_is_not_asked_about_another() {
    let script = faulty("diff/1", "1", "status = 429\nretry_after = '1'") + &job("diff/2", "");
    let fixture = SimFixture::new(&script);
    watch(&fixture, &["--job-timeout", "10s", "diff/1", "diff/2"]).expect(0);
    let log = fixture.server.log();
    let busy = log
        .iter()
        .position(|hit| hit.served.contains("429"))
        .unwrap();
    // One request can have been on its way when the answer came; none follows it before the pause is over.
    let later: Vec<_> = log.iter().skip(busy + 1).collect();
    assert!(later.len() > 1, "{log:?}");
    assert!(later[1].at >= log[busy].at + 1000, "{log:?}");
}

#[test]
fn a_clock_or_a_date_an_hour_off_changes_nothing() {
    for wrong in [
        "clock_offset = '-1h'",
        "clock_offset = '1h'",
        "date_offset = '-1h'",
        "date_offset = '1h'",
    ] {
        let fixture = SimFixture::new(&format!("{wrong}\n{}", job("diff/1", "duration = '1s'")));
        let done = fixture.watch(&["--timeout", "30s", "diff/1"]).run();
        assert_eq!(done.status, 0, "{wrong}: {done:?}");
    }
    let one = faulty("diff/1", "2", "date_offset = '1h'");
    SimFixture::new(&one).watch(&["diff/1"]).run().expect(0);
}

#[test]
fn every_spelling_of_an_answer_is_understood() {
    for shape in ["plain", "strings", "sparse"] {
        let more = format!(
            "json_style = '{shape}'\nqueued = '50ms'\nfiles = {{ added = 2, modified = 3 }}"
        );
        let fixture = SimFixture::new(&format!("gzip = true\n{}", job("diff/1", &more)));
        let end = fixture.watch(&["diff/1"]).run().expect(0).end_of("diff/1");
        // 1 + 7919 n mod 100,000 bytes each
        assert_eq!(end["files_added"], 2, "{shape}");
        assert_eq!(end["bytes_added"], 1 + 7920, "{shape}");
        assert_eq!(end["bytes_modified"], 1 + 7920 + 15839, "{shape}");
    }
}

#[test]
fn a_port_that_nobody_listens_on_is_a_failed_connection() {
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
fn a_name_that_is_none_is_a_failed_lookup() {
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
fn an_outage_of_the_whole_api_is_probed_by_one_job_and_survived_by_all() {
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
fn an_outage_that_lasts_is_given_up_for_every_job() {
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
fn one_job_is_never_asked_twice_at_a_time() {
    // Each answer takes ten times as long as the shortest wait between two.
    let script = job(
        "diff/1",
        "duration = '2s'\n[[jobs.faults]]\nrequests = '1-'\ndelay = '200ms'",
    );
    let fixture = SimFixture::new(&script);
    fixture
        .watch(&["--max-interval", "20ms", "diff/1"])
        .run()
        .expect(0);
    let requests_for = fixture.requests_for("diff/1");
    assert!(requests_for.len() > 3);
    for pair in requests_for.windows(2) {
        assert!(pair[1].at >= pair[0].at + 200, "{pair:?}");
    }
}
