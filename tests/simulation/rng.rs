//! Random numbers from a seed.

use forgewatch_core::rng::SeededRng;

#[derive(Debug)]
pub(crate) struct SimRng(SeededRng);

impl SimRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRng::new(seed))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.bits() % (high - low + 1)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.uniform() < probability
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.index(of.len())]
    }

    /// From 1 to `high`, log-uniform: most are small, some are large.
    pub(crate) fn log_uniform(&mut self, high: u64) -> u64 {
        let bits = self.between(0, u64::from(high.ilog2()));
        self.between(1 << bits, ((2 << bits) - 1).min(high))
    }
}
