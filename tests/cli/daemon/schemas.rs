//! The published schemas, against everything that a real daemon prints. They are open to more fields; these tests are not.

use std::fs;

use jsonschema::Validator;
use serde_json::Value;

use super::{DaemonFixture, hook, listed};
use crate::fixture::{faulty, job};
use crate::strict_schema::strict;

#[track_caller]
fn check(schema: &Validator, value: &Value) {
    let errors = schema.iter_errors(value);
    let errors: Vec<String> = errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{value:#}\n{errors:#?}");
}

#[test]
fn everything_that_a_daemon_prints_matches_the_published_schemas() {
    let script = job("diff/1", "duration = '1h'\neta = 'noisy'")
        + &job("diff/2", "files = { added = 3 }\nmachine = 'buildbox-1'")
        + &job("update/3", "ending = 'failed'\nerror = 'disk full'")
        + &job("version/4", "ending = 'squashed'")
        + &faulty("diff/5", "2-1000", "status = 503");
    let names = ["diff/1", "diff/2", "update/3", "version/4", "diff/5"];
    let jobs = names.map(|name| listed(name) + "labels = { build = '8812' }\n");
    let jobs = jobs.concat();
    let fixture = DaemonFixture::new(&script, "");
    let save = fixture.script("save", "cat > event.$FORGEWATCH_EVENT_ID");
    let hooks = hook("save", "'job.*', 'watch.started', 'hook.failed'", &save, "")
        + &hook("fails", "'job.failed'", "/bin/false", "retries = 0")
        + &hook("retries", "'job.completed'", "/bin/false", "");
    fixture.configure(&(jobs + &hooks));
    let mut daemon = fixture.start_with(
        "TRACEPARENT",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    for (kind, job) in [
        ("job.completed", "diff/2"),
        ("job.failed", "update/3"),
        ("job.squashed", "version/4"),
        ("hook.failed", ""),
    ] {
        daemon.await_event(kind, job);
    }
    fixture.sim.await_requests("diff/5", 3);

    let (event, list, show) = (strict("event"), strict("list"), strict("show"));
    let (deliveries, status) = (strict("hooks"), strict("status"));
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&fixture.client(args).expect(0).stdout).unwrap()
    };
    let watches = json(&["list", "--all", "--json"]);
    assert_eq!(
        watches.as_array().map(Vec::len),
        Some(names.len()),
        "{watches}"
    );
    check(&list, &watches);
    check(&deliveries, &json(&["hooks", "list", "--json"]));
    check(&status, &json(&["status", "--json"]));
    fixture.client(&["reload"]).expect(0);
    let reloaded = json(&["status", "--json"]);
    check(&status, &reloaded);
    assert!(reloaded["last_reload"].is_object(), "{reloaded}");
    for name in names {
        let details = json(&["show", name, "--json"]);
        check(&show, &details);
        for record in details["events"].as_array().unwrap() {
            check(&event, record);
        }
    }
    for line in fixture.client(&["events"]).expect(0).stdout.lines() {
        check(&event, &serde_json::from_str(line).unwrap());
    }

    let (_, lines) = daemon.stop("TERM");
    let diagnostic = strict("diagnostic");
    for line in &lines {
        let schema = if line.get("event_type").is_some() {
            &event
        } else {
            &diagnostic
        };
        check(schema, line);
    }
    let cloudevent = strict("cloudevent");
    let files = fs::read_dir(fixture.path(""))
        .unwrap()
        .map(|file| file.unwrap().path());
    let saved = files.filter(|file| file.to_string_lossy().contains("/event."));
    let mut count = 0;
    for file in saved {
        let text = fs::read_to_string(&file).unwrap();
        // The last attempt may have been interrupted.
        let Ok(payload) = serde_json::from_str::<Value>(&text) else {
            continue;
        };
        check(&cloudevent, &payload);
        check(&event, &payload["data"]);
        count += 1;
    }
    assert!(count > 5, "{count} payloads");
}
