//! The deliveries of one hook: a lane per watch, in which one delivery runs at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::payload::EventPayload;
use super::{Attempt, DeliveryChange, DeliveryFailure, DeliveryId, HookRules, Settlement};
use crate::event::{EventFields, EventId, FailedDelivery, WatchId};
use crate::job::JobRef;

/// The deliveries of one hook.
#[derive(Debug, Default)]
pub(super) struct HookQueue {
    /// None once the hook has left the configuration.
    pub(super) rules: Option<HookRules>,
    pub(super) running: usize,
    lanes: BTreeMap<WatchId, Lane>,
    /// Pending heads of lanes in the order of their turns: due, order, watch.
    ready: BTreeSet<(u64, u64, WatchId)>,
}

/// The deliveries of one watch to one hook, by event number.
#[derive(Debug, Default)]
struct Lane {
    open: BTreeMap<u32, Delivery>,
    /// The one with a running attempt.
    running: Option<u32>,
    /// Its key in [`HookQueue::ready`].
    ready: Option<(u64, u64)>,
}

/// An open delivery.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) payload: Arc<EventPayload>,
    /// Attempts begun, and those of them that failed.
    pub(super) attempts: u32,
    pub(super) failures: u32,
    pub(super) last_failure: Option<DeliveryFailure>,
    /// Monotonic milliseconds.
    pub(super) due: u64,
    /// Breaks ties of `due`: the lower goes first.
    pub(super) order: u64,
    /// Its next change is being committed: until it is applied no attempt begins, and no other change is made.
    pub(super) is_settling: bool,
}

impl HookQueue {
    pub(super) fn is_running(&self, event: EventId) -> bool {
        let lane = self.lanes.get(&event.watch);
        lane.is_some_and(|lane| lane.running == Some(event.seq))
    }

    pub(super) fn has_room(&self) -> bool {
        let limit = self.rules.as_ref().map_or(0, |rules| rules.max_running);
        self.running < limit
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The next in turn: due, order, watch.
    pub(super) fn first(&self) -> Option<(u64, u64, WatchId)> {
        self.ready.first().copied()
    }

    /// The delivery of the event.
    pub(super) fn get(&self, event: EventId) -> Option<&Delivery> {
        self.lanes.get(&event.watch)?.open.get(&event.seq)
    }

    /// The events of all open deliveries.
    pub(super) fn events(&self) -> impl Iterator<Item = EventId> {
        let lanes = self.lanes.iter();
        lanes.flat_map(|(&watch, lane)| lane.open.keys().map(move |&seq| EventId { watch, seq }))
    }

    /// Fails all deliveries, or only the pending ones, for a reason that is not an attempt's. Those with another change
    /// under way are left out.
    pub(super) fn fail_all(
        &mut self,
        name: &Arc<str>,
        why: &str,
        pending_only: bool,
    ) -> Vec<Settlement> {
        let can_fail = |event: &EventId| {
            let is_kept = pending_only && self.is_running(*event);
            !is_kept
                && self
                    .get(*event)
                    .is_some_and(|delivery| !delivery.is_settling)
        };
        let failing: Vec<EventId> = self.events().filter(can_fail).collect();
        let fail = |event: EventId| {
            self.settle(event);
            let delivery = self.get(event);
            let last = delivery.and_then(|delivery| delivery.last_failure.as_ref());
            let why = DeliveryFailure::without_attempt(why, last);
            let hook = Arc::clone(name);
            self.failure(DeliveryId { event, hook }, why)
        };
        failing.into_iter().map(fail).collect()
    }

    /// The change by which a delivery fails.
    pub(super) fn failure(&self, id: DeliveryId, why: DeliveryFailure) -> Settlement {
        let fields = |delivery: &Delivery| EventFields {
            error_message: Some(why.error.clone()),
            delivery: Some(Box::new(FailedDelivery {
                hook: id.hook.to_string(),
                delivery: id.to_string(),
                attempt: delivery.attempts,
                exit_status: why.exit_status,
                what: delivery.payload.summary(),
                of_hook_failed: delivery.payload.is_hook_failed(),
            })),
            ..EventFields::default()
        };
        let hook_failed = self.get(id.event).map(fields).map(Box::new);
        let change = DeliveryChange::Fail { id, why };
        Settlement {
            change,
            hook_failed,
        }
    }

    /// Marks that a change of the delivery is being committed. It keeps its place until the change is applied.
    pub(super) fn settle(&mut self, event: EventId) {
        let lane = self.lanes.get_mut(&event.watch);
        if let Some(delivery) = lane.and_then(|lane| lane.open.get_mut(&event.seq)) {
            delivery.is_settling = true;
        }
        self.index(event.watch);
    }

    /// Adds a delivery unless the event has one.
    pub(super) fn add(&mut self, event: EventId, delivery: Delivery) {
        let lane = self.lanes.entry(event.watch).or_default();
        lane.open.entry(event.seq).or_insert(delivery);
        self.index(event.watch);
    }

    /// Reserves [`HookQueue::first`] for an attempt.
    pub(super) fn begin(&mut self, name: &Arc<str>) -> Option<Attempt> {
        let (_, _, watch) = self.first()?;
        let lane = self.lanes.get_mut(&watch)?;
        let (&seq, delivery) = lane.open.iter_mut().next()?;
        delivery.attempts = delivery.attempts.saturating_add(1);
        let attempt = Attempt {
            id: DeliveryId {
                event: EventId { watch, seq },
                hook: Arc::clone(name),
            },
            number: delivery.attempts,
            payload: Arc::clone(&delivery.payload),
        };
        lane.running = Some(seq);
        self.running += 1;
        self.index(watch);
        Some(attempt)
    }

    /// Ends the attempt of a delivery: its lane and the hook have room again.
    pub(super) fn end(&mut self, event: EventId, update: impl FnOnce(&mut Delivery)) {
        let Some(lane) = self.lanes.get_mut(&event.watch) else {
            return;
        };
        if lane.running == Some(event.seq) {
            lane.running = None;
            self.running = self.running.saturating_sub(1);
        }
        if let Some(delivery) = lane.open.get_mut(&event.seq) {
            delivery.is_settling = false;
            update(delivery);
        }
        self.index(event.watch);
    }

    /// Removes a delivery.
    pub(super) fn remove(&mut self, event: EventId) {
        self.end(event, |_| {});
        if let Some(lane) = self.lanes.get_mut(&event.watch) {
            lane.open.remove(&event.seq);
        }
        self.index(event.watch);
    }

    /// Removes the lanes of these watches. Returns the events whose delivery has an attempt or a change under way.
    pub(super) fn release(
        &mut self,
        which: impl Fn(WatchId, Option<JobRef>) -> bool,
    ) -> Vec<EventId> {
        let mut under_way = Vec::new();
        let (running, ready) = (&mut self.running, &mut self.ready);
        self.lanes.retain(|&watch, lane| {
            let job = lane
                .open
                .values()
                .find_map(|delivery| delivery.payload.job());
            if !which(watch, job) {
                return true;
            }
            *running = running.saturating_sub(usize::from(lane.running.is_some()));
            if let Some((due, order)) = lane.ready {
                ready.remove(&(due, order, watch));
            }
            let has_work = |(seq, delivery): &(&u32, &Delivery)| {
                delivery.is_settling || lane.running == Some(**seq)
            };
            let seqs = lane.open.iter().filter(has_work).map(|(&seq, _)| seq);
            under_way.extend(seqs.map(|seq| EventId { watch, seq }));
            false
        });
        under_way
    }

    /// Updates [`HookQueue::ready`] for one lane, and removes an empty lane.
    fn index(&mut self, watch: WatchId) {
        let Some(lane) = self.lanes.get_mut(&watch) else {
            return;
        };
        if let Some((due, order)) = lane.ready.take() {
            self.ready.remove(&(due, order, watch));
        }
        match lane.open.values().next() {
            None => drop(self.lanes.remove(&watch)),
            Some(head) if lane.running.is_none() && !head.is_settling => {
                lane.ready = Some((head.due, head.order));
                self.ready.insert((head.due, head.order, watch));
            }
            Some(_) => {}
        }
    }
}
