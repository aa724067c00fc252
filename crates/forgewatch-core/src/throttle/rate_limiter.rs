//! How fast the API may be asked: a token bucket, and a gentle return after a pause, no faster than half as much again
//! as usual until nobody waits any more.

/// After a pause the rate rises from this share of the configured one to all of it.
const RETURN_SHARE: f64 = 0.5;
const RETURN_MS: f64 = 30_000.0;
/// Requests that may go at once after a quiet time, as seconds of the rate: with it, no second sees more than
/// one and a half times the rate.
const BURST_SECONDS: f64 = 0.5;

/// The usual rate is a mean over about this long.
const USUAL_MS: f64 = 60_000.0;
/// Until nobody waits after a pause, the rate stays below this many times the usual one, and after a quarter of an
/// hour that many times for each quarter: what is usual may have changed...
const RETURN_TIMES: f64 = 1.5;
const RETURN_PATIENCE_MS: f64 = 900_000.0;
/// ... which counts as this share of the configured one at least.
const LEAST_USUAL: f64 = 0.25;

/// The bucket. Times are [`crate::time::Moment::up_ms`].
#[derive(Debug)]
pub struct RateLimiter {
    per_ms: f64,
    burst: f64,
    tokens: f64,
    filled_at: u64,
    /// Requests a millisecond, as they go while nothing is wrong.
    usual: f64,
    /// While the API is down nothing is usual.
    is_down: bool,
    returned_at: Option<u64>,
    /// Since a pause somebody has always waited.
    is_crowded: bool,
}

impl RateLimiter {
    /// A limiter that has not been used yet. `now` is by the clock of [`crate::time::Moment::up_ms`].
    pub fn new(per_second: f64, now: u64) -> Self {
        let burst = (per_second * BURST_SECONDS).max(1.0);
        Self {
            per_ms: per_second / 1000.0,
            burst,
            tokens: burst,
            filled_at: now,
            usual: 0.0,
            is_down: false,
            returned_at: None,
            is_crowded: false,
        }
    }

    /// Another rate from here on.
    pub fn configure(&mut self, per_second: f64) {
        self.per_ms = per_second / 1000.0;
        self.burst = (per_second * BURST_SECONDS).max(1.0);
        self.tokens = self.tokens.min(self.burst);
    }

    /// The first moment, `now` or later, at which one more request may go.
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
        if !self.is_down && !self.is_crowded {
            self.usual += 1.0 / USUAL_MS;
        }
    }

    /// Whether somebody has waited ever since a pause.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// From now on only probes go.
    pub fn down(&mut self, now: u64) {
        self.fill(now);
        self.is_down = true;
    }

    /// From now on the rate climbs anew: everybody returns from a pause at once.
    pub fn return_gently(&mut self, now: u64) {
        self.fill(now);
        self.tokens = self.tokens.min(1.0);
        self.returned_at = Some(now);
        self.is_down = false;
        self.is_crowded = true;
    }

    fn fill(&mut self, now: u64) {
        let rate = self.rate(now);
        // Before the return nobody asks, whoever waits, and that is not usual either.
        let from = self.filled_at.max(self.returned_at.unwrap_or_default());
        let passed = now.saturating_sub(from) as f64;
        self.tokens = (self.tokens + passed * rate).min(self.burst);
        self.filled_at = self.filled_at.max(now);
        if self.is_down || self.is_crowded {
            // The bucket only gets full where nobody takes from it.
            let is_back = self.returned_at.is_some_and(|at| now > at);
            self.is_crowded &= !(is_back && self.tokens >= self.burst.min(2.0));
        } else {
            self.usual *= (-passed / USUAL_MS).exp();
        }
    }

    fn rate(&self, now: u64) -> f64 {
        let climbed = self
            .returned_at
            .map_or(1.0, |at| now.saturating_sub(at) as f64 / RETURN_MS);
        let rate = self.per_ms * (RETURN_SHARE + (1.0 - RETURN_SHARE) * climbed.min(1.0));
        if !self.is_crowded {
            return rate;
        }
        let usual = self.usual.max(self.per_ms * LEAST_USUAL);
        let since = self.returned_at.map_or(0, |at| now.saturating_sub(at)) as f64;
        rate.min(usual * RETURN_TIMES * (since / RETURN_PATIENCE_MS).max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests go in each second when somebody is always waiting.
    fn greedy(pace: &mut RateLimiter, from: u64, seconds: u64) -> Vec<u32> {
        let mut counts = vec![0; seconds as usize];
        let mut now = from;
        while now < from + seconds * 1000 {
            let at = pace.ready_at(now);
            if at == now {
                pace.take(now);
                counts[((now - from) / 1000) as usize] += 1;
            }
            now = at;
        }
        counts
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let counts = greedy(&mut RateLimiter::new(20.0, 0), 0, 4);
        assert_eq!(counts, [29, 20, 20, 20]);
    }

    #[test]
    fn after_a_pause_the_rate_climbs_from_half() {
        let mut pace = RateLimiter::new(20.0, 100_000);
        pace.usual = pace.per_ms;
        pace.return_gently(100_000);
        let counts = greedy(&mut pace, 100_000, 40);
        assert!((10..=11).contains(&counts[0]), "{counts:?}");
        assert!(counts.is_sorted_by(|a, b| *a <= b + 1), "{counts:?}");
        assert!(counts[31..].iter().all(|&n| n == 20), "{counts:?}");
    }

    #[test]
    fn after_a_pause_nobody_who_waits_makes_it_much_faster_than_usual() {
        let mut pace = RateLimiter::new(20.0, 0);
        // Five a second for ten minutes.
        for now in (0..600_000).step_by(200) {
            assert_eq!(pace.ready_at(now), now);
            pace.take(now);
        }
        pace.down(600_000);
        pace.return_gently(1_200_000);
        let crowd = greedy(&mut pace, 1_200_000, 60);
        assert!(crowd.iter().all(|&n| n <= 8), "{crowd:?}");
        assert!(crowd.iter().sum::<u32>() > 400, "{crowd:?}");
        // Nobody waits for a while: what is configured holds again.
        let after = greedy(&mut pace, 1_270_000, 20);
        assert!(after[10..].iter().all(|&n| n == 20), "{after:?}");
        // Nor does a crowd that never ends keep it down for ever.
        let mut pace = RateLimiter::new(20.0, 0);
        pace.return_gently(0);
        let after = greedy(&mut pace, 0, 3_000);
        let after = &after[2_900..];
        assert!(after[10..].iter().all(|&n| n == 20), "{after:?}");
    }

    #[test]
    fn a_slow_rate_still_lets_one_go() {
        let counts = greedy(&mut RateLimiter::new(0.5, 0), 0, 6);
        assert_eq!(counts, [1, 0, 1, 0, 1, 0]);
    }
}
