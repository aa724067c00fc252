//! The simulated disk: a store that survives crashes and fails.
//!
//! It keeps its data in the product's own in-memory store. As with the thread of the real store, operations wait in a queue
//! and are applied in order, each completely or not at all. A crash applies a random prefix of the queue; the rest is lost.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use forgewatch::store::{
    Commit, DaemonStore, Handover, InMemoryStore, JobListUpdate, PollSample, SavedWatch, Shard,
    Store, StoreError, StoredEvent, StoredState,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use futures_util::FutureExt;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

use crate::clock::WallClock;
use crate::faults::Fault;
use crate::log::{StoreOp, StoreWrite, WriteOutcome};
use crate::shards::{ShardHandover, Shards, shard_of};
use crate::world::World;

/// How long a poll sample waits to be written without another write.
const SAMPLE_DELAY_MS: u64 = 1_000;

/// Clones share the disk. It outlives every process.
#[derive(Clone)]
pub(crate) struct SimDisk(Rc<DiskState>);

struct DiskState {
    world: Rc<World>,
    wall_clock: Rc<WallClock>,
    in_memory: InMemoryStore,
    queue: RefCell<VecDeque<QueuedItem>>,
    /// When the last queued operation will be applied.
    busy_until: Cell<u64>,
    full_until: Cell<u64>,
    shards: Shards,
    /// Of all watches that had an event.
    watch_jobs: RefCell<BTreeMap<WatchId, JobRef>>,
    /// After an I/O error, all operations of this process fail.
    has_failed: Cell<bool>,
}

struct QueuedItem {
    ready_ms: u64,
    item: Queued,
}

enum Queued {
    /// Index into the log's writes.
    StoreWrite(usize),
    PollSample(PollSample),
}

impl SimDisk {
    pub(crate) fn new(world: Rc<World>, wall_clock: Rc<WallClock>) -> Self {
        Self(Rc::new(DiskState {
            shards: Shards::new(Rc::clone(&world)),
            watch_jobs: RefCell::default(),
            world,
            wall_clock,
            in_memory: InMemoryStore::default(),
            queue: RefCell::default(),
            busy_until: Cell::new(0),
            full_until: Cell::new(0),
            has_failed: Cell::new(false),
        }))
    }

    /// The state that a new process finds.
    pub(crate) fn load(&self) -> StoredState {
        self.0.has_failed.set(false);
        self.0.busy_until.set(0);
        self.0.shards.reset();
        self.0.in_memory.load()
    }

    /// What is stored, without the queue and its faults.
    pub(crate) fn content(&self) -> InMemoryStore {
        self.0.in_memory.clone()
    }

    /// The newest stored watch of a job.
    pub(crate) fn newest(&self, job: JobRef) -> Option<SavedWatch> {
        self.0.in_memory.newest_watch(job).now_or_never()?.ok()?
    }

    pub(crate) fn has_deliveries_for(&self, hook: &str) -> bool {
        let running = self.0.in_memory.running();
        running.deliveries.iter().any(|row| &*row.id.hook == hook)
    }

    pub(crate) fn lose_random_shard(&self) {
        self.0.lose(self.0.shards.random());
    }

    /// The process has ended: applies a random prefix of the queue.
    pub(crate) fn crash(&self) {
        let shared = &*self.0;
        let queue = shared.queue.take();
        let applied = if shared.has_failed.get() || shared.is_full() {
            0
        } else {
            shared.world.draw(|rng| rng.between(0, queue.len() as u64)) as usize
        };
        for (at, queued) in queue.into_iter().enumerate() {
            match queued.item {
                Queued::PollSample(sample) if at < applied => {
                    shared.in_memory.record_poll(sample);
                }
                Queued::PollSample(_) => shared.world.record_fault(Fault::SamplesLost),
                Queued::StoreWrite(number) if at < applied => {
                    shared.world.record_fault(Fault::WriteSurvivesCrash);
                    shared.apply(number);
                }
                Queued::StoreWrite(number) => {
                    shared.world.record_fault(Fault::WriteLostInCrash);
                    shared.record_outcome(number, WriteOutcome::Lost);
                }
            }
        }
    }

    /// Queues an operation; returns its index in the log and the time when it will be applied.
    pub(crate) fn submit(&self, op: StoreOp) -> (usize, u64) {
        let DiskState { world, .. } = &*self.0;
        let slow = world.occurs(Fault::DiskSlow, world.fault_rates.disk * 0.1);
        if slow {
            world.record_fault(Fault::DiskSlow);
        }
        let duration_ms = world.draw(|rng| {
            if slow {
                rng.between(500, 5_000)
            } else {
                rng.log_uniform(12) - 1
            }
        });
        let ready_ms = world.now_ms().max(self.0.busy_until.get()) + duration_ms;
        self.0.busy_until.set(ready_ms);
        let (submitted, process, wall_offset) = (
            world.stamp(),
            world.current_process(),
            self.0.wall_clock.offset_ms(),
        );
        let is_served = self.0.is_served(&op);
        let number = world.log(|log| {
            let config = log.configs.len().saturating_sub(1);
            log.writes.push(StoreWrite {
                process,
                config,
                wall_offset,
                submitted,
                op,
                outcome: None,
                reply: None,
            });
            log.writes.len() - 1
        });
        if is_served {
            self.0.queue.borrow_mut().push_back(QueuedItem {
                ready_ms,
                item: Queued::StoreWrite(number),
            });
        } else {
            self.0.fail_too_late(number);
        }
        (number, ready_ms)
    }

    /// Waits for the result of an operation.
    pub(crate) async fn await_write(
        &self,
        (number, ready_ms): (usize, u64),
    ) -> Result<(), StoreError> {
        let shared = &*self.0;
        yield_now().await;
        sleep_until(shared.world.at(ready_ms)).await;
        shared.apply_due();
        // The process can crash here although its commit was applied.
        if shared.world.draw(|rng| rng.chance(0.3)) {
            sleep(Duration::from_millis(2)).await;
        } else {
            yield_now().await;
        }
        let reply = shared.world.log(|log| log.writes[number].reply.clone());
        reply.unwrap_or_else(|| Err(io_error()))
    }

    async fn write(&self, op: StoreOp) -> Result<(), StoreError> {
        let queued = self.submit(op);
        self.await_write(queued).await
    }

    /// Reads wait in the queue like writes.
    async fn read<T>(
        &self,
        from: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.write(StoreOp::Read).await?;
        from.await
    }
}

impl DiskState {
    fn is_full(&self) -> bool {
        !self.world.faults_disabled() && self.world.now_ms() < self.full_until.get()
    }

    /// Applies all operations that are due, in order.
    fn apply_due(&self) {
        let now = self.world.now_ms();
        let is_due = |queued: &QueuedItem| match queued.item {
            Queued::StoreWrite(_) => queued.ready_ms <= now,
            Queued::PollSample(_) => queued.ready_ms + SAMPLE_DELAY_MS <= now,
        };
        let last = self.queue.borrow().iter().rposition(is_due);
        for _ in 0..last.map_or(0, |at| at + 1) {
            let Some(QueuedItem { item, .. }) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            match item {
                Queued::PollSample(_) if self.is_full() => {
                    self.world.record_fault(Fault::SamplesLost);
                }
                Queued::PollSample(sample) => self.in_memory.record_poll(sample),
                Queued::StoreWrite(number) => self.try_apply(number),
            }
        }
    }

    fn try_apply(&self, number: usize) {
        let world = &self.world;
        let is_read = world.log(|log| matches!(log.writes[number].op, StoreOp::Read));
        if self.has_failed.get() {
            return self.record_outcome(number, WriteOutcome::Failed(io_error()));
        }
        if world.occurs(Fault::DiskFails, world.fault_rates.disk * 0.01) {
            world.record_fault(Fault::DiskFails);
            self.has_failed.set(true);
            if world.draw(|rng| rng.chance(0.5)) {
                self.apply(number);
                // It was applied, but the process gets an error.
                world.log(|log| log.writes[number].reply = Some(Err(io_error())));
                return;
            }
            return self.record_outcome(number, WriteOutcome::Failed(io_error()));
        }
        if !self.is_full() && world.occurs(Fault::DiskFull, world.fault_rates.disk * 0.1) {
            let until = world.now_ms() + world.draw(|rng| rng.log_uniform(120_000));
            self.full_until.set(until);
        }
        if self.is_full() && !is_read {
            world.record_fault(Fault::DiskFull);
            return self.record_outcome(
                number,
                WriteOutcome::Failed(StoreError::Unavailable("simulated".to_owned())),
            );
        }
        if world.occurs(Fault::ShardLost, world.fault_rates.shards * 0.03) {
            return self.apply_and_lose(number);
        }
        self.apply(number);
    }

    /// Loses the shard of a commit at the moment when it is applied.
    fn apply_and_lose(&self, number: usize) {
        let op = self.world.log(|log| log.writes[number].op.clone());
        let Some(shard) = self.shards_of(&op).pop_first() else {
            return self.apply(number);
        };
        if self.world.draw(|rng| rng.chance(0.5)) {
            self.apply(number);
        } else {
            self.fail_too_late(number);
        }
        self.lose(shard);
    }

    /// Another process takes a shard over: the commits that are queued for it come too late. Poll samples may be written
    /// all the same.
    fn lose(&self, shard: Shard) {
        if !self.shards.lose(shard) {
            return;
        }
        let queue = self.queue.take();
        let (lost, kept) =
            queue
                .into_iter()
                .partition::<VecDeque<_>, _>(|queued| match queued.item {
                    Queued::PollSample(_) => false,
                    Queued::StoreWrite(number) => {
                        let op = self.world.log(|log| log.writes[number].op.clone());
                        self.shards_of(&op).contains(&shard)
                    }
                });
        *self.queue.borrow_mut() = kept;
        for queued in lost {
            if let Queued::StoreWrite(number) = queued.item {
                self.fail_too_late(number);
            }
        }
    }

    fn fail_too_late(&self, number: usize) {
        self.world.record_fault(Fault::CommitTooLate);
        let lost = StoreError::Lost("simulated".to_owned());
        self.record_outcome(number, WriteOutcome::Failed(lost));
    }

    fn is_served(&self, op: &StoreOp) -> bool {
        let shards = self.shards_of(op);
        shards.iter().all(|&shard| self.shards.serves(shard))
    }

    /// The shards of the jobs that a commit is about.
    fn shards_of(&self, op: &StoreOp) -> BTreeSet<Shard> {
        let StoreOp::Commit {
            events, changes, ..
        } = op
        else {
            return BTreeSet::new();
        };
        let mut watch_jobs = self.watch_jobs.borrow_mut();
        let jobs = events.iter();
        watch_jobs.extend(jobs.filter_map(|event| Some((event.id.watch, event.job?))));
        let changed = changes.iter().map(|change| change.id().event.watch);
        let watches = events.iter().map(|event| event.id.watch).chain(changed);
        let jobs = watches.filter_map(|watch| watch_jobs.get(&watch));
        jobs.map(|&job| shard_of(job)).collect()
    }

    fn apply(&self, number: usize) {
        let op = self.world.log(|log| log.writes[number].op.clone());
        let done = match op {
            StoreOp::Commit {
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
            StoreOp::JobListUpdate(update) => self.in_memory.update_jobs(update).now_or_never(),
            StoreOp::Calibrations(json) => self.in_memory.save_calibration(json).now_or_never(),
            StoreOp::Prune(before) => {
                let pruned = self.in_memory.prune(before).now_or_never();
                pruned.map(|result| result.map(drop))
            }
            StoreOp::Read => Some(Ok(())),
        };
        let outcome = match done {
            Some(Ok(())) => WriteOutcome::Applied,
            Some(Err(error)) => WriteOutcome::Failed(error),
            None => WriteOutcome::Lost,
        };
        self.record_outcome(number, outcome);
    }

    fn record_outcome(&self, number: usize, outcome: WriteOutcome) {
        let at = self.world.stamp();
        self.world.trace(|| {
            let op = self.world.log(|log| log.writes[number].op.describe());
            format!("disk: write {number} {outcome:?}: {op}")
        });
        self.world.log(|log| {
            let write = &mut log.writes[number];
            write.reply = match &outcome {
                WriteOutcome::Applied => Some(Ok(())),
                WriteOutcome::Failed(error) => Some(Err(error.clone())),
                WriteOutcome::Lost => None,
            };
            write.outcome = Some((at, outcome));
        });
    }
}

fn io_error() -> StoreError {
    StoreError::Fatal("simulated: I/O error".to_owned())
}

impl Store for SimDisk {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        self.write(StoreOp::of(&commit)).await
    }

    fn record_poll(&self, sample: PollSample) {
        let ready_ms = self.0.world.now_ms();
        self.0.queue.borrow_mut().push_back(QueuedItem {
            ready_ms,
            item: Queued::PollSample(sample),
        });
    }
}

impl DaemonStore for SimDisk {
    async fn next_handover(&self) -> Result<Handover, StoreError> {
        let (shards, is_first) = match self.0.shards.next().await {
            ShardHandover::Lost(shards) => return Ok(Handover::Lost(shards)),
            ShardHandover::Gained(shards, is_first) => (shards, is_first),
        };
        let is_gained = |job| shards.contains(&shard_of(job));
        let mut gained = self.0.in_memory.running();
        gained.watches.retain(|watch| is_gained(watch.job));
        // The deliveries of events of forgewatch itself belong to no shard.
        gained.deliveries.retain(
            |row| match self.0.watch_jobs.borrow().get(&row.id.event.watch) {
                Some(&job) => is_gained(job),
                None => is_first,
            },
        );
        gained.shards = shards;
        Ok(Handover::Gained(gained))
    }

    fn shard_of(&self, job: JobRef) -> Shard {
        shard_of(job)
    }

    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(self.0.in_memory.deliveries_of(watch)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.read(self.0.in_memory.delivery(id)).await
    }

    async fn failed_deliveries(
        &self,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.read(self.0.in_memory.failed_deliveries(limit)).await
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

    async fn polls_of(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.read(self.0.in_memory.polls_of(watch)).await
    }

    async fn newest_watch(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.read(self.0.in_memory.newest_watch(job)).await
    }

    async fn other_watches(
        &self,
        ended_since: Option<i64>,
        after: Option<WatchId>,
        limit: usize,
    ) -> Result<Vec<SavedWatch>, StoreError> {
        let ended = self.0.in_memory.other_watches(ended_since, after, limit);
        let mut watches = self.read(ended).await?;
        let running = self.0.in_memory.running().watches.into_iter();
        watches.extend(
            running.filter(|watch| {
                Some(watch.id) > after && !self.0.shards.serves(shard_of(watch.job))
            }),
        );
        watches.sort_by_key(|watch| watch.id);
        watches.truncate(limit);
        Ok(watches)
    }

    async fn last_ended(&self, wall_ms: i64, limit: usize) -> Result<Vec<SavedWatch>, StoreError> {
        self.read(self.0.in_memory.last_ended(wall_ms, limit)).await
    }

    async fn update_jobs(&self, update: JobListUpdate) -> Result<(), StoreError> {
        self.write(StoreOp::JobListUpdate(update)).await
    }

    async fn save_calibration(&self, json: String) -> Result<(), StoreError> {
        self.write(StoreOp::Calibrations(json)).await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        // The in-memory store prunes everything at once.
        self.write(StoreOp::Prune(before_wall_ms)).await?;
        Ok(0)
    }
}
