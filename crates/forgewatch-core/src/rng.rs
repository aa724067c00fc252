//! Random numbers from a seed, the same on every machine.

use std::f64::consts::TAU;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A generator whose numbers are uncorrelated, not unpredictable.
#[derive(Clone, Debug)]
pub struct SeededRng(SplitMix64);

impl SeededRng {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// The stream of `name` under `seed`, independent of the streams of other names.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a spreads short names over 64 bits
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::new(seed ^ hash)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An index into a list of this length; 0 for an empty list.
    pub fn index(&mut self, len: usize) -> usize {
        (self.bits() % (len as u64).max(1)) as usize
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Normally distributed (Box-Muller transform).
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        mean + deviation * radius * (TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference values of the generator: a seed keeps its meaning across versions.
    #[test]
    fn seeds_give_the_known_numbers() {
        let mut rng = SeededRng::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([rng.bits(), rng.bits()], expected);
    }

    #[test]
    fn a_stream_depends_only_on_seed_and_name() {
        let draw = |seed, name| SeededRng::named(seed, name).bits();
        assert_eq!(draw(1, "diff/1"), draw(1, "diff/1"));
        assert_ne!(draw(1, "diff/1"), draw(2, "diff/1"));
        assert_ne!(draw(1, "diff/1"), draw(1, "diff/2"));
    }

    #[test]
    fn uniform_and_normal_numbers_have_the_expected_moments() {
        let mut rng = SeededRng::new(3);
        let n = 20_000;
        let mean = (0..n).map(|_| rng.between(2.0, 4.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 3.0).abs() < 0.02, "{mean}");
        let draws: Vec<f64> = (0..n).map(|_| rng.normal(0.0, 0.5)).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 0.25).abs() < 0.02, "{variance}");
    }

    #[test]
    fn uniform_numbers_are_below_one() {
        let mut rng = SeededRng::new(0);
        assert!((0..100_000).all(|_| (0.0..1.0).contains(&rng.uniform())));
    }

    #[test]
    fn an_index_is_within_the_list() {
        let mut rng = SeededRng::new(4);
        assert!((0..100).all(|_| rng.index(3) < 3));
        assert_eq!(rng.index(0), 0);
    }
}
