//! The simulated disk: a store that knows committed from not yet.
//!
//! What it holds is the product's own model of the state file. What is given to it waits in a queue, as it does before
//! the thread of the real store, is taken in that order and all at once or not at all, and a crash leaves of the queue
//! what was taken by chance: a part from its front.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use forgewatch::store::{
    Archive, Commit, InMemoryStore, JobListUpdate, Loaded, PollSample, SavedWatch, Store,
    StoreError, StoredEvent,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use futures_util::FutureExt;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

use crate::clock::Wall;
use crate::faults::Fault;
use crate::log::{Op, Outcome, Write};
use crate::world::World;

/// How long a note waits to be written on its own.
const NOTES_WITHIN_MS: u64 = 1_000;

/// The disk. Clones share it; it outlives every process.
#[derive(Clone)]
pub(crate) struct Disk(Rc<Shared>);

struct Shared {
    world: Rc<World>,
    wall: Rc<Wall>,
    in_memory: InMemoryStore,
    queue: RefCell<VecDeque<Queued>>,
    /// When the last of the queue will be done.
    busy_until: Cell<u64>,
    full_until: Cell<u64>,
    /// It failed under this process, which can't trust it any more.
    has_failed: Cell<bool>,
}

struct Queued {
    ready_ms: u64,
    what: What,
}

enum What {
    /// Its place in the log.
    Write(usize),
    PollSample(PollSample),
}

impl Disk {
    pub(crate) fn new(world: Rc<World>, wall: Rc<Wall>) -> Self {
        Self(Rc::new(Shared {
            world,
            wall,
            in_memory: InMemoryStore::default(),
            queue: RefCell::default(),
            busy_until: Cell::new(0),
            full_until: Cell::new(0),
            has_failed: Cell::new(false),
        }))
    }

    /// What a start finds.
    pub(crate) fn load(&self) -> Loaded {
        self.0.has_failed.set(false);
        self.0.busy_until.set(0);
        self.0.in_memory.load()
    }

    /// What is on record of a job, looked at from outside.
    pub(crate) fn newest(&self, job: JobRef) -> Option<SavedWatch> {
        self.0.in_memory.newest_of(job).now_or_never()?.ok()?
    }

    /// Whether a delivery to this hook waits.
    pub(crate) fn owes(&self, hook: &str) -> bool {
        let loaded = self.0.in_memory.load();
        loaded.deliveries.iter().any(|row| &*row.id.hook == hook)
    }

    /// The process is gone: chance decides how much of the queue was taken.
    pub(crate) fn crash(&self) {
        let shared = &*self.0;
        let queue = shared.queue.take();
        let taken = if shared.has_failed.get() || shared.is_full() {
            0
        } else {
            shared.world.roll(|rng| rng.between(0, queue.len() as u64)) as usize
        };
        for (at, queued) in queue.into_iter().enumerate() {
            match queued.what {
                What::PollSample(record_poll) if at < taken => {
                    shared.in_memory.record_poll(record_poll);
                }
                What::PollSample(_) => shared.world.hit(Fault::NotesLost),
                What::Write(number) if at < taken => {
                    shared.world.hit(Fault::CutOffTaken);
                    shared.take(number);
                }
                What::Write(number) => {
                    shared.world.hit(Fault::CutOffLost);
                    shared.settle(number, Outcome::Lost);
                }
            }
        }
    }

    /// Puts something in the queue; its place in the log.
    pub(crate) fn submit(&self, op: Op) -> (usize, u64) {
        let Shared { world, .. } = &*self.0;
        let slow = world.may(Fault::DiskSlow, world.moods.disk * 0.1);
        if slow {
            world.hit(Fault::DiskSlow);
        }
        let takes = world.roll(|rng| {
            if slow {
                rng.between(500, 5_000)
            } else {
                rng.spread(12) - 1
            }
        });
        let ready_ms = world.now_ms().max(self.0.busy_until.get()) + takes;
        self.0.busy_until.set(ready_ms);
        let (submitted, life, wall_off) = (world.stamp(), world.life(), self.0.wall.off());
        let number = world.log(|log| {
            let config = log.configs.len().saturating_sub(1);
            log.writes.push(Write {
                life,
                config,
                wall_off,
                submitted,
                op,
                outcome: None,
                reply: None,
            });
            log.writes.len() - 1
        });
        self.0.queue.borrow_mut().push_back(Queued {
            ready_ms,
            what: What::Write(number),
        });
        (number, ready_ms)
    }

    /// Waits until it is on the disk, or is not.
    pub(crate) async fn written(&self, (number, ready_ms): (usize, u64)) -> Result<(), StoreError> {
        let shared = &*self.0;
        yield_now().await;
        sleep_until(shared.world.at(ready_ms)).await;
        shared.work();
        // The way back, on which a process can die with its commit taken.
        if shared.world.roll(|rng| rng.chance(0.3)) {
            sleep(Duration::from_millis(2)).await;
        } else {
            yield_now().await;
        }
        let reply = shared.world.log(|log| log.writes[number].reply.clone());
        reply.unwrap_or_else(|| Err(in_doubt()))
    }

    async fn write(&self, op: Op) -> Result<(), StoreError> {
        let place = self.submit(op);
        self.written(place).await
    }

    /// A read has its place in the queue like everything else.
    async fn read<T>(
        &self,
        from: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.write(Op::Read).await?;
        from.await
    }
}

impl Shared {
    fn is_full(&self) -> bool {
        !self.world.is_calm() && self.world.now_ms() < self.full_until.get()
    }

    /// Does whatever of the queue is due, in order.
    fn work(&self) {
        let now = self.world.now_ms();
        let is_due = |queued: &Queued| match queued.what {
            What::Write(_) => queued.ready_ms <= now,
            What::PollSample(_) => queued.ready_ms + NOTES_WITHIN_MS <= now,
        };
        let last = self.queue.borrow().iter().rposition(is_due);
        for _ in 0..last.map_or(0, |at| at + 1) {
            let Some(Queued { what, .. }) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            match what {
                What::PollSample(_) if self.is_full() => self.world.hit(Fault::NotesLost),
                What::PollSample(record_poll) => self.in_memory.record_poll(record_poll),
                What::Write(number) => self.try_to_take(number),
            }
        }
    }

    fn try_to_take(&self, number: usize) {
        let world = &self.world;
        let is_read = world.log(|log| matches!(log.writes[number].op, Op::Read));
        if self.has_failed.get() {
            return self.settle(number, Outcome::Failed(in_doubt()));
        }
        if world.may(Fault::DiskFails, world.moods.disk * 0.01) {
            world.hit(Fault::DiskFails);
            self.has_failed.set(true);
            if world.roll(|rng| rng.chance(0.5)) {
                self.take(number);
                // It is there, and still the process is told that it may not be.
                world.log(|log| log.writes[number].reply = Some(Err(in_doubt())));
                return;
            }
            return self.settle(number, Outcome::Failed(in_doubt()));
        }
        if !self.is_full() && world.may(Fault::DiskFull, world.moods.disk * 0.1) {
            let until = world.now_ms() + world.roll(|rng| rng.spread(120_000));
            self.full_until.set(until);
        }
        if self.is_full() && !is_read {
            world.hit(Fault::DiskFull);
            return self.settle(
                number,
                Outcome::Failed(StoreError::Full("simulated".to_owned())),
            );
        }
        self.take(number);
    }

    /// Takes it over into the model.
    fn take(&self, number: usize) {
        let op = self.world.log(|log| log.writes[number].op.clone());
        let done = match op {
            Op::Commit {
                watch,
                events,
                deliveries,
                changes,
            } => {
                let commit = Commit {
                    watch,
                    events: &events,
                    deliveries,
                    changes: &changes,
                };
                self.in_memory.commit(commit).now_or_never()
            }
            Op::JobListUpdate(accept) => self.in_memory.accept(accept).now_or_never(),
            Op::Calibrations(json) => self.in_memory.save_calibrations(json).now_or_never(),
            Op::Prune(before) => {
                let pruned = self.in_memory.prune(before).now_or_never();
                pruned.map(|result| result.map(drop))
            }
            Op::Read => Some(Ok(())),
        };
        let outcome = match done {
            Some(Ok(())) => Outcome::Taken,
            Some(Err(error)) => Outcome::Failed(error),
            None => Outcome::Lost,
        };
        self.settle(number, outcome);
    }

    fn settle(&self, number: usize, outcome: Outcome) {
        let at = self.world.stamp();
        self.world.trace(|| {
            let words = self.world.log(|log| log.writes[number].op.words());
            format!("disk: {number} {outcome:?}: {words}")
        });
        self.world.log(|log| {
            let write = &mut log.writes[number];
            write.reply = match &outcome {
                Outcome::Taken => Some(Ok(())),
                Outcome::Failed(error) => Some(Err(error.clone())),
                Outcome::Lost => None,
            };
            write.outcome = Some((at, outcome));
        });
    }
}

fn in_doubt() -> StoreError {
    StoreError::Fatal("simulated: I/O error".to_owned())
}

impl Store for Disk {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        self.write(Op::of(&commit)).await
    }

    fn record_poll(&self, record_poll: PollSample) {
        let ready_ms = self.0.world.now_ms();
        self.0.queue.borrow_mut().push_back(Queued {
            ready_ms,
            what: What::PollSample(record_poll),
        });
    }
}

impl Archive for Disk {
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(self.0.in_memory.deliveries_of(watch)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.read(self.0.in_memory.delivery(id)).await
    }

    async fn given_up(&self, limit: usize) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.read(self.0.in_memory.given_up(limit)).await
    }

    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(self.0.in_memory.events_since(after, limit)).await
    }

    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError> {
        self.read(self.0.in_memory.offset_before(wall_ms)).await
    }

    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(self.0.in_memory.events_of(watch)).await
    }

    async fn polls(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.read(self.0.in_memory.polls(watch)).await
    }

    async fn newest_of(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.read(self.0.in_memory.newest_of(job)).await
    }

    async fn ended_since(&self, wall_ms: i64) -> Result<Vec<SavedWatch>, StoreError> {
        self.read(self.0.in_memory.ended_since(wall_ms)).await
    }

    async fn accept(&self, accept: JobListUpdate) -> Result<(), StoreError> {
        self.write(Op::JobListUpdate(accept)).await
    }

    async fn save_calibrations(&self, json: String) -> Result<(), StoreError> {
        self.write(Op::Calibrations(json)).await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        // All at once: the model knows no "some".
        self.write(Op::Prune(before_wall_ms)).await?;
        Ok(0)
    }
}
