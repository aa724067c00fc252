//! The deliveries of one hook: a lane per watch, in which one delivery runs at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::payload::EventPayload;
use crate::hooks::HookSpec;
use forgewatch_core::delivery::DeliveryFailure;
use forgewatch_core::event::ALL_JOB_EVENTS;
use forgewatch_core::event::{Event, EventId, WatchId};
use forgewatch_core::job::JobKind;

/// The deliveries of one hook.
#[derive(Debug, Default)]
pub(super) struct HookQueue {
    /// None once the hook has left the configuration.
    pub(super) rules: Option<HookRules>,
    running: usize,
    lanes: BTreeMap<WatchId, Lane>,
    /// Pending heads of lanes in the order of their turns: due, order, watch.
    ready: BTreeSet<(u64, u64, WatchId)>,
}

/// The configuration of a hook, as far as the queue needs it.
#[derive(Debug)]
pub(super) struct HookRules {
    on: Vec<String>,
    kinds: Option<Vec<JobKind>>,
    pub(super) retries: u32,
    max_running: usize,
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
    pub(super) attempts: u32,
    pub(super) last_failure: Option<DeliveryFailure>,
    /// Monotonic milliseconds.
    pub(super) due: u64,
    /// Breaks ties of `due`: the lower goes first.
    pub(super) order: u64,
    /// Its next change is being committed: until it is applied no attempt begins, and no other change is made.
    pub(super) is_settling: bool,
}

impl HookRules {
    pub(super) fn of(spec: &HookSpec) -> Self {
        Self {
            on: spec.on.clone(),
            kinds: spec.kinds.clone(),
            retries: spec.retries,
            max_running: spec.max_running,
        }
    }

    fn matches(&self, event: &Event) -> bool {
        let (kind, job) = (event.kind.as_str(), event.job);
        let of_type = self
            .on
            .iter()
            .any(|on| on == kind || (on == ALL_JOB_EVENTS && kind.starts_with("job.")));
        let of_kind = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| job.is_some_and(|job| kinds.contains(&job.kind)));
        of_type && of_kind
    }
}

impl HookQueue {
    pub(super) fn receives(&self, event: &Event) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|rules| rules.matches(event))
    }

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

    /// Marks all deliveries, or only the pending ones, as about to fail, and returns their events. Those with another
    /// change under way are left out.
    pub(super) fn settle_all(&mut self, pending_only: bool) -> Vec<EventId> {
        let can_fail = |event: &EventId| {
            let is_kept = pending_only && self.is_running(*event);
            !is_kept
                && self
                    .get(*event)
                    .is_some_and(|delivery| !delivery.is_settling)
        };
        let failing: Vec<EventId> = self.events().filter(can_fail).collect();
        for event in &failing {
            self.settle(*event);
        }
        failing
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

    /// Starts an attempt of [`HookQueue::first`]. Returns its event and the number of the attempt.
    pub(super) fn begin(&mut self) -> Option<(EventId, u32)> {
        let (_, _, watch) = self.first()?;
        let lane = self.lanes.get_mut(&watch)?;
        let (&seq, delivery) = lane.open.iter_mut().next()?;
        delivery.attempts = delivery.attempts.saturating_add(1);
        let attempt = delivery.attempts;
        lane.running = Some(seq);
        self.running += 1;
        self.index(watch);
        Some((EventId { watch, seq }, attempt))
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
