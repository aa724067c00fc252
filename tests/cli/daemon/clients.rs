//! Clients that select jobs and events, and clients that do not wait for the response.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::{DaemonFixture, listed};
use crate::fixture::{LONG, job};

#[test]
fn clients_select_jobs_and_events() {
    let labeled =
        |name: &str, stage: &str| format!("{}labels = {{ stage = '{stage}' }}\n", listed(name));
    let script = job("diff/1", LONG) + &job("update/2", LONG) + &job("diff/3", "");
    let jobs =
        labeled("diff/1", "live") + &labeled("update/2", "test") + &labeled("diff/3", "live");
    let fixture = DaemonFixture::new(&script, &jobs);
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/3");
    for name in ["diff/1", "update/2"] {
        daemon.await_event("job.watching", name);
    }
    let names = |args: &[&str]| -> Vec<String> {
        let list = fixture
            .client(&[&["list", "--json"], args].concat())
            .expect(0)
            .stdout;
        let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
        list.iter()
            .map(|job| job["job"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["-l", "stage=live"]), ["diff/1"]);
    assert_eq!(
        names(&["--all", "-l", "stage=live", "--sort", "name"]),
        ["diff/1", "diff/3"]
    );
    assert_eq!(names(&["--state", "completed"]), ["diff/3"]);
    assert_eq!(names(&["-l", "stage=live", "-l", "build=1"]), [""; 0]);
    let none = fixture.client(&["list", "--state", "failed"]).expect(0);
    assert!(none.stderr.contains("no job matches"), "{none:?}");

    let kinds = |args: &[&str]| -> Vec<String> {
        let events = fixture
            .client(&[&["events"], args].concat())
            .expect(0)
            .events();
        let kind = |event: &serde_json::Value| format!("{} {}", event["event_type"], event["job"]);
        events
            .iter()
            .map(kind)
            .map(|text| text.replace('"', ""))
            .collect()
    };
    assert_eq!(
        kinds(&["--job", "diff/3", "--type", "job.completed"]),
        ["job.completed diff/3"]
    );
    assert_eq!(
        kinds(&["-l", "stage=test", "--type", "job.*"]),
        ["job.watching update/2"]
    );
    assert_eq!(kinds(&["--type", "watch.started"]), ["watch.started null"]);

    // People read lines.
    let terminal = fixture.sim.sandbox.program(&["events", "--job", "diff/3"]);
    let terminal = terminal
        .env("FORGEWATCH_SOCKET", fixture.socket())
        .on_terminal(24, 120)
        .run();
    assert!(terminal.stdout.contains("  diff/3"), "{terminal:?}");
    assert!(terminal.stdout.contains("COMPLETED"), "{terminal:?}");

    let removed = fixture
        .client(&["remove", "--label", "stage=test"])
        .expect(0)
        .stdout;
    assert_eq!(removed, "removed update/2\n");
    fixture
        .client(&["remove", "--label", "stage=test"])
        .expect(2);
    daemon.stop("TERM");
}

#[test]
fn requests_are_carried_out_though_the_clients_disconnect_before_the_response() {
    let script: String = ["diff/1", "diff/2", "diff/3"]
        .iter()
        .map(|name| job(name, "duration = '10m'"))
        .collect();
    let fixture = DaemonFixture::new(&script, &listed("diff/1"));
    let mut daemon = fixture.start();
    fixture.client(&["add", "diff/2"]).expect(0);
    for request in [
        r#"{"list":{"all":true}}"#,
        r#"{"show":{"job":"diff/1"}}"#,
        r#""list_deliveries""#,
        r#""reload""#,
        r#"{"retry_delivery":{"delivery":"x/y"}}"#,
        r#"{"events":{"since":"beginning","follow":true}}"#,
        r#"{"add":{"jobs":["diff/3"]}}"#,
        r#"{"remove":{"jobs":["diff/2"]}}"#,
    ] {
        // More than the daemon serves at once.
        for _ in 0..20 {
            let mut client = UnixStream::connect(fixture.socket()).unwrap();
            writeln!(client, r#"{{"protocol":1,"request":{request}}}"#).unwrap();
        }
    }
    daemon.await_event("job.removed", "diff/2");
    daemon.await_event("job.watching", "diff/3");
    let list = fixture.client(&["list", "--json"]).expect(0).stdout;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let mut jobs: Vec<&str> = list.iter().filter_map(|j| j["job"].as_str()).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, ["diff/1", "diff/3"]);
    let (status, printed) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    let errors = printed.iter().filter(|line| line["level"] == "ERROR");
    assert_eq!(errors.count(), 0, "{printed:#?}");
}
