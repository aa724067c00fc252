//! State files of every version of the schema, as dumps in `tests/store/versions`: each is opened as it is, and keeps
//! what it has. A new version of the schema adds a file.

use std::fs;
use std::path::Path;

use forgewatch::store::{DaemonStore, SqliteStore, check};
use forgewatch_core::delivery::DeliveryState;
use forgewatch_core::event::labels_text;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::fixtures::limits;
use rusqlite::Connection;

use crate::samples::open;

/// Creates a state file from the dump of this version.
fn create(path: &Path, version: u32) {
    let dump = fs::read_to_string(format!("tests/store/versions/{version}.sql")).unwrap();
    Connection::open(path)
        .unwrap()
        .execute_batch(&dump)
        .unwrap();
}

/// The version of the schema that this program writes.
fn current() -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    drop(SqliteStore::open(&path).unwrap());
    let db = Connection::open(&path).unwrap();
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn a_state_file_of_every_version_is_opened_with_all_that_it_has() {
    for version in 1..=current() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        create(&path, version);
        let rows = check(&path).unwrap();
        let (store, state) = open(&path).unwrap();
        assert_eq!(
            check_counts(&rows),
            [3, 7, 6, 2, 1],
            "version {version}: {rows:?}"
        );
        let running: Vec<String> = state.watches.iter().map(|w| w.job.to_string()).collect();
        assert_eq!(running, ["version/3"]);
        assert_eq!(state.config_jobs.len(), 2);
        assert!(state.calibration.is_some());
        let ended = store.last_ended(0, 9).await.unwrap();
        let jobs: Vec<String> = ended.iter().map(|w| w.job.to_string()).collect();
        assert_eq!(jobs, ["update/2", "diff/1"]);
        let numbers = state.watches.iter().chain(&ended).map(|watch| {
            let now = Moment {
                up_ms: 0,
                wall_ms: 1_800_000_000_000,
            };
            let loaded = watch.load(now, &limits()).unwrap();
            let labels = loaded.meta().map(|meta| labels_text(&meta.labels));
            (loaded.seq(), labels.unwrap_or_default())
        });
        let numbers: Vec<(u32, String)> = numbers.collect();
        let of = |seq, labels: &str| (seq, labels.to_owned());
        assert_eq!(
            numbers,
            [of(1, ""), of(2, "stage=live"), of(2, "build=8812")]
        );
        let events = store.events_since(0, 99).await.unwrap();
        assert!(
            events
                .iter()
                .any(|event| event.record.contains("\"job.failed\""))
        );
        let (failed, _) = store.failed_deliveries(9).await.unwrap();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(matches!(failed[0].state, DeliveryState::Failed(_)));
    }
}

/// The rows of the tables whose number does not depend on when the dump was made.
fn check_counts(rows: &[(&'static str, u64)]) -> [u64; 5] {
    [
        "watches",
        "events",
        "deliveries",
        "config_jobs",
        "calibration",
    ]
    .map(|table| rows.iter().find(|(name, _)| *name == table).unwrap().1)
}
