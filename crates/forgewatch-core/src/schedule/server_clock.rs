//! Which clock the server's times go by.
//!
//! `jobeta` is worth as much as the clock that it is compared with. The server says what it takes for now in `Date`,
//! but a proxy's `Date` may be wrong, and so may ours. Of the two, `jobupdated` and `jobstart` of a running job tell
//! which one the server's times go by: they cannot lie in the future and seldom lie long in the past. The engine
//! keeps one [`ServerClock`] for each host and lets it hear every answer.

use crate::status::Status;

/// Milliseconds within which two clocks are one: `Date` has whole seconds, and answers travel.
const NOISE: i64 = 2_000;
/// Milliseconds by which a time of the server's may seem to lie in the future: clocks of two machines.
const AHEAD: i64 = 5_000;
/// Milliseconds within which a running job's latest time is fresh.
const FRESH: i64 = 300_000;

/// How far the server's clock is ahead of ours. [`Default`] takes them for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerClock {
    /// Server less ours, milliseconds.
    offset: i64,
    /// Another offset, which one answer has told.
    told: Option<i64>,
}

impl ServerClock {
    /// Takes note of an answer that came at `wall_ms` (ours, Unix milliseconds) and says what the server's clock
    /// shows. `date` is the answer's `Date` less its `Age`, Unix seconds. A new offset counts once two answers agree.
    pub fn hear(&mut self, wall_ms: i64, date: Option<i64>, status: &Status) -> i64 {
        let heard = offset(wall_ms, date, status);
        let near = |other: i64| heard.saturating_sub(other).saturating_abs() <= NOISE;
        if near(self.offset) {
            self.told = None;
        } else if self.told.is_some_and(near) {
            self.offset = heard;
            self.told = None;
        } else {
            self.told = Some(heard);
        }
        self.now_ms(wall_ms)
    }

    /// What the server's clock shows at `wall_ms`, both Unix milliseconds.
    pub fn now_ms(&self, wall_ms: i64) -> i64 {
        wall_ms.saturating_add(self.offset)
    }
}

/// The offset that one answer tells.
fn offset(wall_ms: i64, date: Option<i64>, status: &Status) -> i64 {
    // A whole second was cut down: its middle.
    let by_date = date.map(|date| {
        let date_ms = date.saturating_mul(1000).saturating_add(500);
        date_ms.saturating_sub(wall_ms)
    });
    // Not worth a decision: our clock has milliseconds.
    let by_date = by_date.filter(|offset| offset.saturating_abs() > NOISE);
    let Some(latest) = status.updated.max(status.start) else {
        return by_date.unwrap_or(0);
    };
    let latest_ms = latest.saturating_mul(1000);
    let past = |offset: i64| wall_ms.saturating_add(offset).saturating_sub(latest_ms);
    let possible = |offset: i64| past(offset) >= -AHEAD;
    let fresh = |offset: i64| past(offset) <= FRESH;
    match by_date {
        // The server's own word, unless our clock alone finds the time fresh.
        Some(date) if possible(date) && !(possible(0) && fresh(0) && !fresh(date)) => date,
        _ if possible(0) => 0,
        // Neither can be right: the server's clock shows that time at least.
        _ => latest_ms.saturating_sub(wall_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_400;
    const HOUR: i64 = 3_600;

    /// A running job that the server updated three seconds ago, by its own clock.
    fn fresh(server_now_s: i64) -> Status {
        Status {
            start: Some(server_now_s - 100),
            updated: Some(server_now_s - 3),
            ..Status::default()
        }
    }

    /// What the clock shows after two answers alike, less `NOW`, in whole seconds.
    fn heard_twice(date: Option<i64>, status: &Status) -> i64 {
        let mut clock = ServerClock::default();
        clock.hear(NOW, date, status);
        (clock.hear(NOW, date, status) - NOW).div_euclid(1000)
    }

    #[test]
    fn a_server_an_hour_ahead_in_all_its_times_is_followed() {
        let server = NOW / 1000 + HOUR;
        assert_eq!(heard_twice(Some(server), &fresh(server)), HOUR);
    }

    #[test]
    fn a_server_an_hour_behind_in_all_its_times_is_followed() {
        let server = NOW / 1000 - HOUR;
        assert_eq!(heard_twice(Some(server), &fresh(server)), -HOUR);
    }

    #[test]
    fn a_date_alone_that_is_an_hour_off_is_not_believed() {
        let server = NOW / 1000;
        assert_eq!(heard_twice(Some(server + HOUR), &fresh(server)), 0);
        assert_eq!(heard_twice(Some(server - HOUR), &fresh(server)), 0);
    }

    #[test]
    fn a_job_that_has_not_moved_for_an_hour_leaves_the_date_its_word() {
        let status = Status {
            updated: Some(NOW / 1000 - 2 * HOUR),
            ..Status::default()
        };
        assert_eq!(heard_twice(Some(NOW / 1000 - HOUR), &status), -HOUR);
        assert_eq!(heard_twice(Some(NOW / 1000 + HOUR), &status), HOUR);
    }

    #[test]
    fn a_date_counts_where_the_job_tells_no_time() {
        let date = NOW / 1000 + HOUR;
        assert_eq!(heard_twice(Some(date), &Status::default()), HOUR);
    }

    #[test]
    fn without_a_date_a_time_in_the_future_sets_the_clock_to_it() {
        let server = NOW / 1000 + HOUR;
        assert_eq!(heard_twice(None, &fresh(server)), HOUR - 4);
        assert_eq!(heard_twice(None, &fresh(NOW / 1000)), 0);
    }

    #[test]
    fn whole_seconds_are_noise() {
        for off in -1..=1 {
            assert_eq!(heard_twice(Some(NOW / 1000 + off), &fresh(NOW / 1000)), 0);
        }
    }

    #[test]
    fn a_new_offset_counts_once_two_answers_agree() {
        let mut clock = ServerClock::default();
        let server = NOW / 1000 + HOUR;
        assert_eq!(clock.hear(NOW, Some(server), &fresh(server)), NOW);
        assert_eq!(clock.hear(NOW, Some(NOW / 1000), &fresh(NOW / 1000)), NOW);
        assert_eq!(clock.hear(NOW, Some(server), &fresh(server)), NOW);
        let then = clock.hear(NOW + 5_000, Some(server + 5), &fresh(server + 5));
        assert!((then - NOW - 5_000 - HOUR * 1000).abs() <= NOISE);
        assert_eq!(clock.now_ms(NOW), then - 5_000);
    }

    #[test]
    fn times_out_of_all_bounds_do_not_overflow() {
        for date in [i64::MIN, i64::MAX] {
            for updated in [i64::MIN, i64::MAX] {
                let status = Status {
                    updated: Some(updated),
                    ..Status::default()
                };
                for wall_ms in [i64::MIN, 0, i64::MAX] {
                    let mut clock = ServerClock::default();
                    clock.hear(wall_ms, Some(date), &status);
                    clock.hear(wall_ms, Some(date), &status);
                }
            }
        }
    }
}
