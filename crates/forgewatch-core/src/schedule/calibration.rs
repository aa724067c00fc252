//! What earlier jobs teach: how each estimate errs, whether an ETA is kept, how long jobs last.
//!
//! The engine owns one [`Calibration`] and hands it to every watch; the store keeps it. [`super::History::samples`] makes
//! what is learnt from a job that came to its own end. Ends that are not the job's own teach nothing.

use serde::{Deserialize, Serialize};

use crate::job::JobKind;

/// Where an estimate of the time left comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The ETA, taken at its word.
    Eta,
    /// The ETA, corrected for how fast it slips.
    Slip,
    /// The pace of the progress.
    Progress,
    /// An ETA that has passed: what is left is of the order of what it is overdue by.
    Overdue,
}

impl Source {
    /// All of them, in the order in which arrays hold them.
    pub const ALL: [Self; 4] = [Self::Eta, Self::Slip, Self::Progress, Self::Overdue];
}

/// How many sources there are.
pub(super) const SOURCES: usize = Source::ALL.len();

/// The weight of all that was learnt before a sample, at most: about the last sixty jobs count.
const MEMORY_OF: f32 = 60.0;
/// No estimate is ever trusted more closely than to 2 %.
const LEAST_VARIANCE: f32 = 0.02 * 0.02;
/// An error by more than a factor of twenty teaches no more than one of twenty.
const LARGEST: f32 = 3.0;

/// A running mean and variance that forgets slowly. Always finite and within bounds, wherever it came from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct ErrorStats {
    n: f32,
    mean: f32,
    var: f32,
}

/// A calibration as found on disk, where it may have been damaged.
#[derive(Deserialize)]
struct Stored {
    n: f32,
    mean: f32,
    var: f32,
}

impl From<Stored> for ErrorStats {
    fn from(stored: Stored) -> Self {
        if !(stored.n.is_finite() && stored.mean.is_finite() && stored.var.is_finite()) {
            return Self::new(0.0, 1.0);
        }
        Self {
            n: stored.n.clamp(2.0, MEMORY_OF),
            mean: stored.mean.clamp(-20.0, 20.0),
            var: stored.var.clamp(LEAST_VARIANCE, LARGEST * LARGEST),
        }
    }
}

impl ErrorStats {
    /// A guess that two samples outweigh.
    const fn new(mean: f32, sigma: f32) -> Self {
        Self {
            n: 2.0,
            mean,
            var: sigma * sigma,
        }
    }

    /// The mean.
    pub(super) fn mean(&self) -> f32 {
        self.mean
    }

    /// The variance, never quite zero.
    pub(super) fn var(&self) -> f32 {
        self.var.max(LEAST_VARIANCE)
    }

    /// Takes in one job's mean and mean square, at a weight of up to 1. (Incremental weighted mean and variance:
    /// T. Finch, "Incremental calculation of weighted mean and variance", 2009.)
    fn add(&mut self, mean: f32, square: f32, weight: f32) {
        self.n = (self.n + weight).min(MEMORY_OF);
        let share = weight / self.n;
        let off = mean - self.mean;
        let within = (square - mean * mean).max(0.0);
        self.mean += share * off;
        self.var += share * (off * (mean - self.mean) + within - self.var);
        self.var = self.var.clamp(LEAST_VARIANCE, LARGEST * LARGEST);
    }
}

/// One job's errors of one source, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ErrorSums {
    weight: f32,
    sum: f32,
    squares: f32,
}

impl ErrorSums {
    /// Takes in the error `x` (ln true / predicted), of whose square `noise` is the fault of the measurement. The
    /// noisier, the less it counts.
    pub(super) fn add(&mut self, x: f32, noise: f32) {
        /// The variance of an error that is neither good nor bad: about a third, either way.
        const USUAL: f32 = 0.1;
        let x = x.clamp(-LARGEST, LARGEST);
        let weight = USUAL / (USUAL + noise);
        self.weight += weight;
        self.sum += weight * x;
        self.squares += weight * (x * x - noise).max(0.0);
    }
}

/// What the end of one job teaches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Samples {
    pub(super) errors: [ErrorSums; SOURCES],
    /// Share of the ETA's standing claims that came true.
    pub(super) kept: Option<f32>,
    /// ln of the job's life in seconds.
    pub(super) life: Option<f32>,
}

/// What is known of one kind of job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindCalibration {
    errors: [ErrorStats; SOURCES],
    kept: ErrorStats,
    life: ErrorStats,
    lives: u32,
}

impl Default for KindCalibration {
    /// The guesses for a server of which nothing is known: an ETA or a pace is off by a factor of up to two, an ETA
    /// that stands still is right three times in ten. How long jobs last, only the first life tells.
    fn default() -> Self {
        Self {
            errors: [
                ErrorStats::new(0.0, 0.7),
                ErrorStats::new(0.0, 0.5),
                ErrorStats::new(0.0, 0.5),
                ErrorStats::new(0.0, 1.0),
            ],
            kept: ErrorStats::new(0.3, 0.3),
            life: ErrorStats::new(4.5, 1.2),
            lives: 0,
        }
    }
}

impl KindCalibration {
    /// How a source errs: ln(true / predicted) time left.
    pub(super) fn error(&self, source: Source) -> &ErrorStats {
        &self.errors[source as usize]
    }

    /// How likely an ETA that has not moved is to be kept.
    pub(super) fn kept(&self) -> f32 {
        self.kept.mean().clamp(0.01, 0.98)
    }

    /// ln seconds that jobs last.
    pub(super) fn life(&self) -> &ErrorStats {
        &self.life
    }

    /// How many lives that was learnt from; 0 says that it is a guess.
    pub(super) fn lives(&self) -> u32 {
        self.lives
    }

    fn learn(&mut self, samples: &Samples) {
        for (calibration, tally) in self.errors.iter_mut().zip(&samples.errors) {
            if tally.weight > 0.0 {
                let (mean, square) = (tally.sum / tally.weight, tally.squares / tally.weight);
                calibration.add(mean, square, tally.weight.min(1.0));
            }
        }
        if let Some(kept) = samples.kept {
            self.kept.add(kept, kept * kept, 1.0);
        }
        if let Some(life) = samples.life {
            if self.lives == 0 {
                // The first life says more than the guess, but not how much lives differ.
                self.life = ErrorStats::new(life, 1.2);
            }
            self.lives = self.lives.saturating_add(1);
            self.life.add(life, life * life, 1.0);
        }
    }
}

/// What is known of all jobs of a server. Serialises to a few hundred bytes; losing it costs some requests only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    diff: KindCalibration,
    update: KindCalibration,
}

impl Calibration {
    /// What is known of jobs of this kind.
    pub fn of(&self, kind: JobKind) -> &KindCalibration {
        match kind {
            JobKind::Diff => &self.diff,
            JobKind::Update => &self.update,
        }
    }

    /// Takes in what the end of a job of this kind taught.
    pub fn learn(&mut self, kind: JobKind, samples: &Samples) {
        match kind {
            JobKind::Diff => self.diff.learn(samples),
            JobKind::Update => self.update.learn(samples),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(errors: &[f32]) -> KindCalibration {
        let mut memory = KindCalibration::default();
        for &x in errors {
            let mut samples = Samples::default();
            samples.errors[Source::Eta as usize].add(x, 0.0);
            memory.learn(&samples);
        }
        memory
    }

    #[test]
    fn an_estimate_that_is_always_half_of_the_truth_is_corrected() {
        let memory = learnt(&[std::f32::consts::LN_2; 200]);
        let eta = memory.error(Source::Eta);
        assert!((eta.mean() - std::f32::consts::LN_2).abs() < 0.01);
        assert!(eta.var() < 0.01);
    }

    #[test]
    fn errors_without_bound_teach_within_bounds() {
        let memory = learnt(&[f32::INFINITY, f32::NEG_INFINITY, 1e30]);
        let eta = memory.error(Source::Eta);
        assert!(eta.mean().abs() <= LARGEST && eta.var() <= LARGEST * LARGEST);
    }

    #[test]
    fn a_memory_survives_being_written_and_read() {
        let mut memory = Calibration::default();
        memory.learn(
            JobKind::Diff,
            &Samples {
                life: Some(6.0),
                kept: Some(1.0),
                ..Samples::default()
            },
        );
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), memory);
    }

    #[test]
    fn a_damaged_memory_is_brought_back_within_bounds() {
        let text = serde_json::to_string(&Calibration::default()).unwrap();
        let damaged = text
            .replace("\"n\":2.0", "\"n\":-1e30")
            .replace("0.49", "1e38");
        let memory: Calibration = serde_json::from_str(&damaged).unwrap();
        for source in Source::ALL {
            let calibration = memory.of(JobKind::Diff).error(source);
            assert!((2.0..=MEMORY_OF).contains(&calibration.n));
            assert!(calibration.var() <= LARGEST * LARGEST);
        }
    }

    #[test]
    fn kinds_learn_apart() {
        let mut memory = Calibration::default();
        let samples = Samples {
            life: Some(3.0),
            ..Samples::default()
        };
        memory.learn(JobKind::Update, &samples);
        assert_eq!(memory.of(JobKind::Diff), &KindCalibration::default());
        assert_eq!(memory.of(JobKind::Update).lives(), 1);
    }
}
