//! A reader of the daemon's output that is stuck when the daemon stops.

use std::process::Child;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;

use super::{Daemon, Home, listed, types};
use crate::place::{PATIENCE, job};

/// A daemon whose output nobody reads, and which has dropped the line of a job's removal.
fn lagging() -> (Home, Child) {
    let all: Vec<String> = (1..=200).map(|n| format!("diff/{n}")).collect();
    let script: String = all
        .iter()
        .map(|name| job(name, "duration = '10m'"))
        .collect();
    let config: String = all.iter().map(|name| listed(name)).collect();
    let home = Home::new(&script, &config);
    let mut command = home.command();
    // Everything there is to say, so that the queue is full after some polls of all: each makes ten lines or so.
    command.env("FORGEWATCH_LOG", "trace");
    let child = command.spawn().unwrap();
    home.await_notice("READY=1");
    assert!(home.stage.server.wait_for_hits(None, 3000, PATIENCE));
    home.client(&["remove", "diff/1"]).expect(0);
    (home, child)
}

fn stop(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// The two last events, checked to be what a stop of a daemon that lags ends with.
fn last_words(events: &[Value], removed: &Value) {
    let [.., lagged, finished] = events else {
        panic!("{events:#?}");
    };
    assert_eq!(
        types(&[lagged.clone(), finished.clone()]),
        ["watch.lagged", "watch.finished"]
    );
    assert_eq!(lagged["last_dropped"], removed["event_id"], "{lagged}");
    assert!(lagged["lines_dropped"].as_u64().unwrap() >= 1, "{lagged}");
}

fn removed(events: &[Value]) -> Value {
    let removed = events.iter().find(|e| e["event_type"] == "job.removed");
    removed.unwrap().clone()
}

#[test]
fn what_a_reader_that_is_stuck_to_the_end_has_missed_is_on_record() {
    let (home, mut child) = lagging();
    stop(&child);
    // It stays open, and unread.
    let stdout = child.stdout.take();
    let (send, ended) = channel();
    let waiting = thread::spawn(move || send.send(child.wait().unwrap().code()).unwrap());
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(Some(0)));
    waiting.join().unwrap();
    drop(stdout);
    let mut events = home.remembered();
    // Those of the start that tells them.
    let end = types(&events).iter().position(|&t| t == "watch.finished");
    events.truncate(end.unwrap() + 1);
    last_words(&events, &removed(&events));
}

#[test]
fn a_reader_that_reads_on_at_the_stop_is_told_what_it_has_missed() {
    let (home, child) = lagging();
    stop(&child);
    home.await_notice("STOPPING=1");
    let (status, printed) = Daemon::of(child).wait();
    assert_eq!(status, Some(0));
    let told: Vec<Value> = printed
        .into_iter()
        .filter(|line| line.get("event_type").is_some())
        .collect();
    assert!(!types(&told).contains(&"job.removed"), "it was told");
    last_words(&told, &removed(&home.remembered()));
}
