//! Decides which watch is polled now: takes the due ones, as far as circuit breaker and rate limiter allow, and starts
//! their polls.

use std::rc::Rc;

use forgewatch_core::circuit_breaker::{Admission, CircuitBreaker, PollOutcome, Transition};
use forgewatch_core::rate_limiter::RateLimiter;
use forgewatch_core::retry;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::time::{Moment, span_in_seconds};
use forgewatch_core::verdict::{ErrorKind, PollError};
use forgewatch_core::watch::{Input, Watch};
use futures_util::future::{AbortHandle, Abortable};

use super::watch_table::Phase;
use super::{Clock, Engine, PollDone};
use crate::clanforge::Api;
use crate::store::Store;

/// Limits on the requests to the API.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// At least 1.
    pub max_in_flight: usize,
    /// On average; above zero.
    pub max_requests_per_second: f64,
}

/// What became of the first poll that is due.
enum Dispatch {
    /// It, or what is due instead, has been started.
    Started,
    /// No poll may start before this `up_ms`; None if that depends on a poll or a commit in flight.
    NotBefore(Option<u64>),
}

/// Polls are late from this delay on, and on time again below the second one.
const BEHIND_FROM_MS: u64 = 10_000;
const ON_TIME_BELOW_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct ThrottleState {
    pub(super) circuit_breaker: CircuitBreaker,
    pub(super) rate_limiter: RateLimiter,
    pub(super) max_in_flight: usize,
    /// The log says that polls are late.
    is_behind: bool,
}

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    /// Starts every poll that is due and allowed, and does what is due without one. Returns when to call it again; None
    /// if only a poll or a commit in flight can change anything.
    pub(super) fn start_due(&mut self) -> Option<u64> {
        if self.shutting_down {
            return None;
        }
        loop {
            let moment = self.clock.now();
            let next_poll = match self.start_one(moment) {
                Dispatch::Started => continue,
                Dispatch::NotBefore(at) => at,
            };
            let deadline = self.watches.next_deadline();
            match deadline {
                Some((at, slot)) if at <= moment.up_ms => self.on_deadline(slot, moment),
                _ => {
                    return next_poll
                        .into_iter()
                        .chain(deadline.map(|(at, _)| at))
                        .min();
                }
            }
        }
    }

    /// Neither a stop nor a deadline makes a request, so that no limit on requests applies.
    fn on_deadline(&mut self, slot: u32, now: Moment) {
        self.abort_poll(slot);
        match self.watches.take_pending_stop(slot) {
            Some(outcome) => self.step(slot, Input::Stop(outcome), now),
            None => self.step(slot, Input::Deadline, now),
        }
    }

    /// Starts the first poll that is due, if it may start.
    fn start_one(&mut self, moment: Moment) -> Dispatch {
        let Some((due, slot)) = self.watches.next_poll() else {
            return Dispatch::NotBefore(None);
        };
        let now = moment.up_ms;
        if due <= now
            && let Some(outcome) = self.watches.take_pending_stop(slot)
        {
            self.step(slot, Input::Stop(outcome), moment);
            return Dispatch::Started;
        }
        match self.throttle.circuit_breaker.admit(now) {
            Admission::Down { probe_at } if probe_at.is_some_and(|at| at <= now) => {
                self.probe(moment);
            }
            Admission::Down { probe_at } if due > now => {
                let at = probe_at.map_or(due, |at| at.min(due));
                return Dispatch::NotBefore(Some(at));
            }
            _ if due > now => return Dispatch::NotBefore(Some(due)),
            Admission::Down { .. } => self.suspend(slot, None, moment),
            Admission::PausedUntil(until) => self.suspend(slot, Some(until), moment),
            Admission::Allowed if self.polls.len() >= self.throttle.max_in_flight => {
                return Dispatch::NotBefore(None);
            }
            Admission::Allowed => {
                let waited_ms = now.saturating_sub(due);
                self.throttle.report_lag(self.watches.len(), waited_ms);
                let ready_at = self.throttle.rate_limiter.ready_at(now);
                if ready_at > now {
                    return Dispatch::NotBefore(Some(ready_at));
                }
                self.step(slot, Input::Due, moment);
            }
        }
        Dispatch::Started
    }

    /// A poll is due, but the API is down or has requested a pause.
    fn suspend(&mut self, slot: u32, until: Option<u64>, now: Moment) {
        let error = self.throttle.suspension(until.is_some());
        self.step(slot, Input::Suspended { error, until }, now);
    }

    /// Polls one job to find out whether the API is back, unless the server has demanded a pause for each of them.
    fn probe(&mut self, now: Moment) {
        let Some(slot) = self.watches.probe_candidate(now.up_ms) else {
            return self.throttle.circuit_breaker.delay_probe(now.up_ms);
        };
        self.throttle.circuit_breaker.start_probe(slot);
        self.step(slot, Input::Probe, now);
    }

    /// The watch itself decided that it is polled now.
    pub(super) fn start_poll(&mut self, slot: u32, diff_info: bool, deadline: u64, now: Moment) {
        let Some(watch) = self.watches.watch(slot) else {
            return;
        };
        let (id, job) = (watch.id(), watch.job());
        self.measured.on_start(watch.poll_at(), now);
        self.throttle.rate_limiter.take(now.up_ms);
        self.watches.set_phase(slot, Phase::Polling { deadline });
        let (abort, registration) = AbortHandle::new_pair();
        self.poll_aborts.insert(slot, abort);
        let api = Rc::clone(&self.api);
        let poll = async move { api.poll(job, diff_info).await };
        let poll = Abortable::new(poll, registration);
        let started = now.up_ms;
        self.polls.push(Box::pin(async move {
            PollDone {
                slot,
                id,
                started,
                result: poll.await.ok(),
            }
        }));
    }

    /// Steps all waiting watches for which `which` holds.
    pub(super) fn step_waiting(&mut self, which: impl Fn(&Watch) -> bool, input: &Input) {
        let now = self.clock.now();
        for slot in self.watches.waiting(which) {
            self.step(slot, input.clone(), now);
        }
    }
}

impl ThrottleState {
    pub(super) fn new(limits: Throttle, now: u64) -> Self {
        Self {
            circuit_breaker: CircuitBreaker::default(),
            rate_limiter: RateLimiter::new(limits.max_requests_per_second, now),
            max_in_flight: limits.max_in_flight.max(1),
            is_behind: false,
        }
    }

    /// Changes the limits and ends an outage: the configuration may hold new credentials or a new address. Pauses that
    /// the server demanded remain.
    pub(super) fn configure(&mut self, limits: Throttle, now: u64) {
        self.max_in_flight = limits.max_in_flight.max(1);
        self.rate_limiter.set_rate(limits.max_requests_per_second);
        if self.circuit_breaker.reset() {
            self.rate_limiter.slow_start(now);
        }
    }

    /// The error of a watch that cannot be polled because of the API as a whole.
    fn suspension(&self, is_pause: bool) -> PollError {
        let what = if is_pause {
            "the API requested a pause"
        } else {
            "the API is down"
        };
        let (kind, http_status, cause) = match self.circuit_breaker.last_error() {
            Some(error) => (error.kind, error.http_status, error.message.as_str()),
            None => (ErrorKind::Server, None, "unknown error"),
        };
        PollError {
            kind,
            http_status,
            message: format!("{what}: {cause}"),
            retry_after: None,
        }
    }

    /// Observes the result of a poll. Returns whether it ends an outage.
    pub(super) fn observe(&mut self, now: u64, outcome: PollOutcome, rng: &mut SeededRng) -> bool {
        let result = outcome.result;
        let error_kind = result.err().map(|error| error.kind.as_str());
        let error_message = result.err().map(|error| error.message.as_str());
        let transition = self.circuit_breaker.observe(now, outcome, |failures| {
            retry::wait(failures, retry::MAX, rng)
        });
        match transition {
            Transition::None => {}
            Transition::Paused { until, again } => {
                let pause_ms = until.saturating_sub(now);
                if again {
                    tracing::debug!(target: "forgewatch::engine", pause_ms, error_kind, error_message, "API asked for a longer pause");
                } else {
                    tracing::warn!(target: "forgewatch::engine", pause_ms, error_kind, error_message, "API requested a pause of {}", span_in_seconds(pause_ms));
                }
                if !self.circuit_breaker.is_down() {
                    self.rate_limiter.slow_start(until);
                }
            }
            Transition::Down => {
                self.rate_limiter.pause(now);
                let refused = result.is_err_and(|e| e.kind == ErrorKind::Unauthorized);
                let what = if refused {
                    "API rejects the credentials: probing every 5 minutes until they are replaced"
                } else {
                    "API is down: probing with one request at a time"
                };
                tracing::warn!(target: "forgewatch::engine", error_kind, error_message, "{what}");
            }
            Transition::Up => {
                tracing::info!(target: "forgewatch::engine", "API is back");
                self.rate_limiter.slow_start(now);
                return true;
            }
        }
        false
    }

    /// Logs when polls become late because of the rate limit, and when they are on time again. `waited_ms` is the delay
    /// of the most overdue one.
    pub(super) fn report_lag(&mut self, jobs: usize, waited_ms: u64) {
        if !self.is_behind && waited_ms >= BEHIND_FROM_MS && !self.rate_limiter.has_backlog() {
            self.is_behind = true;
            tracing::warn!(
                target: "forgewatch::engine",
                jobs,
                waited_ms,
                "polls are late: these jobs need more than api.max_requests_per_second"
            );
        } else if self.is_behind && waited_ms <= ON_TIME_BELOW_MS {
            self.is_behind = false;
            tracing::info!(target: "forgewatch::engine", "polls are on time again");
        }
    }
}
