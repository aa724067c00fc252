//! The shards of jobs that the process serves: it loses some to another process, and gets them back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use forgewatch::store::Shard;
use forgewatch_core::job::JobRef;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::faults::Fault;
use crate::log::ShardChange;
use crate::world::World;

const SHARDS: u64 = 3;

pub(crate) fn shard_of(job: JobRef) -> Shard {
    Shard((job.id.get() % SHARDS) as u16)
}

pub(crate) struct Shards {
    world: Rc<World>,
    state: RefCell<ShardState>,
    /// A shard was lost.
    changed: Notify,
}

#[derive(Default)]
struct ShardState {
    served: BTreeSet<Shard>,
    /// Lost, and not handed over yet.
    lost: BTreeSet<Shard>,
    /// When the process gets the others.
    back_at: BTreeMap<Shard, u64>,
    has_started: bool,
}

pub(crate) enum ShardHandover {
    /// And whether these are the first of the process.
    Gained(BTreeSet<Shard>, bool),
    Lost(BTreeSet<Shard>),
}

impl Shards {
    pub(crate) fn new(world: Rc<World>) -> Self {
        Self {
            world,
            state: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// A new process serves nothing at first.
    pub(crate) fn reset(&self) {
        let mut state = ShardState::default();
        for shard in (0..SHARDS).map(|n| Shard(n as u16)) {
            let is_late = self.world.occurs(Fault::ShardLate, 0.1);
            let at = if is_late {
                self.world.record_fault(Fault::ShardLate);
                self.time_back()
            } else {
                0
            };
            state.back_at.insert(shard, at);
        }
        *self.state.borrow_mut() = state;
    }

    pub(crate) fn serves(&self, shard: Shard) -> bool {
        self.state.borrow().served.contains(&shard)
    }

    pub(crate) fn random(&self) -> Shard {
        Shard(self.world.draw(|rng| rng.between(0, SHARDS - 1)) as u16)
    }

    /// Returns whether the process served the shard.
    pub(crate) fn lose(&self, shard: Shard) -> bool {
        let at = self.time_back();
        let state = &mut *self.state.borrow_mut();
        if !state.served.remove(&shard) {
            return false;
        }
        state.lost.insert(shard);
        state.back_at.insert(shard, at);
        self.world.record_fault(Fault::ShardLost);
        self.changed.notify_one();
        true
    }

    fn time_back(&self) -> u64 {
        self.world.now_ms() + self.world.draw(|rng| rng.log_uniform(600_000))
    }

    /// The next change. Cancel-safe.
    pub(crate) async fn next(&self) -> ShardHandover {
        loop {
            if let Some(handover) = self.take() {
                return handover;
            }
            let next = self.state.borrow().back_at.values().min().copied();
            match next {
                None => self.changed.notified().await,
                Some(at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(self.world.at(at)) => {}
                },
            }
        }
    }

    fn take(&self) -> Option<ShardHandover> {
        let now = self.world.now_ms();
        let state = &mut *self.state.borrow_mut();
        let lost = std::mem::take(&mut state.lost);
        if !lost.is_empty() {
            self.record(&lost, false);
            return Some(ShardHandover::Lost(lost));
        }
        let due = state.back_at.extract_if(.., |_, at| *at <= now);
        let gained: BTreeSet<Shard> = due.map(|(shard, _)| shard).collect();
        let is_first = !std::mem::replace(&mut state.has_started, true);
        if gained.is_empty() && !is_first {
            return None;
        }
        state.served.extend(&gained);
        self.record(&gained, true);
        Some(ShardHandover::Gained(gained, is_first))
    }

    fn record(&self, shards: &BTreeSet<Shard>, is_gained: bool) {
        let (process, at) = (self.world.current_process(), self.world.stamp());
        let word = if is_gained { "gained" } else { "lost" };
        self.world.trace(|| format!("{word}: {shards:?}"));
        self.world.log(|log| {
            let changes = shards.iter().map(|&shard| ShardChange {
                process,
                at,
                shard,
                is_gained,
            });
            log.shard_changes.extend(changes);
        });
    }
}
