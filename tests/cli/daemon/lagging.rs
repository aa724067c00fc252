//! The daemon stops while the reader of its output is blocked.

use std::process::Child;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;

use super::{DaemonFixture, DaemonProcess, listed, types};
use crate::fixture::{TIMEOUT, job};

/// Starts a daemon whose output is not read, and which has dropped the line about a removed job.
fn lagging() -> (DaemonFixture, Child) {
    let all: Vec<String> = (1..=200).map(|n| format!("diff/{n}")).collect();
    let script: String = all
        .iter()
        // So long that no job changes after the removal: its event is the last dropped one, however slow the machine is.
        .map(|name| job(name, "duration = '100h'"))
        .collect();
    let config: String = all.iter().map(|name| listed(name)).collect();
    let fixture = DaemonFixture::new(&script, &config);
    let mut command = fixture.command();
    // With tracing each poll makes about ten lines, so that the queue is full after a few polls of each job.
    command.env("FORGEWATCH_LOG", "trace");
    let child = command.spawn().unwrap();
    fixture.await_notice("READY=1");
    assert!(fixture.sim.server.wait_for_requests(None, 3000, TIMEOUT));
    fixture.client(&["remove", "diff/1"]).expect(0);
    (fixture, child)
}

fn stop(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// The last two events report the dropped lines and the stop.
fn expect_lagged_stop(events: &[Value], removed: &Value) {
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
fn the_lines_that_a_blocked_reader_missed_are_recorded() {
    let (fixture, mut child) = lagging();
    stop(&child);
    // Keep it open and unread.
    let stdout = child.stdout.take();
    let (send, ended) = channel();
    let waiting = thread::spawn(move || send.send(child.wait().unwrap().code()).unwrap());
    assert_eq!(ended.recv_timeout(TIMEOUT), Ok(Some(0)));
    waiting.join().unwrap();
    drop(stdout);
    let mut events = fixture.recorded_events();
    // Without the events of the start that reads them.
    let end = types(&events).iter().position(|&t| t == "watch.finished");
    events.truncate(end.unwrap() + 1);
    expect_lagged_stop(&events, &removed(&events));
}

#[test]
fn a_reader_that_continues_at_the_stop_learns_what_it_missed() {
    let (fixture, child) = lagging();
    stop(&child);
    fixture.await_notice("STOPPING=1");
    let (status, printed) = DaemonProcess::from_child(child).wait();
    assert_eq!(status, Some(0));
    let events: Vec<Value> = printed
        .into_iter()
        .filter(|line| line.get("event_type").is_some())
        .collect();
    assert!(
        !types(&events).contains(&"job.removed"),
        "the line was not dropped"
    );
    expect_lagged_stop(&events, &removed(&fixture.recorded_events()));
}
