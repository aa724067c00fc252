//! The law of deliveries: which event goes to which hook, in what order, how often it is tried, and when it is given
//! up. No clock, no dice, no I/O: [`super::Hooks`] brings them.
//!
//! Each watch has a queue at each hook. One delivery of a queue runs at a time, so a hook hears of a job in order; its
//! head alone is tried again: after 1 s, doubling, at most 5 min, with full jitter, and not before what
//! `Retry-After` said. A delivery that waits for that holds no place of `max_running`, and of all that are due the
//! oldest goes first. After `retries` it is given up, and the next of its queue goes: from then on the store alone has it,
//! until somebody decides about it.
//!
//! Whatever is decided is a [`DeliveryChange`], a value that a store can write down before it is true: [`Queue::begin`] and
//! [`Queue::settle`] make one, the owner records it, [`Queue::apply`] puts it into force. So no attempt runs that is
//! not on record, and one that a crash cut off runs again.

mod delivery;
mod hook_queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::payload::{EventPayload, PayloadError};
use crate::hooks::HookSpec;
pub use delivery::{Attempt, Listed, Stands};
use forgewatch_core::delivery::{
    DeliveryChange, DeliveryFailure, DeliveryId, DeliveryRow, DeliveryState,
};
use forgewatch_core::event::{Event, EventId, FailedDelivery};
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Rng;
use hook_queue::{Delivery, Hook, Rules};

/// The longest that a receiver can put off the next attempt.
const LONGEST_FLOOR: Duration = Duration::from_hours(1);

/// Why there is no attempt any more at the deliveries of a hook that is not configured.
const HOOK_GONE: &str = "the hook is no longer in the configuration";

/// Every delivery that is to be made. One given up is forgotten here, so what a dead hook leaves behind takes no memory.
#[derive(Debug, Default)]
pub struct Queue {
    hooks: BTreeMap<Arc<str>, Hook>,
    /// There is no time left to tell of what is given up.
    is_hasty: bool,
    /// How many were ever added: of two that are due at once, the one added first goes first.
    added: u64,
}

impl Queue {
    /// No delivery yet, for these hooks.
    pub fn new(hooks: &[HookSpec]) -> Self {
        let mut queue = Self::default();
        queue.configure(hooks);
        queue
    }

    /// Takes over another list of hooks. [`Queue::leaving`] says what becomes of the deliveries of those that are gone;
    /// one that is being tried has this attempt left.
    pub fn configure(&mut self, hooks: &[HookSpec]) {
        for hook in self.hooks.values_mut() {
            hook.rules = None;
        }
        for spec in hooks {
            self.hooks.entry(Arc::clone(&spec.name)).or_default().rules = Some(Rules::of(spec));
        }
    }

    /// What becomes of the deliveries whose hook has gone, each told once: whichever way they came here, from a store, with
    /// a commit that was under way when the hook left, or back from an attempt that could not be made.
    pub fn leaving(&mut self) -> Vec<DeliveryChange> {
        let mut changes = Vec::new();
        let gone = self
            .hooks
            .iter_mut()
            .filter(|(_, hook)| hook.rules.is_none());
        for (name, hook) in gone {
            for event in hook.leave(true) {
                changes.push(give_up(name, hook, event, HOOK_GONE));
            }
        }
        changes
    }

    /// The deliveries that this event causes, to be recorded with it, and then [`Queue::add`]ed.
    pub fn wanted(&self, event: &Event) -> Vec<DeliveryId> {
        // Who cannot be told of anything cannot be told of that.
        let of_failure = |given_up: &FailedDelivery| self.is_hasty || given_up.of_hook_failed;
        if event.facts.delivery.as_deref().is_some_and(of_failure) {
            return Vec::new();
        }
        let hooks = self.hooks.iter().filter(|(_, hook)| hook.wants(event));
        hooks
            .map(|(name, _)| DeliveryId {
                event: event.id,
                hook: Arc::clone(name),
            })
            .collect()
    }

    /// From here on nobody hears of deliveries given up.
    pub fn tell_no_failures(&mut self) {
        self.is_hasty = true;
    }

    /// Adds a delivery that is due at once. One that is there already stays as it is.
    pub fn add(&mut self, id: &DeliveryId, told: Arc<EventPayload>, now: Moment) {
        let due = now.up_ms;
        self.insert(id, told, 0, due);
    }

    /// Adds what a store kept. A time far off was written by a clock that was wrong: no wait is longer than an hour.
    ///
    /// # Errors
    /// What is kept is no event of ours.
    pub fn load(&mut self, row: DeliveryRow, now: Moment) -> Result<(), PayloadError> {
        let DeliveryRow { id, attempts, .. } = row;
        match row.standing {
            DeliveryState::Pending { due_ms } => {
                let left = u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
                let left = left.min(LONGEST_FLOOR.as_millis() as u64);
                let told = Arc::new(EventPayload::parse(row.body)?);
                self.insert(&id, told, attempts, now.up_ms.saturating_add(left));
            }
            DeliveryState::Failed(_) | DeliveryState::Delivered | DeliveryState::Discarded => {}
        }
        Ok(())
    }

    /// Sets the oldest due delivery aside for an attempt, if there is one and its hook has room. It begins once the
    /// change is recorded; where that cannot be done, [`Queue::put_back`].
    pub fn begin(&mut self, now: Moment) -> Option<DeliveryChange> {
        let due =
            |(_, hook): &(&Arc<str>, &Hook)| hook.first().filter(|&(due, ..)| due <= now.up_ms);
        let with_room = self.hooks.iter().filter(|(_, hook)| hook.has_room());
        let (name, _) = with_room
            .filter_map(|entry| Some((entry.0, due(&entry)?)))
            .min_by_key(|&(_, first)| first)?;
        let name = Arc::clone(name);
        let hook = self.hooks.get_mut(&name)?;
        let (event, attempt) = hook.begin()?;
        let id = DeliveryId { event, hook: name };
        Some(DeliveryChange::Begin { id, attempt })
    }

    /// Takes back what [`Queue::begin`] set aside, as it could not be recorded, or was cut off for `why`: due again at
    /// `until`. Here it was no attempt. On record, one that was cut off stays begun: after the next start the count
    /// goes on from there, and `retries` counts it too.
    pub fn put_back(&mut self, id: &DeliveryId, until: Moment, why: Option<DeliveryFailure>) {
        self.end(id, |delivery| {
            delivery.attempts = delivery.attempts.saturating_sub(1);
            delivery.due = until.up_ms;
            delivery.last = why.or(delivery.last.take());
        });
    }

    /// When [`Queue::begin`] is worth calling again: monotonic milliseconds. None where only the end of an attempt
    /// can change anything.
    pub fn wake(&self) -> Option<u64> {
        let with_room = self.hooks.values().filter(|hook| hook.has_room());
        with_room.filter_map(|hook| Some(hook.first()?.0)).min()
    }

    /// What is being delivered, and to whom.
    pub fn told(&self, id: &DeliveryId) -> Option<&Arc<EventPayload>> {
        Some(&self.hooks.get(&id.hook)?.get(id.event)?.told)
    }

    /// What becomes of a delivery after this attempt: nothing else does, until that is recorded and in force. `backoff` is
    /// the longest wait after so many failures.
    pub fn settle(
        &mut self,
        id: DeliveryId,
        attempt: Attempt,
        now: Moment,
        backoff: fn(u8) -> Duration,
        rng: &mut impl Rng,
    ) -> DeliveryChange {
        if let Some(hook) = self.hooks.get_mut(&id.hook) {
            hook.settle(id.event);
        }
        let hook = self.hooks.get(&id.hook);
        let delivery = hook.and_then(|hook| hook.get(id.event));
        let attempts = delivery.map_or(0, |delivery| delivery.attempts);
        // A hook that has left the configuration is not tried again.
        let retries = hook
            .and_then(|hook| hook.rules.as_ref())
            .map_or(0, |rules| rules.retries);
        match attempt {
            Attempt::Delivered => DeliveryChange::Deliver { id },
            Attempt::Failed { why, not_before } if attempts <= retries => {
                let longest = backoff(u8::try_from(attempts).unwrap_or(u8::MAX));
                let jittered = longest.mul_f64(rng.roll().clamp(0.0, 1.0));
                let wait = jittered.max(not_before.min(LONGEST_FLOOR));
                let until = now.plus(wait);
                tracing::debug!(delivery = %id, error = %why.error, "tried again");
                DeliveryChange::Wait { id, until, why }
            }
            Attempt::Failed { why, .. } | Attempt::Refused(why) => {
                DeliveryChange::GiveUp { id, why }
            }
        }
    }

    /// What `hook.failed` tells of this change, and what went wrong; None where nothing is given up by it.
    pub fn gives_up(&self, change: &DeliveryChange) -> Option<(FailedDelivery, String)> {
        let DeliveryChange::GiveUp { id, why } = change else {
            return None;
        };
        let delivery = self.hooks.get(&id.hook)?.get(id.event)?;
        let given_up = FailedDelivery {
            hook: id.hook.to_string(),
            delivery: id.to_string(),
            attempt: delivery.attempts,
            exit_status: why.exit_status,
            what: delivery.told.what(),
            of_hook_failed: delivery.told.is_hook_failed(),
        };
        Some((given_up, why.error.clone()))
    }

    /// Puts a recorded change into force.
    pub fn apply(&mut self, change: &DeliveryChange) {
        match change {
            // Of what is decided by people the queue knows nothing any more.
            DeliveryChange::Begin { .. }
            | DeliveryChange::Retry { .. }
            | DeliveryChange::Discard { .. } => {}
            DeliveryChange::Wait { id, until, why } => self.end(id, |delivery| {
                delivery.due = until.up_ms;
                delivery.last = Some(why.clone());
            }),
            DeliveryChange::Deliver { id } | DeliveryChange::GiveUp { id, .. } => self.remove(id),
        }
    }

    /// Gives up all that is not delivered, for this reason; what is being tried included, and what is settled already
    /// left alone.
    pub fn give_up_all(&mut self, why: &str) -> Vec<DeliveryChange> {
        let mut changes = Vec::new();
        for (name, hook) in &mut self.hooks {
            for event in hook.leave(false) {
                changes.push(give_up(name, hook, event, why));
            }
        }
        changes
    }

    /// Whether there is nothing left to deliver.
    pub fn is_idle(&self) -> bool {
        self.hooks.values().all(Hook::is_idle)
    }

    /// How many there are to deliver.
    pub fn waiting(&self) -> usize {
        self.hooks.values().map(|hook| hook.events().count()).sum()
    }

    /// Whether a hook of this name is configured.
    pub fn has_hook(&self, name: &str) -> bool {
        self.hooks
            .get(name)
            .is_some_and(|hook| hook.rules.is_some())
    }

    /// All that is to deliver, by hook and event.
    pub fn list(&self, now: Moment) -> impl Iterator<Item = Listed> {
        let ids = self.hooks.iter().flat_map(|(name, hook)| {
            hook.events().map(move |event| DeliveryId {
                event,
                hook: Arc::clone(name),
            })
        });
        ids.filter_map(move |id| self.find(&id, now))
    }

    /// This one, where it is to be delivered.
    pub fn find(&self, id: &DeliveryId, now: Moment) -> Option<Listed> {
        let hook = self.hooks.get(&id.hook)?;
        let delivery = hook.get(id.event)?;
        let stands = if hook.is_running(id.event) {
            Stands::Running
        } else {
            let left = delivery.due.saturating_sub(now.up_ms);
            Stands::Pending {
                due_ms: now.plus(Duration::from_millis(left)).wall_ms,
            }
        };
        Some(Listed {
            id: id.clone(),
            told: Arc::clone(&delivery.told),
            attempts: delivery.attempts,
            stands,
            last: delivery.last.clone(),
        })
    }

    fn insert(&mut self, id: &DeliveryId, told: Arc<EventPayload>, attempts: u32, due: u64) {
        self.added += 1;
        let delivery = Delivery {
            told,
            attempts,
            last: None,
            due,
            order: self.added,
            is_settling: false,
        };
        let hook = self.hooks.entry(Arc::clone(&id.hook)).or_default();
        hook.add(id.event, delivery);
    }

    /// Takes a delivery out of its queue.
    fn remove(&mut self, id: &DeliveryId) {
        if let Some(hook) = self.hooks.get_mut(&id.hook) {
            hook.remove(id.event);
        }
    }

    /// The attempt of this delivery is over.
    fn end(&mut self, id: &DeliveryId, then: impl FnOnce(&mut Delivery)) {
        if let Some(hook) = self.hooks.get_mut(&id.hook) {
            hook.end(id.event, then);
        }
    }
}

/// Gives up one that there will be no attempt at.
fn give_up(name: &Arc<str>, hook: &Hook, event: EventId, why: &str) -> DeliveryChange {
    let last = hook.get(event).and_then(|delivery| delivery.last.as_ref());
    DeliveryChange::GiveUp {
        id: DeliveryId {
            event,
            hook: Arc::clone(name),
        },
        why: DeliveryFailure::without_attempt(why, last),
    }
}
