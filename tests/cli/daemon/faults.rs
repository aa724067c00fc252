//! Faults of the machine, the server and the reader of the output.

use std::fs;

use super::{DaemonFixture, listed};
use crate::fixture::{TIMEOUT, faulty, job};

const LONG: &str = "duration = '10m'\n";

#[test]
fn a_second_daemon_names_the_first() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), &listed("diff/1"));
    let daemon = fixture.start();
    let second = fixture.start_expecting_failure();
    assert_eq!(second.status, 78, "{second:?}");
    let holder = format!("in use by process {}", daemon.pid());
    assert!(second.stderr.contains(&holder), "{second:?}");
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
fn the_daemon_does_not_start_on_a_damaged_state_and_it_can_be_recovered() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), &listed("diff/1"));
    let mut daemon = fixture.start();
    let watching = daemon.await_event("job.watching", "diff/1");
    daemon.stop("TERM");
    let state = fixture.path("state.db");
    let mut bytes = fs::read(&state).unwrap();
    let mark = b"diff/1";
    let at = bytes.windows(mark.len()).position(|w| w == mark).unwrap();
    bytes[at] ^= 0x20;
    fs::write(&state, &bytes).unwrap();
    let start = fixture.start_expecting_failure();
    assert_eq!(start.status, 78, "{start:?}");
    assert!(
        start.stderr.contains("forgewatch state recover --from"),
        "{start:?}"
    );
    assert_eq!(fs::read(&state).unwrap(), bytes, "the file is unchanged");
    let check = fixture.client(&["state", "check", state.to_str().unwrap()]);
    assert_eq!(check.status, 1, "{check:?}");
    let rescued = fixture.path("state.db.recovered");
    fixture
        .client(&["state", "recover", "--from", state.to_str().unwrap()])
        .expect(0);
    fs::rename(&rescued, &state).unwrap();
    for beside in ["state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(fixture.path(beside));
    }
    // The readable rows were recovered, the event among them.
    let daemon = fixture.start();
    let events = fixture.client(&["events"]).expect(0);
    assert!(
        events
            .stdout
            .contains(watching["event_id"].as_str().unwrap()),
        "{events:?}"
    );
    daemon.stop("TERM");
}

#[test]
fn refused_credentials_are_read_again_at_a_reload() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), "");
    let credentials = fixture.sim.sandbox.file("credentials", "sim:wrong");
    let file = format!("credentials_file = '{}'\n", credentials.display());
    let path = fixture.path("fw.toml");
    fixture.configure(&listed("diff/1"));
    let text = fs::read_to_string(&path).unwrap();
    fixture.sim.sandbox.file(
        "fw.toml",
        text.replacen("[api]\n", &format!("[api]\n{file}"), 1),
    );
    let mut command = fixture.command();
    command
        .env_remove("FORGEWATCH_ACCESS_KEY")
        .env_remove("FORGEWATCH_SECRET_KEY");
    let mut daemon = super::DaemonProcess::spawn(command);
    fixture.await_notice("READY=1");
    fixture.sim.await_requests("diff/1", 1);
    daemon.signal("USR1");
    daemon.await_line("summary", |line| line["watching"] == 1);
    assert_eq!(
        fixture.sim.requests_for("diff/1").len(),
        1,
        "once in five minutes"
    );
    fixture.sim.sandbox.file("credentials", "sim:sim");
    fixture.client(&["reload"]).expect(0);
    daemon.await_event("job.watching", "diff/1");
    daemon.stop("TERM");
}

#[test]
fn nothing_a_server_sends_ends_the_daemon() {
    let faults = [
        ("diff/1", "body = '<html>'"),
        ("diff/2", "status = 500"),
        ("diff/3", "status = 403"),
    ];
    let script: String = faults
        .iter()
        .map(|(name, fault)| faulty(name, "1-3", fault))
        .collect();
    let config: String = faults.iter().map(|(name, _)| listed(name)).collect();
    let fixture = DaemonFixture::new(&script, &config);
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/1");
    daemon.await_event("job.completed", "diff/2");
    let (status, _) = daemon.stop("TERM");
    assert_eq!(status, Some(0));
}

#[test]
fn a_reader_that_stops_reading_loses_lines_and_learns_which() {
    let all: Vec<String> = (1..=40).map(|n| format!("diff/{n}")).collect();
    let script: String = all.iter().map(|name| job(name, LONG)).collect();
    let config: String = all.iter().map(|name| listed(name)).collect();
    let fixture = DaemonFixture::new(&script, &config);
    let mut command = fixture.command();
    // With tracing each poll makes about ten lines, so that the queue is full after a few polls of each job.
    command.env("FORGEWATCH_LOG", "trace");
    let child = command.spawn().unwrap();
    fixture.await_notice("READY=1");
    let server = &fixture.sim.server;
    assert!(server.wait_for_requests(None, 3000, TIMEOUT));
    fixture.client(&["remove", "diff/1", "diff/2"]).expect(0);
    let recorded = fixture.client(&["events"]).expect(0);
    let mut daemon = super::DaemonProcess::from_child(child);
    let lagged = daemon.await_event("watch.lagged", "");
    let count = lagged["lines_dropped"].as_u64().unwrap();
    assert!(count >= 1);
    for end in ["first_dropped", "last_dropped"] {
        assert!(
            recorded.stdout.contains(lagged[end].as_str().unwrap()),
            "{lagged}"
        );
    }
}
