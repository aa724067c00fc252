//! What earlier jobs show: the errors of each estimate, how often an ETA is met, how long jobs run.
//!
//! The engine owns one [`Calibration`] and passes it to every watch; the store keeps it.
//! [`super::History::calibration_update`] measures a job that ended by itself. Other ends change nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::coverage::{Levels, Misses};
use super::durations::Durations;
use super::error_stats::{ErrorStats, ErrorSums};
use super::kept_eta::{EndAfterEta, EtaOffsets};
use super::lifetime::Lifetime;
use crate::job::JobKind;

/// Where an estimate of the time left comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateSource {
    /// The ETA as it is.
    Eta,
    /// The ETA, corrected for how fast it slips.
    Slip,
    /// The rate of the progress.
    Progress,
    /// An ETA that has passed: the time left is of the order of the time since.
    Overdue,
    /// A curve through the progress: the rate changes while the job runs.
    Curve,
}

impl EstimateSource {
    /// All sources, in the order of the arrays by source.
    pub const ALL: [Self; 5] = [
        Self::Eta,
        Self::Slip,
        Self::Progress,
        Self::Overdue,
        Self::Curve,
    ];
}

/// The number of sources.
pub(super) const SOURCES: usize = EstimateSource::ALL.len();

/// How many images have durations of their own.
const MAX_IMAGES: usize = 64;

/// The scale of a logistic distribution with standard deviation 1: sqrt(3) / pi.
const LOGISTIC_SCALE: f32 = 0.551_33;

/// What one job that ended adds to the calibration of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationUpdate {
    pub(super) errors: [ErrorSums; SOURCES],
    /// The share of steady ETAs that were met.
    pub(super) eta_met: Option<f32>,
    /// Whether the first ETA was met: 0 or 1.
    pub(super) first_eta_met: Option<f32>,
    /// The misfit of the curve through the job's progress, ln.
    pub(super) misfit: Option<f32>,
    /// The share of ends by a line through the ETAs that were met.
    pub(super) line_met: Option<f32>,
    /// When the job ended, if its ETA did not move.
    pub(super) end_after_eta: Option<EndAfterEta>,
    /// ln seconds that the job ran.
    pub(super) lifetime: Option<f32>,
    pub(super) misses: Option<Misses>,
    duration: Option<Duration>,
}

impl CalibrationUpdate {
    /// How long the job ran, as far as known.
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// Sets how long the job ran, in seconds.
    pub(super) fn set_lifetime(&mut self, seconds: f32) {
        self.lifetime = Some(seconds.max(1.0).ln());
        self.duration = Some(Duration::from_secs_f32(seconds.clamp(0.0, 1e9)));
    }

    /// The update without the duration of the job.
    #[must_use]
    pub fn without_duration(self) -> Self {
        Self {
            duration: None,
            ..self
        }
    }
}

/// The calibration of one kind of job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KindCalibration {
    errors: [ErrorStats; SOURCES],
    eta_met: ErrorStats,
    first_eta_met: ErrorStats,
    outlier: ErrorStats,
    eta_offsets: EtaOffsets,
    line_met: ErrorStats,
    /// By the logarithm.
    misfit: ErrorStats,
    /// By the logarithm of seconds.
    lifetime: ErrorStats,
    lifetimes: u32,
    levels: Levels,
    durations: Durations,
    /// By the name of the image.
    images: BTreeMap<String, Durations>,
}

impl Default for KindCalibration {
    /// The priors for an unknown server: an ETA or a rate is off by a factor of up to two, a steady ETA is met three
    /// times in ten, and progress strays from a curve. The prior of the lifetime gives way to the first job.
    fn default() -> Self {
        Self {
            errors: [
                ErrorStats::new(0.0, 0.7),
                ErrorStats::new(0.0, 0.5),
                ErrorStats::new(0.0, 0.5),
                ErrorStats::new(0.0, 1.0),
                ErrorStats::new(0.0, 0.43),
            ],
            eta_met: ErrorStats::new(0.3, 0.3),
            first_eta_met: ErrorStats::new(0.3, 0.3),
            outlier: ErrorStats::new(0.01, 0.1),
            eta_offsets: EtaOffsets::default(),
            line_met: ErrorStats::new(0.2, 0.3),
            misfit: ErrorStats::new(3.0, 1.0),
            lifetime: ErrorStats::new(4.5, 1.2),
            lifetimes: 0,
            levels: Levels::default(),
            durations: Durations::default(),
            images: BTreeMap::new(),
        }
    }
}

impl KindCalibration {
    /// The durations of earlier jobs of this image; without an image, of all jobs of this kind.
    pub fn durations(&self, image: Option<&str>) -> &Durations {
        const NONE: &Durations = &Durations::new();
        match image {
            Some(image) => self.images.get(image_key(image)).unwrap_or(NONE),
            None => &self.durations,
        }
    }

    fn add_duration(&mut self, image: Option<&str>, duration: Duration) {
        self.durations.add(duration);
        let Some(image) = image.map(image_key) else {
            return;
        };
        if !self.images.contains_key(image) && self.images.len() >= MAX_IMAGES {
            let least = self.images.iter().min_by_key(|(_, of)| of.count());
            let least = least.map(|(name, _)| name.clone());
            least.and_then(|name| self.images.remove(&name));
        }
        self.images
            .entry(image.to_owned())
            .or_default()
            .add(duration);
    }

    /// The error of a source: ln(true / predicted) time left.
    pub(super) fn error(&self, source: EstimateSource) -> &ErrorStats {
        &self.errors[source as usize]
    }

    /// The probability that an ETA that has not moved is met.
    pub(super) fn eta_met(&self) -> f32 {
        self.eta_met.mean().clamp(0.01, 0.98)
    }

    /// The probability that the first ETA of a job is met.
    pub(super) fn first_eta_met(&self) -> f32 {
        self.first_eta_met.mean().clamp(0.01, 0.98)
    }

    /// The probability that a forecast is far off.
    pub(super) fn outlier(&self) -> f32 {
        self.outlier.mean().clamp(0.002, 0.01)
    }

    /// How many seconds after a steady ETA jobs end.
    pub(super) fn eta_offsets(&self) -> &EtaOffsets {
        &self.eta_offsets
    }

    /// The probability that a job ends where the line through its ETAs does.
    pub(super) fn line_met(&self) -> f32 {
        self.line_met.mean().clamp(0.01, 0.98)
    }

    /// How far progress is off its curve: 1 is not at all.
    pub(super) fn misfit(&self) -> f32 {
        self.misfit.mean().clamp(0.0, 6.0).exp()
    }

    pub(super) fn levels(&self) -> Levels {
        self.levels
    }

    /// How long jobs run.
    pub(super) fn lifetime(&self) -> Lifetime {
        Lifetime {
            mu: self.lifetime.mean(),
            scale: self.lifetime.var().sqrt() * LOGISTIC_SCALE,
        }
    }

    /// The number of lifetimes seen; with 0, [`Self::lifetime`] is a prior.
    pub(super) fn lifetimes(&self) -> u32 {
        self.lifetimes
    }

    pub(super) fn update_with(&mut self, image: Option<&str>, update: &CalibrationUpdate) {
        for (stats, sums) in self.errors.iter_mut().zip(&update.errors) {
            stats.add_job(sums);
        }
        if let Some(met) = update.eta_met {
            self.eta_met.add(met, met * met, 1.0);
        }
        if let Some(met) = update.first_eta_met {
            self.first_eta_met.add(met, met * met, 1.0);
        }
        if let Some(end) = update.end_after_eta {
            self.eta_offsets.add(end);
        }
        if let Some(met) = update.line_met {
            self.line_met.add(met, met * met, 1.0);
        }
        if let Some(misfit) = update.misfit {
            self.misfit.add(misfit, misfit * misfit, 1.0);
        }
        if let Some(outliers) = update.misses.and_then(|misses| misses.outliers) {
            self.outlier.add(outliers, outliers * outliers, 1.0);
        }
        if let Some(misses) = update.misses {
            self.levels.update(misses, self.lifetimes.saturating_add(1));
        }
        if let Some(duration) = update.duration {
            self.add_duration(image, duration);
        }
        if let Some(lifetime) = update.lifetime {
            if self.lifetimes == 0 {
                // The first lifetime replaces the mean of the prior, not its variance.
                self.lifetime = ErrorStats::new(lifetime, 1.2);
            }
            self.lifetimes = self.lifetimes.saturating_add(1);
            self.lifetime.add(lifetime, lifetime * lifetime, 1.0);
        }
    }
}

/// The name of an image as a key: of a name longer than any real one, its beginning.
fn image_key(image: &str) -> &str {
    const MAX_LEN: usize = 200;
    image
        .get(..image.floor_char_boundary(MAX_LEN))
        .unwrap_or(image)
}

/// The calibration of a server, by kind of job. Serializes to a few kilobytes; losing it only costs some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibration {
    diff: KindCalibration,
    update: KindCalibration,
    version: KindCalibration,
}

impl Calibration {
    /// The calibration of this kind of job.
    pub fn of(&self, kind: JobKind) -> &KindCalibration {
        match kind {
            JobKind::Diff => &self.diff,
            JobKind::Update => &self.update,
            JobKind::Version => &self.version,
        }
    }

    /// Adds a job of this kind that ended.
    pub fn update(&mut self, kind: JobKind, image: Option<&str>, update: &CalibrationUpdate) {
        match kind {
            JobKind::Diff => self.diff.update_with(image, update),
            JobKind::Update => self.update.update_with(image, update),
            JobKind::Version => self.version.update_with(image, update),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::error_stats::{MAX_ERROR, MAX_WEIGHT};

    fn calibrated(errors: &[f32]) -> KindCalibration {
        let mut calibration = KindCalibration::default();
        for &error in errors {
            let mut update = CalibrationUpdate::default();
            update.errors[EstimateSource::Eta as usize].add(error, 0.0);
            calibration.update_with(None, &update);
        }
        calibration
    }

    #[test]
    fn an_estimate_that_is_always_half_of_the_true_value_is_corrected() {
        let calibration = calibrated(&[std::f32::consts::LN_2; 200]);
        let eta = calibration.error(EstimateSource::Eta);
        assert!((eta.mean() - std::f32::consts::LN_2).abs() < 0.01);
        assert!(eta.var() < 0.01);
    }

    #[test]
    fn unbounded_errors_keep_the_calibration_within_bounds() {
        let calibration = calibrated(&[f32::INFINITY, f32::NEG_INFINITY, 1e30]);
        let eta = calibration.error(EstimateSource::Eta);
        assert!(eta.mean().abs() <= MAX_ERROR && eta.var() <= MAX_ERROR * MAX_ERROR);
    }

    #[test]
    fn a_calibration_survives_serialization() {
        let mut calibration = Calibration::default();
        calibration.update(
            JobKind::Diff,
            None,
            &CalibrationUpdate {
                lifetime: Some(6.0),
                eta_met: Some(1.0),
                ..CalibrationUpdate::default()
            },
        );
        let text = serde_json::to_string(&calibration).unwrap();
        assert_eq!(
            serde_json::from_str::<Calibration>(&text).unwrap(),
            calibration
        );
    }

    #[test]
    fn a_damaged_calibration_is_clamped_to_its_bounds() {
        let text = serde_json::to_string(&Calibration::default()).unwrap();
        let damaged = text
            .replace("\"n\":2.0", "\"n\":-1e30")
            .replace("0.49", "1e38");
        let calibration: Calibration = serde_json::from_str(&damaged).unwrap();
        for source in EstimateSource::ALL {
            let stats = calibration.of(JobKind::Diff).error(source);
            assert!((2.0..=MAX_WEIGHT).contains(&stats.n));
            assert!(stats.var() <= MAX_ERROR * MAX_ERROR);
        }
    }

    #[test]
    fn each_kind_has_its_own_calibration() {
        let mut calibration = Calibration::default();
        let update = CalibrationUpdate {
            lifetime: Some(3.0),
            ..CalibrationUpdate::default()
        };
        calibration.update(JobKind::Update, None, &update);
        for other in [JobKind::Diff, JobKind::Version] {
            assert_eq!(calibration.of(other), &KindCalibration::default());
        }
        assert_eq!(calibration.of(JobKind::Update).lifetimes(), 1);
    }

    fn lasted(seconds: f32) -> CalibrationUpdate {
        let mut update = CalibrationUpdate::default();
        update.set_lifetime(seconds);
        update
    }

    #[test]
    fn each_image_has_durations_of_its_own() {
        let mut calibration = KindCalibration::default();
        for _ in 0..8 {
            calibration.update_with(Some("small"), &lasted(10.0));
            calibration.update_with(Some("large"), &lasted(900.0));
        }
        let usual = |image| calibration.durations(image).usual();
        assert_eq!(usual(Some("small")), Some(Duration::from_secs(10)));
        assert_eq!(usual(Some("large")), Some(Duration::from_secs(900)));
        assert_eq!(usual(Some("another")), None);
        assert!(usual(None).is_some());
    }

    #[test]
    fn the_images_with_the_fewest_jobs_are_forgotten_first() {
        let mut calibration = KindCalibration::default();
        for _ in 0..8 {
            calibration.update_with(Some("often"), &lasted(10.0));
        }
        for image in 0..3 * MAX_IMAGES {
            calibration.update_with(Some(&image.to_string()), &lasted(10.0));
        }
        assert_eq!(calibration.images.len(), MAX_IMAGES);
        assert!(calibration.durations(Some("often")).usual().is_some());
    }

    #[test]
    fn a_job_that_ended_outside_its_estimate_moves_the_levels() {
        let mut calibration = KindCalibration::default();
        let missed = CalibrationUpdate {
            misses: Some(Misses {
                before: 1.0,
                after: 0.0,
                polls: 8.0,
                outliers: None,
            }),
            ..CalibrationUpdate::default()
        };
        calibration.update_with(None, &missed);
        assert!(calibration.levels().low < Levels::default().low);
    }
}
