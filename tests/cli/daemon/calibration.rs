//! What the daemon learns is in its state file, with the server that it describes.

use std::fs;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::{DaemonFixture, listed};
use crate::fixture::job;

/// What the state file has after a job that the daemon has watched to its end.
fn learned(schedule: &str) -> (DaemonFixture, Option<Value>) {
    let script = job("update/1", "duration = '1s'");
    let fixture = DaemonFixture::new(&script, &listed("update/1"));
    let file = fixture.path("fw.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("[schedule]\n", schedule)).unwrap();
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "update/1");
    assert_eq!(daemon.stop("TERM").0, Some(0));
    let db = Connection::open(fixture.path("state.db")).unwrap();
    let sql = "SELECT json FROM calibration";
    let row = db.query_row(sql, [], |row| row.get::<_, String>(0));
    let json = row.optional().unwrap();
    (
        fixture,
        json.map(|json| serde_json::from_str(&json).unwrap()),
    )
}

#[test]
fn a_daemon_keeps_the_server_with_what_it_has_learned() {
    let (fixture, kept) = learned("[schedule]\nlearn_from_loopback = true\n");
    let kept = kept.unwrap();
    assert_eq!(kept["api"], fixture.sim.server.base_url());
    assert_eq!(kept["account_service_id"], 5678);
    assert_eq!(kept["jobs"]["update"]["lifetimes"], 1, "{kept}");
}

#[test]
fn a_daemon_learns_nothing_from_a_server_on_a_loopback_address() {
    assert_eq!(learned("[schedule]\n").1, None);
}
