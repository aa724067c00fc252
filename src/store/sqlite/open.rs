//! Opens the state file. Everything in it is checked first; an error leaves the file unchanged.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, watch};

use super::error::{DbError, OpenError, io_error, is_temporary, open_error};
use super::schema::{self, MIGRATIONS, Migration};
use super::worker::{QUEUE_LENGTH, Worker};
use super::{SqliteStore, events, lock, watches};
use crate::store::{Gained, Shard, StoredState};

/// How long to wait for a lock that another program holds, such as the `sqlite3` shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl SqliteStore {
    /// Opens the state file, creates it if it is missing, and loads the state that a startup continues from. Every row
    /// is checked against its checksum.
    pub fn open(path: &Path) -> Result<(Self, StoredState), OpenError> {
        Self::open_as(path, MIGRATIONS)
    }

    /// As a program with these migrations does.
    fn open_as(path: &Path, migrations: &[Migration]) -> Result<(Self, StoredState), OpenError> {
        let locked = lock::acquire(path)?;
        let (db, state, running) =
            load(&locked.file, migrations).map_err(|error| open_error(path, error))?;
        let (requests, queue) = mpsc::channel(QUEUE_LENGTH);
        let (set_failure, failure) = watch::channel(None);
        let worker = Worker::new(db, locked, set_failure);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run(queue))
            .map_err(|error| io_error(path, &error))?;
        let store = Self {
            requests,
            running: Arc::new(Mutex::new(Some(running))),
            failure,
            pruned_to: Arc::default(),
        };
        Ok((store, state))
    }
}

/// Connects to the file, which it creates if missing, checks and prepares it, and loads the state.
fn load(
    file: &Path,
    migrations: &[Migration],
) -> Result<(Connection, StoredState, Gained), DbError> {
    if !file.exists() {
        create(file, migrations)?;
    }
    let db = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    prepare(&db, migrations)?;
    let state = StoredState {
        config_jobs: watches::config_jobs(&db)?,
        calibration: watches::load_calibration(&db)?,
        failed_deliveries: events::failed_deliveries(&db, 0)?.1,
    };
    let running = Gained {
        shards: [Shard::default()].into(),
        watches: watches::running(&db)?,
        deliveries: events::pending_deliveries(&db)?,
    };
    Ok((db, state, running))
}

/// Connects without changing anything: until [`prepare`] has succeeded, closing does not touch the WAL either.
pub(super) fn connect(file: &Path, access: OpenFlags) -> Result<Connection, DbError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(64);
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}

/// Creates the file under another name and renames it when complete, so that an empty file is always an error.
pub(super) fn create(file: &Path, migrations: &[Migration]) -> Result<(), DbError> {
    let wal = lock::with_suffix(file, "-wal");
    if wal.exists() {
        return Err(DbError::Damaged(format!(
            "it is missing, but {} exists",
            wal.display()
        )));
    }
    let new = lock::with_suffix(file, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut private = OpenOptions::new();
    private
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let db = connect(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    transaction(&db, || schema::migrate(&db, 0, migrations))?;
    drop(db);
    fs::rename(&new, file)?;
    lock::sync_folder(file)?;
    Ok(())
}

/// Checks the file, then migrates it and sets it up for writing.
fn prepare(db: &Connection, migrations: &[Migration]) -> Result<(), DbError> {
    let (version, _) = check(db, migrations)?;
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        // The worker does it, because SQLite would not report an error.
        ("wal_autocheckpoint", "0"),
        ("journal_size_limit", "8388608"),
        ("temp_store", "MEMORY"),
        // Freed pages are zeroed, so `state recover` can read every leaf page that it finds.
        ("secure_delete", "ON"),
    ] {
        db.pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(error),
            })?;
    }
    // Writes the header even if there is nothing to migrate, to detect a read-only folder now. A full disk does not
    // prevent a start: there may be space by the first commit.
    match transaction(db, || schema::migrate(db, version, migrations)) {
        Err(DbError::Sql(error)) if version == migrations.len() && is_temporary(&error) => {}
        written => written?,
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// The number of rows of each table.
pub(super) type RowCounts = Vec<(&'static str, u64)>;

/// Checks the header, the schema, SQLite's structures and every row; returns the file's version and the number of rows of
/// each table.
pub(super) fn check(
    db: &Connection,
    migrations: &[Migration],
) -> Result<(usize, RowCounts), DbError> {
    let version = schema::read_version(db, migrations)?;
    let migrations = migrations.get(..version).unwrap_or(migrations);
    if !schema::is_intact(db, migrations)? {
        return Err(DbError::Damaged("its schema was changed".to_owned()));
    }
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let line = verdict.lines().last().unwrap_or_default();
        return Err(DbError::Damaged(line.to_owned()));
    }
    let tables = schema::tables(migrations).iter();
    let rows = tables.map(|table| Ok((table.name, table.verify_all(db)?)));
    Ok((version, rows.collect::<Result<_, DbError>>()?))
}

pub(super) fn transaction(
    db: &Connection,
    work: impl FnOnce() -> Result<(), DbError>,
) -> Result<(), DbError> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let result = work().and_then(|()| Ok(db.execute_batch("COMMIT")?));
    if result.is_err() && !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
    result
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::super::events::{DELIVERIES, EVENTS};
    use super::super::recover;
    use super::super::table::{Table, value_columns};
    use super::super::watches::{CALIBRATION, CONFIG_JOBS, POLLS, WATCHES};
    use super::*;
    use crate::store::{
        AddedBy, DaemonStore, Handover, JobListUpdate, PollSample, SavedWatch, Store,
    };
    use forgewatch_core::event::WatchId;

    /// An imaginary later version: polls have one more column.
    const NEWER_MIGRATIONS: [Migration; 3] = [
        MIGRATIONS[0],
        MIGRATIONS[1],
        Migration {
            apply: add_column,
            tables: &[
                &WATCHES,
                &EVENTS,
                &DELIVERIES,
                &NEWER_POLLS,
                &CONFIG_JOBS,
                &CALIBRATION,
            ],
        },
    ];
    const NEWER_POLLS: Table = Table {
        put: "INSERT INTO polls (row_id, watch_id, poll, wall_ms, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
        ..POLLS
    };

    fn add_column(db: &Connection) -> Result<(), DbError> {
        let old = POLLS.read(db, &POLLS.scan(), [i64::MIN], |row| {
            let values = value_columns(row).map(|column| row.get(column));
            Ok(values.collect::<Result<Vec<Value>, _>>()?)
        })?;
        db.execute_batch("DELETE FROM polls; ALTER TABLE polls ADD COLUMN wall_ms INTEGER")?;
        for values in old {
            NEWER_POLLS.put(db, values.into_iter().chain([Value::Null]).collect())?;
        }
        Ok(())
    }

    /// Creates a file of the current version with one watch and one poll.
    async fn create_current(path: &Path) {
        let (store, _) = SqliteStore::open(path).unwrap();
        let watch = SavedWatch {
            id: WatchId([7; 16]),
            job: "diff/1".parse().unwrap(),
            seq: 0,
            labels: "{}".to_owned(),
            snapshot: "{}".to_owned(),
            ended_wall_ms: None,
            added_by: AddedBy::default(),
        };
        let sample = PollSample {
            watch: watch.id,
            snapshot: "{}".to_owned(),
            poll: "{\"progress\":40}".to_owned(),
        };
        let update = JobListUpdate {
            new_watches: vec![watch],
            ..JobListUpdate::default()
        };
        store.update_jobs(update).await.unwrap();
        store.record_poll(sample);
        store.close().await;
    }

    fn count_polls(path: &Path, table: &Table) -> u64 {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        table.verify_all(&db).unwrap()
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_version_is_checked_as_such_and_then_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        create_current(&path).await;
        for _ in 0..2 {
            let (store, _) = SqliteStore::open_as(&path, &NEWER_MIGRATIONS).unwrap();
            let handover = store.next_handover().await.unwrap();
            assert!(matches!(handover, Handover::Gained(all) if all.watches.len() == 1));
            store.close().await;
            assert_eq!(count_polls(&path, &NEWER_POLLS), 1);
        }
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 3, .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_damaged_file_of_an_earlier_version_is_not_migrated_but_can_be_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        create_current(&path).await;
        let mut bytes = fs::read(&path).unwrap();
        let row = b"diff/1";
        let at = bytes.windows(row.len()).position(|bytes| bytes == row);
        bytes[at.unwrap() + 5] = b'2';
        fs::write(&path, &bytes).unwrap();
        let error = SqliteStore::open_as(&path, &NEWER_MIGRATIONS).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "the file is unchanged");

        let to = folder.path().join("recovered.db");
        let tables = recover::recover_as(&path, &to, &NEWER_MIGRATIONS).unwrap();
        let lost: Vec<_> = tables
            .iter()
            .filter(|t| t.lost > 0 || t.truncated)
            .collect();
        assert!(
            matches!(lost[..], [watches] if watches.table == "watches"),
            "{tables:?}"
        );
        assert_eq!(count_polls(&to, &NEWER_POLLS), 1);
        SqliteStore::open_as(&to, &NEWER_MIGRATIONS)
            .unwrap()
            .0
            .close()
            .await;
    }
}
