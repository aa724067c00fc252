//! From samples to a distribution of the time left.
//!
//! Up to five estimates (see [`EstimateSource`]) and the lifetimes of earlier jobs are combined in the log domain, each
//! weighted by its precision (the inverse of its variance): a lognormal. If the server seems to compute its ETA from
//! the progress, the two are one estimate and count once. In addition, an ETA that has not moved may simply be right,
//! within its granularity, and ETAs on one line may go on along it: a window too narrow for the lognormal. The
//! probability of that is learned per kind of job and updated by Bayes' rule with the likelihood of the window under the
//! other estimates.

use super::ForecastBasis;
use super::calibration::{EstimateSource, KindCalibration, SOURCES};
use super::eta_line::end_by_line;
use super::history::{History, SAME_ETA, Sample};
use super::lifetime::Lifetime;
use super::progress_curve::ProgressCurve;
use super::time_left::Estimate;

/// The standard deviation of an ETA between two samples, as a share of the time left, until a slip is measured.
const ETA_JITTER: f32 = 0.25;
/// How much a disagreement of the estimates widens the forecast: 0 is not at all, 1 is by their squared deviations.
const DISAGREEMENT: f32 = 0.1;
/// The variance of ln(true / predicted) of an ETA that is not met, relative to the other estimates.
const MISSED_ETA_VARIANCE: f32 = 0.5;
/// With this many lifetimes known, their variance counts double: a few say little about the next.
const FEW_LIFETIMES: f32 = 4.0;
/// The number of points that represent the window of an ETA.
pub(super) const WINDOW_POINTS: usize = 6;

/// The distribution of the time left, seconds.
#[derive(Clone, Debug)]
pub(super) enum Forecast {
    /// No estimate and no earlier lifetime; the job has this age.
    Unknown { age: f32 },
    /// No estimate, but earlier lifetimes; the job has this age.
    Lifetime { lifetime: Lifetime, age: f32 },
    /// A lognormal, and the points of the window in which the job ends if its ETA is met, with their probabilities.
    Estimated {
        mu: f32,
        sigma: f32,
        /// The probability that the job ends far from the lognormal.
        outlier: f32,
        window: [(f32, f32); WINDOW_POINTS],
    },
}

/// The precision-weighted mean of estimates in the log domain.
#[derive(Default)]
struct WeightedMean {
    precision: f32,
    sum: f32,
    squares: f32,
}

impl WeightedMean {
    fn extend<const N: usize>(&mut self, estimates: [Option<(f32, f32)>; N]) {
        for (mu, var) in estimates.into_iter().flatten() {
            let precision = 1.0 / var;
            self.precision += precision;
            self.sum += precision * mu;
            self.squares += precision * mu * mu;
        }
    }

    fn mean_and_var(&self) -> Option<(f32, f32)> {
        (self.precision > 0.0).then(|| {
            let mu = self.sum / self.precision;
            let disagreement = (self.squares - self.sum * mu).max(0.0);
            (mu, (1.0 + DISAGREEMENT * disagreement) / self.precision)
        })
    }
}

/// Forecasts the time left after the latest sample, and shows what the forecast is based on. With `first_eta_met`, the
/// probability that the first ETA of a job is met, one sample of an ETA suffices; without it, the ETA must be steady.
pub(super) fn forecast(
    history: &History,
    calibration: &KindCalibration,
    first_eta_met: Option<f32>,
) -> (Forecast, ForecastBasis) {
    let estimates = estimates(history, calibration);
    let age = history.age();
    let lifetime = calibration.lifetime();
    let by_lifetime = (calibration.lifetimes() > 0).then(|| lifetime.time_left(age));
    let mut basis = ForecastBasis {
        earlier_jobs: by_lifetime.map(|(mu, _)| mu.exp()),
        ..ForecastBasis::default()
    };
    if estimates.iter().all(Option::is_none) {
        if calibration.lifetimes() == 0 {
            return (Forecast::Unknown { age }, basis);
        }
        return (Forecast::Lifetime { lifetime, age }, basis);
    }

    let mut calibrated = EstimateSource::ALL.map(|source| {
        let estimate = estimates[source as usize]?;
        let error = calibration.error(source);
        let mu = estimate.mu + error.mean() * estimate.share.sqrt();
        Some((mu, error.var() * estimate.share + estimate.var))
    });
    basis.estimates = calibrated.map(|estimate| estimate.map(|(mu, _)| mu.exp()));
    choose_rate_or_curve(&mut calibrated);
    basis.main_source = EstimateSource::ALL
        .into_iter()
        .filter_map(|source| Some((source, calibrated[source as usize]?.1)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(source, _)| source);
    let overcount = overcount(
        calibrated.iter().flatten().map(|(_, var)| 1.0 / var),
        eta_from_progress(history, &estimates, calibration),
    );
    let by_curve = calibrated[EstimateSource::Curve as usize];
    let trusted = |mu: f32, var: f32| (mu, var * distrust(mu, var, by_curve));
    let [eta, slip, progress, overdue, curve] =
        calibrated.map(|estimate| estimate.map(|(mu, var)| trusted(mu, var * overcount)));
    let by_lifetime = by_lifetime.map(|(mu, var)| {
        let few = FEW_LIFETIMES / calibration.lifetimes() as f32;
        trusted(mu, var * (1.0 + few))
    });
    let mut weighted = WeightedMean::default();
    weighted.extend([by_lifetime, progress, curve]);
    let without_eta = weighted.mean_and_var();
    weighted.extend([eta, slip, overdue]);
    let (mu, var) = weighted.mean_and_var().unwrap_or((lifetime.mu, 1.0));
    let window = likely_end(history, calibration, first_eta_met)
        .and_then(|end| eta_window(history, end, without_eta))
        .unwrap_or_default();
    basis.eta_reliability = window.iter().map(|&(_, weight)| weight).sum();
    let sigma = var.sqrt();
    let outlier = calibration.outlier();
    let forecast = Forecast::Estimated {
        mu,
        sigma,
        outlier,
        window,
    };
    (forecast, basis)
}

/// A window in which the job may end, from the ETAs alone.
struct LikelyEnd {
    /// Its beginning, in seconds since the first observation.
    from: f32,
    width: f32,
    /// The probability that the job ends in it.
    prior: f32,
}

/// The end by an ETA that does not move, by the first ETA if it may count, or by a line through the ETAs.
fn likely_end(
    history: &History,
    calibration: &KindCalibration,
    first_eta_met: Option<f32>,
) -> Option<LikelyEnd> {
    let kept = steady_eta(history).map(|eta| (eta, calibration.eta_met()));
    let kept = kept.or_else(|| history.only_eta().zip(first_eta_met));
    let (earliest, offset) = calibration.eta_offsets().range();
    let width = history.granularity() + offset - earliest;
    let kept = kept.map(|(eta, prior)| (eta + earliest, width, prior));
    let line = || end_by_line(history).map(|(from, width)| (from, width, calibration.line_met()));
    let (from, width, prior) = kept.or_else(line)?;
    // Responses take time to arrive.
    let width = width + 0.5;
    Some(LikelyEnd { from, width, prior })
}

/// Removes the rate of the progress or its curve, since both come from the same samples: the curve, unless its variance
/// is clearly smaller.
fn choose_rate_or_curve(calibrated: &mut [Option<(f32, f32)>; SOURCES]) {
    const CLEARLY: f32 = 0.75;
    let (rate, curve) = (
        EstimateSource::Progress as usize,
        EstimateSource::Curve as usize,
    );
    if let (Some((_, by_rate)), Some((_, by_curve))) = (calibrated[rate], calibrated[curve]) {
        let worse = if by_curve < CLEARLY * by_rate {
            rate
        } else {
            curve
        };
        calibrated[worse] = None;
    }
}

/// The factor of the variance of an estimate far from the curve of the progress, if there is one: the errors of ETAs and
/// lifetimes have heavy tails, as Student's t distribution with four degrees of freedom.
fn distrust(mu: f32, var: f32, curve: Option<(f32, f32)>) -> f32 {
    const DEGREES: f32 = 4.0;
    let (by_curve, curve_var) = curve.unwrap_or((mu, var));
    1.0 + (mu - by_curve) * (mu - by_curve) / (var + curve_var) / DEGREES
}

/// The factor by which the summed precision overstates the true one if the estimates are the same estimate with the
/// probability `same`: one estimate is as precise as the best of them, independent ones as precise as all together.
fn overcount(precisions: impl Iterator<Item = f32>, same: f32) -> f32 {
    let (mut all, mut best) = (0.0, 0.0f32);
    for precision in precisions {
        all += precision;
        best = best.max(precision);
    }
    all / (best + (1.0 - same) * (all - best)).max(1e-9)
}

/// The probability that the server computes the ETA from the progress, by Bayes' rule from how well the two agree.
fn eta_from_progress(
    history: &History,
    estimates: &[Option<Estimate>; SOURCES],
    calibration: &KindCalibration,
) -> f32 {
    /// The prior if the first ETA came only with the first progress.
    const PRIOR_TOGETHER: f32 = 0.9;
    /// The prior if no sample shows the job before its first progress.
    const PRIOR_UNKNOWN: f32 = 0.3;
    /// The variance of ln(one / other) if they are the same: the server knows when the job really began.
    const SAME: f32 = 0.02;
    let estimate = |source| estimates[source as usize];
    let (Some(eta), Some(progress)) = (
        estimate(EstimateSource::Eta),
        estimate(EstimateSource::Progress),
    ) else {
        return 0.0;
    };
    let without_progress = |sample: &Sample| sample.progress.is_none_or(|progress| progress < 0.5);
    let prior = match history.earlier().find(without_progress) {
        // An ETA from before any progress has another origin.
        Some(sample) if sample.eta.is_some() => return 0.0,
        Some(_) => PRIOR_TOGETHER,
        None => PRIOR_UNKNOWN,
    };
    let off = eta.mu - progress.mu;
    let same = eta.var + progress.var + SAME;
    let apart = same
        + calibration.error(EstimateSource::Eta).var()
        + calibration.error(EstimateSource::Progress).var() * progress.share;
    let ratio = (apart / same).sqrt() * (-0.5 * off * off * (1.0 / same - 1.0 / apart)).exp();
    let odds = prior / (1.0 - prior) * ratio;
    odds / (1.0 + odds)
}

/// The uncalibrated estimates after the latest sample, in the order of [`EstimateSource::ALL`].
pub(super) fn estimates(
    history: &History,
    calibration: &KindCalibration,
) -> [Option<Estimate>; SOURCES] {
    let mut found = [None; SOURCES];
    let now = history.latest();
    if let Some(eta) = now.eta {
        let left = eta - now.at;
        let granularity = history.granularity();
        if left + granularity > 0.0 {
            // The ETA was rounded down to its granularity: the middle, and the variance of a uniform distribution.
            let middle = (left + 0.5 * granularity).max(0.5);
            let var = granularity * granularity / (12.0 * middle * middle);
            found[EstimateSource::Eta as usize] = Some(Estimate::new(middle, var, 1.0));
        } else if history.first_eta_was_ahead() {
            found[EstimateSource::Overdue as usize] =
                Some(Estimate::new((-left).max(1.0), 0.0, 1.0));
        }
        if left > 0.0 {
            found[EstimateSource::Slip as usize] = slip(history, left);
        }
    }
    found[EstimateSource::Progress as usize] = progress_rate(history);
    let curve = ProgressCurve::new(history, calibration.misfit());
    found[EstimateSource::Curve as usize] = curve.map(|curve| curve.estimate);
    found
}

/// The time left until the ETA, extrapolated along a straight line to zero: an ETA that is always too early by the same
/// share, or that is computed from a rate, moves while the job runs.
fn slip(history: &History, left: f32) -> Option<Estimate> {
    let now = history.latest();
    let then = history.earlier().find(|sample| sample.eta.is_some())?;
    let before = then.eta? - then.at;
    let (gained, waited) = (before - left, now.at - then.at);
    if gained <= 0.0 || waited <= 0.0 {
        return None;
    }
    let jitter = ETA_JITTER * ETA_JITTER * (before * before + left * left);
    let granularity = history.granularity() * history.granularity();
    let estimate = left * waited / gained;
    let share = estimate / (estimate + waited);
    Some(Estimate::new(
        estimate,
        (jitter + 0.5 * granularity) / (gained * gained),
        share,
    ))
}

/// The time for the remaining progress, at the rate of about the second half of the progress so far.
fn progress_rate(history: &History) -> Option<Estimate> {
    /// The variance of a progress rounded down to whole percents.
    const PERCENT: f32 = 0.1;
    /// The variance of a rate measured from before the first percent, if the job may have begun at any time since.
    const UNKNOWN_BEGINNING: f32 = 0.55;
    let now = history.latest();
    let progress = now.progress.filter(|&progress| progress > 0.0)?;
    let mut base = None;
    let mut begun = now.at;
    for sample in history.earlier().rev() {
        if let Some(before) = sample.progress.filter(|&before| before < progress) {
            base = Some((sample.at, before, begun));
            if before <= 0.5 * progress {
                break;
            }
        }
        begun = sample.at;
    }
    let (at, before, begun) = base?;
    let (gained, waited) = (progress - before, now.at - at);
    if waited <= 0.0 {
        return None;
    }
    let to_do = (99.5 - progress).max(0.5);
    let left = to_do * waited / gained;
    // The job began before the next sample, which shows progress.
    let unknown = if before < 0.5 {
        (begun - at) / waited
    } else {
        0.0
    };
    let beginning = UNKNOWN_BEGINNING * unknown * unknown;
    let ends = to_do + 1.0;
    let var = 2.0 * PERCENT / (gained * gained) + PERCENT / (ends * ends) + beginning;
    Some(Estimate::new(left, var, left / (left + waited)))
}

/// The ETA, if it has not moved through two samples or more; in seconds since the first observation.
pub(super) fn steady_eta(history: &History) -> Option<f32> {
    let now = history.latest().eta?;
    let granularity = history.granularity();
    let tolerance = SAME_ETA + if granularity > 1.0 { granularity } else { 0.0 };
    let mut earlier = history.earlier().filter_map(|sample| sample.eta).peekable();
    earlier.peek()?;
    earlier
        .all(|eta| (eta - now).abs() <= tolerance)
        .then_some(now)
}

/// The points of time left at which a job ends in its likely window, with their probabilities. `others` are the mean and
/// variance by the other estimates.
fn eta_window(
    history: &History,
    LikelyEnd { from, width, prior }: LikelyEnd,
    others: Option<(f32, f32)>,
) -> Option<[(f32, f32); WINDOW_POINTS]> {
    /// The window is narrowed to this many standard deviations around the mean of the others.
    const NEAR: f32 = 2.0;
    /// The probability that the others are wrong however certain they seem.
    const OTHERS_WRONG: f32 = 0.05;
    /// The others narrow the window if their variance is below this.
    const CERTAIN: f32 = 0.5;
    let start = from - history.latest().at;
    let (mut low, mut high) = (start.max(0.0), start + width);
    if high <= 0.0 {
        return None;
    }
    // Within a whole minute, the others may be more precise.
    if let Some((mu, var)) = others.filter(|&(_, var)| var < CERTAIN) {
        let off = NEAR * var.sqrt();
        let (from, to) = (low.max((mu - off).exp()), high.min((mu + off).exp()));
        if from < to {
            (low, high) = (from, to);
        }
    }
    let mut window = [(0.0, 0.0); WINDOW_POINTS];
    let mut total = 0.0;
    for (j, (left, weight)) in window.iter_mut().enumerate() {
        *left = low + (high - low) * (j as f32 + 0.5) / WINDOW_POINTS as f32;
        *weight = others.map_or(1.0, |(mu, var)| {
            // The likelihood ratio of the other estimates: the ETA is met here, against it is not met.
            let (z, wide) = (left.max(0.1).ln() - mu, var + MISSED_ETA_VARIANCE);
            let ratio = (wide / var).sqrt() * (-0.5 * z * z * (1.0 / var - 1.0 / wide)).exp();
            ratio.clamp(OTHERS_WRONG, 20.0)
        });
        total += *weight;
    }
    // The part of the window that has passed or was cut off is disproved.
    let odds = prior / (1.0 - prior) * (high - low) / width * total / WINDOW_POINTS as f32;
    let scale = odds / (1.0 + odds) / total.max(1e-20);
    for (_, weight) in &mut window {
        *weight *= scale;
    }
    Some(window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::settings;
    use crate::schedule::{Observation, Policy};

    /// The probability that the ETA is computed from the progress, after samples of (seconds, ETA, percent).
    fn eta_from_progress_after(samples: &[(u64, Option<i64>, f32)]) -> f32 {
        let calibration = KindCalibration::default();
        let settings = settings(Policy::Inspection);
        let mut history = History::default();
        for &(at, eta, progress) in samples {
            let observation = Observation {
                up_ms: at * 1_000,
                server_now_ms: Some(at as i64 * 1_000),
                eta,
                start: None,
                progress: Some(progress),
            };
            history = history.observe(&observation, &calibration, &settings).0;
        }
        eta_from_progress(&history, &estimates(&history, &calibration), &calibration)
    }

    #[test]
    fn an_eta_that_comes_with_the_progress_and_agrees_with_it_is_computed_from_it() {
        assert!(eta_from_progress_after(&[(0, None, 0.0), (13, Some(65), 20.0)]) > 0.8);
        assert!(eta_from_progress_after(&[(0, None, 0.0), (13, Some(650), 20.0)]) < 0.5);
    }

    #[test]
    fn an_eta_from_before_any_progress_is_not_computed_from_it() {
        let probability = eta_from_progress_after(&[(0, Some(80), 0.0), (13, Some(65), 20.0)]);
        assert!(probability.abs() < f32::EPSILON, "{probability}");
    }

    #[test]
    fn one_estimate_repeated_three_times_is_as_precise_as_the_best_of_them() {
        let precisions = [1.0, 4.0, 3.0];
        let combined = |same| 8.0 / overcount(precisions.into_iter(), same);
        assert!((combined(0.0) - 8.0).abs() < 1e-4);
        assert!((combined(1.0) - 4.0).abs() < 1e-4);
    }
}
