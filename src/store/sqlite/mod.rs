//! The daemon's store: one SQLite file, one thread that owns it, and everybody else behind a bounded queue.
//!
//! Group commit without a timer: the thread takes all that waits, does it in one transaction, and answers each once
//! the disk has it. Then come the reads that waited with it, and then what has come meanwhile. `synchronous=FULL`: without it a power cut loses what was told to be safe.

mod lock;
mod mend;
mod open;
mod prune;
mod queries;
mod rescue;
mod schema;
mod table;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};

pub use rescue::{Rescue, RescueError, check, recover};

use super::{
    Archive, Commit, JobListUpdate, PollSample, SavedWatch, Store, StoreError, StoredEvent, stored,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use worker::{Ask, Request};

/// The state file, open. Clones share it.
#[derive(Clone, Debug)]
pub struct Sqlite {
    requests: mpsc::Sender<Request>,
    failed: watch::Receiver<Option<StoreError>>,
    /// The event up to which the watcher's own have been looked for, to forget the old ones.
    pruned_to: Arc<AtomicI64>,
}

/// Why a state file can't be used; its text says what to do. Nothing but [`OpenError::Full`] passes by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It can be read at most.
    #[error(
        "{path}: the state can't be written: {reason}; let this user write the file and its folder, or name \
         another with state.path or --state", path = path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The disk is full, or another program has the file to itself. The same may succeed later.
    #[error(
        "{path}: the state can't be written for now: {reason}; make room on its disk, or end the program that has it \
         locked", path = path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Something in it is not as it was written. It was left as it is.
    #[error(
        "{path}: the state is damaged: {reason}; nothing was changed. Rescue what is readable with: forgewatch state \
         recover --from {path}", path = path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A database of some other program.
    #[error("{path} is no state file of forgewatch; name another", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by a program that is newer than this one.
    #[error(
        "{path}: the state has version {found}, this forgewatch knows {known} and older; run the newer forgewatch, or \
         name another file", path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// The highest that this program knows.
        known: i64,
    },
    /// Another process holds it.
    #[error(
        "{path}: the state is in use by {holder}; stop that one, or name another file",
        path = path.display(),
        holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who holds it, where it could be read.
        pid: Option<u32>,
    },
    /// The system gives an error.
    #[error("{path}: the state can't be opened: {reason}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// What went wrong with the file, before it is said to whom.
#[derive(Debug)]
enum Failure {
    Sql(rusqlite::Error),
    /// Something is not as it was written.
    Damaged(String),
    /// One request can't be met.
    Refused(StoreError),
    /// Of files, at opening.
    Io(std::io::Error),
    /// A version that is not known.
    Newer(i64),
    Foreign,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Refused(error) => return error,
            Failure::Damaged(reason) => return Self::Fatal(reason),
            Failure::Io(error) => return Self::Fatal(error.to_string()),
            Failure::Newer(_) | Failure::Foreign => {
                return Self::Fatal("it is no state file that is known here".to_owned());
            }
            Failure::Sql(error) => error,
        };
        let text = error.to_string();
        let Some(cause) = error.sqlite_error() else {
            return Self::Fatal(text);
        };
        if open::passes(&error) {
            return Self::Full(text);
        }
        match cause.code {
            ErrorCode::ConstraintViolation | ErrorCode::TooBig => Self::Refused(text),
            _ => Self::Fatal(text),
        }
    }
}

impl Sqlite {
    /// Resolves when all that was asked before is on the disk: the sign of life for a watchdog. Notes may wait for
    /// their second; only [`Sqlite::close`] writes the last of them.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(None, |_| Ok(())).await
    }

    /// Resolves once the file can't be trusted any more, whoever asked what then failed: with a
    /// [`StoreError::Fatal`]. Pends for ever otherwise. Cancel-safe.
    pub async fn failed(&self) -> StoreError {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // Closed in order.
            _ => std::future::pending().await,
        }
    }

    /// Commits what waits, closes the file and lets go of it. Every later call fails.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Does something within the next transaction. `watch` is the one whose row it writes.
    async fn ask<T: Send + 'static>(
        &self,
        watch: Option<WatchId>,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let task = Request::Task(Box::new(Ask::new(watch, work, reply)));
        self.request(task, answer).await
    }

    /// Reads what is committed, beside the transaction: that can fail on a full disk, and reading goes on there.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let read = Request::Read(Box::new(Ask::new(None, work, reply)));
        self.request(read, answer).await
    }

    async fn request<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Fatal("the store has stopped".to_owned());
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Store for Sqlite {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let events = commit.events.iter().map(|event| stored(0, event));
        let step = queries::Step {
            events: events.collect::<Result<_, _>>()?,
            watch: commit.watch,
            deliveries: commit.deliveries,
            changes: commit.changes.to_vec(),
        };
        let watch = step.watch.as_ref().map(|w| w.id);
        self.ask(watch, |db| queries::commit(db, step)).await
    }

    fn record_poll(&self, record_poll: PollSample) {
        // A full queue means that the disk is slow: the first to go is what may be lost.
        let _ = self.requests.try_send(Request::PollSample(record_poll));
    }
}

impl Archive for Sqlite {
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(move |db| queries::deliveries_of(db, watch)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.read(move |db| queries::delivery(db, &id)).await
    }

    async fn given_up(&self, limit: usize) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.read(move |db| queries::given_up(db, limit)).await
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

    async fn polls(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.read(move |db| queries::polls(db, watch)).await
    }

    async fn newest_of(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.read(move |db| queries::newest_of(db, job)).await
    }

    async fn ended_since(&self, wall_ms: i64) -> Result<Vec<SavedWatch>, StoreError> {
        self.read(move |db| queries::ended_since(db, wall_ms)).await
    }

    async fn accept(&self, accept: JobListUpdate) -> Result<(), StoreError> {
        self.ask(None, |db| queries::accept(db, accept)).await
    }

    async fn save_calibrations(&self, json: String) -> Result<(), StoreError> {
        self.ask(None, |db| queries::save_calibrations(db, json))
            .await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        let pruned_to = Arc::clone(&self.pruned_to);
        self.ask(None, move |db| {
            let watches = prune::watches(db, before_wall_ms)?;
            let after = pruned_to.load(Ordering::Relaxed);
            let (own, next) = prune::own(db, before_wall_ms, after)?;
            pruned_to.store(next, Ordering::Relaxed);
            Ok(watches + own)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failing(code: std::ffi::c_int) -> Failure {
        Failure::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    async fn save(store: &Sqlite, json: &str) -> Result<(), StoreError> {
        store.save_calibrations(json.to_owned()).await
    }

    #[tokio::test]
    async fn after_an_error_of_the_disk_nothing_is_taken_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (store, _) = Sqlite::open(&path).unwrap();
        save(&store, "before").await.unwrap();
        let broken = store.ask(None, |db| {
            queries::save_calibrations(db, "within".to_owned())?;
            Err::<(), _>(failing(ffi::SQLITE_IOERR_FSYNC))
        });
        assert!(matches!(broken.await, Err(StoreError::Fatal(_))));
        assert!(matches!(
            save(&store, "after").await,
            Err(StoreError::Fatal(_))
        ));
        store.close().await;
        let (store, loaded) = Sqlite::open(&path).unwrap();
        assert_eq!(loaded.calibrations.as_deref(), Some("before"));
        store.close().await;
    }

    #[tokio::test]
    async fn a_full_disk_undoes_the_whole_group_and_the_next_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (store, _) = Sqlite::open(&path).unwrap();
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_BUSY,
        ] {
            let full = store.ask(None, move |db| {
                queries::save_calibrations(db, "within".to_owned())?;
                Err::<(), _>(failing(code))
            });
            let beside = save(&store, "beside");
            let (beside, full, read) = tokio::join!(beside, full, store.events_since(0, 1));
            assert!(matches!(full, Err(StoreError::Full(_))));
            assert_eq!(read, Ok(Vec::new()), "what is there can be read");
            let kept = store.ask(None, queries::calibrations).await.unwrap();
            assert_ne!(kept.as_deref(), Some("within"));
            if let Err(error) = beside {
                assert!(matches!(error, StoreError::Full(_)));
            }
            save(&store, "after").await.unwrap();
        }
        store.close().await;
    }
}
