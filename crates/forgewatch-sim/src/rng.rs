//! Random numbers from a seed, the same on every machine.

use std::f64::consts::TAU;

/// A stream of random numbers (`SplitMix64`, from Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of `name` under `seed`: the draws of one job do not depend on other jobs.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: spreads short names over 64 bits
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed ^ hash)
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        low + unit * (high - low)
    }

    /// Normal with mean 0 (Box and Muller's transform, one of its pair).
    pub(crate) fn normal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(0.0, 1.0)).ln()).sqrt();
        deviation * radius * (TAU * self.uniform(0.0, 1.0)).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_stream_depends_on_seed_and_name_alone() {
        let draw = |seed, name| Rng::new(seed, name).bits();
        assert_eq!(draw(1, "diff/1"), draw(1, "diff/1"));
        assert_ne!(draw(1, "diff/1"), draw(2, "diff/1"));
        assert_ne!(draw(1, "diff/1"), draw(1, "diff/2"));
    }

    #[test]
    fn uniform_and_normal_have_the_expected_moments() {
        let mut rng = Rng::new(3, "moments");
        let n = 20_000;
        let mean = (0..n).map(|_| rng.uniform(2.0, 4.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 3.0).abs() < 0.02, "{mean}");
        let draws: Vec<f64> = (0..n).map(|_| rng.normal(0.5)).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 0.25).abs() < 0.02, "{variance}");
    }
}
