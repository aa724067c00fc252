//! The watches, each in a numbered slot that it keeps until it ends, and their timers.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use forgewatch_core::event::WatchId;
use forgewatch_core::job::Outcome;
use forgewatch_core::watch::Watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its timers are set for these `up_ms`.
    Waiting {
        poll_at: u64,
        /// `u64::MAX` is never.
        deadline: u64,
    },
    Polling {
        deadline: u64,
    },
    Committing,
    /// The same, for a watch that leaves afterwards.
    Releasing,
}

impl Phase {
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }

    pub(super) fn is_polling(self) -> bool {
        matches!(self, Self::Polling { .. })
    }

    fn poll_at(self) -> Option<u64> {
        match self {
            Self::Waiting { poll_at, .. } => Some(poll_at),
            Self::Polling { .. } | Self::Committing | Self::Releasing => None,
        }
    }

    fn deadline(self) -> Option<u64> {
        match self {
            Self::Waiting { deadline, .. } | Self::Polling { deadline } => {
                (deadline < u64::MAX).then_some(deadline)
            }
            Self::Committing | Self::Releasing => None,
        }
    }
}

#[derive(Debug)]
struct Entry {
    watch: Watch,
    phase: Phase,
    /// A stop that waits for the commit in flight, or to be tried again.
    pending_stop: Option<Outcome>,
    /// In a row.
    failed_commits: u8,
}

/// The slots of ended watches are reused.
#[derive(Debug, Default)]
pub(super) struct WatchTable {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// An entry for each watch in [`Phase::Waiting`].
    polls: TimerQueue,
    /// An entry for each watch with a deadline.
    deadlines: TimerQueue,
    /// Watches whose first poll has not come back yet.
    awaiting_result: usize,
    /// Whether any job has ever had a status.
    any_status: bool,
}

impl WatchTable {
    pub(super) fn insert(&mut self, watch: Watch, phase: Phase) {
        self.awaiting_result += usize::from(!watch.has_result());
        let entry = Some(Entry {
            watch,
            phase,
            pending_stop: None,
            failed_commits: 0,
        });
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = entry,
            None => self.slots.push(entry),
        }
        self.set_timers(slot, phase);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let entry = self.slots.get_mut(slot as usize).and_then(Option::take);
        if let Some(Entry { watch, phase, .. }) = entry {
            self.awaiting_result -= usize::from(!watch.has_result());
            self.free.push(slot);
            self.clear_timers(slot, phase);
        }
    }

    fn set_timers(&mut self, slot: u32, phase: Phase) {
        if let Some(at) = phase.poll_at() {
            self.polls.insert(at, slot);
        }
        if let Some(at) = phase.deadline() {
            self.deadlines.insert(at, slot);
        }
    }

    fn clear_timers(&mut self, slot: u32, phase: Phase) {
        if let Some(at) = phase.poll_at() {
            self.polls.remove(at, slot);
        }
        if let Some(at) = phase.deadline() {
            self.deadlines.remove(at, slot);
        }
    }

    pub(super) fn replace(&mut self, slot: u32, watch: Watch) {
        let Some(entry) = self.get_mut(slot) else {
            return;
        };
        let was_awaiting = !entry.watch.has_result();
        let (has_result, has_status) = (watch.has_result(), watch.has_status());
        entry.watch = watch;
        self.awaiting_result -= usize::from(was_awaiting && has_result);
        self.any_status |= has_status;
    }

    /// Whether a refusal of this watch means that the API refuses this client: no job has had a status, and no other
    /// watch awaits its first result.
    pub(super) fn refusal_is_global(&self, slot: u32) -> bool {
        let itself = self.watch(slot).is_some_and(|w| !w.has_result());
        !self.any_status && self.awaiting_result == usize::from(itself)
    }

    pub(super) fn watch(&self, slot: u32) -> Option<&Watch> {
        self.get(slot).map(|entry| &entry.watch)
    }

    pub(super) fn phase(&self, slot: u32) -> Option<Phase> {
        self.get(slot).map(|entry| entry.phase)
    }

    pub(super) fn set_phase(&mut self, slot: u32, phase: Phase) {
        let Some(entry) = self.get_mut(slot) else {
            return;
        };
        let before = std::mem::replace(&mut entry.phase, phase);
        self.clear_timers(slot, before);
        self.set_timers(slot, phase);
    }

    /// The earliest poll of a waiting watch, and its slot.
    pub(super) fn next_poll(&self) -> Option<(u64, u32)> {
        self.polls.first()
    }

    /// The earliest deadline, and its slot.
    pub(super) fn next_deadline(&self) -> Option<(u64, u32)> {
        self.deadlines.first()
    }

    pub(super) fn defer_stop(&mut self, slot: u32, outcome: Outcome) {
        if let Some(entry) = self.get_mut(slot) {
            entry.pending_stop.get_or_insert(outcome);
        }
    }

    pub(super) fn has_pending_stop(&self, slot: u32) -> bool {
        let entry = self.get(slot);
        entry.is_some_and(|entry| entry.pending_stop.is_some())
    }

    pub(super) fn take_pending_stop(&mut self, slot: u32) -> Option<Outcome> {
        self.get_mut(slot)?.pending_stop.take()
    }

    /// Returns how many have failed in a row.
    pub(super) fn count_failed_commit(&mut self, slot: u32) -> u8 {
        self.get_mut(slot).map_or(1, |entry| {
            entry.failed_commits = entry.failed_commits.saturating_add(1);
            entry.failed_commits
        })
    }

    pub(super) fn reset_failed_commits(&mut self, slot: u32) {
        if let Some(entry) = self.get_mut(slot) {
            entry.failed_commits = 0;
        }
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.entries().map(|(_, entry)| &entry.watch)
    }

    pub(super) fn find(&self, id: WatchId) -> Option<u32> {
        let mut entries = self.entries();
        let found = entries.find(|(_, entry)| entry.watch.id() == id);
        found.map(|(slot, _)| slot)
    }

    /// The watch to poll as the probe while the API is down: of those that wait and may be polled now, the first due.
    /// Excludes those with a pending stop.
    pub(super) fn probe_candidate(&self, now: u64) -> Option<u32> {
        let candidates = self.entries().filter_map(|(slot, entry)| {
            let (Phase::Waiting { poll_at, .. }, None) = (entry.phase, entry.pending_stop) else {
                return None;
            };
            (entry.watch.not_before() <= now).then_some((poll_at, slot))
        });
        candidates.min().map(|(_, slot)| slot)
    }

    pub(super) fn all_slots(&self) -> Vec<u32> {
        self.entries().map(|(slot, _)| slot).collect()
    }

    /// The slots of the waiting watches for which `which` holds.
    pub(super) fn waiting(&self, which: impl Fn(&Watch) -> bool) -> Vec<u32> {
        self.entries()
            .filter(|(_, entry)| which(&entry.watch) && entry.phase.is_waiting())
            .map(|(slot, _)| slot)
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entries(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let slots = (0_u32..).zip(&self.slots);
        slots.filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

/// The times at which waiting watches are due, as `(up_ms, slot)`, earliest first. An entry costs 16 bytes; a tree's would cost 30, more than any field of a watch.
#[derive(Debug, Default)]
struct TimerQueue {
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    /// Removed entries that are still in `queue`, never its first and at most half of it. Mostly empty, because the
    /// entry that is removed is usually the first.
    gone: BTreeSet<(u64, u32)>,
}

impl TimerQueue {
    /// The entry must be absent.
    fn insert(&mut self, at: u64, slot: u32) {
        if !self.gone.remove(&(at, slot)) {
            self.queue.push(Reverse((at, slot)));
        }
    }

    /// The entry must be present.
    fn remove(&mut self, at: u64, slot: u32) {
        if self.first() == Some((at, slot)) {
            self.queue.pop();
        } else {
            self.gone.insert((at, slot));
        }
        while let Some(Reverse(front)) = self.queue.peek()
            && self.gone.remove(front)
        {
            self.queue.pop();
        }
        if self.gone.len() > self.queue.len() / 2 {
            let gone = std::mem::take(&mut self.gone);
            self.queue.retain(|Reverse(entry)| !gone.contains(entry));
        }
    }

    fn first(&self) -> Option<(u64, u32)> {
        self.queue.peek().map(|&Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_queue_behaves_like_a_sorted_set(steps in prop::collection::vec((0_u64..8, 0_u32..4), 0..200)) {
            let mut timer_queue = TimerQueue::default();
            let mut model = BTreeSet::new();
            for (at, slot) in steps {
                if model.insert((at, slot)) {
                    timer_queue.insert(at, slot);
                } else {
                    model.remove(&(at, slot));
                    timer_queue.remove(at, slot);
                }
                prop_assert_eq!(timer_queue.first(), model.first().copied());
            }
        }
    }
}
