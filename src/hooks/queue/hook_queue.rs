//! One hook's side of the queue: what it wants, and its deliveries in a lane for each watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::payload::EventPayload;
use crate::hooks::HookSpec;
use forgewatch_core::delivery::DeliveryFailure;
use forgewatch_core::event::ALL_OF_JOBS;
use forgewatch_core::event::{Event, EventId, WatchId};
use forgewatch_core::job::JobKind;

/// One hook: its rules, and its lanes by watch.
#[derive(Debug, Default)]
pub(super) struct Hook {
    /// None once it has left the configuration.
    pub(super) rules: Option<Rules>,
    running: usize,
    lanes: BTreeMap<WatchId, Lane>,
    /// The heads that wait, in the order in which they go.
    ready: BTreeSet<(u64, u64, WatchId)>,
}

/// What the configuration says of a hook.
#[derive(Debug)]
pub(super) struct Rules {
    on: Vec<String>,
    kinds: Option<Vec<JobKind>>,
    pub(super) retries: u32,
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

/// One that is not done.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) told: Arc<EventPayload>,
    pub(super) attempts: u32,
    /// How the last attempt failed.
    pub(super) last: Option<DeliveryFailure>,
    /// On the clock that only rises.
    pub(super) due: u64,
    /// Of two that are due at once, the lower goes first.
    pub(super) order: u64,
    /// What becomes of it is being recorded: until that is in force it is not tried, and nothing else becomes of it.
    pub(super) is_settling: bool,
}

impl Rules {
    pub(super) fn of(spec: &HookSpec) -> Self {
        Self {
            on: spec.on.clone(),
            kinds: spec.kinds.clone(),
            retries: spec.retries,
            max_running: spec.max_running,
        }
    }

    fn want(&self, event: &Event) -> bool {
        let (kind, job) = (event.kind.as_str(), event.job);
        let of_type = self
            .on
            .iter()
            .any(|on| on == kind || (on == ALL_OF_JOBS && kind.starts_with("job.")));
        let of_kind = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| job.is_some_and(|job| kinds.contains(&job.kind)));
        of_type && of_kind
    }
}

impl Hook {
    pub(super) fn wants(&self, event: &Event) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.want(event))
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

    /// Which goes first, and when: due, order, watch.
    pub(super) fn first(&self) -> Option<(u64, u64, WatchId)> {
        self.ready.first().copied()
    }

    /// The delivery of this event.
    pub(super) fn get(&self, event: EventId) -> Option<&Delivery> {
        self.lanes.get(&event.watch)?.waiting.get(&event.seq)
    }

    /// Every event that is not delivered.
    pub(super) fn events(&self) -> impl Iterator<Item = EventId> {
        let lanes = self.lanes.iter();
        lanes.flat_map(|(&watch, lane)| lane.waiting.keys().map(move |&seq| EventId { watch, seq }))
    }

    /// Those of them of which nothing else is being recorded are to be given up, or those alone that wait for an
    /// attempt; which they are.
    pub(super) fn leave(&mut self, waiting_alone: bool) -> Vec<EventId> {
        let leaves = |event: &EventId| {
            let stays = waiting_alone && self.is_running(*event);
            !stays
                && self
                    .get(*event)
                    .is_some_and(|delivery| !delivery.is_settling)
        };
        let leaving: Vec<EventId> = self.events().filter(leaves).collect();
        for event in &leaving {
            self.settle(*event);
        }
        leaving
    }

    /// What becomes of this one is decided. It keeps its place until that is in force.
    pub(super) fn settle(&mut self, event: EventId) {
        let lane = self.lanes.get_mut(&event.watch);
        if let Some(delivery) = lane.and_then(|lane| lane.waiting.get_mut(&event.seq)) {
            delivery.is_settling = true;
        }
        self.index(event.watch);
    }

    /// Adds one, unless it is there.
    pub(super) fn add(&mut self, event: EventId, delivery: Delivery) {
        let lane = self.lanes.entry(event.watch).or_default();
        lane.waiting.entry(event.seq).or_insert(delivery);
        self.index(event.watch);
    }

    /// Sets [`Hook::first`] aside for an attempt. Returns its event and the attempt's number.
    pub(super) fn begin(&mut self) -> Option<(EventId, u32)> {
        let (_, _, watch) = self.first()?;
        let lane = self.lanes.get_mut(&watch)?;
        let (&seq, delivery) = lane.waiting.iter_mut().next()?;
        delivery.attempts = delivery.attempts.saturating_add(1);
        let attempt = delivery.attempts;
        lane.running = Some(seq);
        self.running += 1;
        self.index(watch);
        Some((EventId { watch, seq }, attempt))
    }

    /// The attempt at this one is over: its lane and the hook have room again.
    pub(super) fn end(&mut self, event: EventId, then: impl FnOnce(&mut Delivery)) {
        let Some(lane) = self.lanes.get_mut(&event.watch) else {
            return;
        };
        if lane.running == Some(event.seq) {
            lane.running = None;
            self.running = self.running.saturating_sub(1);
        }
        if let Some(delivery) = lane.waiting.get_mut(&event.seq) {
            delivery.is_settling = false;
            then(delivery);
        }
        self.index(event.watch);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, event: EventId) {
        self.end(event, |_| {});
        if let Some(lane) = self.lanes.get_mut(&event.watch) {
            lane.waiting.remove(&event.seq);
        }
        self.index(event.watch);
    }

    /// Brings [`Hook::ready`] in line with one lane; forgets an empty one.
    fn index(&mut self, watch: WatchId) {
        let Some(lane) = self.lanes.get_mut(&watch) else {
            return;
        };
        if let Some((due, order)) = lane.ready.take() {
            self.ready.remove(&(due, order, watch));
        }
        match lane.waiting.values().next() {
            None => drop(self.lanes.remove(&watch)),
            Some(head) if lane.running.is_none() && !head.is_settling => {
                lane.ready = Some((head.due, head.order));
                self.ready.insert((head.due, head.order, watch));
            }
            Some(_) => {}
        }
    }
}
