//! Exponential backoff: 1 s, doubling, at most 5 min. The only module that uses the `backoff` crate.
//!
//! That crate is unmaintained and reads clock and randomness itself, so it does neither here: no jitter (the callers
//! add it) and no time limit (`give_up_after`). It is built per call from the number of failures, because keeping it would
//! cost 100 bytes per job.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use super::rng::SeededRng;

const INITIAL: Duration = Duration::from_secs(1);
/// The longest wait.
pub const MAX: Duration = Duration::from_mins(5);
/// After this many failures, the wait is the longest.
const FAILURES_TO_MAX: u8 = 10;

/// The longest wait after `failures` consecutive failures, before jitter.
pub fn ceiling(failures: u8) -> Duration {
    let mut curve: ExponentialBackoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(INITIAL)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_interval(MAX)
        .with_max_elapsed_time(None)
        .build();
    (0..failures.clamp(1, FAILURES_TO_MAX))
        .filter_map(|_| curve.next_backoff())
        .last()
        .unwrap_or(MAX)
}

/// A wait after `failures` consecutive failures: a random part of the longest one (full jitter), which is at most `max`.
pub fn wait(failures: u8, max: Duration, rng: &mut SeededRng) -> Duration {
    ceiling(failures).min(max).mul_f64(rng.uniform())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        let seconds: Vec<u64> = (0..=12).map(|n| ceiling(n).as_secs()).collect();
        assert_eq!(
            seconds,
            [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
        );
        assert_eq!(ceiling(u8::MAX), MAX);
    }
}
