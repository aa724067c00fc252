//! Opening: every doubt about the file is an error of its own, and none of them changes the file.

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

use super::schema::{self, Found, STEPS, Step};
use super::worker::{QUEUE, Worker};
use super::{Failure, OpenError, Sqlite, lock, queries};
use crate::store::Loaded;

/// Somebody may look into the file with SQLite's own tools; they are waited for this long.
const PATIENCE: Duration = Duration::from_secs(5);

impl Sqlite {
    /// Opens the state file, makes one where there is none, and reads what a start goes on from. Every row is
    /// checked: nothing that is not as it was written gets in.
    pub fn open(path: &Path) -> Result<(Self, Loaded), OpenError> {
        Self::open_as(path, STEPS)
    }

    /// The same, as a program that knows these steps.
    fn open_as(path: &Path, steps: &[Step]) -> Result<(Self, Loaded), OpenError> {
        let lock = lock::claim(path)?;
        if !lock.file.exists() {
            create(&lock.file, steps).map_err(|failure| failed(path, failure))?;
        }
        let db = connect(&lock.file, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|db| {
                prepare(&db, steps)?;
                Ok(db)
            })
            .map_err(|failure| failed(path, failure))?;
        let loaded = load(&db).map_err(|failure| failed(path, failure))?;
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (doubt, failed) = watch::channel(None);
        let worker = Worker::new(db, lock, doubt);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run(waiting))
            .map_err(|error| lock::failed(path, &error))?;
        let store = Self {
            requests,
            failed,
            pruned_to: Arc::default(),
        };
        Ok((store, loaded))
    }
}

/// Connects without changing anything. A failure before [`prepare`] is through leaves the WAL as it is, too.
pub(super) fn connect(file: &Path, access: OpenFlags) -> Result<Connection, Failure> {
    let flags = access | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(64);
    db.busy_timeout(PATIENCE)?;
    Ok(db)
}

/// Makes a new file elsewhere and moves it here whole, so that an empty file is never taken for a new one.
pub(super) fn create(file: &Path, steps: &[Step]) -> Result<(), Failure> {
    let wal = lock::beside(file, "-wal");
    if wal.exists() {
        return Err(Failure::Damaged(format!(
            "it is gone, but {} is there",
            wal.display()
        )));
    }
    let new = lock::beside(file, ".new");
    let io = |error: io::Error| Failure::Io(error);
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
    transaction(&db, || schema::migrate(&db, 0, steps))?;
    drop(db);
    fs::rename(&new, file).map_err(io)?;
    lock::sync_folder(file).map_err(io)
}

/// Looks at everything, then makes it ready for writing.
fn prepare(db: &Connection, steps: &[Step]) -> Result<(), Failure> {
    let version = examine(db, steps)?.len();
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        // The thread does it itself, as SQLite would not tell of an error.
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
    // Also where there is nothing to migrate: the header is written, so that a folder that is read-only is found
    // now. A disk that is full now is then no reason not to start: asking goes on, and there may be space again.
    match transaction(db, || schema::migrate(db, version, steps)) {
        Err(Failure::Sql(error)) if version == steps.len() && passes(&error) => {}
        written => written?,
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Whether header, definitions, structure and every row are sound; returns the steps that the file has behind it.
pub(super) fn examine<'a>(db: &Connection, steps: &'a [Step]) -> Result<&'a [Step], Failure> {
    let version = match schema::identify(db, steps)? {
        Found::Version(version) => version,
        Found::Fresh => return Err(Failure::Damaged("it is empty".to_owned())),
        Found::Newer(found) => return Err(Failure::Newer(found)),
        Found::Foreign => return Err(Failure::Foreign),
    };
    let steps = steps.get(..version).unwrap_or(steps);
    if !schema::is_as_made(db, steps)? {
        let reason = "its tables are not as they were made";
        return Err(Failure::Damaged(reason.to_owned()));
    }
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let line = verdict.lines().last().unwrap_or_default();
        return Err(Failure::Damaged(line.to_owned()));
    }
    for table in schema::queries(steps) {
        let mut statement = db.prepare(&table.select("NOT INDEXED ORDER BY n"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !table.is_sound(row) {
                return Err(table.damaged(row.get(0).unwrap_or_default()));
            }
        }
    }
    Ok(steps)
}

fn load(db: &Connection) -> Result<Loaded, Failure> {
    Ok(Loaded {
        watches: queries::running_watches(db)?,
        config_jobs: queries::config_jobs(db)?,
        calibrations: queries::calibrations(db)?,
        deliveries: queries::waiting_deliveries(db)?,
    })
}

/// Does something whole or not at all.
pub(super) fn transaction(
    db: &Connection,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let done = work().and_then(|()| Ok(db.execute_batch("COMMIT")?));
    if done.is_err() && !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
    done
}

/// Whether the same may succeed later, with nothing mended but room on the disk or another program gone.
pub(super) fn passes(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|cause| match cause.code {
        ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => true,
        // The index of the WAL could not grow.
        _ => cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE,
    })
}

/// What a failure means for a start.
pub(super) fn failed(path: &Path, failure: Failure) -> OpenError {
    let path = path.to_owned();
    let error = match failure {
        Failure::Newer(found) => {
            let known = schema::version(STEPS);
            return OpenError::Newer { path, found, known };
        }
        Failure::Foreign => return OpenError::Foreign { path },
        Failure::Damaged(reason) => return OpenError::Corrupt { path, reason },
        Failure::Io(error) => return lock::failed(&path, &error),
        Failure::Refused(error) => {
            let reason = error.to_string();
            return OpenError::Io { path, reason };
        }
        Failure::Sql(error) => error,
    };
    let reason = error.to_string();
    if passes(&error) {
        return OpenError::Full { path, reason };
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

    use super::super::rescue;
    use super::super::table::{ACCEPTED, DELIVERIES, EVENTS, LEARNT, POLLS, Table, WATCHES};
    use super::*;
    use crate::store::{AddedBy, Archive, JobListUpdate, PollSample, SavedWatch, Store};
    use forgewatch_core::event::WatchId;

    /// A version that might come one day: polls have one column more.
    const LATER: [Step; 2] = [
        STEPS[0],
        Step {
            take: later,
            queries: &[
                &WATCHES,
                &EVENTS,
                &DELIVERIES,
                &POLLS_LATER,
                &ACCEPTED,
                &LEARNT,
            ],
        },
    ];
    const POLLS_LATER: Table = Table {
        name: "polls",
        columns: &["n", "watch", "poll", "wall_ms", "crc"],
    };

    fn later(db: &Connection) -> Result<(), Failure> {
        let values = |row: &rusqlite::Row<'_>| {
            let values = (0..3).map(|at| row.get::<_, Value>(at));
            Ok(values.collect::<Result<Vec<_>, _>>()?)
        };
        let old = POLLS.read(db, "", [], values)?;
        db.execute_batch("ALTER TABLE polls ADD COLUMN wall_ms INTEGER")?;
        for values in old {
            POLLS_LATER.put(db, values.into_iter().chain([Value::Null]).collect())?;
        }
        Ok(())
    }

    /// A closed file of today's version with one watch and one poll.
    async fn today(path: &Path) {
        let (store, _) = Sqlite::open(path).unwrap();
        let watch = SavedWatch {
            id: WatchId([7; 16]),
            job: "diff/1".parse().unwrap(),
            row: "{}".to_owned(),
            ended_wall_ms: None,
            added_by: AddedBy::default(),
        };
        let record_poll = PollSample {
            watch: watch.id,
            row: "{}".to_owned(),
            poll: "{\"progress\":40}".to_owned(),
        };
        let begin = vec![watch];
        let accept = JobListUpdate {
            begin,
            ..JobListUpdate::default()
        };
        store.accept(accept).await.unwrap();
        store.record_poll(record_poll);
        store.close().await;
    }

    fn polls(path: &Path, table: &Table) -> usize {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        table.read(&db, "", [], |_| Ok(())).unwrap().len()
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_version_is_checked_as_such_and_then_brought_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        today(&path).await;
        for _ in 0..2 {
            let (store, loaded) = Sqlite::open_as(&path, &LATER).unwrap();
            assert_eq!(loaded.watches.len(), 1);
            store.close().await;
            assert_eq!(polls(&path, &POLLS_LATER), 1);
        }
        let error = Sqlite::open(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 2, .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_damaged_file_of_an_earlier_version_is_not_brought_up_but_rescued_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        today(&path).await;
        let mut bytes = fs::read(&path).unwrap();
        let row = b"diff/1";
        let at = bytes.windows(row.len()).position(|bytes| bytes == row);
        bytes[at.unwrap() + 5] = b'2';
        fs::write(&path, &bytes).unwrap();
        let error = Sqlite::open_as(&path, &LATER).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "left alone");

        let to = folder.path().join("rescued.db");
        let queries = rescue::recover_as(&path, &to, &LATER).unwrap();
        let lost: Vec<_> = queries.iter().filter(|t| t.lost > 0 || t.cut_off).collect();
        assert!(
            matches!(lost[..], [watches] if watches.table == "watches"),
            "{queries:?}"
        );
        assert_eq!(polls(&to, &POLLS_LATER), 1);
        Sqlite::open_as(&to, &LATER).unwrap().0.close().await;
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays_and_from_damage() {
        let sqlite = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            failed(Path::new("state.db"), Failure::Sql(error))
        };
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_RECOVERY,
            ffi::SQLITE_LOCKED,
        ] {
            let error = sqlite(code);
            assert!(matches!(error, OpenError::Full { .. }), "{code}: {error}");
        }
        let stays = sqlite(ffi::SQLITE_IOERR_READ);
        assert!(matches!(stays, OpenError::Io { .. }), "{stays}");
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
            let error = failed(Path::new("state.db"), Failure::Io(kind.into()));
            assert_eq!(matches!(error, OpenError::Full { .. }), is_full, "{error}");
        }
        insta::assert_snapshot!(sqlite(ffi::SQLITE_FULL), @"state.db: the state can't be written for now: Error code 13: database or disk is full; make room on its disk, or end the program that has it locked");
    }
}
