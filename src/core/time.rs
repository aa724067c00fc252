//! Time as the core sees it: handed in, never read.

use std::time::Duration;

/// One instant on two clocks, both in milliseconds.
///
/// `up_ms` only ever rises and is what waiting is measured with; `wall_ms` is Unix time, may jump, and is what
/// is written down for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since some fixed instant before the process began its work.
    pub up_ms: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub wall_ms: i64,
}

impl Moment {
    /// The same instant, `by` later on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let ms = millis(by);
        Self {
            up_ms: self.up_ms.saturating_add(ms),
            wall_ms: self.wall_ms.saturating_add_unsigned(ms),
        }
    }
}

/// A duration in whole milliseconds, at most `u64::MAX`.
pub fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
