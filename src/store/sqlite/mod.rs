//! The daemon's store: an SQLite file owned by one thread behind a bounded queue.
//!
//! Group commit without a timer: the thread takes all queued requests, runs the writes in one transaction, responds once
//! they are on the disk, and then runs the reads. `synchronous=FULL`, because a power cut may otherwise lose commits
//! that were acknowledged.
//!
//! `open` checks a file and starts the `worker` thread. `schema` defines the tables, `watches` and `events` have their
//! statements, `table` what all have in common. `writes` changes several at once. `recover` rescues a damaged file:
//! `salvage` copies the readable rows and derives lost entries from them.

mod error;
mod events;
mod leaf_pages;
mod lock;
mod open;
mod recover;
mod salvage;
mod schema;
mod table;
mod watches;
mod worker;
mod writes;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::OpenError;
pub use recover::{RecoverError, check, delivered_hooks, recover};
pub use salvage::RecoveredTable;

use super::{
    Commit, DaemonStore, Gained, Handover, JobListUpdate, PollSample, SavedWatch, Store,
    StoreError, StoredEvent, stored_event,
};
use error::DbError;
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use worker::{FnTask, Task, WorkerMessage};
use writes::OwnedCommit;

/// Clones share the thread.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    requests: mpsc::Sender<WorkerMessage>,
    /// Until it is handed over.
    running: Arc<Mutex<Option<Gained>>>,
    failure: watch::Receiver<Option<StoreError>>,
    /// Offset up to which [`writes::prune_own_events`] has scanned the events.
    pruned_to: Arc<AtomicI64>,
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
        self.run(WorkerMessage::Write, watch, work).await
    }

    /// Reads outside the transaction, so that reading works even if the transaction fails for want of disk space.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(WorkerMessage::Read, None, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        message: fn(Box<dyn Task>) -> WorkerMessage,
        watch: Option<WatchId>,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (respond_to, response) = oneshot::channel();
        let task = Box::new(FnTask::new(watch, work, respond_to));
        let closed = || StoreError::Fatal("the store is closed".to_owned());
        self.requests
            .send(message(task))
            .await
            .map_err(|_| closed())?;
        response.await.map_err(|_| closed())?
    }
}

impl Store for SqliteStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let events = commit.events.iter().map(|event| stored_event(0, event));
        let owned = OwnedCommit {
            events: events.collect::<Result<_, _>>()?,
            watch: commit.watch,
            deliveries: commit.deliveries,
            changes: commit.changes.to_vec(),
        };
        let watch = owned.watch.as_ref().map(|w| w.id);
        self.write(watch, |db| writes::commit(db, owned)).await
    }

    fn record_poll(&self, sample: PollSample) {
        // A full queue means that the disk is slow; polls may be lost.
        let _ = self.requests.try_send(WorkerMessage::Poll(sample));
    }
}

impl DaemonStore for SqliteStore {
    async fn next_handover(&self) -> Result<Handover, StoreError> {
        let running = self.running.lock().ok().and_then(|mut all| all.take());
        match running {
            Some(gained) => Ok(Handover::Gained(gained)),
            None => std::future::pending().await,
        }
    }

    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(move |db| events::deliveries_of(db, watch)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.read(move |db| events::delivery(db, &id)).await
    }

    async fn failed_deliveries(
        &self,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.read(move |db| events::failed_deliveries(db, limit))
            .await
    }

    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |db| events::events_since(db, after, limit))
            .await
    }

    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError> {
        self.read(move |db| events::offset_before(db, wall_ms))
            .await
    }

    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |db| events::events_of(db, watch)).await
    }

    async fn polls_of(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.read(move |db| watches::polls_of(db, watch)).await
    }

    async fn newest_watch(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.read(move |db| watches::newest(db, job)).await
    }

    async fn other_watches(
        &self,
        ended_since: Option<i64>,
        after: Option<WatchId>,
        limit: usize,
    ) -> Result<Vec<SavedWatch>, StoreError> {
        let Some(wall_ms) = ended_since else {
            return Ok(Vec::new());
        };
        self.read(move |db| watches::ended_since(db, wall_ms, after, limit))
            .await
    }

    async fn last_ended(&self, wall_ms: i64, limit: usize) -> Result<Vec<SavedWatch>, StoreError> {
        self.read(move |db| watches::last_ended(db, wall_ms, limit))
            .await
    }

    async fn update_jobs(&self, update: JobListUpdate) -> Result<(), StoreError> {
        self.write(None, |db| writes::update_jobs(db, update)).await
    }

    async fn save_calibration(&self, json: String) -> Result<(), StoreError> {
        self.write(None, |db| watches::save_calibration(db, json))
            .await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        let pruned_to = Arc::clone(&self.pruned_to);
        self.write(None, move |db| {
            let watches = writes::prune_watches(db, before_wall_ms)?;
            let after = pruned_to.load(Ordering::Relaxed);
            let (own_events, next) = writes::prune_own_events(db, before_wall_ms, after)?;
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
            watches::save_calibration(db, "within".to_owned())?;
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
                watches::save_calibration(db, "within".to_owned())?;
                Err::<(), _>(failing(code))
            });
            let same_group = save(&store, "same group");
            let (same_group, full, read) = tokio::join!(same_group, full, store.events_since(0, 1));
            assert_eq!(
                matches!(full, Err(StoreError::Locked(_))),
                code == ffi::SQLITE_BUSY
            );
            let is_temporary = |error: &StoreError| {
                matches!(error, StoreError::Unavailable(_) | StoreError::Locked(_))
            };
            assert!(full.is_err_and(|error| is_temporary(&error)));
            assert_eq!(read, Ok(Vec::new()), "reading works");
            let stored = store.write(None, watches::load_calibration).await.unwrap();
            assert_ne!(stored.as_deref(), Some("within"));
            if let Err(error) = same_group {
                assert!(is_temporary(&error));
            }
            save(&store, "after").await.unwrap();
        }
        store.close().await;
    }
}
