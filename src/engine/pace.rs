//! How fast the API may be asked: a token bucket, and a gentle return after a pause.

/// After a pause the rate rises from this share of the configured one to all of it.
const RETURN_SHARE: f64 = 0.5;
const RETURN_MS: f64 = 30_000.0;
/// Requests that may go at once after a quiet time, as seconds of the rate: with it, no second sees more than
/// one and a half times the rate.
const BURST_SECONDS: f64 = 0.5;

/// The bucket. Times are [`crate::core::time::Moment::up_ms`].
#[derive(Debug)]
pub(super) struct Pace {
    per_ms: f64,
    burst: f64,
    tokens: f64,
    filled_at: u64,
    returned_at: Option<u64>,
}

impl Pace {
    pub(super) fn new(per_second: f64, now: u64) -> Self {
        let burst = (per_second * BURST_SECONDS).max(1.0);
        Self {
            per_ms: per_second / 1000.0,
            burst,
            tokens: burst,
            filled_at: now,
            returned_at: None,
        }
    }

    /// The first moment, `now` or later, at which one more request may go.
    pub(super) fn ready_at(&mut self, now: u64) -> u64 {
        self.fill(now);
        if self.tokens >= 1.0 {
            return now;
        }
        let wait = (1.0 - self.tokens) / self.rate(now);
        now.saturating_add(wait.ceil().max(1.0) as u64)
    }

    /// Takes the token of one request.
    pub(super) fn take(&mut self, now: u64) {
        self.fill(now);
        self.tokens -= 1.0;
    }

    /// From now on the rate climbs anew: everybody returns from a pause at once.
    pub(super) fn return_gently(&mut self, now: u64) {
        self.fill(now);
        self.tokens = self.tokens.min(1.0);
        self.returned_at = Some(now);
    }

    fn fill(&mut self, now: u64) {
        let rate = self.rate(now);
        let passed = now.saturating_sub(self.filled_at) as f64;
        self.tokens = (self.tokens + passed * rate).min(self.burst);
        self.filled_at = self.filled_at.max(now);
    }

    fn rate(&self, now: u64) -> f64 {
        let climbed = self
            .returned_at
            .map_or(1.0, |at| now.saturating_sub(at) as f64 / RETURN_MS);
        self.per_ms * (RETURN_SHARE + (1.0 - RETURN_SHARE) * climbed.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests go in each second when somebody is always waiting.
    fn greedy(pace: &mut Pace, from: u64, seconds: u64) -> Vec<u32> {
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
        let counts = greedy(&mut Pace::new(20.0, 0), 0, 4);
        assert_eq!(counts, [29, 20, 20, 20]);
    }

    #[test]
    fn after_a_pause_the_rate_climbs_from_half() {
        let mut pace = Pace::new(20.0, 0);
        pace.return_gently(100_000);
        let counts = greedy(&mut pace, 100_000, 40);
        assert!((10..=11).contains(&counts[0]), "{counts:?}");
        assert!(counts.is_sorted_by(|a, b| *a <= b + 1), "{counts:?}");
        assert!(counts[31..].iter().all(|&n| n == 20), "{counts:?}");
    }

    #[test]
    fn a_slow_rate_still_lets_one_go() {
        let counts = greedy(&mut Pace::new(0.5, 0), 0, 6);
        assert_eq!(counts, [1, 0, 1, 0, 1, 0]);
    }
}
