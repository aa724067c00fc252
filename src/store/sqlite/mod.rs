//! The daemon's store: an SQLite file owned by one thread behind a bounded queue.
//!
//! Group commit without a timer: the thread takes all queued requests, runs the writes in one transaction, responds once
//! they are on the disk, and then runs the reads. `synchronous=FULL`, because a power cut may otherwise lose commits
//! that were acknowledged.
//!
//! `open` checks a file and starts the `worker` thread; `schema` and `table` define its tables, `queries` and `prune` the
//! statements on them. `recover` rescues a damaged file: it salvages the readable rows, then `repair` derives lost entries
//! from them.

mod lock;
mod open;
mod prune;
mod queries;
mod recover;
mod repair;
mod schema;
mod table;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};

pub use recover::{RecoverError, RecoveredTable, check, recover};

use super::{
    Commit, DaemonStore, JobListUpdate, PollSample, SavedWatch, Store, StoreError, StoredEvent,
    stored_event,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use worker::{FnTask, WorkerMessage};

/// Clones share the thread.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    requests: mpsc::Sender<WorkerMessage>,
    failure: watch::Receiver<Option<StoreError>>,
    /// Offset up to which [`prune::own_events`] has scanned the events.
    pruned_to: Arc<AtomicI64>,
}

/// Why a state file cannot be used, and what to do. Only [`OpenError::Unavailable`] is temporary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path}: the state file is read-only: {reason}; make it and its directory writable for this user, or use \
         another file with state.path or --state", path = path.display()
    )]
    ReadOnly { path: PathBuf, reason: String },
    /// The disk is full, or another program has locked the file.
    #[error(
        "{path}: cannot write the state file: {reason}; free disk space, or stop the program that locks it",
        path = path.display()
    )]
    Unavailable { path: PathBuf, reason: String },
    /// The file was not changed.
    #[error(
        "{path}: the state file is damaged: {reason}; to recover what is readable: forgewatch state recover --from \
         {path}", path = path.display()
    )]
    Corrupt { path: PathBuf, reason: String },
    /// A database of another program.
    #[error("{path} is not a forgewatch state file; use another file", path = path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{path}: the state file has version {found}, but this forgewatch supports only versions up to {supported}; \
         upgrade forgewatch, or use another file", path = path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        supported: i64,
    },
    #[error(
        "{path}: the state file is in use by {holder}; stop it, or use another file",
        path = path.display(),
        holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        path: PathBuf,
        /// None if the lock file does not say.
        pid: Option<u32>,
    },
    #[error("{path}: cannot open the state file: {reason}", path = path.display())]
    Io { path: PathBuf, reason: String },
}

/// An error of the file, before it becomes an [`OpenError`] or a [`StoreError`].
#[derive(Debug)]
enum DbError {
    Sql(rusqlite::Error),
    Damaged(String),
    /// Concerns one request only.
    Rejected(StoreError),
    Io(std::io::Error),
    /// The file's version, which this program does not support.
    Newer(i64),
    Foreign,
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for DbError {
    fn from(error: StoreError) -> Self {
        Self::Rejected(error)
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        let error = match error {
            DbError::Rejected(error) => return error,
            DbError::Damaged(reason) => return Self::Fatal(reason),
            DbError::Io(error) => return Self::Fatal(error.to_string()),
            DbError::Newer(_) | DbError::Foreign => {
                return Self::Fatal("not a state file of this version".to_owned());
            }
            DbError::Sql(error) => error,
        };
        let text = error.to_string();
        let Some(cause) = error.sqlite_error() else {
            return Self::Fatal(text);
        };
        if open::is_temporary(&error) {
            return Self::Unavailable(text);
        }
        match cause.code {
            ErrorCode::ConstraintViolation | ErrorCode::TooBig => Self::Rejected(text),
            _ => Self::Fatal(text),
        }
    }
}

impl SqliteStore {
    /// Resolves when all earlier requests are on the disk: a health check for the watchdog. Queued polls may be written
    /// later; only [`SqliteStore::close`] writes all of them.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.write(None, |_| Ok(())).await
    }

    /// Resolves with a [`StoreError::Fatal`] once the file has failed, for whichever request. Cancel-safe.
    pub async fn failed(&self) -> StoreError {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // Closed without a failure.
            _ => std::future::pending().await,
        }
    }

    /// Commits what is queued, closes the file and releases its lock. Every later call fails.
    pub async fn close(&self) {
        let (respond_to, closed) = oneshot::channel();
        let close = WorkerMessage::Close(respond_to);
        if self.requests.send(close).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Runs `work` within the next transaction. `watch` is the watch that it writes, if any.
    async fn write<T: Send + 'static>(
        &self,
        watch: Option<WatchId>,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (respond_to, response) = oneshot::channel();
        let task = WorkerMessage::Write(Box::new(FnTask::new(watch, work, respond_to)));
        self.send(task, response).await
    }

    /// Reads outside the transaction, so that reading works even if the transaction fails for want of disk space.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (respond_to, response) = oneshot::channel();
        let task = WorkerMessage::Read(Box::new(FnTask::new(None, work, respond_to)));
        self.send(task, response).await
    }

    async fn send<T>(
        &self,
        message: WorkerMessage,
        response: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Fatal("the store is closed".to_owned());
        self.requests.send(message).await.map_err(|_| closed())?;
        response.await.map_err(|_| closed())?
    }
}

impl Store for SqliteStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let events = commit.events.iter().map(|event| stored_event(0, event));
        let owned = queries::OwnedCommit {
            events: events.collect::<Result<_, _>>()?,
            watch: commit.watch,
            deliveries: commit.deliveries,
            changes: commit.changes.to_vec(),
        };
        let watch = owned.watch.as_ref().map(|w| w.id);
        self.write(watch, |db| queries::commit(db, owned)).await
    }

    fn record_poll(&self, sample: PollSample) {
        // A full queue means that the disk is slow; polls may be lost.
        let _ = self.requests.try_send(WorkerMessage::Poll(sample));
    }
}

impl DaemonStore for SqliteStore {
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(move |db| queries::deliveries_of(db, watch)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.read(move |db| queries::delivery(db, &id)).await
    }

    async fn failed_deliveries(
        &self,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.read(move |db| queries::failed_deliveries(db, limit))
            .await
    }

    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |db| queries::events_since(db, after, limit))
            .await
    }

    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError> {
        self.read(move |db| queries::offset_before(db, wall_ms))
            .await
    }

    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |db| queries::events_of(db, watch)).await
    }

    async fn polls_of(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.read(move |db| queries::polls_of(db, watch)).await
    }

    async fn newest_watch(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.read(move |db| queries::newest_watch(db, job)).await
    }

    async fn ended_watches(&self, wall_ms: i64) -> Result<Vec<SavedWatch>, StoreError> {
        self.read(move |db| queries::ended_watches(db, wall_ms))
            .await
    }

    async fn update_jobs(&self, update: JobListUpdate) -> Result<(), StoreError> {
        self.write(None, |db| queries::update_jobs(db, update))
            .await
    }

    async fn save_calibration(&self, json: String) -> Result<(), StoreError> {
        self.write(None, |db| queries::save_calibration(db, json))
            .await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        let pruned_to = Arc::clone(&self.pruned_to);
        self.write(None, move |db| {
            let watches = prune::watches(db, before_wall_ms)?;
            let after = pruned_to.load(Ordering::Relaxed);
            let (own_events, next) = prune::own_events(db, before_wall_ms, after)?;
            pruned_to.store(next, Ordering::Relaxed);
            Ok(watches + own_events)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failing(code: std::ffi::c_int) -> DbError {
        DbError::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    async fn save(store: &SqliteStore, json: &str) -> Result<(), StoreError> {
        store.save_calibration(json.to_owned()).await
    }

    #[tokio::test]
    async fn after_an_io_error_every_request_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (store, _) = SqliteStore::open(&path).unwrap();
        save(&store, "before").await.unwrap();
        let broken = store.write(None, |db| {
            queries::save_calibration(db, "within".to_owned())?;
            Err::<(), _>(failing(ffi::SQLITE_IOERR_FSYNC))
        });
        assert!(matches!(broken.await, Err(StoreError::Fatal(_))));
        assert!(matches!(
            save(&store, "after").await,
            Err(StoreError::Fatal(_))
        ));
        store.close().await;
        let (store, loaded) = SqliteStore::open(&path).unwrap();
        assert_eq!(loaded.calibration.as_deref(), Some("before"));
        store.close().await;
    }

    #[tokio::test]
    async fn a_full_disk_rolls_the_group_back_and_the_next_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (store, _) = SqliteStore::open(&path).unwrap();
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_BUSY,
        ] {
            let full = store.write(None, move |db| {
                queries::save_calibration(db, "within".to_owned())?;
                Err::<(), _>(failing(code))
            });
            let same_group = save(&store, "same group");
            let (same_group, full, read) = tokio::join!(same_group, full, store.events_since(0, 1));
            assert!(matches!(full, Err(StoreError::Unavailable(_))));
            assert_eq!(read, Ok(Vec::new()), "reading works");
            let stored = store.write(None, queries::calibration).await.unwrap();
            assert_ne!(stored.as_deref(), Some("within"));
            if let Err(error) = same_group {
                assert!(matches!(error, StoreError::Unavailable(_)));
            }
            save(&store, "after").await.unwrap();
        }
        store.close().await;
    }
}
