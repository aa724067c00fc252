//! The circuit breaker: whether the API as a whole is polled. It is closed, paused for a while, or open with one probe.
//!
//! Errors of one job concern that job. But if all jobs fail at once, further polls would only keep a broken server down;
//! and "too many requests" concerns all jobs.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::millis;
use crate::verdict::{ErrorKind, PollError, REFUSED_INTERVAL};

/// Failures of different jobs within this time count together.
const WINDOW_MS: u64 = 5_000;
/// Jobs that must fail to open the breaker. If fewer are watched: all of them, with this many polls in a row.
const MIN_FAILED: usize = 3;
/// The longest pause for all jobs. A longer `Retry-After` holds for its own job only.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Delay before the next probe if no watch is eligible.
const NO_CANDIDATE_DELAY: Duration = Duration::from_secs(1);

/// The breaker. Times are [`crate::time::Moment::up_ms`]; a slot is a place in the engine's watch table.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    /// The slots that failed within the last [`WINDOW_MS`], each once, with the time of the failure.
    failed: VecDeque<(u64, u32)>,
    last_success: Option<u64>,
    consecutive_failures: usize,
    paused_until: u64,
    /// Whether the server requested a pause and no poll has succeeded since.
    was_paused: bool,
    /// The last error that opened the breaker or paused the polls.
    last_error: Option<PollError>,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// Failed probes, for the retry schedule.
    failures: u8,
    probe_at: u64,
    /// The slot whose poll is the probe.
    probing: Option<u32>,
}

/// Whether a poll may start.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Allowed,
    /// Not before this time.
    PausedUntil(u64),
    /// The API is down: only a probe may, the next one at `probe_at`.
    Down {
        /// None during a probe.
        probe_at: Option<u64>,
    },
}

/// What the result of a poll changed for all jobs.
#[derive(Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    None,
    /// The API is down: only probes from now on.
    Down,
    /// The API is up: all jobs are polled again.
    Up,
    /// No polls before `until`.
    Paused {
        /// By [`crate::time::Moment::up_ms`].
        until: u64,
        /// Whether the server requested one before and no poll has succeeded since.
        again: bool,
    },
}

impl CircuitBreaker {
    /// Whether a poll may start now.
    pub fn admit(&self, now: u64) -> Admission {
        match &self.outage {
            Some(outage) => Admission::Down {
                probe_at: outage
                    .probing
                    .is_none()
                    .then_some(outage.probe_at.max(self.paused_until)),
            },
            None if self.paused_until > now => Admission::PausedUntil(self.paused_until),
            None => Admission::Allowed,
        }
    }

    /// Closes the breaker after a change that may have ended the outage. Returns whether it was open.
    pub fn reset(&mut self) -> bool {
        self.consecutive_failures = 0;
        self.failed.clear();
        self.outage.take().is_some()
    }

    /// Why polls are paused or suspended, if they are.
    pub fn last_error(&self) -> Option<&PollError> {
        self.last_error.as_ref()
    }

    /// When the pause ends that the server requested; None without a pause.
    pub fn paused_until(&self, now: u64) -> Option<u64> {
        (self.paused_until > now).then_some(self.paused_until)
    }

    /// Whether the API as a whole is down.
    pub fn is_down(&self) -> bool {
        self.outage.is_some()
    }

    /// The poll of this slot is the probe.
    pub fn start_probe(&mut self, slot: u32) {
        if let Some(outage) = &mut self.outage {
            outage.probing = Some(slot);
        }
    }

    /// No watch is eligible for a probe: try again soon.
    pub fn delay_probe(&mut self, now: u64) {
        if let Some(outage) = &mut self.outage {
            outage.probe_at = now.saturating_add(millis(NO_CANDIDATE_DELAY));
        }
    }

    /// This slot is no longer polling: the next probe needs another slot if its poll was the probe.
    pub fn cancel_probe(&mut self, slot: u32) {
        if let Some(outage) = self.outage.as_mut().filter(|o| o.probing == Some(slot)) {
            outage.probing = None;
        }
    }

    /// Takes the result of a poll into account. `wait` returns the jittered wait after so many consecutive failures.
    pub fn observe(
        &mut self,
        now: u64,
        outcome: PollOutcome,
        mut wait: impl FnMut(u8) -> Duration,
    ) -> Transition {
        let PollOutcome { slot, result, .. } = outcome;
        let refused = |e: &PollError| outcome.refusal_opens && e.kind == ErrorKind::Unauthorized;
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
        let mut transition = Transition::None;
        if let Some(outage) = &mut self.outage {
            if !failed {
                self.outage = None;
                transition = Transition::Up;
            } else if outage.probing == Some(slot) {
                outage.probing = None;
                outage.failures = outage.failures.saturating_add(1);
                outage.probe_at = now.saturating_add(millis(wait(outage.failures)));
            }
        } else if failed && self.all_fail(now, &outcome, is_refused) {
            let probe_at = now.saturating_add(millis(wait(1)));
            self.outage = Some(Outage {
                failures: 1,
                probe_at,
                probing: None,
            });
            transition = Transition::Down;
        }
        let pause = result.err().and_then(|error| pause(error, || wait(1)));
        if let Err(error) = result
            && (failed || pause.is_some())
        {
            self.last_error = Some(error.clone());
        }
        if let Some(pause) = pause {
            let again = std::mem::replace(&mut self.was_paused, true);
            let until = self.paused_until.max(now.saturating_add(millis(pause)));
            self.paused_until = until;
            if transition == Transition::None {
                transition = Transition::Paused { until, again };
            }
        } else if result.is_ok() && self.paused_until <= now {
            self.was_paused = false;
        }
        transition
    }

    fn count(&mut self, now: u64, slot: u32, failed: bool) {
        if !failed {
            self.consecutive_failures = 0;
            self.failed.clear();
            self.last_success = Some(now);
            return;
        }
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
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

    fn all_fail(&self, now: u64, outcome: &PollOutcome, is_refused: bool) -> bool {
        let failed = self.failed.len();
        if outcome.watched < MIN_FAILED {
            // Wrong credentials are no transient error: one refusal is enough.
            let enough_in_a_row = is_refused || self.consecutive_failures >= MIN_FAILED;
            return enough_in_a_row && failed >= outcome.watched;
        }
        let has_succeeded = self
            .last_success
            .is_some_and(|at| at.saturating_add(WINDOW_MS) >= now);
        !has_succeeded && failed >= MIN_FAILED && failed >= outcome.in_flight
    }
}

/// The result of one poll, with the state of the engine.
#[derive(Clone, Copy, Debug)]
pub struct PollOutcome<'a> {
    /// Whether wrong credentials (401) open the breaker: in a daemon, whose watches do not end for them.
    pub refusal_opens: bool,
    /// The slot that was polled.
    pub slot: u32,
    /// Whether the poll returned a status.
    pub result: Result<(), &'a PollError>,
    /// Number of watched jobs.
    pub watched: usize,
    /// Polls in flight besides this one.
    pub in_flight: usize,
}

/// The pause for all jobs after a 429, or a 503 with `Retry-After`.
fn pause(error: &PollError, backoff: impl FnOnce() -> Duration) -> Option<Duration> {
    let pause = match (error.kind, error.http_status, error.retry_after) {
        (ErrorKind::RateLimited, _, requested) => requested.unwrap_or_else(backoff),
        (_, Some(503), Some(requested)) => requested,
        _ => return None,
    };
    Some(pause.min(MAX_PAUSE))
}
