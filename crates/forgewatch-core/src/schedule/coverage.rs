//! How often the estimate held the truth, and what follows: which quantiles of the forecast are the ends of the range.

use serde::{Deserialize, Serialize};

/// The share of samples in which the job ends before the range, and after it.
const OUTSIDE: f32 = 0.09;
/// How much one job moves the levels: at first, at least and at most.
const FIRST_STEP: f32 = 0.3;
const LAST_STEP: f32 = 0.02;
const MAX_STEP: f32 = 0.3;
/// The number of polls of a job that moves the levels by one step. A job with more polls was estimated more often.
const POLLS: f32 = 8.0;

/// The probabilities whose quantiles are the ends of the range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f32, f32)", into = "(f32, f32)")]
pub(super) struct Levels {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Default for Levels {
    fn default() -> Self {
        Self::from((OUTSIDE, 1.0 - OUTSIDE))
    }
}

impl From<(f32, f32)> for Levels {
    /// Values out of bounds are clamped: the stored form may be damaged.
    fn from((low, high): (f32, f32)) -> Self {
        const LEAST: f32 = 1e-4;
        const MEDIAN: f32 = 0.5;
        let finite = |level: f32| if level.is_finite() { level } else { MEDIAN };
        Self {
            low: finite(low).clamp(LEAST, MEDIAN),
            high: finite(high).clamp(MEDIAN, 1.0 - LEAST),
        }
    }
}

impl From<Levels> for (f32, f32) {
    fn from(levels: Levels) -> Self {
        (levels.low, levels.high)
    }
}

/// The shares of one job's samples in which it ended before and after the range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Misses {
    pub(super) before: f32,
    pub(super) after: f32,
    pub(super) polls: f32,
    /// The probability that a forecast was far off.
    pub(super) outliers: Option<f32>,
}

impl Levels {
    /// Adds the misses of the `n`-th job.
    pub(super) fn update(&mut self, misses: Misses, n: u32) {
        let weight = (misses.polls / POLLS).powf(1.5);
        let step = ((FIRST_STEP / n as f32).max(LAST_STEP) * weight).min(MAX_STEP);
        *self = Self::from((
            self.low + step * (OUTSIDE - misses.before),
            self.high - step * (OUTSIDE - misses.after),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_levels_are_clamped() {
        for damaged in [(f32::NAN, 2.0), (-1.0, f32::INFINITY), (9.0, -9.0)] {
            let levels = Levels::from(damaged);
            assert!(levels.low > 0.0 && levels.high < 1.0, "{levels:?}");
            assert!(levels.low <= levels.high, "{levels:?}");
        }
    }

    #[test]
    fn misses_widen_the_range_and_hits_narrow_it() {
        let misses = |before, after| Misses {
            before,
            after,
            polls: 8.0,
            outliers: None,
        };
        let mut levels = Levels::default();
        levels.update(misses(1.0, 0.0), 50);
        let start = Levels::default();
        assert!(levels.low < start.low && levels.high < start.high);
        levels = start;
        levels.update(misses(0.0, 1.0), 50);
        assert!(levels.low > start.low && levels.high > start.high);
    }
}
