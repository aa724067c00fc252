//! The queue of deliveries: in what order and how often they are attempted, and when a delivery has failed.
//!
//! There is a lane per watch and hook. One delivery of a lane runs at a time, so a hook receives the events of a job in
//! order, and only the head is retried: after 1 s, doubling, at most 5 min, with full jitter, and not before
//! `Retry-After`. While it waits for a retry it takes no place of `max_running`. Of all due deliveries the oldest goes
//! first. Once more than `retries` attempts have failed, the delivery has failed and leaves the queue; it stays in the
//! store until it is retried or discarded.
//!
//! An attempt visits the queue three times. [`Queue::begin`] reserves a delivery; its owner commits that and runs the
//! attempt. [`Queue::settle`] turns the result into a [`DeliveryChange`]; the owner commits that. [`Queue::apply`] applies
//! it. So no attempt runs that is not stored, and an attempt that a crash interrupts runs again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::hook_queue::{Delivery, HookQueue};
use super::payload::{EventPayload, PayloadError};
use super::{
    Attempt, AttemptResult, DeliveryChange, DeliveryFailure, DeliveryId, DeliveryRow,
    DeliveryState, HookRules, OpenDelivery, OpenState, Settlement,
};
use crate::event::WatchId;
use crate::job::JobRef;
use crate::time::Moment;

/// Longest delay that a receiver can request by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Why the deliveries of a removed hook fail.
const HOOK_REMOVED: &str = "the hook is no longer in the configuration";

/// All pending and running deliveries. Failed ones are not kept, so a broken hook takes no memory.
#[derive(Debug, Default)]
pub struct Queue {
    hooks: BTreeMap<Arc<str>, HookQueue>,
    /// Number of deliveries added so far, for [`Delivery::order`].
    added: u64,
}

impl Queue {
    /// An empty queue for these hooks.
    pub fn new(hooks: &[HookRules]) -> Self {
        let mut queue = Self::default();
        queue.configure(hooks);
        queue
    }

    /// Replaces the list of hooks. [`Queue::fail_orphaned`] fails the deliveries of removed ones; a running attempt is
    /// their last.
    pub fn configure(&mut self, hooks: &[HookRules]) {
        for hook in self.hooks.values_mut() {
            hook.rules = None;
        }
        for rules in hooks {
            let hook = self.hooks.entry(Arc::clone(&rules.name)).or_default();
            hook.rules = Some(rules.clone());
        }
    }

    /// Fails the pending deliveries of removed hooks, each once: loaded ones, those of a commit that was under way when
    /// the hook was removed, and those whose attempt could not start.
    pub fn fail_orphaned(&mut self) -> Vec<Settlement> {
        let hooks = self.hooks.iter_mut();
        let removed = hooks.filter(|(_, hook)| hook.rules.is_none());
        removed
            .flat_map(|(name, hook)| hook.fail_all(name, HOOK_REMOVED, true))
            .collect()
    }

    /// Fails all open deliveries for this reason, running ones included, except those with a change under way.
    pub fn fail_all(&mut self, why: &str) -> Vec<Settlement> {
        let hooks = self.hooks.iter_mut();
        hooks
            .flat_map(|(name, hook)| hook.fail_all(name, why, false))
            .collect()
    }

    /// Drops the deliveries of these watches, which no change follows. Returns those with an attempt or a change under
    /// way.
    pub fn release(&mut self, which: impl Fn(WatchId, Option<JobRef>) -> bool) -> Vec<DeliveryId> {
        let mut under_way = Vec::new();
        for (name, hook) in &mut self.hooks {
            let events = hook.release(&which);
            under_way.extend(events.into_iter().map(|event| DeliveryId {
                event,
                hook: Arc::clone(name),
            }));
        }
        under_way
    }

    /// Adds a delivery that is due at once. An existing one is not changed.
    pub fn add(&mut self, id: &DeliveryId, payload: Arc<EventPayload>, now: Moment) {
        let due = now.up_ms;
        self.insert(id, payload, (0, 0), due);
    }

    /// Adds a stored delivery. No delay is longer than an hour: a later time was written with a wrong clock.
    ///
    /// # Errors
    /// The stored body is not an event.
    pub fn load(&mut self, row: DeliveryRow, now: Moment) -> Result<(), PayloadError> {
        let DeliveryRow { id, state, .. } = row;
        match state {
            DeliveryState::Pending { due_ms } => {
                let left = u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
                let left = left.min(MAX_RETRY_AFTER.as_millis() as u64);
                let payload = Arc::new(EventPayload::parse(row.body)?);
                let counts = (row.attempts, row.failures);
                self.insert(&id, payload, counts, now.up_ms.saturating_add(left));
            }
            DeliveryState::Failed(_) | DeliveryState::Delivered | DeliveryState::Discarded => {}
        }
        Ok(())
    }

    /// Reserves the oldest due delivery whose hook has room for an attempt. The attempt starts once [`Attempt::begin`] is
    /// committed; if it cannot be, call [`Queue::requeue`].
    pub fn begin(&mut self, now: Moment) -> Option<Attempt> {
        let with_room = self.hooks.iter_mut().filter(|(_, hook)| hook.has_room());
        let due = with_room.filter_map(|(name, hook)| {
            let first = hook.first().filter(|&(due, ..)| due <= now.up_ms)?;
            Some((first, name, hook))
        });
        let (_, name, hook) = due.min_by_key(|&(first, ..)| first)?;
        hook.begin(name)
    }

    /// Undoes [`Queue::begin`] if the attempt did not start, or ends an attempt that was interrupted for `why`: due again
    /// at `until`. Neither counts towards `retries`.
    pub fn requeue(&mut self, id: &DeliveryId, until: Moment, why: Option<DeliveryFailure>) {
        self.end(id, |delivery| {
            if why.is_none() {
                delivery.attempts = delivery.attempts.saturating_sub(1);
            }
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

    /// The change of a delivery after an attempt. Until it is applied no other change is made. `backoff` returns the delay
    /// after a number of failures.
    pub fn settle(
        &mut self,
        id: DeliveryId,
        result: AttemptResult,
        now: Moment,
        backoff: impl FnOnce(u8) -> Duration,
    ) -> Settlement {
        let hook = self.hooks.entry(Arc::clone(&id.hook)).or_default();
        hook.settle(id.event);
        let failures = hook.get(id.event).map_or(0, |delivery| delivery.failures);
        // The deliveries of a removed hook are not retried.
        let retries = hook.rules.as_ref().map_or(0, |rules| rules.retries);
        let change = match result {
            AttemptResult::Delivered => DeliveryChange::Deliver { id },
            AttemptResult::Failed { why, not_before } if failures < retries => {
                let failures = failures.saturating_add(1);
                let delay = backoff(u8::try_from(failures).unwrap_or(u8::MAX));
                let until = now.plus(delay.max(not_before.min(MAX_RETRY_AFTER)));
                DeliveryChange::Reschedule { id, until, why }
            }
            AttemptResult::Failed { why, .. } | AttemptResult::Rejected(why) => {
                return hook.failure(id, why);
            }
        };
        Settlement {
            change,
            hook_failed: None,
        }
    }

    /// Applies a committed change.
    pub fn apply(&mut self, change: &DeliveryChange) {
        match change {
            // Retried and discarded deliveries have left the queue before.
            DeliveryChange::Begin { .. }
            | DeliveryChange::Retry { .. }
            | DeliveryChange::Discard { .. } => {}
            DeliveryChange::Reschedule { id, until, why } => self.end(id, |delivery| {
                delivery.failures = delivery.failures.saturating_add(1);
                delivery.due = until.up_ms;
                delivery.last_failure = Some(why.clone());
            }),
            DeliveryChange::Deliver { id } | DeliveryChange::Fail { id, .. } => self.remove(id),
        }
    }

    /// Whether no delivery is open.
    pub fn is_idle(&self) -> bool {
        self.hooks.values().all(HookQueue::is_idle)
    }

    /// Whether the delivery is open.
    pub fn contains(&self, id: &DeliveryId) -> bool {
        let hook = self.hooks.get(&id.hook);
        hook.is_some_and(|hook| hook.get(id.event).is_some())
    }

    /// Number of open deliveries.
    pub fn open_count(&self) -> usize {
        self.hooks.values().map(|hook| hook.events().count()).sum()
    }

    /// Number of deliveries with an attempt under way.
    pub fn running_count(&self) -> usize {
        self.hooks.values().map(|hook| hook.running).sum()
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

    fn insert(
        &mut self,
        id: &DeliveryId,
        payload: Arc<EventPayload>,
        (attempts, failures): (u32, u32),
        due: u64,
    ) {
        self.added += 1;
        let delivery = Delivery {
            payload,
            attempts,
            failures,
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
