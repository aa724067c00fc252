//! The thread that owns the file: commits all queued writes in one transaction and responds to each.

use std::collections::HashMap;
use std::iter;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::DbError;
use super::lock::LockedFile;
use super::watches;
use crate::store::{MAX_POLLS, PollSample, StoreError};
use forgewatch_core::event::WatchId;

pub(super) const QUEUE_LENGTH: usize = 1024;
const POLL_WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Size of the WAL at which it is checkpointed, in pages: SQLite's own default.
const CHECKPOINT_PAGES: i64 = 1000;

pub(super) enum WorkerMessage {
    Write(Box<dyn Task>),
    /// Runs outside the transaction, after the writes that were queued with it.
    Read(Box<dyn Task>),
    Poll(PollSample),
    Close(oneshot::Sender<()>),
}

/// Work on the file with a response: for a write, once it is committed.
pub(super) trait Task: Send {
    /// The watch that it writes: an earlier poll must not overwrite it.
    fn watch(&self) -> Option<WatchId>;
    fn run(&mut self, db: &Connection) -> Result<(), DbError>;
    fn respond(self: Box<Self>, outcome: Result<(), StoreError>);
}

pub(super) struct FnTask<F, T> {
    watch: Option<WatchId>,
    work: Option<F>,
    result: Option<T>,
    respond_to: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> FnTask<F, T> {
    pub(super) fn new(
        watch: Option<WatchId>,
        work: F,
        respond_to: oneshot::Sender<Result<T, StoreError>>,
    ) -> Self {
        Self {
            watch,
            work: Some(work),
            result: None,
            respond_to,
        }
    }
}

impl<F, T> Task for FnTask<F, T>
where
    F: FnOnce(&Connection) -> Result<T, DbError> + Send,
    T: Send,
{
    fn watch(&self) -> Option<WatchId> {
        self.watch
    }

    fn run(&mut self, db: &Connection) -> Result<(), DbError> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(db)?);
        }
        Ok(())
    }

    fn respond(self: Box<Self>, outcome: Result<(), StoreError>) {
        let not_run = || StoreError::Fatal("the store is closed".to_owned());
        let Self {
            result, respond_to, ..
        } = *self;
        // Fails if the caller's future was dropped.
        let _ = respond_to.send(outcome.and_then(|()| result.ok_or_else(not_run)));
    }
}

#[derive(Default)]
struct PendingPolls {
    /// None if a later commit has written the watch.
    snapshot: Option<String>,
    polls: Vec<String>,
}

pub(super) struct Worker {
    db: Connection,
    /// Declared after the connection, so that it is released after the connection is closed.
    _lock: LockedFile,
    /// The error that left the content of the disk unknown.
    failure: watch::Sender<Option<StoreError>>,
    pending_polls: HashMap<WatchId, PendingPolls>,
    polls_written: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        db: Connection,
        lock: LockedFile,
        failure: watch::Sender<Option<StoreError>>,
    ) -> Self {
        Self {
            db,
            _lock: lock,
            failure,
            pending_polls: HashMap::new(),
            polls_written: None,
        }
    }

    /// Runs until the store is closed or dropped. After a fatal error, every request fails with it.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<WorkerMessage>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = queue.blocking_recv() else {
                break;
            };
            // Only what is queued by now: later requests must not delay the commit.
            let queued = queue.len();
            let others = iter::from_fn(|| queue.try_recv().ok()).take(queued);
            let (mut group, mut reads) = (Vec::new(), Vec::new());
            for message in iter::once(first).chain(others) {
                match message {
                    WorkerMessage::Write(task) => {
                        let watch = task.watch();
                        if let Some(polls) = watch.and_then(|id| self.pending_polls.get_mut(&id)) {
                            polls.snapshot = None;
                        }
                        group.push(task);
                    }
                    WorkerMessage::Read(task) => reads.push(task),
                    WorkerMessage::Poll(sample) => self.queue_poll(sample),
                    WorkerMessage::Close(respond_to) => {
                        closing = Some(respond_to);
                        break;
                    }
                }
            }
            let failure = self.failure.borrow().clone();
            if let Some(error) = failure {
                reject_all(group, &error);
            } else if let Err(error) = self.commit_group(group, closing.is_some()) {
                self.fail(error);
            }
            for task in reads {
                self.read(task);
            }
        }
        if self.failure.borrow().is_some() {
            // The content of the disk is unknown: leave the WAL for the next start to check.
            let _ = self
                .db
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        drop(self);
        if let Some(respond_to) = closing {
            let _ = respond_to.send(());
        }
    }

    fn fail(&self, error: StoreError) {
        tracing::error!(target: "forgewatch::store", %error, "state file failed; nothing is written any more");
        self.failure.send_replace(Some(error));
    }

    fn read(&self, mut task: Box<dyn Task>) {
        let failure = self.failure.borrow().clone();
        let outcome = failure.map_or_else(|| task.run(&self.db).map_err(StoreError::from), Err);
        if let Err(error @ StoreError::Fatal(_)) = &outcome
            && self.failure.borrow().is_none()
        {
            self.fail(error.clone());
        }
        task.respond(outcome);
    }

    fn queue_poll(&mut self, sample: PollSample) {
        let pending = self.pending_polls.entry(sample.watch).or_default();
        pending.snapshot = Some(sample.snapshot);
        pending.polls.push(sample.poll);
        if pending.polls.len() > MAX_POLLS {
            pending.polls.remove(0);
        }
    }

    /// Commits the group and responds to every task. Fails if the content of the disk is unknown afterwards.
    fn commit_group(
        &mut self,
        mut group: Vec<Box<dyn Task>>,
        last: bool,
    ) -> Result<(), StoreError> {
        match self.transaction(&mut group, last) {
            Ok(outcomes) => {
                for (task, outcome) in group.into_iter().zip(outcomes) {
                    task.respond(outcome);
                }
                self.checkpoint(CHECKPOINT_PAGES)
            }
            Err(error) => {
                if !self.db.is_autocommit() {
                    let _ = self.db.execute_batch("ROLLBACK");
                }
                let error = StoreError::from(error);
                reject_all(group, &error);
                match error {
                    // The space of a WAL that is checkpointed can be reused.
                    StoreError::Unavailable(_) => self.checkpoint(1),
                    StoreError::Locked(_) => Ok(()),
                    StoreError::Lost(reason)
                    | StoreError::Rejected(reason)
                    | StoreError::Fatal(reason) => Err(StoreError::Fatal(reason)),
                }
            }
        }
    }

    /// Runs all tasks in one transaction. A rejected task is rolled back alone.
    fn transaction(
        &mut self,
        group: &mut [Box<dyn Task>],
        last: bool,
    ) -> Result<Vec<Result<(), StoreError>>, DbError> {
        let due = self
            .polls_written
            .is_none_or(|at| at.elapsed() >= POLL_WRITE_INTERVAL);
        let with_polls = !self.pending_polls.is_empty() && (due || last);
        if group.is_empty() && !with_polls {
            return Ok(Vec::new());
        }
        self.execute("BEGIN")?;
        let mut outcomes = Vec::with_capacity(group.len());
        for task in group {
            self.execute("SAVEPOINT task")?;
            let outcome = match task.run(&self.db).map_err(StoreError::from) {
                Err(rejection @ StoreError::Rejected(_)) => {
                    self.execute("ROLLBACK TO task")?;
                    Err(rejection)
                }
                Err(error) => return Err(error.into()),
                Ok(()) => Ok(()),
            };
            self.execute("RELEASE task")?;
            outcomes.push(outcome);
        }
        if with_polls {
            self.polls_written = Some(Instant::now());
            for (id, pending) in self.pending_polls.drain() {
                watches::record_polls(&self.db, id, pending.snapshot, pending.polls)?;
            }
        }
        self.execute("COMMIT")?;
        Ok(outcomes)
    }

    /// Checkpoints the WAL if it has this many pages. SQLite would do so by itself, but not report an error.
    fn checkpoint(&self, min_pages: i64) -> Result<(), StoreError> {
        let pages = |sql: &str| -> Result<i64, DbError> {
            Ok(self
                .db
                .prepare_cached(sql)?
                .query_row([], |row| row.get(1))?)
        };
        let result = pages("PRAGMA wal_checkpoint(NOOP)").and_then(|length| {
            if length >= min_pages {
                pages("PRAGMA wal_checkpoint(PASSIVE)")
            } else {
                Ok(length)
            }
        });
        match result.map_err(StoreError::from) {
            // If the disk is full or the file locked, the WAL stays in use.
            Ok(_) | Err(StoreError::Unavailable(_) | StoreError::Locked(_)) => Ok(()),
            Err(
                StoreError::Fatal(reason) | StoreError::Rejected(reason) | StoreError::Lost(reason),
            ) => Err(StoreError::Fatal(reason)),
        }
    }

    fn execute(&self, sql: &str) -> Result<(), DbError> {
        self.db.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

fn reject_all(group: Vec<Box<dyn Task>>, error: &StoreError) {
    for task in group {
        task.respond(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::SqliteStore;

    /// Queues a read that, while it runs, queues the next one, `more` times.
    fn queue_reads(queue: &mpsc::Sender<WorkerMessage>, reads: &Arc<AtomicUsize>, more: usize) {
        let (next, count) = (queue.clone(), Arc::clone(reads));
        let work = move |_: &Connection| {
            count.fetch_add(1, Ordering::Relaxed);
            if more > 0 {
                queue_reads(&next, &count, more - 1);
            }
            Ok(())
        };
        let task = FnTask::new(None, work, oneshot::channel().0);
        assert!(queue.try_send(WorkerMessage::Read(Box::new(task))).is_ok());
    }

    #[tokio::test]
    async fn a_commit_runs_before_reads_that_were_queued_later() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(&folder.path().join("state.db")).unwrap();
        // Blocks the thread until everything else is queued.
        let (started, has_started) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let blocker = store.read(move |_| {
            let _ = started.send(());
            let _ = released.blocking_recv();
            Ok(())
        });
        let reads = Arc::new(AtomicUsize::new(0));
        let reads_before = Arc::clone(&reads);
        let write = store.write(None, move |_| Ok(reads_before.load(Ordering::Relaxed)));
        let queued = async {
            has_started.await.unwrap();
            tokio::join!(write, async {
                queue_reads(&store.requests, &reads, 50);
                release.send(()).unwrap();
            })
            .0
        };
        let (_, reads_before) = tokio::join!(blocker, queued);
        assert_eq!(reads_before, Ok(0));
        store.flush().await.unwrap();
        store.close().await;
    }
}
