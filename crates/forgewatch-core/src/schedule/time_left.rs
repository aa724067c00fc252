//! One estimate of the time left, before its calibration.

/// An estimate of the time left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// ln seconds.
    pub mu: f32,
    /// The variance from rounding to whole percents and whole minutes.
    pub var: f32,
    /// The share of the calibrated variance that applies: a rate measured over most of the job is more certain than one
    /// measured at its beginning.
    pub share: f32,
}

impl Estimate {
    pub(super) fn new(left: f32, var: f32, share: f32) -> Self {
        Self {
            mu: left.clamp(0.5, 1e7).ln(),
            var,
            share: share.max(1e-3),
        }
    }
}
