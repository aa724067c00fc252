//! How long jobs of one kind and image usually run, and which durations are unusual.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::millis;

/// How many jobs are kept, the latest ones.
const MAX_JOBS: usize = 40;
/// With fewer jobs nothing is unusual.
const MIN_JOBS: usize = 8;
/// The share of jobs that are slow, and that are fast.
const TAIL: f64 = 0.05;
/// With too few jobs for a quantile, a job is unusual beyond the longest or shortest one by this factor.
const FEW_JOBS_FACTOR: f64 = 1.2;

/// The durations of the latest jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Durations {
    /// Milliseconds, in the order of their ends.
    ms: Vec<u64>,
}

/// How a duration compares with those of earlier jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unusual {
    /// Below the 5th percentile.
    Fast,
    /// Above the 95th percentile.
    Slow,
}

impl Durations {
    pub(super) const fn new() -> Self {
        Self { ms: Vec::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.ms.len()
    }

    /// Adds the job that ended last.
    pub(super) fn add(&mut self, duration: Duration) {
        let surplus = (self.ms.len() + 1).saturating_sub(MAX_JOBS);
        self.ms.drain(..surplus);
        self.ms.push(millis(duration));
    }

    /// The median; None with too few jobs.
    pub fn usual(&self) -> Option<Duration> {
        let sorted = self.sorted()?;
        let middle = sorted.get(sorted.len() / 2)?;
        Some(Duration::from_millis(*middle))
    }

    /// Whether a job of this duration is unusual. If jobs are alike, at most one in twenty is fast and one in twenty slow,
    /// however durations are distributed: the next duration is equally likely to fall between any two of the earlier
    /// ones (V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random World", 2005).
    pub fn unusual(&self, duration: Duration) -> Option<Unusual> {
        let sorted = self.sorted()?;
        let beyond = (TAIL * (sorted.len() + 1) as f64) as usize;
        let (shortest, longest) = (sorted.first()?, sorted.last()?);
        let (low, high) = match beyond.checked_sub(1) {
            Some(i) => (
                *sorted.get(i)? as f64,
                *sorted.get(sorted.len() - 1 - i)? as f64,
            ),
            None => (
                *shortest as f64 / FEW_JOBS_FACTOR,
                *longest as f64 * FEW_JOBS_FACTOR,
            ),
        };
        match millis(duration) as f64 {
            ms if ms > high => Some(Unusual::Slow),
            ms if ms < low => Some(Unusual::Fast),
            _ => None,
        }
    }

    fn sorted(&self) -> Option<Vec<u64>> {
        let mut sorted = self.ms.clone();
        sorted.sort_unstable();
        (sorted.len() >= MIN_JOBS).then_some(sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn of_seconds(seconds: impl IntoIterator<Item = f64>) -> Durations {
        let mut durations = Durations::default();
        for seconds in seconds {
            durations.add(Duration::from_secs_f64(seconds));
        }
        durations
    }

    #[test]
    fn nothing_is_unusual_before_eight_jobs() {
        let seven = of_seconds([60.0; 7]);
        assert_eq!(seven.unusual(Duration::from_hours(9)), None);
        assert_eq!(seven.usual(), None);
        let eight = of_seconds([60.0; 8]);
        assert_eq!(eight.unusual(Duration::from_secs(71)), None);
        assert_eq!(eight.unusual(Duration::from_secs(73)), Some(Unusual::Slow));
        assert_eq!(eight.unusual(Duration::from_secs(49)), Some(Unusual::Fast));
        assert_eq!(eight.usual(), Some(Duration::from_mins(1)));
    }

    #[test]
    fn the_latest_jobs_count() {
        let mut durations = of_seconds([3_600.0; 40]);
        for _ in 0..40 {
            durations.add(Duration::from_secs(10));
        }
        assert_eq!(durations.usual(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn at_most_seven_in_a_hundred_like_jobs_are_slow_after_thirty() {
        type Draw = fn(&mut SeededRng) -> f64;
        let draws: [(&str, Draw); 4] = [
            ("lognormal", |rng| rng.normal(6.0, 1.0).exp()),
            ("uniform", |rng| rng.between(20.0, 60.0)),
            ("heavy tail", |rng| rng.between(0.001, 1.0).powf(-1.0 / 1.1)),
            ("two lengths", |rng| {
                if rng.between(0.0, 1.0) < 0.9 {
                    60.0
                } else {
                    3_600.0
                }
            }),
        ];
        for (name, draw) in draws {
            let mut rng = SeededRng::new(11);
            let mut durations = Durations::default();
            let (mut slow, mut all) = (0, 0);
            for job in 0..20_000 {
                let seconds = draw(&mut rng);
                let duration = Duration::from_secs_f64(seconds);
                if job >= 30 {
                    all += 1;
                    slow += u32::from(durations.unusual(duration) == Some(Unusual::Slow));
                }
                durations.add(duration);
            }
            let share = f64::from(slow) / f64::from(all);
            assert!(share < 0.07, "{name}: {share}");
        }
    }
}
