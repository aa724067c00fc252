//! Which watch is due when: one entry a waiting watch, the most overdue first.

use std::collections::BTreeSet;

/// A queue of `(up_ms, slot)`. An entry costs about 25 bytes, and taking one out is as cheap as putting it in,
/// so none is ever stale.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(u64, u32)>);

impl Timers {
    pub(super) fn insert(&mut self, at: u64, slot: u32) {
        self.0.insert((at, slot));
    }

    pub(super) fn remove(&mut self, at: u64, slot: u32) {
        self.0.remove(&(at, slot));
    }

    /// The earliest entry, due or not.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.0.first().copied()
    }
}
