//! Start, stop, kill and start again: nothing is lost, nothing is done twice.

use rusqlite::Connection;

use super::{Home, hook, listed, types};
use crate::place::job;

/// One that takes longer than any test, unless it is asked to go on.
const LONG: &str = "duration = '10m'\n";

#[test]
fn a_job_is_watched_to_its_end_and_a_restart_knows_that() {
    let home = Home::new(&job("diff/1", ""), "");
    let script = home.script(
        "hook",
        "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_EVENT_TYPE $FORGEWATCH_SOCKET >> told",
    );
    let config = listed("diff/1") + &hook("log", "'job.completed'", &script, "");
    home.configure(&config);
    let mut daemon = home.start();
    let started = daemon.await_event("watch.started", "");
    assert_eq!(started["jobs"], 1);
    let end = daemon.await_event("job.completed", "diff/1");
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    let (status, rest) = daemon.end("TERM");
    assert_eq!(status, Some(0));
    let finished = rest.last().unwrap();
    assert_eq!(
        (&finished["event_type"], &finished["outcome"]),
        (&"watch.finished".into(), &"stopped".into())
    );
    assert_eq!(finished["completed"], 1);
    let told = format!(
        "{} job.completed {}",
        end["event_id"].as_str().unwrap(),
        home.socket()
    );
    assert_eq!(home.lines("told"), [told]);

    let asked = home.stage.hits("diff/1").len();
    let mut daemon = home.start();
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 0);
    let list = home.client(&["list", "--all", "--json"]).expect(0);
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(
        (&list[0]["job"], &list[0]["outcome"]),
        (&"diff/1".into(), &"completed".into())
    );
    let (status, rest) = daemon.end("INT");
    assert_eq!((status, types(&rest)), (Some(0), vec!["watch.finished"]));
    assert_eq!(
        home.stage.hits("diff/1").len(),
        asked,
        "an ended job is not asked again"
    );
    assert_eq!(home.lines("told").len(), 1);
}

#[test]
fn a_start_waits_until_a_new_list_is_on_record_and_hears_a_stop_meanwhile() {
    let home = Home::new(&job("diff/1", LONG), "");
    home.start().end("TERM");
    home.configure(&listed("diff/1"));
    let waits = || {
        let mut daemon = home.launch();
        home.await_notice("EXTEND_TIMEOUT_USEC=");
        daemon.await_line("word of it", |line| {
            line["message"] == "the start waits for room"
        });
        daemon
    };
    // As with a full disk, it passes.
    let db = Connection::open(home.path("state.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(waits().end("TERM").0, Some(0));
    let mut daemon = waits();
    drop(db);
    home.await_notice("READY=1");
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 1);
}

#[test]
fn after_a_kill_every_watch_goes_on_where_it_was() {
    let home = Home::new(&job("update/7", LONG), &listed("update/7"));
    let mut daemon = home.start();
    let watching = daemon.await_event("job.watching", "update/7");
    home.client(&["add", "update/7", "--label", "late=1"])
        .expect(0);
    daemon.end("KILL");
    let mut daemon = home.start();
    let asked = home.stage.hits("update/7").len();
    home.stage.await_hits("update/7", asked + 2);
    home.client(&["remove", "update/7"]).expect(0);
    let removed = daemon.await_event("job.removed", "update/7");
    assert_eq!(removed["watch"], watching["watch"]);
    assert_eq!((&watching["seq"], &removed["seq"]), (&1.into(), &2.into()));
    assert!(removed["requests"].as_u64() > watching["requests"].as_u64());
    let unknown = home.client(&["remove", "update/7"]).expect(1);
    assert!(unknown.stderr.contains("update/7"), "{unknown:?}");
    daemon.end("KILL");
    // Still in the file, and removed by hand: it stays removed.
    let mut daemon = home.start();
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 0);
}

#[test]
fn what_was_added_outlives_the_daemon_and_adding_again_is_no_second_watch() {
    let home = Home::new(&(job("diff/5", LONG) + &job("diff/6", "")), "");
    let mut daemon = home.start();
    let first = home
        .client(&["add", "diff/5", "diff/6", "--label", "build=8812"])
        .expect(0);
    assert!(first.stdout.contains("diff/5"), "{first:?}");
    let watching = daemon.await_event("job.watching", "diff/5");
    assert_eq!(watching["labels"]["build"], "8812");
    let ended = daemon.await_event("job.completed", "diff/6");
    daemon.end("KILL");
    let mut daemon = home.start();
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 1);
    let again = home.client(&["add", "diff/5", "diff/6"]).expect(0);
    assert!(again.stdout.contains("completed"), "{again:?}");
    assert_eq!(
        home.stage.hits("diff/6").len() as u64,
        ended["requests"].as_u64().unwrap()
    );
    home.client(&["add", "--again", "diff/6"]).expect(0);
    let anew = daemon.await_event("job.completed", "diff/6");
    assert_ne!(anew["watch"], ended["watch"]);
    let shown = home.client(&["show", "diff/5", "--json"]).expect(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["watch"], watching["watch"]);
    assert_eq!(shown["events"][0]["event_id"], watching["event_id"]);
    assert!(shown["why"]["by"].is_string(), "{shown:#}");
    daemon.end("TERM");
}

#[test]
fn a_hook_cut_off_by_the_stop_runs_again_after_the_start() {
    let home = Home::new(&job("diff/1", ""), "");
    // The first time it never ends; every time it leaves its mark before.
    let script = home.script(
        "hook",
        "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_ATTEMPT >> tries; test -e again && exit 0; sleep 600",
    );
    let hooks = hook("slow", "'job.completed'", &script, "");
    let config = format!("stop_grace = '50ms'\n{}{hooks}", listed("diff/1"));
    home.configure(&config);
    let mut daemon = home.start();
    let end = daemon.await_event("job.completed", "diff/1");
    while home.lines("tries").is_empty() {
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    home.await_notice("STOPPING=1");
    home.await_notice("EXTEND_TIMEOUT_USEC=");
    assert_eq!(daemon.wait().0, Some(0));
    std::fs::write(home.path("again"), "").unwrap();
    let mut daemon = home.start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    let id = end["event_id"].as_str().unwrap();
    let tries = home.lines("tries");
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert!(tries.iter().all(|line| line.starts_with(id)), "{tries:?}");
    home.await_notice("STATUS=watching 0, unreachable 0, deliveries waiting 0");
    let list = home.client(&["hooks", "list", "--json"]).expect(0);
    assert_eq!(list.stdout.trim(), "[]");
    daemon.end("TERM");
}

#[test]
fn a_second_signal_does_not_wait_for_hooks() {
    let home = Home::new(&job("diff/1", ""), "");
    let script = home.script(
        "hook",
        "trap '' TERM; echo $$ > pid; while :; do sleep 1; done",
    );
    let hooks = hook("stubborn", "'job.completed'", &script, "");
    home.configure(&format!("stop_grace = '10m'\n{}{hooks}", listed("diff/1")));
    let mut daemon = home.start();
    while home.lines("pid").is_empty() {
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    home.await_notice("STOPPING=1");
    daemon.signal("TERM");
    assert_eq!(daemon.wait().0, Some(0));
}

#[test]
fn the_service_manager_hears_how_it_stands() {
    let script = job("diff/1", LONG) + &job("diff/2", LONG);
    let home = Home::new(&script, &(listed("diff/1") + &listed("diff/2")));
    let mut daemon = super::Daemon::spawn(home.command());
    let ready = home.await_notice("READY=1");
    assert!(
        ready.contains("STATUS=watching 2, unreachable 0, deliveries waiting 0"),
        "{ready}"
    );
    home.client(&["remove", "diff/2"]).expect(0);
    home.await_notice("STATUS=watching 1, unreachable 0, deliveries waiting 0");
    daemon.signal("USR1");
    let summary = daemon.await_line("summary", |line| line["watching"] == 1);
    assert_eq!(summary["level"], "INFO");
    daemon.end("TERM");
}

#[test]
fn the_watchdog_is_fed_while_timers_and_store_go_on() {
    let home = Home::new("", "");
    let daemon = home.start_with("WATCHDOG_USEC", "200000");
    for _ in 0..3 {
        home.await_notice("WATCHDOG=1");
    }
    daemon.end("TERM");
}

#[test]
fn a_job_named_twice_in_one_request_has_one_watch() {
    use std::io::{BufRead, BufReader, Write};
    let home = Home::new(&job("diff/5", LONG), "");
    let mut daemon = home.start();
    let mut socket = std::os::unix::net::UnixStream::connect(home.socket()).unwrap();
    let request = "{\"add\":{\"jobs\":[\"diff/5\",\"diff/5\"]}}\n";
    socket.write_all(request.as_bytes()).unwrap();
    let answer = BufReader::new(socket).lines().next().unwrap().unwrap();
    assert_eq!(answer.matches("begun").count(), 1, "{answer}");
    daemon.await_event("job.watching", "diff/5");
    let list = home.client(&["list", "--json"]).expect(0);
    assert_eq!(list.stdout.matches("diff/5").count(), 1, "{list:?}");
    daemon.end("TERM");
}
