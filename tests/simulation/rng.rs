//! Random numbers from a seed.

/// A stream of random numbers (`SplitMix64`, from Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of this seed. The streams of neighboring seeds are not correlated.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Self(seed).bits())
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        ((self.bits() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }

    /// From 1 to `high`, log-uniform: most are small, some are large.
    pub(crate) fn spread(&mut self, high: u64) -> u64 {
        let bits = self.between(0, u64::from(high.ilog2()));
        self.between(1 << bits, ((2 << bits) - 1).min(high))
    }
}
