//! Decides which watch is polled now: takes the due ones, as far as circuit breaker and rate limiter allow, and feeds
//! the results back to both.

use super::{Clock, Engine};
use crate::clanforge::Api;
use crate::store::Store;
use forgewatch_core::retry;
use forgewatch_core::throttle::circuit_breaker::{Admission, PollOutcome, Transition};
use forgewatch_core::time::Moment;
use forgewatch_core::verdict::{ErrorKind, PollError};
use forgewatch_core::watch::Input;

/// Polls are late from this delay on, and on time again below the second one.
const BEHIND_FROM_MS: u64 = 10_000;
const ON_TIME_BELOW_MS: u64 = 1_000;

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    /// Starts every poll that is due and allowed. Returns when to call it again; None if only a poll or a commit in
    /// flight can change anything.
    pub(super) fn start_due(&mut self) -> Option<u64> {
        if self.shutting_down {
            return None;
        }
        loop {
            let (due, slot) = self.timer_queue.first()?;
            let moment = self.clock.now();
            let now = moment.up_ms;
            // A stop makes no request, so the throttle does not apply.
            if due <= now
                && let Some(outcome) = self.watch_table.take_pending_stop(slot)
            {
                self.step(slot, Input::Stop(outcome), moment);
                continue;
            }
            return Some(match self.circuit_breaker.admit(now) {
                Admission::Down { kind, probe_at } => {
                    if probe_at.is_some_and(|at| at <= now) {
                        self.probe(moment);
                        continue;
                    }
                    if due <= now {
                        self.step(slot, Input::Suspended(kind), moment);
                        continue;
                    }
                    probe_at.map_or(due, |at| at.min(due))
                }
                _ if due > now => due,
                Admission::PausedUntil(at) => at,
                Admission::Allowed if self.polls.len() >= self.max_in_flight => return None,
                Admission::Allowed => {
                    self.report_lag(now.saturating_sub(due));
                    let ready_at = self.rate_limiter.ready_at(now);
                    if ready_at <= now {
                        self.step(slot, Input::Due, moment);
                        continue;
                    }
                    ready_at
                }
            });
        }
    }

    /// Logs when polls become late because of the rate limit, and when they are on time again. `waited_ms` is the delay
    /// of the most overdue one.
    fn report_lag(&mut self, waited_ms: u64) {
        if !self.is_behind && waited_ms >= BEHIND_FROM_MS && !self.rate_limiter.has_backlog() {
            self.is_behind = true;
            tracing::warn!(
                target: "forgewatch::engine",
                jobs = self.watch_table.len(),
                waited_ms,
                "polls are late: these jobs need more than api.max_requests_per_second"
            );
        } else if self.is_behind && waited_ms <= ON_TIME_BELOW_MS {
            self.is_behind = false;
            tracing::info!(target: "forgewatch::engine", "polls are on time again");
        }
    }

    /// Polls one job to find out whether the API is back, unless the server has demanded a pause for each of them.
    fn probe(&mut self, now: Moment) {
        let Some((not_before, slot)) = self.watch_table.probe_candidate(now.up_ms) else {
            return self.circuit_breaker.delay_probe(now.up_ms);
        };
        if not_before > now.up_ms {
            return self.circuit_breaker.delay_probe(now.up_ms);
        }
        self.circuit_breaker.start_probe(slot);
        self.step(slot, Input::Probe, now);
    }

    /// Feeds one result to the circuit breaker and carries out the transition.
    pub(super) fn observe(&mut self, now: u64, slot: u32, result: Result<(), &PollError>) {
        let outcome = PollOutcome {
            refusal_opens: !self.limits.refusal_ends,
            slot,
            result,
            watched: self.watch_table.len(),
            in_flight: self.polls.len(),
        };
        let rng = &mut self.rng;
        let transition = self.circuit_breaker.observe(now, outcome, |failures| {
            retry::wait(failures, retry::MAX, rng)
        });
        match transition {
            Transition::None => {}
            Transition::Paused { until, again } => {
                let pause_ms = until.saturating_sub(now);
                if again {
                    tracing::debug!(target: "forgewatch::engine", pause_ms, "API asked for a longer pause");
                } else {
                    tracing::warn!(target: "forgewatch::engine", pause_ms, "API asked for a pause");
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
                tracing::warn!(target: "forgewatch::engine", "{what}");
            }
            Transition::Up => {
                tracing::info!(target: "forgewatch::engine", "API is back");
                self.rate_limiter.slow_start(now);
                self.poll_now(self.watch_table.suspended());
            }
        }
    }

    /// Makes these watches due now.
    pub(super) fn poll_now(&mut self, slots: Vec<u32>) {
        let now = self.clock.now();
        for slot in slots {
            self.step(slot, Input::PollNow, now);
        }
    }

    /// Polls each waiting watch no later than the new limits allow.
    pub(super) fn reschedule_waiting(&mut self) {
        let now = self.clock.now();
        for slot in self.watch_table.all_waiting() {
            self.step(slot, Input::LimitsChanged, now);
        }
    }
}
