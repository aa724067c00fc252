//! The rules of deliveries: which hook receives an event, in what order, how often, and when a delivery has failed.
//! Without clock, random numbers and I/O: [`super::Dispatcher`] supplies them.
//!
//! There is a lane per watch and hook. One delivery of a lane runs at a time, so a hook receives the events of a job in
//! order, and only the head is retried: after 1 s, doubling, at most 5 min, with full jitter, and not before
//! `Retry-After`. While it waits for a retry it takes no place of `max_running`. Of all due deliveries the oldest goes
//! first. After `retries` a delivery has failed and leaves the queue; it stays in the store until it is retried or
//! discarded.
//!
//! Every decision is a [`DeliveryChange`], a value that is committed before it applies: [`Queue::begin`] and
//! [`Queue::settle`] return one, the owner commits it, [`Queue::apply`] applies it. So no attempt runs that is not
//! stored, and an attempt that a crash interrupts runs again.

mod delivery;
mod hook_queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::payload::{EventPayload, PayloadError};
use crate::hooks::HookSpec;
pub use delivery::{AttemptResult, OpenDelivery, OpenState};
use forgewatch_core::delivery::{
    DeliveryChange, DeliveryFailure, DeliveryId, DeliveryRow, DeliveryState,
};
use forgewatch_core::event::{Event, EventId, FailedDelivery};
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Rng;
use hook_queue::{Delivery, HookQueue, HookRules};

/// Longest delay that a receiver can request by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Why the deliveries of a removed hook fail.
const HOOK_REMOVED: &str = "the hook is no longer in the configuration";

/// All pending and running deliveries. Failed ones are not kept, so a broken hook takes no memory.
#[derive(Debug, Default)]
pub struct Queue {
    hooks: BTreeMap<Arc<str>, HookQueue>,
    /// `hook.failed` is not delivered to hooks.
    failure_events_suppressed: bool,
    /// Number of deliveries added so far, for [`Delivery::order`].
    added: u64,
}

impl Queue {
    /// An empty queue for these hooks.
    pub fn new(hooks: &[HookSpec]) -> Self {
        let mut queue = Self::default();
        queue.configure(hooks);
        queue
    }

    /// Replaces the list of hooks. [`Queue::fail_orphaned`] fails the deliveries of removed ones; a running attempt is
    /// their last.
    pub fn configure(&mut self, hooks: &[HookSpec]) {
        for hook in self.hooks.values_mut() {
            hook.rules = None;
        }
        for spec in hooks {
            self.hooks.entry(Arc::clone(&spec.name)).or_default().rules = Some(HookRules::of(spec));
        }
    }

    /// Fails the pending deliveries of removed hooks, each once: loaded ones, those of a commit that was under way when
    /// the hook was removed, and those whose attempt could not start.
    pub fn fail_orphaned(&mut self) -> Vec<DeliveryChange> {
        let mut changes = Vec::new();
        let removed = self
            .hooks
            .iter_mut()
            .filter(|(_, hook)| hook.rules.is_none());
        for (name, hook) in removed {
            for event in hook.settle_all(true) {
                changes.push(failure(name, hook, event, HOOK_REMOVED));
            }
        }
        changes
    }

    /// The deliveries of an event, to be committed with it and then [`Queue::add`]ed.
    pub fn deliveries_for(&self, event: &Event) -> Vec<DeliveryId> {
        // A failed delivery of a `hook.failed` causes no further one.
        let is_skipped =
            |failed: &FailedDelivery| self.failure_events_suppressed || failed.of_hook_failed;
        if event.fields.delivery.as_deref().is_some_and(is_skipped) {
            return Vec::new();
        }
        let hooks = self.hooks.iter().filter(|(_, hook)| hook.receives(event));
        hooks
            .map(|(name, _)| DeliveryId {
                event: event.id,
                hook: Arc::clone(name),
            })
            .collect()
    }

    /// From now on no `hook.failed` is delivered to hooks.
    pub fn suppress_failure_events(&mut self) {
        self.failure_events_suppressed = true;
    }

    /// Adds a delivery that is due at once. An existing one is not changed.
    pub fn add(&mut self, id: &DeliveryId, payload: Arc<EventPayload>, now: Moment) {
        let due = now.up_ms;
        self.insert(id, payload, 0, due);
    }

    /// Adds a stored delivery. No delay is longer than an hour: a later time was written with a wrong clock.
    ///
    /// # Errors
    /// The stored body is not an event.
    pub fn load(&mut self, row: DeliveryRow, now: Moment) -> Result<(), PayloadError> {
        let DeliveryRow { id, attempts, .. } = row;
        match row.state {
            DeliveryState::Pending { due_ms } => {
                let left = u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
                let left = left.min(MAX_RETRY_AFTER.as_millis() as u64);
                let payload = Arc::new(EventPayload::parse(row.body)?);
                self.insert(&id, payload, attempts, now.up_ms.saturating_add(left));
            }
            DeliveryState::Failed(_) | DeliveryState::Delivered | DeliveryState::Discarded => {}
        }
        Ok(())
    }

    /// Reserves the oldest due delivery whose hook has room for an attempt. The attempt starts once the change is
    /// committed; if it cannot be, call [`Queue::requeue`].
    pub fn begin(&mut self, now: Moment) -> Option<DeliveryChange> {
        let due = |(_, hook): &(&Arc<str>, &HookQueue)| {
            hook.first().filter(|&(due, ..)| due <= now.up_ms)
        };
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

    /// Undoes [`Queue::begin`] if it could not be committed, or if the attempt was interrupted for `why`: due again at
    /// `until`. The queue does not count this attempt. In the store an interrupted attempt stays begun and counts towards
    /// `retries` after the next startup.
    pub fn requeue(&mut self, id: &DeliveryId, until: Moment, why: Option<DeliveryFailure>) {
        self.end(id, |delivery| {
            delivery.attempts = delivery.attempts.saturating_sub(1);
            delivery.due = until.up_ms;
            delivery.last_failure = why.or(delivery.last_failure.take());
        });
    }

    /// When [`Queue::begin`] can start the next attempt, in monotonic milliseconds. None if only the end of an attempt
    /// makes one possible.
    pub fn next_due(&self) -> Option<u64> {
        let with_room = self.hooks.values().filter(|hook| hook.has_room());
        with_room.filter_map(|hook| Some(hook.first()?.0)).min()
    }

    /// The payload of an open delivery.
    pub fn payload(&self, id: &DeliveryId) -> Option<&Arc<EventPayload>> {
        Some(&self.hooks.get(&id.hook)?.get(id.event)?.payload)
    }

    /// The change of a delivery after an attempt. Until it is applied no other change is made. `backoff` is the upper
    /// bound of the delay after a number of failures.
    pub fn settle(
        &mut self,
        id: DeliveryId,
        attempt: AttemptResult,
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
        // The deliveries of a removed hook are not retried.
        let retries = hook
            .and_then(|hook| hook.rules.as_ref())
            .map_or(0, |rules| rules.retries);
        match attempt {
            AttemptResult::Delivered => DeliveryChange::Deliver { id },
            AttemptResult::Failed { why, not_before } if attempts <= retries => {
                let bound = backoff(u8::try_from(attempts).unwrap_or(u8::MAX));
                let jittered = bound.mul_f64(rng.uniform().clamp(0.0, 1.0));
                let wait = jittered.max(not_before.min(MAX_RETRY_AFTER));
                let until = now.plus(wait);
                DeliveryChange::Reschedule { id, until, why }
            }
            AttemptResult::Failed { why, .. } | AttemptResult::Rejected(why) => {
                DeliveryChange::Fail { id, why }
            }
        }
    }

    /// The fields of `hook.failed`, and the cause, if a delivery fails by this change.
    pub fn failure_of(&self, change: &DeliveryChange) -> Option<(FailedDelivery, String)> {
        let DeliveryChange::Fail { id, why } = change else {
            return None;
        };
        let delivery = self.hooks.get(&id.hook)?.get(id.event)?;
        let failed = FailedDelivery {
            hook: id.hook.to_string(),
            delivery: id.to_string(),
            attempt: delivery.attempts,
            exit_status: why.exit_status,
            what: delivery.payload.summary(),
            of_hook_failed: delivery.payload.is_hook_failed(),
        };
        Some((failed, why.error.clone()))
    }

    /// Applies a committed change.
    pub fn apply(&mut self, change: &DeliveryChange) {
        match change {
            // Retried and discarded deliveries have left the queue before.
            DeliveryChange::Begin { .. }
            | DeliveryChange::Retry { .. }
            | DeliveryChange::Discard { .. } => {}
            DeliveryChange::Reschedule { id, until, why } => self.end(id, |delivery| {
                delivery.due = until.up_ms;
                delivery.last_failure = Some(why.clone());
            }),
            DeliveryChange::Deliver { id } | DeliveryChange::Fail { id, .. } => self.remove(id),
        }
    }

    /// Fails all open deliveries for this reason, running ones included, except those with a change under way.
    pub fn fail_all(&mut self, why: &str) -> Vec<DeliveryChange> {
        let mut changes = Vec::new();
        for (name, hook) in &mut self.hooks {
            for event in hook.settle_all(false) {
                changes.push(failure(name, hook, event, why));
            }
        }
        changes
    }

    /// Whether no delivery is open.
    pub fn is_idle(&self) -> bool {
        self.hooks.values().all(HookQueue::is_idle)
    }

    /// Number of open deliveries.
    pub fn open_count(&self) -> usize {
        self.hooks.values().map(|hook| hook.events().count()).sum()
    }

    /// Whether a hook of this name is configured.
    pub fn has_hook(&self, name: &str) -> bool {
        self.hooks
            .get(name)
            .is_some_and(|hook| hook.rules.is_some())
    }

    /// All open deliveries, by hook and event.
    pub fn list(&self, now: Moment) -> impl Iterator<Item = OpenDelivery> {
        let ids = self.hooks.iter().flat_map(|(name, hook)| {
            hook.events().map(move |event| DeliveryId {
                event,
                hook: Arc::clone(name),
            })
        });
        ids.filter_map(move |id| self.find(&id, now))
    }

    /// The delivery, if it is open.
    pub fn find(&self, id: &DeliveryId, now: Moment) -> Option<OpenDelivery> {
        let hook = self.hooks.get(&id.hook)?;
        let delivery = hook.get(id.event)?;
        let state = if hook.is_running(id.event) {
            OpenState::Running
        } else {
            let left = delivery.due.saturating_sub(now.up_ms);
            OpenState::Pending {
                due_ms: now.plus(Duration::from_millis(left)).wall_ms,
            }
        };
        Some(OpenDelivery {
            id: id.clone(),
            payload: Arc::clone(&delivery.payload),
            attempts: delivery.attempts,
            state,
            last_failure: delivery.last_failure.clone(),
        })
    }

    fn insert(&mut self, id: &DeliveryId, payload: Arc<EventPayload>, attempts: u32, due: u64) {
        self.added += 1;
        let delivery = Delivery {
            payload,
            attempts,
            last_failure: None,
            due,
            order: self.added,
            is_settling: false,
        };
        let hook = self.hooks.entry(Arc::clone(&id.hook)).or_default();
        hook.add(id.event, delivery);
    }

    fn remove(&mut self, id: &DeliveryId) {
        if let Some(hook) = self.hooks.get_mut(&id.hook) {
            hook.remove(id.event);
        }
    }

    fn end(&mut self, id: &DeliveryId, update: impl FnOnce(&mut Delivery)) {
        if let Some(hook) = self.hooks.get_mut(&id.hook) {
            hook.end(id.event, update);
        }
    }
}

/// The change by which a delivery fails without an attempt.
fn failure(name: &Arc<str>, hook: &HookQueue, event: EventId, why: &str) -> DeliveryChange {
    let last = hook
        .get(event)
        .and_then(|delivery| delivery.last_failure.as_ref());
    DeliveryChange::Fail {
        id: DeliveryId {
            event,
            hook: Arc::clone(name),
        },
        why: DeliveryFailure::without_attempt(why, last),
    }
}
