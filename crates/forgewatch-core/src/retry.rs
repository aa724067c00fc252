//! The curve of the retries: 1 s, doubling, at most 5 min. The one place that knows the `backoff` crate.
//!
//! That crate is unmaintained and reads the clock and the dice by itself, so it gets neither work: no jitter
//! (the core's dice do that), no time limit (`give_up_after` does that), and it lives for one call, built from
//! the count of failures, since keeping it would cost each job 100 bytes.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// 1 s doubled this often is above the longest wait.
const FAILURES_TO_LONGEST: u8 = 10;

/// The longest wait after `failures` failures in a row, before jitter.
pub fn ceiling(failures: u8) -> Duration {
    let mut curve: ExponentialBackoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_interval(LONGEST)
        .with_max_elapsed_time(None)
        .build();
    (0..failures.clamp(1, FAILURES_TO_LONGEST))
        .filter_map(|_| curve.next_backoff())
        .last()
        .unwrap_or(LONGEST)
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
        assert_eq!(ceiling(u8::MAX), LONGEST);
    }
}
