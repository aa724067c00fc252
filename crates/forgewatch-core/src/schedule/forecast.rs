//! From answers to a distribution of the time left.
//!
//! Up to four estimates (see [`Source`]) and the lives of earlier jobs are joined in the log domain, each weighted
//! by its precision: a lognormal. Where the server seems to work its ETA out from the progress, the two are one
//! estimate and count once. Beside it stands the chance that an ETA which has not moved is simply right, to
//! its grain: a narrow window that the lognormal could never express. How likely that is, is learnt per kind and
//! updated by Bayes' rule with what the other estimates say of the window.

use super::Why;
use super::calibration::{KindCalibration, SOURCES, Source};
use super::history::{History, Sample};

/// Seconds within which two ETAs are the same: whole seconds, and answers that travel.
const STILL: f32 = 1.5;
/// How much of what is left an ETA wavers from answer to answer (standard deviation), until a slip is measured.
const WAVER: f32 = 0.25;
/// How much the estimates' disagreement widens the forecast, as a share of what it would if they alone told it.
const DISAGREEMENT: f32 = 0.1;
/// Variance of ln(true / told) of an ETA that is not kept, as seen by the other estimates.
const NOT_KEPT: f32 = 0.5;
/// The first few lives tell little of the next.
const FEW_LIVES: f32 = 4.0;
/// The spread of a logistic with standard deviation 1: sqrt(3) / pi.
const LOGISTIC: f32 = 0.551_33;
/// Into how many points the window of an ETA is cut.
pub(super) const WINDOW: usize = 6;

/// An estimate of the time left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// ln seconds.
    pub mu: f32,
    /// Variance of its own making, from whole percents and whole minutes.
    pub var: f32,
    /// The share of the calibrated variance that applies: a pace that was measured over most of the way is
    /// surer than one measured at its beginning.
    pub share: f32,
}

impl Estimate {
    fn of(left: f32, var: f32, share: f32) -> Self {
        Self {
            mu: left.clamp(0.5, 1e7).ln(),
            var,
            share: share.max(1e-3),
        }
    }
}

/// The distribution of the time left, seconds.
#[derive(Clone, Debug)]
pub(super) enum Forecast {
    /// No estimate and no earlier life of a job that is this old.
    Unknown { age: f32 },
    /// No estimate, but earlier lives: a log-logistic life (ln median, spread) of a job that is this old.
    Life { mu: f32, spread: f32, age: f32 },
    /// A lognormal, and the points of the window in which a kept ETA would fall, with their probabilities.
    Estimated {
        mu: f32,
        sigma: f32,
        window: [(f32, f32); WINDOW],
    },
}

/// Precision-weighted joining of estimates in the log domain.
#[derive(Default)]
struct Join {
    precision: f32,
    sum: f32,
    squares: f32,
}

impl Join {
    fn add(&mut self, (mu, var): (f32, f32)) {
        let precision = 1.0 / var;
        self.precision += precision;
        self.sum += precision * mu;
        self.squares += precision * mu * mu;
    }

    /// Mean and variance, once there is something.
    fn result(&self) -> Option<(f32, f32)> {
        (self.precision > 0.0).then(|| {
            let mu = self.sum / self.precision;
            let disagreement = (self.squares - self.sum * mu).max(0.0);
            (mu, (1.0 + DISAGREEMENT * disagreement) / self.precision)
        })
    }
}

/// What is left to expect after the latest of a watch's answers, and why.
pub(super) fn forecast(trace: &History, memory: &KindCalibration) -> (Forecast, Why) {
    let found = estimates(trace);
    let age = trace.age();
    let (mu, spread) = (memory.life().mean(), memory.life().var().sqrt() * LOGISTIC);
    let life = (memory.lives() > 0).then(|| life(mu, spread, age));
    let mut why = Why {
        life: life.map(|(mu, _)| mu.exp()),
        ..Why::default()
    };
    if found.iter().all(Option::is_none) {
        if memory.lives() == 0 {
            return (Forecast::Unknown { age }, why);
        }
        return (Forecast::Life { mu, spread, age }, why);
    }

    let calibrated = |source: Source| {
        found[source as usize].map(|estimate| {
            let error = memory.error(source);
            let mu = estimate.mu + error.mean() * estimate.share.sqrt();
            (mu, error.var() * estimate.share + estimate.var)
        })
    };
    let precisions = Source::ALL
        .into_iter()
        .filter_map(calibrated)
        .map(|(_, var)| 1.0 / var);
    let shared = counted_twice(precisions, alike(trace, &found, memory));
    let mut join = Join::default();
    if let Some((mu, var)) = life {
        join.add((mu, var * (1.0 + FEW_LIVES / memory.lives() as f32)));
    }
    if let Some((mu, var)) = calibrated(Source::Progress) {
        join.add((mu, var * shared));
    }
    let without_eta = join.result();
    let mut surest = f32::INFINITY;
    for source in Source::ALL {
        let Some((mu, var)) = calibrated(source) else {
            continue;
        };
        why.estimates[source as usize] = Some(mu.exp());
        if source != Source::Progress {
            join.add((mu, var * shared));
        }
        if var < surest {
            surest = var;
            why.weighs_most = Some(source);
        }
    }
    let (mu, var) = join.result().unwrap_or((mu, 1.0));
    let window = window(trace, memory.kept(), without_eta).unwrap_or_default();
    why.kept = window.iter().map(|&(_, weight)| weight).sum();
    let sigma = var.sqrt();
    (Forecast::Estimated { mu, sigma, window }, why)
}

/// By how much estimates that are likely to be one estimate would be trusted too much if they were counted each for
/// itself: one estimate is as precise as the best of them, independent ones as precise as all together.
fn counted_twice(precisions: impl Iterator<Item = f32>, alike: f32) -> f32 {
    let (mut all, mut best) = (0.0, 0.0f32);
    for precision in precisions {
        all += precision;
        best = best.max(precision);
    }
    all / (best + (1.0 - alike) * (all - best)).max(1e-9)
}

/// How likely the ETA is to be worked out from the progress, by Bayes' rule from how well the two agree.
fn alike(trace: &History, found: &[Option<Estimate>; SOURCES], memory: &KindCalibration) -> f32 {
    /// How likely where an ETA came only once there was progress, and where that was not seen.
    const PRIOR: (f32, f32) = (0.9, 0.3);
    /// Variance of ln(one / other) if they are one: the server knows when the job really began.
    const SAME: f32 = 0.02;
    let (eta, pace) = (Source::Eta as usize, Source::Progress as usize);
    let (Some(eta), Some(pace)) = (found[eta], found[pace]) else {
        return 0.0;
    };
    let unbegun = |mark: &Sample| mark.progress.is_none_or(|progress| progress < 0.5);
    let prior = match trace.earlier().find(unbegun) {
        // A server that named an end before there was any progress knows it from elsewhere.
        Some(mark) if mark.eta.is_some() => return 0.0,
        Some(_) => PRIOR.0,
        None => PRIOR.1,
    };
    let off = eta.mu - pace.mu;
    let same = eta.var + pace.var + SAME;
    let apart =
        same + memory.error(Source::Eta).var() + memory.error(Source::Progress).var() * pace.share;
    let ratio = (apart / same).sqrt() * (-0.5 * off * off * (1.0 / same - 1.0 / apart)).exp();
    let odds = prior / (1.0 - prior) * ratio;
    odds / (1.0 + odds)
}

/// The estimates that the answers so far allow, uncalibrated, in the order of [`Source::ALL`].
pub(super) fn estimates(trace: &History) -> [Option<Estimate>; SOURCES] {
    let mut found = [None; SOURCES];
    let now = trace.latest();
    if let Some(eta) = now.eta {
        let left = eta - now.at;
        let grain = trace.grain();
        if left + grain > 0.0 {
            // The ETA was cut down to its grain: the middle, and the variance of a uniform.
            let middle = (left + 0.5 * grain).max(0.5);
            let var = grain * grain / (12.0 * middle * middle);
            found[Source::Eta as usize] = Some(Estimate::of(middle, var, 1.0));
        } else if trace.promised() {
            found[Source::Overdue as usize] = Some(Estimate::of((-left).max(1.0), 0.0, 1.0));
        }
        if left > 0.0 {
            found[Source::Slip as usize] = slip(trace, left);
        }
    }
    found[Source::Progress as usize] = pace(trace);
    found
}

/// The time that the ETA leaves, drawn out as a straight line to zero: an ETA that is too early by the same share
/// always, or made from a pace, moves while one waits for it.
fn slip(trace: &History, left: f32) -> Option<Estimate> {
    let now = trace.latest();
    let then = trace.earlier().find(|mark| mark.eta.is_some())?;
    let before = then.eta? - then.at;
    let (gained, waited) = (before - left, now.at - then.at);
    if gained <= 0.0 || waited <= 0.0 {
        return None;
    }
    let wavering = WAVER * WAVER * (before * before + left * left);
    let grain = trace.grain() * trace.grain();
    let estimate = left * waited / gained;
    let share = estimate / (estimate + waited);
    Some(Estimate::of(
        estimate,
        (wavering + 0.5 * grain) / (gained * gained),
        share,
    ))
}

/// The progress still to be made, at the pace of about its second half so far.
fn pace(trace: &History) -> Option<Estimate> {
    /// Variance of one whole percent, cut down, between its two ends.
    const PERCENT: f32 = 0.1;
    /// Variance of a pace measured from before the first percent, if the job may have begun at any time since.
    const UNBEGUN: f32 = 0.55;
    let now = trace.latest();
    let progress = now.progress.filter(|&progress| progress > 0.0)?;
    let mut base = None;
    let mut begun = now.at;
    for mark in trace.earlier().rev() {
        if let Some(before) = mark.progress.filter(|&before| before < progress) {
            base = Some((mark.at, before, begun));
            if before <= 0.5 * progress {
                break;
            }
        }
        begun = mark.at;
    }
    let (at, before, begun) = base?;
    let (gained, waited) = (progress - before, now.at - at);
    if waited <= 0.0 {
        return None;
    }
    let to_do = (99.5 - progress).max(0.5);
    let left = to_do * waited / gained;
    // It began before the next answer kept, which showed some.
    let unknown = if before < 0.5 {
        (begun - at) / waited
    } else {
        0.0
    };
    let unbegun = UNBEGUN * unknown * unknown;
    let ends = to_do + 1.0;
    let var = 2.0 * PERCENT / (gained * gained) + PERCENT / (ends * ends) + unbegun;
    Some(Estimate::of(left, var, left / (left + waited)))
}

/// The ETA that has stood still through two answers or more, in seconds of the watch's age.
pub(super) fn standing(trace: &History) -> Option<f32> {
    let now = trace.latest().eta?;
    let grain = trace.grain();
    let still = STILL + if grain > 1.0 { grain } else { 0.0 };
    let mut told = trace.earlier().filter_map(|mark| mark.eta).peekable();
    told.peek()?;
    told.all(|eta| (eta - now).abs() <= still).then_some(now)
}

/// The points at which a standing ETA would be kept, with their probabilities, given what the others expect.
fn window(trace: &History, kept: f32, others: Option<(f32, f32)>) -> Option<[(f32, f32); WINDOW]> {
    /// Standard deviations of the others' word beyond which a point of the window is not worth looking at.
    const NEAR: f32 = 2.0;
    /// Variance of their word below which it is worth that.
    const SURE: f32 = 0.5;
    let grain = trace.grain() + 0.5;
    let end = standing(trace)? - trace.latest().at + grain;
    let (mut low, mut high) = ((end - grain).max(0.0), end);
    if high <= 0.0 {
        return None;
    }
    // Within a whole minute the others may know better where: the points belong there.
    if let Some((mu, var)) = others.filter(|&(_, var)| var < SURE) {
        let off = NEAR * var.sqrt();
        let (from, to) = (low.max((mu - off).exp()), high.min((mu + off).exp()));
        if from < to {
            (low, high) = (from, to);
        }
    }
    let mut window = [(0.0, 0.0); WINDOW];
    let mut total = 0.0;
    for (j, (left, weight)) in window.iter_mut().enumerate() {
        *left = low + (high - low) * (j as f32 + 0.5) / WINDOW as f32;
        *weight = others.map_or(1.0, |(mu, var)| {
            // Likelihood ratio of the others' word, if the ETA is kept here against if it is not.
            let (z, wide) = (left.max(0.1).ln() - mu, var + NOT_KEPT);
            let ratio = (wide / var).sqrt() * (-0.5 * z * z * (1.0 / var - 1.0 / wide)).exp();
            ratio.min(20.0)
        });
        total += *weight;
    }
    // What of the window has passed, or is left out, has been disproved.
    let odds = kept / (1.0 - kept) * (high - low) / grain * total / WINDOW as f32;
    let scale = odds / (1.0 + odds) / total.max(1e-20);
    for (_, weight) in &mut window {
        *weight *= scale;
    }
    Some(window)
}

/// The time that a job of this age and log-logistic life has left: ln median and variance, by the quartiles.
fn life(mu: f32, spread: f32, age: f32) -> (f32, f32) {
    let odds = life_odds(mu, spread, age);
    let left = |survival: f32| (life_at(mu, spread, odds, survival) - age).max(0.5);
    // The quartiles of a normal lie 1.35 standard deviations apart.
    let sigma = (left(0.25) / left(0.75)).ln() / 1.35;
    (left(0.5).ln(), (sigma * sigma).max(1e-3))
}

/// Odds that a job does not reach this age; its survival function is 1 / (1 + odds).
pub(super) fn life_odds(mu: f32, spread: f32, age: f32) -> f32 {
    ((age.max(1e-3).ln() - mu) / spread)
        .clamp(-60.0, 60.0)
        .exp()
}

/// The age that a share of those alive at `odds` survives.
pub(super) fn life_at(mu: f32, spread: f32, odds: f32, survival: f32) -> f32 {
    (mu + spread * ((1.0 + odds) / survival - 1.0).ln())
        .min(20.0)
        .exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Observation, Policy, Rules};
    use std::time::Duration;

    /// How likely ETA and progress are to be one after answers of these (seconds, ETA, percent).
    fn alike_after(answers: &[(u64, Option<i64>, f32)]) -> f32 {
        let memory = KindCalibration::default();
        let rules = Rules {
            policy: Policy::Inspection,
            request_cost: Duration::from_secs(1),
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_mins(10),
        };
        let mut trace = History::default();
        for &(at, eta, progress) in answers {
            let seen = Observation {
                up_ms: at * 1_000,
                server_now_ms: Some(at as i64 * 1_000),
                eta,
                start: None,
                progress: Some(progress),
            };
            trace = trace.next(&seen, &memory, &rules).0;
        }
        alike(&trace, &estimates(&trace), &memory)
    }

    #[test]
    fn an_eta_that_came_with_the_progress_and_agrees_with_it_is_made_from_it() {
        assert!(alike_after(&[(0, None, 0.0), (13, Some(65), 20.0)]) > 0.8);
        assert!(alike_after(&[(0, None, 0.0), (13, Some(650), 20.0)]) < 0.5);
    }

    #[test]
    fn an_eta_told_before_there_was_progress_is_known_from_elsewhere() {
        let alike = alike_after(&[(0, Some(80), 0.0), (13, Some(65), 20.0)]);
        assert!(alike.abs() < f32::EPSILON, "{alike}");
    }

    #[test]
    fn one_estimate_told_three_times_is_as_precise_as_the_best_of_them() {
        let precisions = [1.0, 4.0, 3.0];
        let trust = |alike| 8.0 / counted_twice(precisions.into_iter(), alike);
        assert!((trust(0.0) - 8.0).abs() < 1e-4);
        assert!((trust(1.0) - 4.0).abs() < 1e-4);
    }
}
