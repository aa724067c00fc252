//! The law of deliveries: which event goes to which hook, in what order, how often it is tried, and when it is given
//! up. No clock, no dice, no I/O: [`super::Hooks`] brings them.
//!
//! Each watch has a queue at each hook. One delivery of a queue runs at a time, so a hook hears of a job in order; its
//! head alone is tried again: after 1 s, doubling, at most 5 min, with full jitter, and not before what
//! `Retry-After` said. A delivery that waits for that holds no place of `max_running`, and of all that are due the
//! oldest goes first. After `retries` it is given up and kept, and the next of its queue goes.
//!
//! Whatever is decided is a [`Change`], a value that a store can write down before it is true: [`Queue::begin`] and
//! [`Queue::settle`] make one, the owner records it, [`Queue::apply`] puts it into force. So no attempt runs that is
//! not on record, and one that a crash cut off runs again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::told::{NotTold, Told};
use crate::config::hooks::ALL_OF_JOBS;
use crate::config::settings::HookSpec;
use crate::core::delivery::{Change, DeliveryId, Failure, Row, Standing};
use crate::core::event::{EventId, WatchId};
use crate::core::job::JobKind;
use crate::core::time::Moment;
use crate::core::watch::Dice;

/// The longest that a receiver can put off the next attempt.
const LONGEST_FLOOR: Duration = Duration::from_hours(1);

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Delivered,
    /// It was not, and is tried again, not before `not_before` from now.
    Failed {
        /// What went wrong.
        why: Failure,
        /// The receiver's wish.
        not_before: Duration,
    },
    /// It was not, and never will be.
    Refused(Failure),
}

/// A delivery that has just been given up, for `hook.failed`.
#[derive(Clone, Debug, PartialEq)]
pub struct GaveUp {
    /// The delivery.
    pub id: DeliveryId,
    /// What was to be delivered.
    pub told: Arc<Told>,
    /// How many attempts there were.
    pub attempts: u32,
    /// What went wrong last.
    pub why: Failure,
}

/// Every delivery that is not done.
#[derive(Debug, Default)]
pub struct Queue {
    hooks: BTreeMap<Arc<str>, Hook>,
    given_up: BTreeMap<DeliveryId, (Delivery, Failure)>,
    /// How many were ever added: of two that are due at once, the one added first goes first.
    added: u64,
}

/// One hook: its rules, and its queues by watch.
#[derive(Debug, Default)]
struct Hook {
    /// None once it has left the configuration.
    rules: Option<Rules>,
    running: usize,
    lanes: BTreeMap<WatchId, Lane>,
    /// The heads that wait, in the order in which they go.
    ready: BTreeSet<(u64, u64, WatchId)>,
}

#[derive(Debug)]
struct Rules {
    on: Vec<String>,
    kinds: Option<Vec<JobKind>>,
    retries: u32,
    max_running: usize,
}

/// The deliveries of one watch to one hook, by the event's number.
#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeMap<u32, Delivery>,
    /// The one of them that is being tried, or about to be.
    running: Option<u32>,
    /// Its place in [`Hook::ready`].
    ready: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Delivery {
    told: Arc<Told>,
    attempts: u32,
    /// On the clock that only rises.
    due: u64,
    order: u64,
}

impl Queue {
    /// No delivery yet, for these hooks.
    pub fn new(hooks: &[HookSpec]) -> Self {
        let mut queue = Self::default();
        queue.configure(hooks);
        queue
    }

    /// Takes over another list of hooks. Returns what becomes of the deliveries of those that are gone; one that is
    /// being tried has this attempt left.
    pub fn configure(&mut self, hooks: &[HookSpec]) -> Vec<Change> {
        for hook in self.hooks.values_mut() {
            hook.rules = None;
        }
        for spec in hooks {
            self.hooks.entry(Arc::clone(&spec.name)).or_default().rules = Some(Rules {
                on: spec.on.clone(),
                kinds: spec.kinds.clone(),
                retries: spec.retries,
                max_running: spec.max_running,
            });
        }
        let gone = self.hooks.iter().filter(|(_, hook)| hook.rules.is_none());
        gone.flat_map(|(name, hook)| hook.idle().map(|event| gone_with_its_hook(event, name)))
            .collect()
    }

    /// The deliveries that this event causes, to be recorded with it, and then [`Queue::add`]ed.
    pub fn wanted(&self, told: &Told) -> Vec<DeliveryId> {
        let wants = |hook: &Hook| hook.rules.as_ref().is_some_and(|rules| rules.want(told));
        let hooks = self.hooks.iter().filter(|(_, hook)| wants(hook));
        hooks
            .map(|(name, _)| DeliveryId {
                event: told.id(),
                hook: Arc::clone(name),
            })
            .collect()
    }

    /// Adds a delivery that is due at once. One that is there already stays as it is.
    pub fn add(&mut self, id: &DeliveryId, told: Arc<Told>, now: Moment) {
        let due = now.up_ms;
        self.insert(id, told, 0, due);
    }

    /// Adds what a store kept. A time far off was written by a clock that was wrong: no wait is longer than an hour.
    /// Returns what becomes of the delivery where its hook has gone.
    ///
    /// # Errors
    /// What is kept is no event of ours.
    pub fn load(&mut self, row: Row, now: Moment) -> Result<Option<Change>, NotTold> {
        let Row { id, attempts, .. } = row;
        match row.standing {
            Standing::Waiting { due_ms } => {
                let left = u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
                let left = left.min(LONGEST_FLOOR.as_millis() as u64);
                let told = Arc::new(Told::parse(row.body)?);
                self.insert(&id, told, attempts, now.up_ms.saturating_add(left));
                let rules = self
                    .hooks
                    .get(&id.hook)
                    .and_then(|hook| hook.rules.as_ref());
                let is_gone = rules.is_none();
                Ok(is_gone.then(|| gone_with_its_hook(id.event, &id.hook)))
            }
            Standing::GivenUp(why) => {
                let told = Arc::new(Told::parse(row.body)?);
                let delivery = self.delivery(told, attempts, now.up_ms);
                self.given_up.insert(id, (delivery, why));
                Ok(None)
            }
            Standing::Delivered | Standing::Discarded => Ok(None),
        }
    }

    /// Sets the oldest due delivery aside for an attempt, if there is one and its hook has room. It begins once the
    /// change is recorded; where that cannot be done, [`Queue::put_back`].
    pub fn begin(&mut self, now: Moment) -> Option<Change> {
        let due =
            |(_, hook): &(&Arc<str>, &Hook)| hook.first().filter(|&(due, ..)| due <= now.up_ms);
        let with_room = self.hooks.iter().filter(|(_, hook)| hook.has_room());
        let (name, _) = with_room
            .filter_map(|entry| Some((entry.0, due(&entry)?)))
            .min_by_key(|&(_, first)| first)?;
        let name = Arc::clone(name);
        let hook = self.hooks.get_mut(&name)?;
        let (_, _, watch) = hook.first()?;
        let lane = hook.lanes.get_mut(&watch)?;
        let (&seq, delivery) = lane.waiting.iter_mut().next()?;
        delivery.attempts = delivery.attempts.saturating_add(1);
        let attempt = delivery.attempts;
        lane.running = Some(seq);
        hook.running += 1;
        hook.index(watch);
        let id = DeliveryId {
            event: EventId { watch, seq },
            hook: name,
        };
        Some(Change::Begin { id, attempt })
    }

    /// Takes back what [`Queue::begin`] set aside, as it could not be recorded: due again at `until`.
    pub fn put_back(&mut self, id: &DeliveryId, until: Moment) {
        self.stop_running(id, |delivery| {
            delivery.attempts = delivery.attempts.saturating_sub(1);
            delivery.due = until.up_ms;
        });
    }

    /// When [`Queue::begin`] is worth calling again: monotonic milliseconds. None where only the end of an attempt
    /// can change anything.
    pub fn wake(&self) -> Option<u64> {
        let with_room = self.hooks.values().filter(|hook| hook.has_room());
        with_room.filter_map(|hook| Some(hook.first()?.0)).min()
    }

    /// What is being delivered, and to whom.
    pub fn told(&self, id: &DeliveryId) -> Option<&Arc<Told>> {
        let lane = self.hooks.get(&id.hook)?.lanes.get(&id.event.watch)?;
        Some(&lane.waiting.get(&id.event.seq)?.told)
    }

    /// What becomes of a delivery after this attempt. `backoff` is the longest wait after so many failures.
    pub fn settle(
        &self,
        id: DeliveryId,
        attempt: Attempt,
        now: Moment,
        backoff: fn(u8) -> Duration,
        dice: &mut impl Dice,
    ) -> Change {
        let hook = self.hooks.get(&id.hook);
        let lane = hook.and_then(|hook| hook.lanes.get(&id.event.watch));
        let attempts = lane
            .and_then(|lane| lane.waiting.get(&id.event.seq))
            .map_or(0, |delivery| delivery.attempts);
        // A hook that has left the configuration is not tried again.
        let retries = hook
            .and_then(|hook| hook.rules.as_ref())
            .map_or(0, |rules| rules.retries);
        match attempt {
            Attempt::Delivered => Change::Deliver { id },
            Attempt::Failed { why, not_before } if attempts <= retries => {
                let longest = backoff(u8::try_from(attempts).unwrap_or(u8::MAX));
                let jittered = longest.mul_f64(dice.roll().clamp(0.0, 1.0));
                let wait = jittered.max(not_before.min(LONGEST_FLOOR));
                let until = now.plus(wait);
                tracing::debug!(delivery = %id, error = %why.error, "tried again");
                Change::Wait { id, until }
            }
            Attempt::Failed { why, .. } | Attempt::Refused(why) => Change::GiveUp { id, why },
        }
    }

    /// Puts a recorded change into force. Returns what is to be told, where something was given up.
    pub fn apply(&mut self, change: &Change, now: Moment) -> Option<GaveUp> {
        match change {
            Change::Begin { .. } => {}
            Change::Wait { id, until } => self.stop_running(id, |d| d.due = until.up_ms),
            Change::Deliver { id } => drop(self.remove(id)),
            Change::GiveUp { id, why } => {
                let delivery = self.remove(id)?;
                let gave_up = GaveUp {
                    id: id.clone(),
                    told: Arc::clone(&delivery.told),
                    attempts: delivery.attempts,
                    why: why.clone(),
                };
                self.given_up.insert(id.clone(), (delivery, why.clone()));
                return Some(gave_up);
            }
            Change::Retry { id } => {
                let (delivery, _) = self.given_up.remove(id)?;
                self.insert(id, delivery.told, 0, now.up_ms);
            }
            Change::Discard { id } => drop(self.given_up.remove(id)),
        }
        None
    }

    /// Gives up all that is not delivered, for this reason; what is being tried included.
    pub fn give_up_all(&self, why: &str) -> Vec<Change> {
        let all = self.hooks.iter().flat_map(|(name, hook)| {
            let events = hook.lanes.iter().flat_map(|(&watch, lane)| {
                lane.waiting.keys().map(move |&seq| EventId { watch, seq })
            });
            events.map(|event| Change::GiveUp {
                id: DeliveryId {
                    event,
                    hook: Arc::clone(name),
                },
                why: Failure::new(why),
            })
        });
        all.collect()
    }

    /// Whether there is nothing left to deliver, but for what was given up.
    pub fn is_idle(&self) -> bool {
        self.hooks.values().all(|hook| hook.lanes.is_empty())
    }

    /// What was given up and is still kept, and why.
    pub fn given_up(&self) -> impl Iterator<Item = (&DeliveryId, &Failure)> {
        self.given_up.iter().map(|(id, (_, why))| (id, why))
    }

    fn delivery(&mut self, told: Arc<Told>, attempts: u32, due: u64) -> Delivery {
        self.added += 1;
        Delivery {
            told,
            attempts,
            due,
            order: self.added,
        }
    }

    fn insert(&mut self, id: &DeliveryId, told: Arc<Told>, attempts: u32, due: u64) {
        let delivery = self.delivery(told, attempts, due);
        let EventId { watch, seq } = id.event;
        let hook = self.hooks.entry(Arc::clone(&id.hook)).or_default();
        let lane = hook.lanes.entry(watch).or_default();
        lane.waiting.entry(seq).or_insert(delivery);
        hook.index(watch);
    }

    /// Takes a delivery out of its queue.
    fn remove(&mut self, id: &DeliveryId) -> Option<Delivery> {
        self.stop_running(id, |_| {});
        let EventId { watch, seq } = id.event;
        let hook = self.hooks.get_mut(&id.hook)?;
        let delivery = hook.lanes.get_mut(&watch)?.waiting.remove(&seq);
        hook.index(watch);
        delivery
    }

    /// The attempt of this delivery is over: its queue and its hook have room again.
    fn stop_running(&mut self, id: &DeliveryId, then: impl FnOnce(&mut Delivery)) {
        let EventId { watch, seq } = id.event;
        let Some(hook) = self.hooks.get_mut(&id.hook) else {
            return;
        };
        let Some(lane) = hook.lanes.get_mut(&watch) else {
            return;
        };
        if lane.running == Some(seq) {
            lane.running = None;
            hook.running = hook.running.saturating_sub(1);
        }
        if let Some(delivery) = lane.waiting.get_mut(&seq) {
            then(delivery);
        }
        hook.index(watch);
    }
}

impl Rules {
    fn want(&self, told: &Told) -> bool {
        let job = told.job();
        let of_type = self
            .on
            .iter()
            .any(|on| on == told.kind() || (on == ALL_OF_JOBS && told.kind().starts_with("job.")));
        let of_kind = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| job.is_some_and(|job| kinds.contains(&job.kind)));
        of_type && of_kind
    }
}

impl Hook {
    fn has_room(&self) -> bool {
        let limit = self.rules.as_ref().map_or(0, |rules| rules.max_running);
        self.running < limit
    }

    fn first(&self) -> Option<(u64, u64, WatchId)> {
        self.ready.first().copied()
    }

    /// The events whose deliveries wait and are not being tried.
    fn idle(&self) -> impl Iterator<Item = EventId> {
        self.lanes.iter().flat_map(|(&watch, lane)| {
            let idle = lane
                .waiting
                .keys()
                .filter(|&&seq| lane.running != Some(seq));
            idle.map(move |&seq| EventId { watch, seq })
        })
    }

    /// Brings [`Hook::ready`] in line with one queue; forgets an empty one.
    fn index(&mut self, watch: WatchId) {
        let Some(lane) = self.lanes.get_mut(&watch) else {
            return;
        };
        if let Some((due, order)) = lane.ready.take() {
            self.ready.remove(&(due, order, watch));
        }
        match lane.waiting.values().next() {
            None => drop(self.lanes.remove(&watch)),
            Some(head) if lane.running.is_none() => {
                lane.ready = Some((head.due, head.order));
                self.ready.insert((head.due, head.order, watch));
            }
            Some(_) => {}
        }
    }
}

fn gone_with_its_hook(event: EventId, hook: &Arc<str>) -> Change {
    Change::GiveUp {
        id: DeliveryId {
            event,
            hook: Arc::clone(hook),
        },
        why: Failure::new("the hook is no longer in the configuration"),
    }
}
