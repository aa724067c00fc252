//! The output: `json` valid against its schema, `text` for people, and server text that stays inert in both.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fixture::{CliOutput, SimFixture, faulty, job};

const SCHEMA: &str = include_str!("../../config/schema/event.json");

/// The event types that end a watch.
const ENDS: [&str; 9] = [
    "job.completed",
    "job.failed",
    "job.squashed",
    "job.not_found",
    "job.refused",
    "job.timed_out",
    "job.gave_up",
    "job.removed",
    "job.abandoned",
];

/// Runs a watch with every transition that is possible within seconds.
fn eventful() -> CliOutput {
    let script = [
        job("diff/1", "queued = '300ms'\nduration = '1500ms'\nfiles = { added = 3, modified = 2, removed = 1 }\n\
             game = 'Farflung'\nimage = 'farflung-live'\nmachine = 'buildbox-1'"),
        job("diff/2", "ending = 'failed'\nerror = 'the disk is full'"),
        job("diff/3", "ending = 'squashed'"),
        job("update/4", "eta = 'hidden'\njson_style = 'sparse'"),
        faulty("update/5", "1-", "status = 500\nbody = 'x'"),
        job("update/6", "duration = '2s'\n[[jobs.faults]]\nrequests = '3-7'\nbad_response = 'html'"),
        job("update/7", "duration = '1h'\nstalls = [{ at = '100ms', for = '59m' }]"),
        job("update/8", "duration = '2s'\nsetbacks = [{ at = '800ms', for = '400ms', state = 'queued', progress = 5 }]"),
    ]
    .concat();
    let fixture = SimFixture::new(&script);
    let config = "[api]\nmax_requests_per_second = 1000\n\
                  [schedule]\nunreachable_after = '150ms'\nstalled_after = '1s'\nprogress_step = 5\n";
    let config = fixture.sandbox.file("f.toml", config);
    let mut args = vec![
        "--config",
        config.to_str().unwrap(),
        "--give-up-after",
        "2s",
    ];
    args.extend(["--not-found-grace", "300ms", "--job-timeout", "4s"]);
    args.extend(["--label", "build=8812", "--label", "zone=eu"]);
    args.extend([
        "diff/1", "diff/2", "diff/3", "update/4", "update/5", "update/6", "update/7",
    ]);
    args.extend(["update/8", "update/99"]);
    fixture.watch(&args).run().expect(6)
}

#[test]
fn events_are_valid_against_the_schema_and_complete() {
    let done = eventful();
    let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
    // Our own records have no field that the schema does not describe.
    schema["additionalProperties"] = false.into();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let events = done.events();
    for event in &events {
        if let Err(error) = schema.validate(event) {
            panic!("{error}: {event}");
        }
        assert!(
            event.as_object().unwrap().values().all(|v| !v.is_null()),
            "{event}"
        );
    }
    expect_identities(&events);
    expect_one_end_each(&events);
    expect_types(&events);
    expect_fields(&done);
    let types = [&events[0], &events[events.len() - 1]].map(|event| event["event_type"].clone());
    assert_eq!(types, ["watch.started", "watch.finished"]);
    assert_eq!(done.stderr, "");
}

/// Ids are `<watch>-<seq>`, numbered from 1 without a gap; each job has one watch.
fn expect_identities(events: &[Value]) {
    let mut last: BTreeMap<&str, (u64, Option<&Value>)> = BTreeMap::new();
    for event in events {
        let watch = event["watch"].as_str().unwrap();
        let (seq, job) = last.entry(watch).or_insert((0, event.get("job")));
        *seq += 1;
        assert_eq!(event["seq"], *seq, "{event}");
        assert_eq!(event["event_id"], format!("{watch}-{seq}"));
        assert_eq!(event.get("job"), *job, "{event}");
    }
    assert_eq!(last.len(), 10, "nine jobs and forgewatch itself");
}

/// The last event of each job is its only ending event.
fn expect_one_end_each(events: &[Value]) {
    let mut open: BTreeMap<&str, bool> = BTreeMap::new();
    for event in events.iter().filter(|event| event.get("job").is_some()) {
        let is_open = open.entry(event["job"].as_str().unwrap()).or_insert(true);
        assert!(*is_open, "after the end: {event}");
        *is_open = !ENDS.iter().any(|end| event["event_type"] == *end);
    }
    assert_eq!(open.len(), 9);
    assert!(open.values().all(|is_open| !is_open), "{open:?}");
}

fn expect_types(events: &[Value]) {
    for (job, event_type) in [
        ("diff/1", "job.watching"),
        ("diff/1", "job.state_changed"),
        ("diff/1", "job.progressed"),
        ("diff/1", "job.completed"),
        ("diff/2", "job.failed"),
        ("diff/3", "job.squashed"),
        ("update/4", "job.completed"),
        ("update/5", "job.unreachable"),
        ("update/5", "job.gave_up"),
        ("update/6", "job.unreachable"),
        ("update/6", "job.reachable"),
        ("update/6", "job.completed"),
        ("update/7", "job.stalled"),
        ("update/7", "job.timed_out"),
        ("update/8", "job.completed"),
        ("update/99", "job.not_found"),
    ] {
        let matches = |event: &&Value| event["job"] == job && event["event_type"] == event_type;
        assert!(
            events.iter().any(|event| matches(&event)),
            "no {event_type} of {job}"
        );
    }
    let back = |event: &Value| {
        event["job"] == "update/8"
            && event["event_type"] == "job.state_changed"
            && event["previous_state"] == "running"
            && event["state"] == "queued"
    };
    assert!(events.iter().any(back), "no backward change");
}

fn expect_fields(done: &CliOutput) {
    let end = done.end_of("diff/1");
    for (field, value) in [
        ("job_kind", json!("diff")),
        ("job_id", json!(1)),
        ("labels", json!({"build": "8812", "zone": "eu"})),
        ("state", json!("completed")),
        ("previous_state", json!("running")),
        ("state_name", json!("Completed")),
        ("progress", json!(100)),
        ("files_added", json!(3)),
        ("files_modified", json!(2)),
        ("files_removed", json!(1)),
        ("bytes_added", json!(1 + 7920 + 15839)),
        ("bytes_removed", json!(1)),
        ("game", json!("Farflung")),
        ("image", json!("farflung-live")),
        ("machine", json!("buildbox-1")),
    ] {
        assert_eq!(end[field], value, "{field} of {end}");
    }
    assert!(
        ["detection_delay_ms", "queued_ms", "run_ms", "requests"]
            .iter()
            .all(|field| end[*field].is_u64()),
        "{end}"
    );
    assert!(
        end.get("next_poll_ms").is_none() && end.get("error_message").is_none(),
        "{end}"
    );
    assert_eq!(done.end_of("diff/2")["error_message"], "the disk is full");
    let first = &done.events_of("diff/1")[0];
    assert!(first["next_poll_ms"].as_u64().unwrap() <= 200, "{first}");
    assert!(
        first["eta"].is_string() && first["eta_seconds"].is_i64(),
        "{first}"
    );
}

#[test]
fn json_contains_diagnostics_in_the_same_stream() {
    let fixture = SimFixture::new(&faulty("diff/1", "1", "status = 500"));
    let done = fixture
        .watch(&["diff/1"])
        .env("FORGEWATCH_LOG", "debug")
        .run()
        .expect(0);
    assert_eq!(done.stderr, "");
    let lines = done.lines();
    assert!(
        lines.len() > done.events().len(),
        "no diagnostics: {done:?}"
    );
    for line in lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
    }
}

#[test]
fn text_has_a_line_per_transition_without_cursor_control() {
    let script = job("diff/1", "files = { added = 2 }")
        + &job("diff/2", "ending = 'failed'\nerror = 'the disk is full'")
        + &faulty("update/3", "1-", "status = 401");
    let fixture = SimFixture::new(&script);
    let done = fixture
        .watch(&["--output", "text", "diff/1", "diff/2", "update/3"])
        .run()
        .expect(4);
    assert!(
        done.stdout.chars().all(|c| c == '\n' || !c.is_control()),
        "{:?}",
        done.stdout
    );
    // The other lines and the order of the ends depend on timing.
    let mut ends: Vec<String> = done.stdout.lines().map(timeless).collect();
    ends.retain(|line| {
        line.contains("COMPLETED") || line.contains("FAILED") || line.contains("REFUSED")
    });
    ends.sort();
    insta::assert_snapshot!(ends.join("\n"), @r"
    diff/1 COMPLETED 100% after …, files: 2 added (7.9 kB), 0 modified (0 B), 0 removed (0 B)
    diff/2 FAILED 99% after …: the disk is full
    update/3 REFUSED after …: HTTP 401 Unauthorized (refused)
    ");
    assert_eq!(done.stderr, "");
}

/// Removes times, durations and request counts.
fn timeless(line: &str) -> String {
    let (_, line) = line.split_once("  ").unwrap();
    let (before, after) = line.split_once(" after ").unwrap_or((line, ""));
    let after = after.split_once(" requests").map_or("", |(_, rest)| rest);
    let words: Vec<&str> = before.split_whitespace().collect();
    format!("{} after …{after}", words.join(" "))
}

#[test]
fn heartbeat_lines_appear_while_nothing_changes() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    let args = [
        "--output",
        "text",
        "--heartbeat",
        "100ms",
        "--timeout",
        "1s",
        "diff/1",
    ];
    let done = fixture.watch(&args).run().expect(124);
    // The heartbeats, and the jobs still running at the deadline.
    assert!(done.stdout.lines().count() > 4, "{}", done.stdout);
    assert!(
        done.stdout.contains("diff/1") && done.stdout.contains("running"),
        "{}",
        done.stdout
    );
}

#[test]
fn quiet_prints_errors_and_the_final_line() {
    let fixture = SimFixture::new(&(job("diff/1", "") + &job("diff/2", "ending = 'failed'")));
    let watch = |job| fixture.watch(&["--output", "quiet", job]).run();
    let done = watch("diff/1").expect(0);
    assert_eq!((&*done.stdout, done.stderr.lines().count()), ("", 1));
    assert!(done.stderr.contains("1 of 1 completed"), "{done:?}");
    let done = watch("diff/2").expect(1);
    assert_eq!((&*done.stdout, done.stderr.lines().count()), ("", 2));
    assert!(
        done.stderr.contains("diff/2") && done.stderr.contains("FAILED"),
        "{done:?}"
    );
}

#[test]
fn progress_prints_nothing_on_standard_output() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let done = fixture
        .watch(&["--output", "progress", "diff/1"])
        .run()
        .expect(0);
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains("diff/1"), "{}", done.stderr);
}

#[test]
fn server_text_is_inert() {
    let hostile =
        r"x\u001b[2J\u001b]0;owned\u0007\n::error::forged\n##[group]x\r\u202egnp\u2066\u009b31m";
    let script = job(
        "diff/1",
        &format!("ending = 'failed'\nerror = \"{hostile}\"\nmachine = \"{hostile}\""),
    );
    let fixture = SimFixture::new(&script);
    for output in ["text", "progress"] {
        let done = SimFixture::new(&script)
            .watch(&["--output", output, "diff/1"])
            .run()
            .expect(1);
        for text in [&done.stdout, &done.stderr] {
            let harmful = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}".contains(c));
            assert!(!text.contains(harmful), "{output}: {text:?}");
            for line in text.lines() {
                let line = line.trim_start();
                assert!(!line.starts_with("::") && !line.contains("##["), "{line}");
            }
        }
        let all = done.stdout + &done.stderr;
        assert!(
            all.contains("forged"),
            "the text itself stays visible: {all}"
        );
    }
    let done = fixture.watch(&["diff/1"]).run().expect(1);
    assert!(
        done.stdout.chars().all(|c| c == '\n' || !c.is_control()),
        "{:?}",
        done.stdout
    );
    assert!(
        !done.stdout.contains(['\u{202e}', '\u{2066}', '\u{9b}']),
        "{:?}",
        done.stdout
    );
    let error = done.end_of("diff/1")["error_message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        error.contains("\n::error::forged\n") && error.contains('\u{202e}'),
        "{error:?}"
    );
}

#[test]
fn a_very_long_error_is_truncated() {
    let long = "long ".repeat(10_000);
    let fixture = SimFixture::new(&job(
        "diff/1",
        &format!("ending = 'failed'\nerror = '{long}'"),
    ));
    let done = fixture.watch(&["diff/1"]).run().expect(1);
    let error = done.end_of("diff/1")["error_message"]
        .as_str()
        .unwrap()
        .len();
    assert!((4096..=8192).contains(&error), "{error} bytes");
}
