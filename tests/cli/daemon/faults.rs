//! What goes wrong with the machine and with those around the daemon.

use std::fs;

use super::{Home, listed};
use crate::place::{PATIENCE, faulty, job};

const LONG: &str = "duration = '10m'\n";

#[test]
fn a_second_daemon_names_the_first() {
    let home = Home::new(&job("diff/1", LONG), &listed("diff/1"));
    let daemon = home.start();
    let second = home.start_in_vain();
    assert_eq!(second.status, 78, "{second:?}");
    let holder = format!("in use by process {}", daemon.pid());
    assert!(second.stderr.contains(&holder), "{second:?}");
    assert!(home.client(&["list"]).expect(0).stdout.contains("diff/1"));
    daemon.end("TERM");
}

#[test]
fn a_damaged_state_is_never_started_on_and_can_be_rescued() {
    let home = Home::new(&job("diff/1", LONG), &listed("diff/1"));
    let mut daemon = home.start();
    let watching = daemon.await_event("job.watching", "diff/1");
    daemon.end("TERM");
    let state = home.path("state.db");
    let mut bytes = fs::read(&state).unwrap();
    let mark = b"diff/1";
    let at = bytes.windows(mark.len()).position(|w| w == mark).unwrap();
    bytes[at] ^= 0x20;
    fs::write(&state, &bytes).unwrap();
    let start = home.start_in_vain();
    assert_eq!(start.status, 78, "{start:?}");
    assert!(
        start.stderr.contains("forgewatch state recover --from"),
        "{start:?}"
    );
    assert_eq!(fs::read(&state).unwrap(), bytes, "it is left as it is");
    let check = home.client(&["state", "check", state.to_str().unwrap()]);
    assert_eq!(check.status, 1, "{check:?}");
    let rescued = home.path("state.db.recovered");
    home.client(&["state", "recover", "--from", state.to_str().unwrap()])
        .expect(0);
    fs::rename(&rescued, &state).unwrap();
    for beside in ["state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(home.path(beside));
    }
    // What could be read is there: the event, and the list of the file if its row was sound.
    let daemon = home.start();
    let events = home.client(&["events"]).expect(0);
    assert!(
        events
            .stdout
            .contains(watching["event_id"].as_str().unwrap()),
        "{events:?}"
    );
    daemon.end("TERM");
}

#[test]
fn refused_credentials_are_read_anew_at_a_reload() {
    let home = Home::new(&job("diff/1", LONG), "");
    let credentials = home.stage.place.file("credentials", "sim:wrong");
    let file = format!("credentials_file = '{}'\n", credentials.display());
    let path = home.path("fw.toml");
    home.configure(&listed("diff/1"));
    let text = fs::read_to_string(&path).unwrap();
    home.stage.place.file(
        "fw.toml",
        text.replacen("[api]\n", &format!("[api]\n{file}"), 1),
    );
    let mut command = home.command();
    command
        .env_remove("FORGEWATCH_ACCESS_KEY")
        .env_remove("FORGEWATCH_SECRET_KEY");
    let mut daemon = super::Daemon::spawn(command);
    home.await_notice("READY=1");
    home.stage.await_hits("diff/1", 1);
    daemon.signal("USR1");
    daemon.await_line("summary", |line| line["watching"] == 1);
    assert_eq!(home.stage.hits("diff/1").len(), 1, "once in five minutes");
    home.stage.place.file("credentials", "sim:sim");
    home.client(&["reload"]).expect(0);
    daemon.await_event("job.watching", "diff/1");
    daemon.end("TERM");
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
    let home = Home::new(&script, &config);
    let mut daemon = home.start();
    daemon.await_event("job.completed", "diff/1");
    daemon.await_event("job.completed", "diff/2");
    let (status, _) = daemon.end("TERM");
    assert_eq!(status, Some(0));
}

#[test]
fn a_reader_that_stops_reading_loses_lines_and_is_told_which() {
    let all: Vec<String> = (1..=40).map(|n| format!("diff/{n}")).collect();
    let script: String = all.iter().map(|name| job(name, LONG)).collect();
    let config: String = all.iter().map(|name| listed(name)).collect();
    let home = Home::new(&script, &config);
    let mut command = home.command();
    // Everything there is to say, so that the queue is full after some polls of all: each makes ten lines or so.
    command.env("FORGEWATCH_LOG", "trace");
    let child = command.spawn().unwrap();
    home.await_notice("READY=1");
    let server = &home.stage.server;
    assert!(server.wait_for_hits(None, 3000, PATIENCE));
    home.client(&["remove", "diff/1", "diff/2"]).expect(0);
    let kept = home.client(&["events"]).expect(0);
    let mut daemon = super::Daemon::of(child);
    let lagged = daemon.await_event("watch.lagged", "");
    let count = lagged["lines_dropped"].as_u64().unwrap();
    assert!(count >= 1);
    for end in ["first_dropped", "last_dropped"] {
        assert!(
            kept.stdout.contains(lagged[end].as_str().unwrap()),
            "{lagged}"
        );
    }
}
