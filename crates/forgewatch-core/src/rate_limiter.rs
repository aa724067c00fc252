//! The rate limiter: a token bucket with a slow start after a pause. Until the backlog of the pause is done, the rate
//! stays below one and a half times the usual one.

/// After a pause, the rate rises from this share of the configured rate to the full rate in this time.
const SLOW_START_SHARE: f64 = 0.5;
const SLOW_START_MS: f64 = 30_000.0;
/// Capacity of the bucket in seconds of the rate: with it, no second has more than one and a half times the rate.
const BURST_SECONDS: f64 = 0.5;

/// Time constant of the usual rate, a moving average.
const USUAL_MS: f64 = 60_000.0;
/// During a backlog, the rate stays below this multiple of the usual rate ...
const BACKLOG_FACTOR: f64 = 1.5;
/// ... for this time; after it, the limit rises in proportion, because the usual rate may have changed.
const BACKLOG_RELAX_MS: f64 = 900_000.0;
/// The usual rate is at least this share of the configured rate.
const MIN_USUAL_SHARE: f64 = 0.25;

/// A token bucket. Times are [`crate::time::Moment::up_ms`].
#[derive(Debug)]
pub struct RateLimiter {
    per_ms: f64,
    burst: f64,
    tokens: f64,
    filled_at: u64,
    /// Moving average of requests per millisecond, outside outages and backlogs.
    usual_per_ms: f64,
    is_down: bool,
    /// When the last pause ended.
    restarted_at: Option<u64>,
    /// Whether polls have been waiting ever since the last pause.
    has_backlog: bool,
}

impl RateLimiter {
    /// A limiter with a full bucket.
    pub fn new(per_second: f64, now: u64) -> Self {
        let burst = (per_second * BURST_SECONDS).max(1.0);
        Self {
            per_ms: per_second / 1000.0,
            burst,
            tokens: burst,
            filled_at: now,
            usual_per_ms: 0.0,
            is_down: false,
            restarted_at: None,
            has_backlog: false,
        }
    }

    /// Changes the rate.
    pub fn set_rate(&mut self, per_second: f64) {
        self.per_ms = per_second / 1000.0;
        self.burst = (per_second * BURST_SECONDS).max(1.0);
        self.tokens = self.tokens.min(self.burst);
    }

    /// The earliest time, `now` or later, for one more request.
    pub fn ready_at(&mut self, now: u64) -> u64 {
        self.fill(now);
        if self.tokens >= 1.0 {
            return now;
        }
        let wait = (1.0 - self.tokens) / self.rate(now);
        now.saturating_add(wait.ceil().max(1.0) as u64)
    }

    /// Takes the token of one request.
    pub fn take(&mut self, now: u64) {
        self.fill(now);
        self.tokens -= 1.0;
        if !self.is_down && !self.has_backlog {
            self.usual_per_ms += 1.0 / USUAL_MS;
        }
    }

    /// Whether polls have been waiting ever since the last pause.
    pub fn has_backlog(&self) -> bool {
        self.has_backlog
    }

    /// The API is down: only probes are sent from now on.
    pub fn pause(&mut self, now: u64) {
        self.fill(now);
        self.is_down = true;
    }

    /// Starts slowly at `now`: all jobs return from the pause at once.
    pub fn slow_start(&mut self, now: u64) {
        self.fill(now);
        self.tokens = self.tokens.min(1.0);
        self.restarted_at = Some(now);
        self.is_down = false;
        self.has_backlog = true;
    }

    fn fill(&mut self, now: u64) {
        let rate = self.rate(now);
        // Time before the restart fills no tokens and does not count for the usual rate.
        let from = self.filled_at.max(self.restarted_at.unwrap_or_default());
        let passed = now.saturating_sub(from) as f64;
        self.tokens = (self.tokens + passed * rate).min(self.burst);
        self.filled_at = self.filled_at.max(now);
        if self.is_down || self.has_backlog {
            // A filled bucket means that no poll is waiting.
            let has_restarted = self.restarted_at.is_some_and(|at| now > at);
            self.has_backlog &= !(has_restarted && self.tokens >= self.burst.min(2.0));
        } else {
            self.usual_per_ms *= (-passed / USUAL_MS).exp();
        }
    }

    fn rate(&self, now: u64) -> f64 {
        let risen = self
            .restarted_at
            .map_or(1.0, |at| now.saturating_sub(at) as f64 / SLOW_START_MS);
        let rate = self.per_ms * (SLOW_START_SHARE + (1.0 - SLOW_START_SHARE) * risen.min(1.0));
        if !self.has_backlog {
            return rate;
        }
        let usual = self.usual_per_ms.max(self.per_ms * MIN_USUAL_SHARE);
        let since = self.restarted_at.map_or(0, |at| now.saturating_sub(at)) as f64;
        rate.min(usual * BACKLOG_FACTOR * (since / BACKLOG_RELAX_MS).max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of requests in each second if polls are always waiting.
    fn requests_per_second(limiter: &mut RateLimiter, from: u64, seconds: u64) -> Vec<u32> {
        let mut counts = vec![0; seconds as usize];
        let mut now = from;
        while now < from + seconds * 1000 {
            let at = limiter.ready_at(now);
            if at == now {
                limiter.take(now);
                counts[((now - from) / 1000) as usize] += 1;
            }
            now = at;
        }
        counts
    }

    #[test]
    fn a_burst_is_followed_by_the_configured_rate() {
        let counts = requests_per_second(&mut RateLimiter::new(20.0, 0), 0, 4);
        assert_eq!(counts, [29, 20, 20, 20]);
    }

    #[test]
    fn after_a_pause_the_rate_rises_from_half() {
        let mut limiter = RateLimiter::new(20.0, 100_000);
        limiter.usual_per_ms = limiter.per_ms;
        limiter.slow_start(100_000);
        let counts = requests_per_second(&mut limiter, 100_000, 40);
        assert!((10..=11).contains(&counts[0]), "{counts:?}");
        assert!(counts.is_sorted_by(|a, b| *a <= b + 1), "{counts:?}");
        assert!(counts[31..].iter().all(|&n| n == 20), "{counts:?}");
    }

    #[test]
    fn a_backlog_after_a_pause_is_polled_near_the_usual_rate() {
        let mut limiter = RateLimiter::new(20.0, 0);
        // Five a second for ten minutes.
        for now in (0..600_000).step_by(200) {
            assert_eq!(limiter.ready_at(now), now);
            limiter.take(now);
        }
        limiter.pause(600_000);
        limiter.slow_start(1_200_000);
        let backlog = requests_per_second(&mut limiter, 1_200_000, 60);
        assert!(backlog.iter().all(|&n| n <= 8), "{backlog:?}");
        assert!(backlog.iter().sum::<u32>() > 400, "{backlog:?}");
        // After the backlog, the configured rate applies again.
        let after = requests_per_second(&mut limiter, 1_270_000, 20);
        assert!(after[10..].iter().all(|&n| n == 20), "{after:?}");
        // An endless backlog does not limit the rate for ever.
        let mut limiter = RateLimiter::new(20.0, 0);
        limiter.slow_start(0);
        let after = requests_per_second(&mut limiter, 0, 3_000);
        let after = &after[2_900..];
        assert!(after[10..].iter().all(|&n| n == 20), "{after:?}");
    }

    #[test]
    fn a_rate_below_one_still_allows_requests() {
        let counts = requests_per_second(&mut RateLimiter::new(0.5, 0), 0, 6);
        assert_eq!(counts, [1, 0, 1, 0, 1, 0]);
    }
}
