//! Limits how much the API is polled, and pauses polling while it is down.

use forgewatch_core::retry;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::throttle::circuit_breaker::{CircuitBreaker, PollOutcome, Transition};
use forgewatch_core::throttle::rate_limiter::RateLimiter;
use forgewatch_core::verdict::ErrorKind;

/// Limits on the requests to the API.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// At least 1.
    pub max_in_flight: usize,
    /// On average; above zero.
    pub max_requests_per_second: f64,
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

    /// Observes the result of a poll. Returns whether it ends an outage.
    pub(super) fn observe(&mut self, now: u64, outcome: PollOutcome, rng: &mut SeededRng) -> bool {
        let result = outcome.result;
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
