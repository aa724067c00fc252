//! `forgewatch status`: the state of a daemon.

use serde_json::Value;

use super::{DaemonFixture, hook, listed};
use crate::fixture::{LONG, job};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn status(fixture: &DaemonFixture) -> (Vec<String>, Value) {
    let text = fixture.client(&["status"]).expect(0).stdout;
    let json = fixture.client(&["status", "--json"]).expect(0).stdout;
    assert_eq!(json.lines().count(), 1);
    let lines = text.lines().map(str::to_owned).collect();
    (lines, serde_json::from_str(&json).unwrap())
}

#[track_caller]
fn has_line(lines: &[String], line: &str) {
    assert!(lines.iter().any(|has| has == line), "{line} in {lines:#?}");
}

#[test]
fn status_shows_jobs_deliveries_and_the_last_reload() {
    let script = job("diff/1", LONG) + &job("update/2", LONG) + &job("diff/3", "ending = 'failed'");
    let fixture = DaemonFixture::new(&script, "");
    let bad = fixture.script("bad", "exit 3");
    let toml = ["diff/1", "update/2", "diff/3"].map(listed).concat()
        + &hook("bad", "'job.failed'", &bad, "retries = 0");
    fixture.configure(&format!("{toml}\n"));
    let mut daemon = fixture.start();
    daemon.await_event("hook.failed", "");
    for name in ["diff/1", "update/2"] {
        daemon.await_event("job.watching", name);
    }
    let (lines, json) = status(&fixture);
    assert!(
        lines[0].starts_with(&format!("version:       {VERSION}, instance ")),
        "{lines:?}"
    );
    has_line(&lines, "API:           available");
    has_line(&lines, "state:         writable");
    has_line(&lines, "jobs:          2 watched: 2 running");
    has_line(
        &lines,
        "deliveries:    0 pending, 0 running, 1 failed; see: forgewatch hooks list",
    );
    has_line(&lines, "last reload:   none");
    assert_eq!(json["version"], VERSION);
    assert_eq!(json["api"]["state"], "available");
    assert!(json["api"]["last_success_at_ms"].is_u64());
    assert_eq!(json["jobs"], serde_json::json!({"running": 2}));
    assert_eq!(json["deliveries"]["failed"], 1);
    assert!(json.get("last_reload").is_none());

    fixture.configure("[api2]\n[http2]\n");
    fixture.client(&["reload"]).expect(1);
    let (lines, json) = status(&fixture);
    let reload = lines
        .iter()
        .find(|line| line.starts_with("last reload:"))
        .unwrap();
    assert!(
        reload.contains("ago, rejected: ") && reload.ends_with("(and 1 more)"),
        "{reload}"
    );
    assert_eq!(json["last_reload"]["errors"].as_array().unwrap().len(), 2);
    fixture.configure(&toml);
    fixture.client(&["reload"]).expect(0);
    let (lines, _) = status(&fixture);
    assert!(
        lines.iter().any(|line| line.ends_with(" ago, applied")),
        "{lines:?}"
    );
    daemon.stop("TERM");
    let none = fixture.client(&["status"]).expect(1);
    assert!(none.stderr.contains("no daemon is running"), "{none:?}");
}

#[test]
fn status_says_why_the_api_is_not_polled() {
    let faults = "[[faults]]\nrequests = '1-'\nstatus = 500\nbody = \"\\u001b[31mred\"\n";
    let fixture = DaemonFixture::new(&(job("diff/1", LONG) + faults), &listed("diff/1"));
    let mut daemon = fixture.start();
    daemon.await_outage();
    let (lines, json) = status(&fixture);
    let api = lines.iter().find(|line| line.starts_with("API:")).unwrap();
    assert!(
        api.starts_with("API:           unavailable, one job at a time is tried: ")
            && api.contains("500"),
        "{api}"
    );
    assert!(!api.contains('\u{1b}'), "{api}");
    has_line(&lines, "last success:  never");
    assert_eq!(json["api"]["state"], "unavailable");
    let colored = fixture.sim.sandbox.program(&["status"]);
    let colored = colored
        .env("FORGEWATCH_SOCKET", fixture.socket())
        .env("CLICOLOR_FORCE", "1")
        .start()
        .wait()
        .expect(0);
    assert!(
        colored.stdout.contains("\u{1b}[31munavailable"),
        "{colored:?}"
    );
    daemon.stop("TERM");
}
