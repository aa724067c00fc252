//! Time in the core: passed in, never read from a clock. And its formats.

use std::time::{Duration, SystemTime};

/// One instant on two clocks, both in milliseconds.
///
/// `up_ms` is monotonic and measures waits; `wall_ms` is Unix time, may jump, and is for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since a fixed instant before the process started its work.
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

/// Unix milliseconds as RFC 3339 in UTC, with milliseconds. Times outside the years 1970 to 9999 are clamped.
pub fn rfc3339_ms(wall_ms: i64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let ms = u64::try_from(wall_ms).unwrap_or(0).min(LAST);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// A duration for people, rounded up to whole seconds; otherwise as [`span`].
pub fn span_in_seconds(ms: u64) -> String {
    span(ms.div_ceil(1_000).saturating_mul(1_000))
}

/// A duration for people, without seconds from ten minutes on: there they change too often to be read.
pub fn rough(ms: u64) -> String {
    const MINUTE: u64 = 60_000;
    let is_long = ms >= 10 * MINUTE;
    span_in_seconds(if is_long { ms / MINUTE * MINUTE } else { ms })
}

/// A duration for people, in at most two units: `850ms`, `42s`, `5m 3s`, `2h 10m`, `3d 4h`.
pub fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let Some(first) = UNITS.iter().position(|&(unit, _)| ms >= unit) else {
        return format!("{ms}ms");
    };
    let mut left = ms;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.into_iter().skip(first).take(2) {
        if left >= unit {
            parts.push(format!("{}{name}", left / unit));
        }
        left %= unit;
    }
    parts.join(" ")
}
