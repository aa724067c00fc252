//! The thread that owns the file: takes all that waits, commits it as one transaction, answers each.

use std::collections::HashMap;
use std::iter;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{mpsc, oneshot, watch};

use super::lock::Place;
use super::{Failure, queries};
use crate::store::{POLLS_KEPT, PollSample, StoreError};
use forgewatch_core::event::WatchId;

/// What may wait before the asking side has to.
pub(super) const QUEUE: usize = 1024;
/// Notes are written this often at most.
const NOTES_EVERY: Duration = Duration::from_secs(1);
/// Pages in the WAL from which on they are moved into the file: 4 MiB, as SQLite's own default.
const CHECKPOINT_PAGES: i64 = 1000;

/// What the thread is asked.
pub(super) enum Request {
    Task(Box<dyn Task>),
    /// Only looks at what is committed: done outside any transaction, once the group that it came with is answered.
    Read(Box<dyn Task>),
    PollSample(PollSample),
    Close(oneshot::Sender<()>),
}

/// Something to do, and somebody to answer once it is done, and committed where it writes.
pub(super) trait Task: Send {
    /// The watch whose row it writes: a note from before must not overwrite it.
    fn watch(&self) -> Option<WatchId>;
    fn run(&mut self, db: &Connection) -> Result<(), Failure>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A closure as a task.
pub(super) struct Ask<F, T> {
    watch: Option<WatchId>,
    work: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Ask<F, T> {
    pub(super) fn new(
        watch: Option<WatchId>,
        work: F,
        reply: oneshot::Sender<Result<T, StoreError>>,
    ) -> Self {
        Self {
            watch,
            work: Some(work),
            done: None,
            reply,
        }
    }
}

impl<F, T> Task for Ask<F, T>
where
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
    T: Send,
{
    fn watch(&self) -> Option<WatchId> {
        self.watch
    }

    fn run(&mut self, db: &Connection) -> Result<(), Failure> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(db)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let never_ran = || StoreError::Fatal("the store did not come to it".to_owned());
        let Self { done, reply, .. } = *self;
        // Nobody listens any more where the asking future was dropped.
        let _ = reply.send(outcome.and_then(|()| done.ok_or_else(never_ran)));
    }
}

/// Polls of one watch that wait to be written.
#[derive(Default)]
struct Noted {
    /// None where a commit has written a newer row since.
    row: Option<String>,
    polls: Vec<String>,
}

/// The thread's own.
pub(super) struct Worker {
    db: Connection,
    /// Let go of with the thread's end, after the connection.
    _place: Place,
    /// What left the disk in doubt, once something has.
    doubt: watch::Sender<Option<StoreError>>,
    notes: HashMap<WatchId, Noted>,
    notes_written: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        db: Connection,
        lock: Place,
        doubt: watch::Sender<Option<StoreError>>,
    ) -> Self {
        Self {
            db,
            _place: lock,
            doubt,
            notes: HashMap::new(),
            notes_written: None,
        }
    }

    /// Works until it is closed or nobody can ask any more. After an error that leaves the disk in doubt it answers
    /// everything with that error.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = requests.blocking_recv() else {
                break;
            };
            // What waits by now, and no more: who asks on and on must not put off the commit.
            let waiting = requests.len();
            let others = iter::from_fn(|| requests.try_recv().ok()).take(waiting);
            let (mut group, mut reads) = (Vec::new(), Vec::new());
            for request in iter::once(first).chain(others) {
                match request {
                    Request::Task(task) => {
                        if let Some(noted) = task.watch().and_then(|id| self.notes.get_mut(&id)) {
                            noted.row = None;
                        }
                        group.push(task);
                    }
                    Request::Read(task) => reads.push(task),
                    Request::PollSample(record_poll) => self.take_note(record_poll),
                    Request::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
            }
            let doubt = self.doubt.borrow().clone();
            if let Some(error) = doubt {
                refuse(group, &error);
            } else if let Err(error) = self.commit_and_answer(group, closing.is_some()) {
                self.give_up(error);
            }
            for task in reads {
                self.read(task);
            }
        }
        if self.doubt.borrow().is_some() {
            // What the disk did is not known: leave it to the next start to look.
            let _ = self
                .db
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        drop(self);
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    fn give_up(&mut self, error: StoreError) {
        tracing::error!(%error, "the state file failed; nothing is recorded any more");
        self.doubt.send_replace(Some(error));
    }

    fn read(&mut self, mut task: Box<dyn Task>) {
        let doubt = self.doubt.borrow().clone();
        let outcome = doubt.map_or_else(|| task.run(&self.db).map_err(StoreError::from), Err);
        if let Err(error @ StoreError::Fatal(_)) = &outcome
            && self.doubt.borrow().is_none()
        {
            self.give_up(error.clone());
        }
        task.answer(outcome);
    }

    fn take_note(&mut self, record_poll: PollSample) {
        let noted = self.notes.entry(record_poll.watch).or_default();
        noted.row = Some(record_poll.row);
        noted.polls.push(record_poll.poll);
        if noted.polls.len() > POLLS_KEPT {
            noted.polls.remove(0);
        }
    }

    /// Err where the file can't be trusted any more; everybody has got an answer all the same.
    fn commit_and_answer(
        &mut self,
        mut group: Vec<Box<dyn Task>>,
        last: bool,
    ) -> Result<(), StoreError> {
        let mut outcomes = Vec::with_capacity(group.len());
        match self.transaction(&mut group, &mut outcomes, last) {
            Ok(()) => {
                for (task, outcome) in group.into_iter().zip(outcomes) {
                    task.answer(outcome);
                }
                self.checkpoint(CHECKPOINT_PAGES)
            }
            Err(failure) => {
                if !self.db.is_autocommit() {
                    let _ = self.db.execute_batch("ROLLBACK");
                }
                let error = StoreError::from(failure);
                refuse(group, &error);
                match error {
                    // A WAL that is in the file can be written anew in its place.
                    StoreError::Full(_) => self.checkpoint(1),
                    StoreError::Refused(reason) | StoreError::Fatal(reason) => {
                        Err(StoreError::Fatal(reason))
                    }
                }
            }
        }
    }

    /// Runs every task in one transaction. What one task alone is refused is undone alone.
    fn transaction(
        &mut self,
        group: &mut [Box<dyn Task>],
        outcomes: &mut Vec<Result<(), StoreError>>,
        last: bool,
    ) -> Result<(), Failure> {
        let due = self
            .notes_written
            .is_none_or(|at| at.elapsed() >= NOTES_EVERY);
        let with_notes = !self.notes.is_empty() && (due || last);
        if group.is_empty() && !with_notes {
            return Ok(());
        }
        self.execute("BEGIN")?;
        for task in group {
            self.execute("SAVEPOINT task")?;
            let outcome = match task.run(&self.db).map_err(StoreError::from) {
                Err(refusal @ StoreError::Refused(_)) => {
                    self.execute("ROLLBACK TO task")?;
                    Err(refusal)
                }
                Err(error) => return Err(error.into()),
                Ok(()) => Ok(()),
            };
            self.execute("RELEASE task")?;
            outcomes.push(outcome);
        }
        if with_notes {
            self.notes_written = Some(Instant::now());
            for (id, noted) in self.notes.drain() {
                queries::record_poll(&self.db, id, noted.row, noted.polls)?;
            }
        }
        self.execute("COMMIT")
    }

    /// Moves the WAL into the file once it is long. SQLite would do so by itself, and not tell of an error.
    fn checkpoint(&self, from_pages: i64) -> Result<(), StoreError> {
        let pages = |mode: &str| -> Result<i64, Failure> {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            Ok(self
                .db
                .prepare_cached(&sql)?
                .query_row([], |row| row.get(1))?)
        };
        let moved = pages("NOOP").and_then(|waiting| {
            if waiting >= from_pages {
                pages("PASSIVE")
            } else {
                Ok(waiting)
            }
        });
        match moved.map_err(StoreError::from) {
            // On a full disk the WAL is read and written as before.
            Ok(_) | Err(StoreError::Full(_)) => Ok(()),
            Err(StoreError::Fatal(reason) | StoreError::Refused(reason)) => {
                Err(StoreError::Fatal(reason))
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<(), Failure> {
        self.db.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

fn refuse(group: Vec<Box<dyn Task>>, error: &StoreError) {
    for task in group {
        task.answer(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::Sqlite;

    /// Queues a read that queues the next one before it is done, `more` times over.
    fn read_on(requests: &mpsc::Sender<Request>, reads: &Arc<AtomicUsize>, more: usize) {
        let (again, counted) = (requests.clone(), Arc::clone(reads));
        let work = move |_: &Connection| {
            counted.fetch_add(1, Ordering::Relaxed);
            if more > 0 {
                read_on(&again, &counted, more - 1);
            }
            Ok(())
        };
        let read = Request::Read(Box::new(Ask::new(None, work, oneshot::channel().0)));
        assert!(requests.try_send(read).is_ok());
    }

    #[tokio::test]
    async fn no_read_that_came_later_is_done_before_a_commit_however_many_come() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Sqlite::open(&folder.path().join("state.db")).unwrap();
        // Holds the thread until all that follows has queued up.
        let (running, it_runs) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let hold = store.read(move |_| {
            let _ = running.send(());
            let _ = released.blocking_recv();
            Ok(())
        });
        let reads = Arc::new(AtomicUsize::new(0));
        let read_before = Arc::clone(&reads);
        let task = store.ask(None, move |_| Ok(read_before.load(Ordering::Relaxed)));
        let queue = async {
            it_runs.await.unwrap();
            tokio::join!(task, async {
                read_on(&store.requests, &reads, 50);
                release.send(()).unwrap();
            })
            .0
        };
        let (_, before) = tokio::join!(hold, queue);
        assert_eq!(before, Ok(0));
        store.flush().await.unwrap();
        store.close().await;
    }
}
