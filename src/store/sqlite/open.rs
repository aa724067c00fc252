//! Opens the state file. Everything in it is checked first; an error leaves the file unchanged.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tokio::sync::{mpsc, watch};

use super::schema::{self, Header, MIGRATIONS, Migration};
use super::worker::{QUEUE_LENGTH, Worker};
use super::{DbError, OpenError, SqliteStore, lock, queries};
use crate::store::StoredState;

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
        if !locked.file.exists() {
            create(&locked.file, migrations).map_err(|error| open_error(path, error))?;
        }
        let db = connect(&locked.file, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|db| {
                prepare(&db, migrations)?;
                Ok(db)
            })
            .map_err(|error| open_error(path, error))?;
        let state = load(&db).map_err(|error| open_error(path, error))?;
        let (requests, queue) = mpsc::channel(QUEUE_LENGTH);
        let (set_failure, failure) = watch::channel(None);
        let worker = Worker::new(db, locked, set_failure);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run(queue))
            .map_err(|error| lock::open_error(path, &error))?;
        let store = Self {
            requests,
            failure,
            pruned_to: Arc::default(),
        };
        Ok((store, state))
    }
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
    let io = |error: io::Error| DbError::Io(error);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let mut private = OpenOptions::new();
    private
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(io)?;
    let db = connect(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    transaction(&db, || schema::migrate(&db, 0, migrations))?;
    drop(db);
    fs::rename(&new, file).map_err(io)?;
    lock::sync_folder(file).map_err(io)
}

/// Checks the file, then migrates it and sets it up for writing.
fn prepare(db: &Connection, migrations: &[Migration]) -> Result<(), DbError> {
    let version = check(db, migrations)?.len();
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        // The worker does it, because SQLite would not report an error.
        ("wal_autocheckpoint", "0"),
        ("journal_size_limit", "8388608"),
        ("temp_store", "MEMORY"),
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

/// Checks the header, the schema, SQLite's structures and every row; returns the migrations that the file has had.
pub(super) fn check<'a>(
    db: &Connection,
    migrations: &'a [Migration],
) -> Result<&'a [Migration], DbError> {
    let version = match schema::read_header(db, migrations)? {
        Header::Version(version) => version,
        Header::Empty => return Err(DbError::Damaged("it is empty".to_owned())),
        Header::Newer(found) => return Err(DbError::Newer(found)),
        Header::Foreign => return Err(DbError::Foreign),
    };
    let migrations = migrations.get(..version).unwrap_or(migrations);
    if !schema::is_intact(db, migrations)? {
        return Err(DbError::Damaged("its schema was changed".to_owned()));
    }
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let line = verdict.lines().last().unwrap_or_default();
        return Err(DbError::Damaged(line.to_owned()));
    }
    for table in schema::tables(migrations) {
        let mut statement = db.prepare(&table.select("NOT INDEXED ORDER BY row_id"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !table.is_sound(row) {
                return Err(table.damaged(row.get(0).unwrap_or_default()));
            }
        }
    }
    Ok(migrations)
}

fn load(db: &Connection) -> Result<StoredState, DbError> {
    Ok(StoredState {
        watches: queries::running_watches(db)?,
        config_jobs: queries::config_jobs(db)?,
        calibration: queries::calibration(db)?,
        deliveries: queries::pending_deliveries(db)?,
    })
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

/// Whether a retry may succeed: the disk is full or the file is locked.
pub(super) fn is_temporary(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|cause| match cause.code {
        ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => true,
        // The index of the WAL could not grow.
        _ => cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE,
    })
}

pub(super) fn open_error(path: &Path, error: DbError) -> OpenError {
    let path = path.to_owned();
    let error = match error {
        DbError::Newer(found) => {
            return OpenError::Newer {
                path,
                found,
                supported: schema::version(MIGRATIONS),
            };
        }
        DbError::Foreign => return OpenError::Foreign { path },
        DbError::Damaged(reason) => return OpenError::Corrupt { path, reason },
        DbError::Io(error) => return lock::open_error(&path, &error),
        DbError::Rejected(error) => {
            let reason = error.to_string();
            return OpenError::Io { path, reason };
        }
        DbError::Sql(error) => error,
    };
    let reason = error.to_string();
    if is_temporary(&error) {
        return OpenError::Unavailable { path, reason };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            OpenError::ReadOnly { path, reason }
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => OpenError::Io { path, reason },
        _ => OpenError::Corrupt { path, reason },
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use rusqlite::types::Value;

    use super::super::recover;
    use super::super::table::{
        CALIBRATION, CONFIG_JOBS, DELIVERIES, EVENTS, POLLS, Table, WATCHES,
    };
    use super::*;
    use crate::store::{AddedBy, DaemonStore, JobListUpdate, PollSample, SavedWatch, Store};
    use forgewatch_core::event::WatchId;

    /// An imaginary later version: polls have one more column.
    const NEWER_MIGRATIONS: [Migration; 2] = [
        MIGRATIONS[0],
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
        name: "polls",
        columns: &["row_id", "watch_id", "poll", "wall_ms", "checksum"],
    };

    fn add_column(db: &Connection) -> Result<(), DbError> {
        let values = |row: &rusqlite::Row<'_>| {
            let values = (0..3).map(|at| row.get::<_, Value>(at));
            Ok(values.collect::<Result<Vec<_>, _>>()?)
        };
        let old = POLLS.read(db, "", [], values)?;
        db.execute_batch("ALTER TABLE polls ADD COLUMN wall_ms INTEGER")?;
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

    fn count_polls(path: &Path, table: &Table) -> usize {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        table.read(&db, "", [], |_| Ok(())).unwrap().len()
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_version_is_checked_as_such_and_then_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        create_current(&path).await;
        for _ in 0..2 {
            let (store, state) = SqliteStore::open_as(&path, &NEWER_MIGRATIONS).unwrap();
            assert_eq!(state.watches.len(), 1);
            store.close().await;
            assert_eq!(count_polls(&path, &NEWER_POLLS), 1);
        }
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 2, .. }),
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

    #[test]
    fn temporary_errors_permanent_errors_and_damage_are_distinguished() {
        let sqlite = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            open_error(Path::new("state.db"), DbError::Sql(error))
        };
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_RECOVERY,
            ffi::SQLITE_LOCKED,
        ] {
            let error = sqlite(code);
            assert!(
                matches!(error, OpenError::Unavailable { .. }),
                "{code}: {error}"
            );
        }
        let permanent = sqlite(ffi::SQLITE_IOERR_READ);
        assert!(matches!(permanent, OpenError::Io { .. }), "{permanent}");
        let read_only = sqlite(ffi::SQLITE_READONLY);
        assert!(
            matches!(read_only, OpenError::ReadOnly { .. }),
            "{read_only}"
        );
        let damage = sqlite(ffi::SQLITE_CORRUPT);
        assert!(matches!(damage, OpenError::Corrupt { .. }), "{damage}");
        for (kind, is_full) in [
            (ErrorKind::StorageFull, true),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::NotFound, false),
        ] {
            let error = open_error(Path::new("state.db"), DbError::Io(kind.into()));
            assert_eq!(
                matches!(error, OpenError::Unavailable { .. }),
                is_full,
                "{error}"
            );
        }
        insta::assert_snapshot!(sqlite(ffi::SQLITE_FULL), @"state.db: cannot write the state file: Error code 13: database or disk is full; free disk space, or stop the program that locks it");
    }
}
