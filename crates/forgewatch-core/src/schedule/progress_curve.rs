//! The end by the progress of work that slows down or speeds up.
//!
//! The share of the work done at the time t is assumed to be `p = ((t - q) / (T - q))^s`, with q the end of the queue, T
//! the end of the job and s the bend: `ln p = s (ln(t - q) - ln(T - q))`. For each of a few values of q this is a straight
//! line, fitted by Bayesian linear regression (C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, 3.3). The
//! evidence of a fit is the weight of its q. Samples off the line widen the variance; while there are too few to show
//! that, the misfit of earlier jobs does.

use super::history::{History, MAX_SAMPLES, Sample};
use super::time_left::Estimate;

/// The prior of the bend: mean and standard deviation.
const BEND: (f32, f32) = (1.0, 0.35);
/// The standard deviations of ln p from uneven work, and of a progress rounded down to whole percents.
const UNEVEN: f32 = 0.01;
const ROUNDING: f32 = 0.29;
/// Where in the time between the samples around it the queue may end, and how fast the prior falls there.
const QUEUE_ENDS: [f32; 6] = [0.0, 0.15, 0.35, 0.55, 0.75, 0.92];
const LATE_END: f32 = 2.0;
/// The weight of the prior misfit, in samples.
const PRIOR_MISFIT: f32 = 2.0;
/// The most variance of the time left (ln) that follows from a certain end: logarithms exaggerate the last seconds.
const MOST_VARIANCE: f32 = 0.12;

/// The time left by the curve, and how well it fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgressCurve {
    pub estimate: Estimate,
    /// ln of the squared deviations from the curve, relative to what is expected; None with fewer than three samples.
    pub misfit: Option<f32>,
}

impl ProgressCurve {
    /// The curve through all samples. `misfit` is that of earlier jobs.
    pub(super) fn new(history: &History, misfit: f32) -> Option<Self> {
        let readings = Readings::of(history)?;
        let now = history.latest().at;
        let (from, to) = readings.queue;
        if to <= from {
            return None;
        }
        let fits = QUEUE_ENDS.map(|share| readings.fit(from + share * (to - from), now, misfit));
        let (mut weights, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let best = fits
            .iter()
            .map(|fit| fit.evidence)
            .fold(f32::NEG_INFINITY, f32::max);
        for (fit, share) in fits.iter().zip(QUEUE_ENDS) {
            let weight = (fit.evidence - best - LATE_END * share).exp();
            weights += weight;
            sum += weight * fit.mu;
            squares += weight * (fit.mu * fit.mu + fit.var);
        }
        let mu = sum / weights;
        let left = mu.exp();
        let share = left / (left + now - from);
        let estimate = Estimate::new(left, (squares / weights - mu * mu).max(1e-6), share);
        let deviation = fits
            .iter()
            .map(|fit| fit.deviation)
            .fold(f32::INFINITY, f32::min);
        let free = readings.free();
        let misfit = (free > 0.0).then(|| (deviation / free).clamp(1.0, 400.0).ln());
        Some(Self { estimate, misfit })
    }
}

/// The samples that show progress, from the beginning of the work on.
struct Readings {
    samples: [Reading; MAX_SAMPLES],
    len: usize,
    /// The queue ended between these times.
    queue: (f32, f32),
}

#[derive(Clone, Copy, Default)]
struct Reading {
    /// Seconds.
    at: f32,
    /// ln of the share of the work, in the middle of its rounding, and the inverse of its variance.
    ln_done: f32,
    weight: f32,
}

impl Reading {
    fn new(at: f32, progress: f32) -> Self {
        let percent = (progress + 0.5).min(99.5);
        let rounding = ROUNDING / percent;
        Self {
            at,
            ln_done: (percent * 0.01).ln(),
            weight: 1.0 / (rounding * rounding + UNEVEN * UNEVEN),
        }
    }
}

/// A fit for one end of the queue.
struct Fit {
    /// ln of the time left, and its variance.
    mu: f32,
    var: f32,
    /// ln of the evidence.
    evidence: f32,
    /// The sum of the squared deviations, in their variances.
    deviation: f32,
}

impl Readings {
    fn of(history: &History) -> Option<Self> {
        let mut samples = [Reading::default(); MAX_SAMPLES];
        let mut percents = (0.0, 0.0);
        let mut len = 0;
        let mut queue = (None, 0.0);
        let mut before: Option<Sample> = None;
        for sample in history.samples() {
            let progress = sample.progress?;
            if before.and_then(|before| before.progress) > Some(progress) {
                // Progress that runs back: the work began again.
                len = 0;
            }
            if progress >= 0.5 {
                if len == 0 {
                    queue = (before.map(|before| before.at), sample.at);
                    percents.0 = progress + 0.5;
                }
                samples[len] = Reading::new(sample.at, progress);
                percents.1 = progress + 0.5;
                len += 1;
            }
            before = Some(sample);
        }
        let waited = samples[len.checked_sub(1)?].at - samples[0].at;
        // Without a sample from before the work, it began at the pace since then, or up to twice as long ago.
        let gained = percents.1 - percents.0;
        let long_ago =
            || (gained >= 1.0).then(|| samples[0].at - 2.0 * percents.0 * waited / gained);
        let queue = (queue.0.or_else(long_ago)?, queue.1);
        Some(Self {
            samples,
            len,
            queue,
        })
    }

    /// The number of samples that the bend and the end do not need.
    fn free(&self) -> f32 {
        self.len.saturating_sub(2) as f32
    }

    /// Fits the line if the queue ended at `queue_end`.
    fn fit(&self, queue_end: f32, now: f32, misfit: f32) -> Fit {
        let (mut sum, mut x_mean, mut y_mean) = (0.0f32, 0.0f32, 0.0f32);
        let (mut xx, mut xy, mut yy) = (0.0f32, 0.0f32, 0.0f32);
        for reading in &self.samples[..self.len] {
            let x = (reading.at - queue_end).max(1e-3).ln();
            let (y, weight) = (reading.ln_done, reading.weight);
            sum += weight;
            let (dx, dy) = (x - x_mean, y - y_mean);
            let share = weight / sum;
            x_mean += share * dx;
            y_mean += share * dy;
            let rest = weight * (1.0 - share);
            xx += rest * dx * dx;
            xy += rest * dx * dy;
            yy += rest * dy * dy;
        }
        let (prior, prior_precision) = (BEND.0, 1.0 / (BEND.1 * BEND.1));
        let precision = xx + prior_precision;
        let bend = ((xy + prior_precision * prior) / precision).max(0.2);
        let off = bend - prior;
        let deviation = yy - 2.0 * bend * xy + bend * bend * xx + prior_precision * off * off;
        let evidence = -0.5 * (deviation + (precision / prior_precision).ln());
        let widened = if self.free() > 0.0 {
            ((deviation + PRIOR_MISFIT) / (self.free() + PRIOR_MISFIT)).max(1.0)
        } else {
            misfit
        };
        // ln(T - q): where the line reaches ln 1.
        let end = x_mean - y_mean / bend;
        let slope = y_mean / (bend * bend);
        let var = widened * (1.0 / (sum * bend * bend) + slope * slope / precision);
        let whole = end.min(16.0).exp();
        let (rest, rest_var) = (whole - (now - queue_end), whole * whole * var);
        // The job still runs: about the mean of the part of the normal distribution above zero.
        let left = (0.5 * (rest + (rest * rest + 1.2 * rest_var).sqrt())).max(0.3);
        Fit {
            mu: left.ln(),
            var: (rest_var / (left * left)).min(var.max(MOST_VARIANCE)),
            evidence,
            deviation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Observation;

    fn history(samples: impl IntoIterator<Item = (f32, f32)>) -> History {
        let with = |history: History, (at, progress): (f32, f32)| {
            history.with(&Observation {
                up_ms: (at * 1e3) as u64,
                progress: Some(progress),
                ..Observation::default()
            })
        };
        samples.into_iter().fold(History::default(), with)
    }

    /// The progress of a job of 600 s that was in a queue for `queue` seconds, after polls at these seconds.
    fn bent(bend: f32, queue: f32, polls: &[f32]) -> History {
        history(polls.iter().map(|&at| {
            let done = ((at - queue).max(0.0) / (600.0 - queue)).powf(bend);
            (at, (done * 100.0).floor())
        }))
    }

    #[test]
    fn the_end_of_work_with_a_bend_is_known_at_half_time() {
        for (bend, queue) in [
            (0.6, 0.0),
            (0.8, 30.0),
            (1.0, 55.0),
            (1.3, 10.0),
            (1.6, 40.0),
        ] {
            let history = bent(bend, queue, &[0.0, 12.5, 100.0, 200.0, 300.0]);
            let curve = ProgressCurve::new(&history, 1.0).unwrap();
            let off = curve.estimate.mu - 300f32.ln();
            assert!(off.abs() < 0.15, "{bend} {queue}: {curve:?}");
            assert!(curve.estimate.var < 0.02, "{bend} {queue}: {curve:?}");
        }
    }

    #[test]
    fn work_that_stops_has_a_misfit_and_a_vague_end() {
        let even = history([
            (0.0, 0.0),
            (50.0, 10.0),
            (100.0, 20.0),
            (150.0, 30.0),
            (200.0, 40.0),
        ]);
        let stops = history([
            (0.0, 0.0),
            (50.0, 20.0),
            (100.0, 39.0),
            (150.0, 40.0),
            (200.0, 40.0),
        ]);
        let curve = |history| ProgressCurve::new(&history, 1.0).unwrap();
        assert!(curve(even).misfit < Some(1.0));
        assert!(curve(stops).misfit > Some(2.0), "{:?}", curve(stops));
        assert!(curve(stops).estimate.var > 3.0 * curve(even).estimate.var);
    }

    #[test]
    fn two_samples_are_as_good_as_those_of_earlier_jobs() {
        let two = history([(0.0, 0.0), (50.0, 20.0), (100.0, 39.0)]);
        let var = |misfit| ProgressCurve::new(&two, misfit).unwrap().estimate.var;
        assert!(var(20.0) > var(1.0));
    }

    #[test]
    fn a_watch_that_begins_in_the_middle_of_the_work_finds_its_end() {
        let history = history([(0.0, 40.0), (50.0, 50.0), (100.0, 60.0), (150.0, 70.0)]);
        let left = ProgressCurve::new(&history, 1.0).unwrap().estimate.mu.exp();
        assert!((120.0..190.0).contains(&left), "{left}");
    }

    #[test]
    fn invalid_progress_gives_a_finite_estimate_or_none() {
        for samples in [
            &[(0.0, 100.0), (1.0, 100.0)][..],
            &[(0.0, 50.0), (1.0, 20.0), (1.0, 20.0)],
            &[(0.0, 0.0), (0.0, 99.0)],
            &[(0.0, 0.0), (1e7, 1.0), (1e7, 1.0)],
            &[(0.0, 99.0), (5.0, 0.0), (9.0, 1.0), (9e6, 1.5)],
            &[(0.0, 0.5)],
        ] {
            if let Some(curve) = ProgressCurve::new(&history(samples.iter().copied()), 1e9) {
                let Estimate { mu, var, share } = curve.estimate;
                assert!(
                    mu.is_finite() && var.is_finite() && share > 0.0,
                    "{samples:?}: {curve:?}"
                );
            }
        }
    }
}
