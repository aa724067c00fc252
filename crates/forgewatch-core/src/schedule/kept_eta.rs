//! How many seconds after an ETA that does not move jobs end: a server's clock may be a few seconds off, and its ETA may
//! leave out a step at the end.
//!
//! The distribution of the offset is a histogram over whole seconds. An end is known only to lie between two polls, so a
//! job adds to each bin the probability that its offset was that one, given the histogram so far (online EM for a
//! mixture; O. Cappé and E. Moulines, "On-line expectation-maximization algorithm for latent data models", J. Royal
//! Statistical Society B 71, 2009).

use serde::{Deserialize, Serialize};

use super::error_stats::MAX_WEIGHT;

/// Offsets up to this many seconds either way are recognized.
const FARTHEST: usize = 10;
const BINS: usize = 2 * FARTHEST + 1;
/// The prior probability of the offset 0, and the factor of the others from one second to the next.
const PRIOR_NONE: f32 = 0.85;
const PRIOR_DECAY: f32 = 0.8;
/// The weight of the prior.
const PRIOR_JOBS: f32 = 2.0;
/// At least this share of the jobs must end near their ETA.
const MOST_JOBS: f32 = 0.8;

/// Between which seconds after its ETA, in whole seconds rounded down, a job ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct EndAfterEta {
    /// The latest sample before the end.
    pub from: f32,
    /// The end was seen.
    pub to: f32,
}

/// The distribution of the offset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f32, [f32; BINS])", into = "(f32, [f32; BINS])")]
pub(super) struct EtaOffsets {
    n: f32,
    /// The share of the jobs with each offset; the rest ended farther from their ETA.
    share: [f32; BINS],
}

impl Default for EtaOffsets {
    fn default() -> Self {
        let mut share: [f32; BINS] =
            std::array::from_fn(|bin| PRIOR_DECAY.powi(bin.abs_diff(FARTHEST) as i32));
        let others = share.iter().sum::<f32>() - share[FARTHEST];
        for share in &mut share {
            *share *= (1.0 - PRIOR_NONE) / others;
        }
        share[FARTHEST] = PRIOR_NONE;
        Self {
            n: PRIOR_JOBS,
            share,
        }
    }
}

impl From<(f32, [f32; BINS])> for EtaOffsets {
    /// A damaged distribution starts at the prior.
    fn from((n, share): (f32, [f32; BINS])) -> Self {
        let are_shares = share.iter().all(|share| *share >= 0.0);
        let valid = are_shares && share.iter().sum::<f32>() < 1.01;
        if valid && (PRIOR_JOBS..=MAX_WEIGHT).contains(&n) {
            Self { n, share }
        } else {
            Self::default()
        }
    }
}

impl From<EtaOffsets> for (f32, [f32; BINS]) {
    fn from(offsets: EtaOffsets) -> Self {
        (offsets.n, offsets.share)
    }
}

impl EtaOffsets {
    /// The range of the offset in seconds, from one that few jobs fall below to the median; 0 before the first job, and if
    /// too many jobs end far from their ETA. Until polls have shown that no job ends before its ETA, the range is wide: so
    /// that one of them will.
    pub(super) fn range(&self) -> (f32, f32) {
        /// The probability of an offset below the range.
        const FEW: f32 = 0.05;
        let near: f32 = self.share.iter().sum();
        if near < MOST_JOBS || self.n <= PRIOR_JOBS {
            return (0.0, 0.0);
        }
        let quantile = |level: f32| {
            let mut below = 0.0;
            let bin = self.share.iter().position(|share| {
                below += share;
                below >= level * near
            });
            bin.map_or(0.0, seconds_of)
        };
        (quantile(FEW), quantile(0.5))
    }

    /// Adds a job whose ETA did not move.
    pub(super) fn add(&mut self, end: EndAfterEta) {
        /// The least likelihood of an offset: no single job rules one out.
        const LEAST: f32 = 0.01;
        let mut posterior = [0.0; BINS];
        let (mut total, mut best) = (0.0, 0.0f32);
        for (bin, (posterior, share)) in posterior.iter_mut().zip(&self.share).enumerate() {
            let offset = seconds_of(bin);
            let overlap = end.to.min(offset + 1.0) - end.from.max(offset);
            let likelihood = overlap.clamp(0.0, 1.0);
            best = best.max(likelihood);
            *posterior = (likelihood + LEAST) * share;
            total += *posterior;
        }
        if !total.is_finite() {
            return;
        }
        let scale = if best < LEAST {
            0.0
        } else {
            1.0 / total.max(1e-9)
        };
        self.n = (self.n + 1.0).min(MAX_WEIGHT);
        for (share, posterior) in self.share.iter_mut().zip(posterior) {
            *share += (posterior * scale - *share) / self.n;
        }
    }
}

/// The offset of a bin.
fn seconds_of(bin: usize) -> f32 {
    bin as f32 - FARTHEST as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(from: f32, to: f32) -> EndAfterEta {
        EndAfterEta { from, to }
    }

    #[test]
    fn at_first_a_job_ends_at_its_eta() {
        assert!(EtaOffsets::default().range().0.abs() < f32::EPSILON);
    }

    #[test]
    fn an_offset_that_some_polls_have_shown_is_learned() {
        for offset in [-10.0, -3.0, 4.0, 9.0] {
            let mut offsets = EtaOffsets::default();
            for job in 0..40 {
                // One poll in three comes just before the end, the others long before.
                let before = if job % 3 == 0 { 0.5 } else { 40.0 };
                offsets.add(ended(offset - before, offset + 1.0));
            }
            assert!(
                (offsets.range().1 - offset).abs() <= 1.0,
                "{offset}: {offsets:?}"
            );
        }
    }

    #[test]
    fn the_range_is_wide_until_polls_have_shown_that_no_job_ends_early() {
        let mut offsets = EtaOffsets::default();
        offsets.add(ended(-40.0, 1.0));
        assert!(offsets.range().0 < -1.0, "{offsets:?}");
        for _ in 0..10 {
            offsets.add(ended(-1.0, 1.0));
        }
        assert!(offsets.range().0.abs() < f32::EPSILON, "{offsets:?}");
    }

    #[test]
    fn jobs_that_end_far_from_their_eta_have_no_offset() {
        let mut offsets = EtaOffsets::default();
        for job in 0..60 {
            let end = if job % 2 == 0 { -6.0 } else { -60.0 };
            offsets.add(ended(end - 1.0, end + 1.0));
        }
        assert!(offsets.range().1.abs() < f32::EPSILON, "{offsets:?}");
    }

    #[test]
    fn invalid_ends_keep_the_offset_within_bounds() {
        let mut offsets = EtaOffsets::default();
        for end in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
            offsets.add(ended(end, end));
            offsets.add(ended(-end, end));
        }
        assert!(offsets.range().1.abs() <= FARTHEST as f32, "{offsets:?}");
    }

    #[test]
    fn a_damaged_distribution_starts_at_the_prior() {
        for damaged in [
            (f32::NAN, [0.0; BINS]),
            (9.0, [f32::INFINITY; BINS]),
            (9.0, [f32::NAN; BINS]),
            (-9.0, [0.01; BINS]),
        ] {
            assert_eq!(EtaOffsets::from(damaged), EtaOffsets::default());
        }
    }
}
