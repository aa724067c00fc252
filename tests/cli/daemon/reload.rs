//! Another configuration while it runs: taken whole or not at all.

use super::{Home, hook, listed};
use crate::place::job;

const LONG: &str = "duration = '10m'\n";

#[test]
fn a_reload_watches_what_is_new_and_removes_what_is_gone() {
    let script = job("diff/1", LONG) + &job("diff/2", LONG) + &job("diff/3", LONG);
    let home = Home::new(&script, &(listed("diff/1") + &listed("diff/2")));
    let mut daemon = home.start();
    let first = daemon.await_event("job.watching", "diff/1");
    daemon.await_event("job.watching", "diff/2");
    home.client(&["add", "diff/2"]).expect(0);
    home.configure(&listed("diff/3"));
    home.client(&["reload"]).expect(0);
    assert_eq!(
        daemon.await_event("job.removed", "diff/1")["watch"],
        first["watch"]
    );
    daemon.await_event("job.watching", "diff/3");
    let list = home.client(&["list", "--json"]).expect(0);
    let list: Vec<serde_json::Value> = serde_json::from_str(&list.stdout).unwrap();
    let mut jobs: Vec<&str> = list.iter().filter_map(|j| j["job"].as_str()).collect();
    jobs.sort_unstable();
    assert_eq!(
        jobs,
        ["diff/2", "diff/3"],
        "what was also added by hand stays"
    );

    // Back in the file after it had left it: anew.
    home.configure(&(listed("diff/3") + &listed("diff/1")));
    daemon.signal("HUP");
    let told = home.await_notice("RELOADING=1");
    assert!(told.contains("MONOTONIC_USEC="), "in one datagram: {told}");
    home.await_notice("READY=1");
    daemon.await_event("watch.reloaded", "");
    let anew = daemon.await_event("job.watching", "diff/1");
    assert_ne!(anew["watch"], first["watch"]);
    daemon.end("TERM");
}

#[test]
fn a_bad_file_changes_nothing_and_every_error_is_told() {
    let home = Home::new(&job("diff/1", LONG), &listed("diff/1"));
    let mut daemon = home.start();
    let bad = "[[jobs]]\njob = 'diff/x'\n[http2]\nlisten = 1\n";
    home.configure(bad);
    let refused = home.client(&["reload"]).expect(1);
    for what in ["fw.toml:13:7", "diff/x", "http2"] {
        assert!(refused.stderr.contains(what), "{what}: {refused:?}");
    }
    daemon.signal("HUP");
    daemon.await_line("error", |line| {
        let text = line["error"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && text.contains("diff/x")
    });
    let asked = home.stage.hits("diff/1").len();
    home.stage.await_hits("diff/1", asked + 1);
    let list = home.client(&["list"]).expect(0);
    assert!(list.stdout.contains("diff/1"), "{list:?}");
    let (status, _) = daemon.end("TERM");
    assert_eq!(status, Some(0));
    let start = home.start_in_vain();
    assert_eq!(start.status, 2, "{start:?}");
    for what in ["diff/x", "http2"] {
        assert!(start.stderr.contains(what), "{what}: {start:?}");
    }
}

#[test]
fn what_cannot_change_while_it_runs_is_named() {
    let home = Home::new(&job("diff/1", LONG), &listed("diff/1"));
    let daemon = home.start();
    let path = home.path("fw.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let moved = text
        .replace("state.db", "other.db")
        .replace("diff/1", "diff/2");
    home.stage.place.file("fw.toml", moved);
    let refused = home.client(&["reload"]).expect(1);
    assert!(refused.stderr.contains("state.path"), "{refused:?}");
    assert!(refused.stderr.contains("needs a restart"), "{refused:?}");
    assert!(home.client(&["list"]).expect(0).stdout.contains("diff/1"));
    daemon.end("TERM");
}

#[test]
fn another_group_is_not_taken_over_either_and_nothing_else_with_it() {
    let home = Home::new(&job("diff/1", LONG), &listed("diff/1"));
    let daemon = home.start();
    home.configure(&("group = 'another-group'\n".to_owned() + &listed("diff/2")));
    let refused = home.client(&["reload"]).expect(1);
    assert!(refused.stderr.contains("control.group"), "{refused:?}");
    assert!(refused.stderr.contains("needs a restart"), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    let list = home.client(&["list"]).expect(0).stdout;
    assert!(
        list.contains("diff/1") && !list.contains("diff/2"),
        "{list}"
    );
    daemon.end("TERM");
}

#[test]
fn the_deliveries_of_a_hook_that_left_the_file_are_given_up_and_can_be_retried_once_it_is_back() {
    let home = Home::new(&job("diff/1", ""), "");
    let script = home.script("hook", "test -e fine && echo $FORGEWATCH_EVENT_ID >> told");
    let hooks = hook("next", "'job.completed'", &script, "retries = 100");
    home.configure(&(listed("diff/1") + &hooks));
    let mut daemon = home.start();
    let end = daemon.await_event("job.completed", "diff/1");
    daemon.await_line("failed attempt", |line| line["message"] == "a hook failed");
    home.configure(&listed("diff/1"));
    home.client(&["reload"]).expect(0);
    let failed = daemon.await_event("hook.failed", "");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.starts_with("the hook is no longer in the configuration"),
        "{error}"
    );
    let delivery = failed["delivery"].as_str().unwrap().to_owned();
    assert_eq!(
        delivery,
        format!("{}/next", end["event_id"].as_str().unwrap())
    );

    let refused = home.client(&["hooks", "retry", &delivery]).expect(1).stderr;
    assert!(
        refused.contains(&format!("forgewatch hooks discard {delivery}")),
        "{refused}"
    );

    // A restart forgets nothing of it.
    daemon.end("KILL");
    home.configure(&(listed("diff/1") + &hooks));
    let mut daemon = home.start();
    let list = home.client(&["hooks", "list"]).expect(0);
    assert!(list.stdout.contains(&delivery), "{list:?}");
    std::fs::write(home.path("fine"), "").unwrap();
    home.client(&["hooks", "retry", &delivery]).expect(0);
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    assert_eq!(home.lines("told"), [end["event_id"].as_str().unwrap()]);
    home.client(&["hooks", "discard", &delivery]).expect(1);
    daemon.end("TERM");
}
