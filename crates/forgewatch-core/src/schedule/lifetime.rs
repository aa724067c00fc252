//! How long jobs run, as a distribution.

/// A log-logistic lifetime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// ln of the median in seconds.
    pub mu: f32,
    pub scale: f32,
}

impl Lifetime {
    /// The odds that a job ends before this age; its survival function is 1 / (1 + odds).
    pub(super) fn odds(self, age: f32) -> f32 {
        ((age.max(1e-3).ln() - self.mu) / self.scale)
            .clamp(-60.0, 60.0)
            .exp()
    }

    /// The age that the share `survival` of the jobs running at `odds` reaches.
    pub(super) fn age_at(self, odds: f32, survival: f32) -> f32 {
        (self.mu + self.scale * ((1.0 + odds) / survival - 1.0).ln())
            .min(20.0)
            .exp()
    }

    /// The time left of a job of this age: ln median and variance, by the quartiles.
    pub(super) fn time_left(self, age: f32) -> (f32, f32) {
        let odds = self.odds(age);
        let left = |survival: f32| (self.age_at(odds, survival) - age).max(0.5);
        // The quartiles of a normal distribution are 1.35 standard deviations apart.
        let sigma = (left(0.25) / left(0.75)).ln() / 1.35;
        (left(0.5).ln(), (sigma * sigma).max(1e-3))
    }
}
