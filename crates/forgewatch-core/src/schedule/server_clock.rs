//! The clock that the server's times refer to.
//!
//! `jobeta` is only as good as the clock it is compared with. The server's current time is in the header `Date`, but a
//! proxy's `Date` may be wrong, and so may our clock. `jobupdated` and `jobstart` of a running job show which of the
//! two fits: they cannot lie in the future and rarely lie far in the past. The engine keeps one [`ServerClock`] for
//! each host and passes it every status.

use crate::status::Status;
use crate::time::Moment;

/// Two clocks within this many milliseconds are the same: `Date` has whole seconds, and responses take time to arrive.
const NOISE_MS: i64 = 2_000;
/// A time from the server may seem to lie this many milliseconds in the future: the server may be several machines.
const AHEAD_MS: i64 = 5_000;
/// A running job's latest time is fresh up to this age, milliseconds.
const FRESH_MS: i64 = 300_000;

/// The offset of the server's clock from ours. [`Default`] has the offset 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerClock {
    /// Server minus ours, milliseconds.
    offset_ms: i64,
    /// A new offset that one response has shown.
    candidate_ms: Option<i64>,
    /// Our wall clock minus the monotonic one at the last response, milliseconds.
    wall_minus_up: Option<i64>,
}

impl ServerClock {
    /// Adds a response that came at `now` and returns the time on the server's clock. `date` is the response's `Date`
    /// minus its `Age`, Unix seconds. A new offset counts once two responses agree, or if a step of our clock explains
    /// it.
    pub fn observe(&mut self, now: Moment, date: Option<i64>, status: &Status) -> i64 {
        let wall_ms = now.wall_ms;
        let observed = offset_ms(wall_ms, date, status);
        let wall_minus_up = wall_ms.saturating_sub(now.up_ms.cast_signed());
        if let Some(before) = self.wall_minus_up.replace(wall_minus_up) {
            let step = wall_minus_up.saturating_sub(before);
            let stepped = self.offset_ms.saturating_sub(step);
            let distance = |offset: i64| observed.saturating_sub(offset).saturating_abs();
            // Otherwise the machine slept, which stops the monotonic clock only.
            if step.saturating_abs() > NOISE_MS && distance(stepped) < distance(self.offset_ms) {
                self.offset_ms = stepped;
            }
        }
        let near = |other: i64| observed.saturating_sub(other).saturating_abs() <= NOISE_MS;
        if near(self.offset_ms) {
            self.candidate_ms = None;
        } else if self.candidate_ms.is_some_and(near) {
            self.offset_ms = observed;
            self.candidate_ms = None;
        } else {
            self.candidate_ms = Some(observed);
        }
        self.now_ms(wall_ms)
    }

    /// The time on the server's clock at `wall_ms`, both Unix milliseconds.
    pub fn now_ms(&self, wall_ms: i64) -> i64 {
        wall_ms.saturating_add(self.offset_ms)
    }
}

/// The offset by one response.
fn offset_ms(wall_ms: i64, date: Option<i64>, status: &Status) -> i64 {
    // `Date` was rounded down to a whole second: its middle.
    let by_date = date.map(|date| {
        let date_ms = date.saturating_mul(1000).saturating_add(500);
        date_ms.saturating_sub(wall_ms)
    });
    // Within the noise, our clock is more precise.
    let by_date = by_date.filter(|offset| offset.saturating_abs() > NOISE_MS);
    let Some(latest) = status.updated.max(status.start) else {
        return by_date.unwrap_or(0);
    };
    let latest_ms = latest.saturating_mul(1000);
    let past = |offset: i64| wall_ms.saturating_add(offset).saturating_sub(latest_ms);
    let possible = |offset: i64| past(offset) >= -AHEAD_MS;
    let fresh = |offset: i64| past(offset) <= FRESH_MS;
    match by_date {
        // The server's `Date`, unless the job's time is fresh only by our clock.
        Some(date) if possible(date) && !(possible(0) && fresh(0) && !fresh(date)) => date,
        _ if possible(0) => 0,
        // Both must be wrong: the server's clock shows at least the job's time.
        _ => latest_ms.saturating_sub(wall_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_400;
    const HOUR: i64 = 3_600;

    /// A running job that the server updated three seconds ago by its own clock.
    fn fresh(server_now_s: i64) -> Status {
        Status {
            start: Some(server_now_s - 100),
            updated: Some(server_now_s - 3),
            ..Status::default()
        }
    }

    /// Without a step of our clock.
    fn at(wall_ms: i64) -> Moment {
        let up_ms = wall_ms.saturating_sub(NOW - 1_000_000_000);
        Moment {
            up_ms: up_ms.max(0).cast_unsigned(),
            wall_ms,
        }
    }

    /// The offset of the clock after two identical responses, in whole seconds.
    fn offset_after_two(date: Option<i64>, status: &Status) -> i64 {
        let mut clock = ServerClock::default();
        clock.observe(at(NOW), date, status);
        (clock.observe(at(NOW), date, status) - NOW).div_euclid(1000)
    }

    #[test]
    fn a_server_an_hour_ahead_in_all_its_times_is_followed() {
        let server = NOW / 1000 + HOUR;
        assert_eq!(offset_after_two(Some(server), &fresh(server)), HOUR);
    }

    #[test]
    fn a_server_an_hour_behind_in_all_its_times_is_followed() {
        let server = NOW / 1000 - HOUR;
        assert_eq!(offset_after_two(Some(server), &fresh(server)), -HOUR);
    }

    #[test]
    fn a_date_that_contradicts_the_times_of_the_job_is_ignored() {
        let server = NOW / 1000;
        assert_eq!(offset_after_two(Some(server + HOUR), &fresh(server)), 0);
        assert_eq!(offset_after_two(Some(server - HOUR), &fresh(server)), 0);
    }

    #[test]
    fn a_job_without_a_fresh_time_does_not_overrule_the_date() {
        let status = Status {
            updated: Some(NOW / 1000 - 2 * HOUR),
            ..Status::default()
        };
        assert_eq!(offset_after_two(Some(NOW / 1000 - HOUR), &status), -HOUR);
        assert_eq!(offset_after_two(Some(NOW / 1000 + HOUR), &status), HOUR);
    }

    #[test]
    fn a_date_counts_if_the_job_has_no_time() {
        let date = NOW / 1000 + HOUR;
        assert_eq!(offset_after_two(Some(date), &Status::default()), HOUR);
    }

    #[test]
    fn without_a_date_a_time_in_the_future_sets_the_clock_to_it() {
        let server = NOW / 1000 + HOUR;
        assert_eq!(offset_after_two(None, &fresh(server)), HOUR - 4);
        assert_eq!(offset_after_two(None, &fresh(NOW / 1000)), 0);
    }

    #[test]
    fn whole_seconds_are_noise() {
        for off in -1..=1 {
            assert_eq!(
                offset_after_two(Some(NOW / 1000 + off), &fresh(NOW / 1000)),
                0
            );
        }
    }

    #[test]
    fn a_new_offset_counts_once_two_responses_agree() {
        let mut clock = ServerClock::default();
        let server = NOW / 1000 + HOUR;
        assert_eq!(clock.observe(at(NOW), Some(server), &fresh(server)), NOW);
        assert_eq!(
            clock.observe(at(NOW), Some(NOW / 1000), &fresh(NOW / 1000)),
            NOW
        );
        assert_eq!(clock.observe(at(NOW), Some(server), &fresh(server)), NOW);
        let then = clock.observe(at(NOW + 5_000), Some(server + 5), &fresh(server + 5));
        assert!((then - NOW - 5_000 - HOUR * 1000).abs() <= NOISE_MS);
        assert_eq!(clock.now_ms(NOW), then - 5_000);
    }

    #[test]
    fn a_step_of_our_clock_counts_at_the_first_response_and_a_sleep_does_not() {
        for step in [-HOUR, HOUR] {
            for has_date in [true, false] {
                let server = NOW / 1000 + 5;
                let date = has_date.then_some(server);
                let mut clock = ServerClock::default();
                clock.observe(at(NOW), date.map(|date| date - 5), &fresh(server - 5));
                let stepped = Moment {
                    wall_ms: NOW + 5_000 + step * 1000,
                    ..at(NOW + 5_000)
                };
                let now = clock.observe(stepped, date, &fresh(server));
                // Without `Date`, a clock that is ahead cannot be distinguished from an old job.
                if has_date || step < 0 {
                    assert!(
                        (now - NOW - 5_000).abs() <= NOISE_MS,
                        "{step}: {}",
                        now - NOW
                    );
                }
            }
        }
        let mut clock = ServerClock::default();
        clock.observe(at(NOW), Some(NOW / 1000), &fresh(NOW / 1000));
        let awake = Moment {
            up_ms: at(NOW).up_ms + 1_000,
            ..at(NOW + HOUR * 1000)
        };
        let server = NOW / 1000 + HOUR;
        assert_eq!(
            clock.observe(awake, Some(server), &fresh(server)),
            awake.wall_ms
        );
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for date in [i64::MIN, i64::MAX] {
            for updated in [i64::MIN, i64::MAX] {
                let status = Status {
                    updated: Some(updated),
                    ..Status::default()
                };
                for wall_ms in [i64::MIN, 0, i64::MAX] {
                    let mut clock = ServerClock::default();
                    clock.observe(at(wall_ms), Some(date), &status);
                    clock.observe(at(wall_ms), Some(date), &status);
                }
            }
        }
    }
}
