//! Random numbers.

use crate::watch::Rng;

/// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): jitter needs to be
/// uncorrelated between processes, not unpredictable.
#[derive(Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Rng for SeededRng {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
