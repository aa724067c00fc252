//! How wrong estimates were: a mean and a variance that later jobs outweigh.

use serde::{Deserialize, Serialize};

/// The maximum weight of the past: about the last sixty jobs count.
pub(super) const MAX_WEIGHT: f32 = 60.0;
/// The least standard deviation of an estimate is 2 %.
const MIN_VARIANCE: f32 = 0.02 * 0.02;
/// Errors are capped at a factor of twenty (ln).
pub(super) const MAX_ERROR: f32 = 3.0;

/// A running mean and variance with slow decay. Always finite and within bounds, even if the stored form was not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedErrorStats")]
pub(super) struct ErrorStats {
    pub(super) n: f32,
    mean: f32,
    var: f32,
}

/// The stored form, which may be damaged.
#[derive(Deserialize)]
struct SavedErrorStats {
    n: f32,
    mean: f32,
    var: f32,
}

impl From<SavedErrorStats> for ErrorStats {
    fn from(saved: SavedErrorStats) -> Self {
        if !(saved.n.is_finite() && saved.mean.is_finite() && saved.var.is_finite()) {
            return Self::new(0.0, 1.0);
        }
        Self {
            n: saved.n.clamp(2.0, MAX_WEIGHT),
            mean: saved.mean.clamp(-20.0, 20.0),
            var: saved.var.clamp(MIN_VARIANCE, MAX_ERROR * MAX_ERROR),
        }
    }
}

impl ErrorStats {
    /// A prior with the weight of two jobs.
    pub(super) const fn new(mean: f32, sigma: f32) -> Self {
        Self {
            n: 2.0,
            mean,
            var: sigma * sigma,
        }
    }

    pub(super) fn mean(&self) -> f32 {
        self.mean
    }

    /// The variance, never zero.
    pub(super) fn var(&self) -> f32 {
        self.var.max(MIN_VARIANCE)
    }

    /// Adds the errors of one job.
    pub(super) fn add_job(&mut self, sums: &ErrorSums) {
        if sums.weight > 0.0 {
            let (mean, square) = (sums.sum / sums.weight, sums.squares / sums.weight);
            self.add(mean, square, sums.weight.min(1.0));
        }
    }

    /// Adds one job's mean and mean square with a weight of up to 1 (T. Finch, "Incremental calculation of weighted
    /// mean and variance", 2009).
    pub(super) fn add(&mut self, mean: f32, square: f32, weight: f32) {
        self.n = (self.n + weight).min(MAX_WEIGHT);
        let share = weight / self.n;
        let off = mean - self.mean;
        let within = (square - mean * mean).max(0.0);
        self.mean += share * off;
        self.var += share * (off * (mean - self.mean) + within - self.var);
        self.var = self.var.clamp(MIN_VARIANCE, MAX_ERROR * MAX_ERROR);
    }
}

/// The sums of one job's errors of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ErrorSums {
    weight: f32,
    sum: f32,
    squares: f32,
}

impl ErrorSums {
    /// Adds an error (ln true / predicted), measured with the variance `noise`: the more noise, the less weight.
    pub(super) fn add(&mut self, error: f32, noise: f32) {
        /// The variance of an average error: about a third, either way.
        const AVERAGE: f32 = 0.1;
        let error = error.clamp(-MAX_ERROR, MAX_ERROR);
        let weight = AVERAGE / (AVERAGE + noise);
        self.weight += weight;
        self.sum += weight * error;
        self.squares += weight * (error * error - noise).max(0.0);
    }
}
