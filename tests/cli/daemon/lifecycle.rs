//! Start, stop, kill and restart: nothing is lost, nothing happens twice.

use std::fs;
use std::process::Command;

use rusqlite::Connection;

use super::{DaemonFixture, hook, listed, types};
use crate::fixture::job;
use crate::hook_supervisor::skip::skip;

/// Longer than any test.
const LONG: &str = "duration = '10m'\n";

#[test]
fn a_restart_remembers_that_a_job_has_ended() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let script = fixture.script(
        "hook",
        "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_EVENT_TYPE $FORGEWATCH_SOCKET >> events.txt",
    );
    let config = listed("diff/1") + &hook("log", "'job.completed'", &script, "");
    fixture.configure(&config);
    let mut daemon = fixture.start();
    let started = daemon.await_event("watch.started", "");
    assert_eq!(started["jobs"], 1);
    let end = daemon.await_event("job.completed", "diff/1");
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    let (status, rest) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
    let finished = rest.last().unwrap();
    assert_eq!(
        (&finished["event_type"], &finished["outcome"]),
        (&"watch.finished".into(), &"stopped".into())
    );
    assert_eq!(finished["completed"], 1);
    let line = format!(
        "{} job.completed {}",
        end["event_id"].as_str().unwrap(),
        fixture.socket()
    );
    assert_eq!(fixture.lines("events.txt"), [line]);

    let requests = fixture.sim.requests_for("diff/1").len();
    let mut daemon = fixture.start();
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 0);
    let list = fixture.client(&["list", "--all", "--json"]).expect(0);
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(
        (&list[0]["job"], &list[0]["outcome"]),
        (&"diff/1".into(), &"completed".into())
    );
    let (status, rest) = daemon.stop("INT");
    assert_eq!((status, types(&rest)), (Some(0), vec!["watch.finished"]));
    assert_eq!(
        fixture.sim.requests_for("diff/1").len(),
        requests,
        "an ended job is not polled again"
    );
    assert_eq!(fixture.lines("events.txt").len(), 1);
}

#[test]
fn startup_waits_until_a_new_job_list_is_recorded_and_can_be_stopped_meanwhile() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), "");
    fixture.start().stop("TERM");
    fixture.configure(&listed("diff/1"));
    let waits = || {
        let mut daemon = fixture.spawn();
        fixture.await_notice("EXTEND_TIMEOUT_USEC=");
        daemon.await_line("error about the disk", |line| {
            line["message"] == "startup waits for the state file, which another program has locked"
        });
        daemon
    };
    // A lock passes, as a full disk does.
    let db = Connection::open(fixture.path("state.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(waits().stop("TERM").0, Some(0));
    let mut daemon = waits();
    drop(db);
    fixture.await_notice("READY=1");
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 1);
}

#[test]
fn after_a_kill_every_watch_continues() {
    let fixture = DaemonFixture::new(&job("update/7", LONG), &listed("update/7"));
    let mut daemon = fixture.start();
    let watching = daemon.await_event("job.watching", "update/7");
    fixture
        .client(&["add", "update/7", "--label", "late=1"])
        .expect(0);
    daemon.stop("KILL");
    let mut daemon = fixture.start();
    let requests = fixture.sim.requests_for("update/7").len();
    fixture.sim.await_requests("update/7", requests + 2);
    fixture.client(&["remove", "update/7"]).expect(0);
    let removed = daemon.await_event("job.removed", "update/7");
    assert_eq!(removed["watch"], watching["watch"]);
    assert_eq!((&watching["seq"], &removed["seq"]), (&1.into(), &2.into()));
    assert!(removed["requests"].as_u64() > watching["requests"].as_u64());
    let unknown = fixture.client(&["remove", "update/7"]).expect(1);
    assert!(unknown.stderr.contains("update/7"), "{unknown:?}");
    daemon.stop("KILL");
    // Removed by a client, it stays removed although the configuration still lists it.
    let mut daemon = fixture.start();
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 0);
}

#[test]
fn added_jobs_survive_a_kill_and_adding_them_again_starts_no_second_watch() {
    let fixture = DaemonFixture::new(&(job("diff/5", LONG) + &job("diff/6", "")), "");
    let mut daemon = fixture.start();
    let first = fixture
        .client(&["add", "diff/5", "diff/6", "--label", "build=8812"])
        .expect(0);
    assert!(first.stdout.contains("diff/5"), "{first:?}");
    let watching = daemon.await_event("job.watching", "diff/5");
    assert_eq!(watching["labels"]["build"], "8812");
    let ended = daemon.await_event("job.completed", "diff/6");
    daemon.stop("KILL");
    let mut daemon = fixture.start();
    assert_eq!(daemon.await_event("watch.started", "")["jobs"], 1);
    let again = fixture.client(&["add", "diff/5", "diff/6"]).expect(0);
    assert!(again.stdout.contains("completed"), "{again:?}");
    assert_eq!(
        fixture.sim.requests_for("diff/6").len() as u64,
        ended["requests"].as_u64().unwrap()
    );
    fixture.client(&["add", "--again", "diff/6"]).expect(0);
    let second = daemon.await_event("job.completed", "diff/6");
    assert_ne!(second["watch"], ended["watch"]);
    let shown = fixture.client(&["show", "diff/5", "--json"]).expect(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["watch"], watching["watch"]);
    assert_eq!(shown["events"][0]["event_id"], watching["event_id"]);
    assert!(shown["next_poll_reason"]["kind"].is_string(), "{shown:#}");
    daemon.stop("TERM");
}

#[test]
fn a_hook_that_a_shutdown_interrupted_runs_again_after_the_start() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    // The first run never ends. Each run first adds a line to `tries`.
    let script = fixture.script(
        "hook",
        "echo $FORGEWATCH_EVENT_ID $FORGEWATCH_ATTEMPT >> tries; test -e again && exit 0; sleep 600",
    );
    let hooks = hook("slow", "'job.completed'", &script, "");
    let config = format!("stop_grace = '50ms'\n{}{hooks}", listed("diff/1"));
    fixture.configure(&config);
    let mut daemon = fixture.start();
    let end = daemon.await_event("job.completed", "diff/1");
    while fixture.lines("tries").is_empty() {
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    fixture.await_notice("STOPPING=1");
    fixture.await_notice("EXTEND_TIMEOUT_USEC=");
    assert_eq!(daemon.wait().0, Some(0));
    std::fs::write(fixture.path("again"), "").unwrap();
    let mut daemon = fixture.start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    let id = end["event_id"].as_str().unwrap();
    let tries = fixture.lines("tries");
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert!(tries.iter().all(|line| line.starts_with(id)), "{tries:?}");
    fixture.await_notice("STATUS=watching 0, unreachable 0, deliveries pending 0");
    let list = fixture.client(&["hooks", "list", "--json"]).expect(0);
    assert_eq!(list.stdout.trim(), "[]");
    daemon.stop("TERM");
}

#[test]
fn attempts_that_shutdowns_and_crashes_interrupted_leave_all_retries() {
    for (retries, signals) in [
        (0, &["TERM", "KILL", "TERM"]),
        (1, &["KILL", "TERM", "KILL"]),
    ] {
        let fixture = DaemonFixture::new(&job("diff/1", ""), "");
        // Hangs until `fail` or `again` exists.
        let script = fixture.script(
            "hook",
            "echo $FORGEWATCH_ATTEMPT >> tries; test -e again && exit 0; test -e fail && touch again && exit 3; sleep 600",
        );
        let hooks =
            hook("slow", "'job.completed'", &script, "") + &format!("retries = {retries}\n");
        let config = format!("stop_grace = '50ms'\n{}{hooks}", listed("diff/1"));
        fixture.configure(&config);
        for (number, signal) in (1..).zip(signals) {
            let mut daemon = fixture.start();
            while fixture.lines("tries").len() < number {
                std::thread::yield_now();
            }
            daemon.signal(signal);
            daemon.wait();
        }
        let last = if retries == 0 { "again" } else { "fail" };
        std::fs::write(fixture.path(last), "").unwrap();
        let mut daemon = fixture.start();
        daemon.await_line("delivery", |line| line["message"] == "delivered");
        let numbers: Vec<String> = (1..=4 + retries).map(|n: usize| n.to_string()).collect();
        assert_eq!(fixture.lines("tries"), numbers);
        daemon.stop("TERM");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_hooks() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let script = fixture.script(
        "hook",
        "trap '' TERM; echo $$ > pid; while :; do sleep 1; done",
    );
    let hooks = hook("stubborn", "'job.completed'", &script, "");
    fixture.configure(&format!("stop_grace = '10m'\n{}{hooks}", listed("diff/1")));
    let mut daemon = fixture.start();
    while fixture.lines("pid").is_empty() {
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    fixture.await_notice("STOPPING=1");
    daemon.signal("TERM");
    assert_eq!(daemon.wait().0, Some(0));
}

#[test]
fn the_service_manager_gets_the_status() {
    let script = job("diff/1", LONG) + &job("diff/2", LONG);
    let fixture = DaemonFixture::new(&script, &(listed("diff/1") + &listed("diff/2")));
    let mut daemon = super::DaemonProcess::spawn(fixture.command());
    let ready = fixture.await_notice("READY=1");
    assert!(
        ready.contains("STATUS=watching 2, unreachable 0, deliveries pending 0"),
        "{ready}"
    );
    fixture.client(&["remove", "diff/2"]).expect(0);
    fixture.await_notice("STATUS=watching 1, unreachable 0, deliveries pending 0");
    daemon.signal("USR1");
    let summary = daemon.await_line("summary", |line| line["watching"] == 1);
    assert_eq!(summary["level"], "INFO");
    daemon.stop("TERM");
}

#[test]
fn the_watchdog_is_notified_while_timers_and_store_work() {
    let fixture = DaemonFixture::new("", "");
    let daemon = fixture.start_with("WATCHDOG_USEC", "200000");
    for _ in 0..3 {
        fixture.await_notice("WATCHDOG=1");
    }
    daemon.stop("TERM");
}

#[test]
fn a_job_listed_twice_in_one_request_gets_one_watch() {
    use std::io::{BufRead, BufReader, Write};
    let fixture = DaemonFixture::new(&job("diff/5", LONG), "");
    let mut daemon = fixture.start();
    let mut socket = std::os::unix::net::UnixStream::connect(fixture.socket()).unwrap();
    let request = "{\"protocol\":1,\"request\":{\"add\":{\"jobs\":[\"diff/5\",\"diff/5\"]}}}\n";
    socket.write_all(request.as_bytes()).unwrap();
    let response = BufReader::new(socket).lines().next().unwrap().unwrap();
    assert_eq!(response.matches("started").count(), 1, "{response}");
    daemon.await_event("job.watching", "diff/5");
    let list = fixture.client(&["list", "--json"]).expect(0);
    assert_eq!(list.stdout.matches("diff/5").count(), 1, "{list:?}");
    daemon.stop("TERM");
}

#[test]
fn a_backup_by_sqlite_while_the_daemon_runs_can_take_the_place_of_the_state() {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        return skip("sqlite3 is not installed");
    }
    let fixture = DaemonFixture::new(&job("diff/1", "duration = '1h'"), "");
    let mut daemon = fixture.start();
    fixture.client(&["add", "diff/1"]).expect(0);
    daemon.await_event("job.watching", "diff/1");
    let (state, backup) = (fixture.path("state.db"), fixture.path("backup.db"));
    let status = Command::new("sqlite3")
        .arg(&state)
        .arg(format!(".backup '{}'", backup.display()))
        .status();
    assert!(status.unwrap().success());
    let check = ["state", "check", backup.to_str().unwrap()];
    let check = fixture.sim.sandbox.program(&check).run().expect(0);
    assert!(check.stdout.contains("ok: 1 watches"), "{check:?}");

    daemon.stop("TERM");
    let _ = fs::remove_file(fixture.path("state.db-wal"));
    fs::rename(&backup, &state).unwrap();
    let daemon = fixture.start();
    let list = fixture.client(&["list", "--json"]).expect(0).stdout;
    assert!(list.contains("\"diff/1\""), "{list}");
    daemon.stop("TERM");
}
