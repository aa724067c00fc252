//! Reloads: a new configuration is applied whole or not at all.

use super::{DaemonFixture, hook, listed};
use crate::fixture::job;

const LONG: &str = "duration = '10m'\n";

#[test]
fn a_reload_watches_new_jobs_and_removes_missing_ones() {
    let script = job("diff/1", LONG) + &job("diff/2", LONG) + &job("diff/3", LONG);
    let fixture = DaemonFixture::new(&script, &(listed("diff/1") + &listed("diff/2")));
    let mut daemon = fixture.start();
    let first = daemon.await_event("job.watching", "diff/1");
    daemon.await_event("job.watching", "diff/2");
    fixture.client(&["add", "diff/2"]).expect(0);
    fixture.configure(&listed("diff/3"));
    fixture.client(&["reload"]).expect(0);
    assert_eq!(
        daemon.await_event("job.removed", "diff/1")["watch"],
        first["watch"]
    );
    daemon.await_event("job.watching", "diff/3");
    let list = fixture.client(&["list", "--json"]).expect(0);
    let list: Vec<serde_json::Value> = serde_json::from_str(&list.stdout).unwrap();
    let mut jobs: Vec<&str> = list.iter().filter_map(|j| j["job"].as_str()).collect();
    jobs.sort_unstable();
    assert_eq!(
        jobs,
        ["diff/2", "diff/3"],
        "a job that a client added too stays"
    );

    // Listed again after it had been missing: a new watch.
    fixture.configure(&(listed("diff/3") + &listed("diff/1")));
    daemon.signal("HUP");
    let notice = fixture.await_notice("RELOADING=1");
    assert!(
        notice.contains("MONOTONIC_USEC="),
        "in one datagram: {notice}"
    );
    fixture.await_notice("READY=1");
    daemon.await_event("watch.reloaded", "");
    let second = daemon.await_event("job.watching", "diff/1");
    assert_ne!(second["watch"], first["watch"]);
    daemon.stop("TERM");
}

#[test]
fn an_invalid_file_changes_nothing_and_all_errors_are_reported() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), &listed("diff/1"));
    let mut daemon = fixture.start();
    let bad = "[[jobs]]\njob = 'diff/x'\n[http2]\nlisten = 1\n";
    fixture.configure(bad);
    let rejected = fixture.client(&["reload"]).expect(1);
    for what in ["fw.toml:13:7", "diff/x", "http2"] {
        assert!(rejected.stderr.contains(what), "{what}: {rejected:?}");
    }
    daemon.signal("HUP");
    daemon.await_line("error", |line| {
        let text = line["error_message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && text.contains("diff/x")
    });
    let requests = fixture.sim.requests_for("diff/1").len();
    fixture.sim.await_requests("diff/1", requests + 1);
    let list = fixture.client(&["list"]).expect(0);
    assert!(list.stdout.contains("diff/1"), "{list:?}");
    let (status, _) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    let start = fixture.start_expecting_failure();
    assert_eq!(start.status, 2, "{start:?}");
    for what in ["diff/x", "http2"] {
        assert!(start.stderr.contains(what), "{what}: {start:?}");
    }
}

#[test]
fn a_key_that_cannot_change_at_runtime_is_named() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), &listed("diff/1"));
    let daemon = fixture.start();
    let path = fixture.path("fw.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let moved = text
        .replace("state.db", "other.db")
        .replace("diff/1", "diff/2");
    fixture.sim.sandbox.file("fw.toml", moved);
    let rejected = fixture.client(&["reload"]).expect(1);
    assert!(rejected.stderr.contains("state.path"), "{rejected:?}");
    assert!(rejected.stderr.contains("needs a restart"), "{rejected:?}");
    assert!(
        fixture
            .client(&["list"])
            .expect(0)
            .stdout
            .contains("diff/1")
    );
    daemon.stop("TERM");
}

#[test]
fn a_changed_group_is_rejected_with_the_whole_file() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), &listed("diff/1"));
    let daemon = fixture.start();
    fixture.configure(&("group = 'another-group'\n".to_owned() + &listed("diff/2")));
    let rejected = fixture.client(&["reload"]).expect(1);
    assert!(rejected.stderr.contains("control.group"), "{rejected:?}");
    assert!(rejected.stderr.contains("needs a restart"), "{rejected:?}");
    assert_eq!(rejected.stderr.lines().count(), 1, "{rejected:?}");
    let list = fixture.client(&["list"]).expect(0).stdout;
    assert!(
        list.contains("diff/1") && !list.contains("diff/2"),
        "{list}"
    );
    daemon.stop("TERM");
}

#[test]
fn deliveries_of_a_removed_hook_fail_and_can_be_retried_once_it_is_back() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let script = fixture.script(
        "hook",
        "test -e fine && echo $FORGEWATCH_EVENT_ID >> events.txt",
    );
    let hooks = hook("next", "'job.completed'", &script, "retries = 100");
    fixture.configure(&(listed("diff/1") + &hooks));
    let mut daemon = fixture.start();
    let end = daemon.await_event("job.completed", "diff/1");
    daemon.await_line("failed attempt", |line| {
        line["message"] == "hook attempt failed"
    });
    fixture.configure(&listed("diff/1"));
    fixture.client(&["reload"]).expect(0);
    let failed = daemon.await_event("hook.failed", "");
    let error = failed["error_message"].as_str().unwrap();
    assert!(
        error.starts_with("the hook is no longer in the configuration"),
        "{error}"
    );
    let delivery = failed["delivery"].as_str().unwrap().to_owned();
    assert_eq!(
        delivery,
        format!("{}/next", end["event_id"].as_str().unwrap())
    );

    let rejected = fixture
        .client(&["hooks", "retry", &delivery])
        .expect(1)
        .stderr;
    assert!(
        rejected.contains(&format!("forgewatch hooks discard {delivery}")),
        "{rejected}"
    );

    // The failed delivery survives a restart.
    daemon.stop("KILL");
    fixture.configure(&(listed("diff/1") + &hooks));
    let mut daemon = fixture.start();
    let list = fixture.client(&["hooks", "list"]).expect(0);
    assert!(list.stdout.contains(&delivery), "{list:?}");
    std::fs::write(fixture.path("fine"), "").unwrap();
    fixture.client(&["hooks", "retry", &delivery]).expect(0);
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert_eq!(
        fixture.lines("events.txt"),
        [end["event_id"].as_str().unwrap()]
    );
    fixture.client(&["hooks", "discard", &delivery]).expect(1);
    daemon.stop("TERM");
}
