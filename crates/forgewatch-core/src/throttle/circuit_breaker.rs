//! Whether the API as a whole may be asked: open, held for a while, or down with a single probe.
//!
//! One job's trouble is its own. But when everything fails at once, asking on for every job would only keep a
//! broken server down, and when the server says "too many requests" it means all of us.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::millis;
use crate::verdict::{ErrorKind, PollError, REFUSED_INTERVAL};

/// How far back requests are counted.
const WINDOW_MS: u64 = 5_000;
/// That many jobs must have failed; where fewer are watched, all of them, and that many requests in a row.
const FAILED_AT_LEAST: usize = 3;
/// The longest hold for all; what a server asks for beyond it holds the one job.
const LONGEST_HOLD: Duration = Duration::from_mins(1);

/// How long after nobody was there who might probe that is looked at again.
const NOBODY_TO_ASK: Duration = Duration::from_secs(1);

/// The gate. Times are [`crate::time::Moment::up_ms`].
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    /// Which slots the API failed in the last seconds, each once, and since when.
    failed: VecDeque<(u64, u32)>,
    /// When it last did not fail.
    worked_at: Option<u64>,
    /// Failures since anything succeeded, whenever they were.
    in_a_row: usize,
    held_until: u64,
    /// Whether the last that was heard about it is that it is too much.
    limited: bool,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    kind: ErrorKind,
    /// Probes that failed, for the retry schedule.
    failures: u8,
    probe_at: u64,
    /// The slot that asks for all.
    probing: Option<u32>,
}

/// What the gate says to somebody who wants to ask.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Ask.
    Open,
    /// Come back then.
    At(u64),
    /// The API is down: only a probe asks, the next one at `probe_at`.
    Down {
        /// With what requests failed.
        kind: ErrorKind,
        /// None while a probe is under way.
        probe_at: Option<u64>,
    },
}

/// What a result changed for everybody.
#[derive(Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    None,
    /// From now on only a probe asks.
    Down,
    /// Everybody may ask again.
    Up,
    /// Nobody asks before `until`.
    Held {
        /// By [`crate::time::Moment::up_ms`].
        until: u64,
        /// Whether it had said so before, and no request has worked since.
        again: bool,
    },
}

impl CircuitBreaker {
    /// Whether a poll may start now.
    pub fn admit(&self, now: u64) -> Admission {
        match &self.outage {
            Some(outage) => Admission::Down {
                kind: outage.kind,
                probe_at: outage
                    .probing
                    .is_none()
                    .then_some(outage.probe_at.max(self.held_until)),
            },
            None if self.held_until > now => Admission::At(self.held_until),
            None => Admission::Open,
        }
    }

    /// Something that may have mended an outage has happened: everybody may ask again. Whether there was one.
    pub fn reopen(&mut self) -> bool {
        self.in_a_row = 0;
        self.failed.clear();
        self.outage.take().is_some()
    }

    /// Whether the API as a whole is down.
    pub fn is_down(&self) -> bool {
        self.outage.is_some()
    }

    /// This slot asks for all.
    pub fn probe(&mut self, slot: u32) {
        if let Some(outage) = &mut self.outage {
            outage.probing = Some(slot);
        }
    }

    /// Nobody may ask for all now: it is looked at again soon, as somebody may have come by then who may.
    pub fn put_off_probe(&mut self, now: u64) {
        if let Some(outage) = &mut self.outage {
            outage.probe_at = now.saturating_add(millis(NOBODY_TO_ASK));
        }
    }

    /// This slot waits or is gone: if it was to ask for all, somebody else has to.
    pub fn not_asking(&mut self, slot: u32) {
        if let Some(outage) = self.outage.as_mut().filter(|o| o.probing == Some(slot)) {
            outage.probing = None;
        }
    }

    /// Takes note of what came of one request. `wait` is the jittered wait after so many failures in a row.
    pub fn heard(
        &mut self,
        now: u64,
        heard: PollOutcome,
        mut wait: impl FnMut(u8) -> Duration,
    ) -> Transition {
        let PollOutcome { slot, result, .. } = heard;
        let refused = |e: &PollError| heard.refusal_pauses && e.kind == ErrorKind::Unauthorized;
        let failed = result.is_err_and(|e| e.kind.is_outage() || refused(e));
        let is_refused = result.is_err_and(refused);
        let mut wait = |failures| {
            if is_refused {
                REFUSED_INTERVAL
            } else {
                wait(failures)
            }
        };
        self.count(now, slot, failed);
        let mut turn = Transition::None;
        if let Some(outage) = &mut self.outage {
            if !failed {
                self.outage = None;
                turn = Transition::Up;
            } else if outage.probing == Some(slot) {
                outage.probing = None;
                outage.failures = outage.failures.saturating_add(1);
                outage.probe_at = now.saturating_add(millis(wait(outage.failures)));
            }
        } else if let (true, Err(error)) =
            (failed && self.all_fail(now, &heard, is_refused), result)
        {
            let probe_at = now.saturating_add(millis(wait(1)));
            self.outage = Some(Outage {
                kind: error.kind,
                failures: 1,
                probe_at,
                probing: None,
            });
            turn = Transition::Down;
        }
        if let Some(hold) = result.err().and_then(|error| hold(error, || wait(1))) {
            let again = std::mem::replace(&mut self.limited, true);
            let until = self.held_until.max(now.saturating_add(millis(hold)));
            self.held_until = until;
            if turn == Transition::None {
                turn = Transition::Held { until, again };
            }
        } else if result.is_ok() && self.held_until <= now {
            self.limited = false;
        }
        turn
    }

    fn count(&mut self, now: u64, slot: u32, failed: bool) {
        if !failed {
            self.in_a_row = 0;
            self.failed.clear();
            self.worked_at = Some(now);
            return;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        while self
            .failed
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(WINDOW_MS) < now)
        {
            self.failed.pop_front();
        }
        if self.failed.iter().all(|&(_, known)| known != slot) {
            self.failed.push_back((now, slot));
        }
    }

    fn all_fail(&self, now: u64, heard: &PollOutcome, is_refused: bool) -> bool {
        let failed = self.failed.len();
        if heard.watched < FAILED_AT_LEAST {
            // Wrong credentials are no mishap that the next request may not meet.
            let often_enough = is_refused || self.in_a_row >= FAILED_AT_LEAST;
            return often_enough && failed >= heard.watched;
        }
        let worked = self
            .worked_at
            .is_some_and(|at| at.saturating_add(WINDOW_MS) >= now);
        !worked && failed >= FAILED_AT_LEAST && failed >= heard.in_flight
    }
}

/// What came of one request, and what else is going on.
#[derive(Clone, Copy, Debug)]
pub struct PollOutcome<'a> {
    /// Whether wrong credentials (401) stop the asking for all: where nobody ends for them, somebody will mend them.
    pub refusal_pauses: bool,
    /// The watch that was polled, by its place in the engine's watch table.
    pub slot: u32,
    /// Whether a status came back.
    pub result: Result<(), &'a PollError>,
    /// Jobs watched.
    pub watched: usize,
    /// Requests under way besides this one.
    pub in_flight: usize,
}

/// How long a "too many requests" or a dated "not now" holds everybody.
fn hold(error: &PollError, backoff: impl FnOnce() -> Duration) -> Option<Duration> {
    let asked = match (error.kind, error.http_status, error.retry_after) {
        (ErrorKind::RateLimited, _, asked) => asked.unwrap_or_else(backoff),
        (_, Some(503), Some(asked)) => asked,
        _ => return None,
    };
    Some(asked.min(LONGEST_HOLD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests_support::error;

    const WAIT: Duration = Duration::from_secs(1);

    fn hear(
        circuit_breaker: &mut CircuitBreaker,
        now: u64,
        slot: u32,
        kind: Option<ErrorKind>,
    ) -> Transition {
        hear_of(circuit_breaker, now, slot, 100, 0, kind.map(error).as_ref())
    }

    fn hear_of(
        circuit_breaker: &mut CircuitBreaker,
        now: u64,
        slot: u32,
        watched: usize,
        in_flight: usize,
        error: Option<&PollError>,
    ) -> Transition {
        let result = error.map_or(Ok(()), Err);
        circuit_breaker.heard(
            now,
            PollOutcome {
                refusal_pauses: true,
                slot,
                result,
                watched,
                in_flight,
            },
            |n| WAIT * u32::from(n),
        )
    }

    #[test]
    fn three_jobs_failing_together_close_it_for_all() {
        let mut circuit_breaker = CircuitBreaker::default();
        let down = Some(ErrorKind::Connect);
        assert_eq!(hear(&mut circuit_breaker, 0, 1, down), Transition::None);
        assert_eq!(
            hear(&mut circuit_breaker, 10, 1, down),
            Transition::None,
            "the same job again is no second one"
        );
        assert_eq!(hear(&mut circuit_breaker, 20, 2, down), Transition::None);
        assert_eq!(hear(&mut circuit_breaker, 30, 3, down), Transition::Down);
        let kind = ErrorKind::Connect;
        assert_eq!(
            circuit_breaker.admit(30),
            Admission::Down {
                kind,
                probe_at: Some(1030)
            }
        );
    }

    #[test]
    fn failures_far_apart_or_among_successes_or_few_of_those_asked_do_not() {
        let down = Some(ErrorKind::Server);
        let mut apart = CircuitBreaker::default();
        let mut among = CircuitBreaker::default();
        let mut few = CircuitBreaker::default();
        for slot in 1..=3 {
            let at = u64::from(slot) * 2_600;
            assert_eq!(hear(&mut apart, at, slot, down), Transition::None);
            hear(&mut among, u64::from(slot), 9, None);
            assert_eq!(
                hear(&mut among, u64::from(slot), slot, down),
                Transition::None
            );
            assert_eq!(
                hear_of(&mut few, 1, slot, 100, 4, down.map(error).as_ref()),
                Transition::None
            );
        }
    }

    #[test]
    fn one_jobs_own_trouble_is_its_own() {
        let mut circuit_breaker = CircuitBreaker::default();
        for slot in 0..50 {
            for kind in [ErrorKind::NotFound, ErrorKind::BadResponse, ErrorKind::Api] {
                assert_eq!(
                    hear(&mut circuit_breaker, 1, slot, Some(kind)),
                    Transition::None
                );
            }
        }
        assert_eq!(circuit_breaker.admit(1), Admission::Open);
    }

    #[test]
    fn of_two_jobs_the_trouble_of_one_is_its_own() {
        let mut circuit_breaker = CircuitBreaker::default();
        let failed = error(ErrorKind::Server);
        for at in 0..9 {
            assert_eq!(
                hear_of(&mut circuit_breaker, at, 1, 2, 0, Some(&failed)),
                Transition::None
            );
        }
        assert_eq!(
            hear_of(&mut circuit_breaker, 9, 2, 2, 0, Some(&failed)),
            Transition::Down
        );
    }

    #[test]
    fn a_lone_job_closes_it_with_three_failures_in_a_row_however_slow() {
        let mut circuit_breaker = CircuitBreaker::default();
        let failed = error(ErrorKind::Timeout);
        for (at, turn) in [
            (0, Transition::None),
            (30_000, Transition::None),
            (90_000, Transition::Down),
        ] {
            assert_eq!(
                hear_of(&mut circuit_breaker, at, 1, 1, 0, Some(&failed)),
                turn
            );
        }
    }

    #[test]
    fn a_lone_job_that_is_refused_closes_it_at_once() {
        let refused = error(ErrorKind::Unauthorized);
        let turn = hear_of(&mut CircuitBreaker::default(), 0, 1, 1, 0, Some(&refused));
        assert_eq!(turn, Transition::Down);
    }

    #[test]
    fn a_probe_that_fails_puts_the_next_one_off_and_one_that_works_opens() {
        let mut circuit_breaker = CircuitBreaker::default();
        for slot in 1..=3 {
            hear(&mut circuit_breaker, 0, slot, Some(ErrorKind::Server));
        }
        let kind = ErrorKind::Server;
        circuit_breaker.probe(1);
        assert_eq!(
            circuit_breaker.admit(2_000),
            Admission::Down {
                kind,
                probe_at: None
            }
        );
        assert_eq!(
            hear(&mut circuit_breaker, 2_000, 1, Some(kind)),
            Transition::None
        );
        assert_eq!(
            circuit_breaker.admit(2_000),
            Admission::Down {
                kind,
                probe_at: Some(4_000)
            }
        );
        circuit_breaker.probe(1);
        assert_eq!(
            hear(&mut circuit_breaker, 4_000, 1, Some(ErrorKind::NotFound)),
            Transition::Up
        );
        assert_eq!(circuit_breaker.admit(4_000), Admission::Open);
    }

    #[test]
    fn too_many_requests_holds_everybody_for_a_minute_at_most() {
        for (asked, until) in [(Some(7), 7_000), (Some(3600), 60_000), (None, 1_000)] {
            let mut circuit_breaker = CircuitBreaker::default();
            let retry_after = asked.map(Duration::from_secs);
            let limited = PollError {
                retry_after,
                ..error(ErrorKind::RateLimited)
            };
            assert_eq!(
                hear_of(&mut circuit_breaker, 0, 1, 9, 0, Some(&limited)),
                Transition::Held {
                    until,
                    again: false
                }
            );
            assert_eq!(circuit_breaker.admit(until - 1), Admission::At(until));
            assert_eq!(circuit_breaker.admit(until), Admission::Open);
        }
        let mut circuit_breaker = CircuitBreaker::default();
        assert_eq!(
            hear(&mut circuit_breaker, 0, 1, Some(ErrorKind::Server)),
            Transition::None,
            "503 without a date"
        );
    }
}
