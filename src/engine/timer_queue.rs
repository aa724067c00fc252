//! The times at which waiting watches are due, earliest first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// A queue of `(up_ms, slot)`. An entry costs 16 bytes; a tree's would cost 30, more than any field of a watch.
#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    /// Removed entries that are still in `queue`, never its first and at most half of it. Mostly empty, because the
    /// entry that is removed is usually the first.
    gone: BTreeSet<(u64, u32)>,
}

impl TimerQueue {
    /// The entry must be absent.
    pub(super) fn insert(&mut self, at: u64, slot: u32) {
        if !self.gone.remove(&(at, slot)) {
            self.queue.push(Reverse((at, slot)));
        }
    }

    /// The entry must be present.
    pub(super) fn remove(&mut self, at: u64, slot: u32) {
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

    pub(super) fn first(&self) -> Option<(u64, u32)> {
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
