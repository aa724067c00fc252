//! The samples that a watch keeps of its polls: a few, spread over its age, in 64 bytes.
//!
//! Times are `f32` seconds since the first observation, exact to a millisecond within the first hours. A stored history
//! continues in another process once `since_up_ms` is shifted to that process's clock.

use std::time::Duration;

use super::calibration::{CalibrationUpdate, EstimateSource, KindCalibration};
use super::forecast::{self, Forecast};
use super::{
    ForecastBasis, NextPoll, Observation, Policy, ScheduleSettings, WaitLimit, inspection,
};

/// How many samples are kept, the latest included.
pub(super) const MAX_SAMPLES: usize = 5;
/// The code of an unknown progress; all other codes are half percents.
const NO_PROGRESS: u8 = u8::MAX;
/// The coarsest granularity of ETAs that is recognized, seconds.
const COARSEST: u8 = 60;
/// Times and spans are capped here, seconds.
const MAX_SECONDS: f32 = 1e7;
/// A job that ends within this many seconds is seen to end less than 8 s late.
const SHORT_JOB: f32 = 5.0;
/// While a watch is younger than `SHORT_JOB` seconds, its next poll is at this age at the latest.
const SHORT_JOB_POLLED_BY: f32 = 12.5;
/// The policy `exponential`: the factor from one wait to the next, and the longest wait in seconds.
const EXPONENTIAL: (f32, f32) = (1.5, 30.0);

/// What a watch keeps for its schedule. [`Default`] has no observation yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct History {
    /// The time of the first observation, the only absolute time.
    pub(super) since_up_ms: u64,
    /// Seconds since the first observation, rising; only the first `len` are used.
    pub(super) at: [f32; MAX_SAMPLES],
    /// The ETA, seconds since the first observation; NaN if there was none.
    pub(super) eta: [f32; MAX_SAMPLES],
    /// Half percents, or `NO_PROGRESS`.
    pub(super) progress: [u8; MAX_SAMPLES],
    pub(super) len: u8,
    /// The coarsest of 60, 10 and 1 s that divides every ETA so far.
    pub(super) granularity: u8,
    /// How many observations there were.
    pub(super) observations: u16,
    /// The age of the job at the first observation by `jobstart`, seconds; 0 if unknown.
    pub(super) initial_age: f32,
}

/// One sample, unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Seconds since the first observation.
    pub at: f32,
    /// The ETA on the same scale.
    pub eta: Option<f32>,
    /// 0 to 100.
    pub progress: Option<f32>,
}

impl History {
    /// Adds the observation of a job that has not ended, and plans the next poll.
    #[must_use]
    pub fn observe(
        &self,
        observation: &Observation,
        calibration: &KindCalibration,
        settings: &ScheduleSettings,
    ) -> (Self, NextPoll) {
        let history = self.with(observation);
        let (forecast, mut basis) = forecast::forecast(&history, calibration);
        let mut wait = match settings.policy {
            Policy::Inspection => inspection::wait(&forecast, settings),
            Policy::Exponential => {
                let growth = EXPONENTIAL.0.powi(i32::from(self.observations));
                (settings.min_interval.as_secs_f32() * growth).min(EXPONENTIAL.1)
            }
        };
        let at = history.latest().at;
        if settings.policy == Policy::Inspection
            && at < SHORT_JOB
            && wait > SHORT_JOB_POLLED_BY - at
        {
            wait = SHORT_JOB_POLLED_BY - at;
            basis.limited_by = Some(WaitLimit::ShortJob);
        }
        let (wait, limit) = limited(wait, settings);
        basis.limited_by = limit.or(basis.limited_by);
        let time_left = median_left(&forecast, &basis).map(seconds);
        let next_poll = NextPoll {
            wait,
            time_left,
            basis,
        };
        (history, next_poll)
    }

    /// Measures the errors of all estimates once the job has ended by itself. The end was seen at `end_up_ms` and came
    /// at an unknown time since the latest sample.
    pub fn calibration_update(&self, end_up_ms: u64) -> CalibrationUpdate {
        /// Seconds beside its granularity by which an ETA may be off and still count as met.
        const SLACK: f32 = 2.0;
        let mut update = CalibrationUpdate::default();
        if self.len == 0 {
            return update;
        }
        let last = self.latest().at;
        let seen = self.seconds_at(end_up_ms).max(last);
        let end = 0.5 * (last + seen);
        update.lifetime = Some((self.initial_age + end).max(1.0).ln());
        // The variance of a uniform distribution between the latest sample and the end seen.
        let end_var = (seen - last) * (seen - last) / 12.0;
        let (mut steady, mut met) = (0.0, 0.0);
        for len in 1..=self.len {
            let then = Self { len, ..*self };
            let left = end - then.latest().at;
            if left > 0.5 {
                let estimates = forecast::estimates(&then);
                for source in EstimateSource::ALL {
                    if let Some(estimate) = estimates[source as usize] {
                        let error = (left.ln() - estimate.mu) / estimate.share.sqrt();
                        let noise = (estimate.var + end_var / (left * left)) / estimate.share;
                        update.errors[source as usize].add(error, noise);
                    }
                }
            }
            if let Some(eta) = forecast::steady_eta(&then) {
                steady += 1.0;
                if last <= eta + self.granularity() + SLACK && seen >= eta - SLACK {
                    met += 1.0;
                }
            }
        }
        update.eta_met = (steady > 0.0).then(|| met / steady);
        update
    }

    /// The samples before the latest, oldest first.
    pub(super) fn earlier(&self) -> impl DoubleEndedIterator<Item = Sample> + '_ {
        (0..usize::from(self.len).saturating_sub(1)).map(|i| self.sample(i))
    }

    /// The latest sample.
    pub(super) fn latest(&self) -> Sample {
        self.sample(usize::from(self.len).saturating_sub(1))
    }

    /// The granularity of the ETAs so far, seconds.
    pub(super) fn granularity(&self) -> f32 {
        f32::from(self.granularity)
    }

    /// The age of the job at the latest sample, as far as known, seconds.
    pub(super) fn age(&self) -> f32 {
        self.initial_age + self.latest().at
    }

    /// Whether the first ETA lay in the future. An ETA that had already passed says nothing about the time left.
    pub(super) fn first_eta_was_ahead(&self) -> bool {
        let first = self.sample(0);
        first.eta.is_some_and(|eta| eta > first.at)
    }

    fn sample(&self, i: usize) -> Sample {
        Sample {
            at: self.at[i],
            eta: Some(self.eta[i]).filter(|eta| !eta.is_nan()),
            progress: Some(self.progress[i])
                .filter(|&code| code != NO_PROGRESS)
                .map(|code| f32::from(code) / 2.0),
        }
    }

    fn seconds_at(&self, up_ms: u64) -> f32 {
        (up_ms.saturating_sub(self.since_up_ms) as f32 / 1e3).min(MAX_SECONDS)
    }

    /// The history with one more observation.
    fn with(&self, observation: &Observation) -> Self {
        let mut next = *self;
        let now_ms = observation.server_now_ms;
        if self.observations == 0 {
            next.since_up_ms = observation.up_ms;
            next.granularity = COARSEST;
            if let (Some(now), Some(start)) = (now_ms, observation.start) {
                next.initial_age = seconds_between(start, now).max(0.0);
            }
        }
        next.observations = self.observations.saturating_add(1);
        // If the clock went backwards, time stands still.
        let at = next.seconds_at(observation.up_ms).max(self.latest().at);
        let eta = match (observation.eta, now_ms) {
            (Some(eta), Some(now)) => {
                next.granularity = next.granularity.min(granularity_of(eta));
                at - seconds_between(eta, now)
            }
            _ => f32::NAN,
        };
        let progress = observation.progress.filter(|progress| progress.is_finite());
        let slot = next.free_slot();
        next.at[slot] = at;
        next.eta[slot] = eta;
        next.progress[slot] = progress.map_or(NO_PROGRESS, |p| (p.clamp(0.0, 100.0) * 2.0) as u8);
        next
    }

    /// Makes room for one more sample at the end. A full history drops the sample whose neighbors are closest together,
    /// never the first or the last, so that the rest stay spread over the age of the watch.
    fn free_slot(&mut self) -> usize {
        let len = usize::from(self.len);
        if len < MAX_SAMPLES {
            self.len += 1;
            return len;
        }
        let gap = |i: &usize| self.at[i + 1] - self.at[i - 1];
        let dropped = (1..MAX_SAMPLES - 1)
            .min_by(|i, j| gap(i).total_cmp(&gap(j)))
            .unwrap_or(1);
        self.at.copy_within(dropped + 1.., dropped);
        self.eta.copy_within(dropped + 1.., dropped);
        self.progress.copy_within(dropped + 1.., dropped);
        MAX_SAMPLES - 1
    }
}

/// Seconds from a Unix time in seconds to one in milliseconds.
fn seconds_between(from: i64, to_ms: i64) -> f32 {
    let ms = to_ms.saturating_sub(from.saturating_mul(1000));
    (ms as f32 / 1e3).clamp(-MAX_SECONDS, MAX_SECONDS)
}

/// The coarsest of the recognized granularities that divides the ETA.
fn granularity_of(eta: i64) -> u8 {
    match eta {
        _ if eta % 60 == 0 => COARSEST,
        _ if eta % 10 == 0 => 10,
        _ => 1,
    }
}

/// The median of the time left, seconds; None without any estimate.
fn median_left(forecast: &Forecast, basis: &ForecastBasis) -> Option<f32> {
    match forecast {
        Forecast::Unknown { .. } => None,
        Forecast::Lifetime { .. } => basis.earlier_jobs,
        Forecast::Estimated { window, .. } if basis.eta_reliability > 0.5 => {
            Some(0.5 * (window[0].0 + window[window.len() - 1].0))
        }
        Forecast::Estimated { mu, .. } => Some(mu.exp()),
    }
}

fn seconds(seconds: f32) -> Duration {
    Duration::from_millis((seconds.clamp(0.0, MAX_SECONDS) * 1e3) as u64)
}

/// The wait within `min_interval` and `max_interval`; a `min_interval` above `max_interval` counts as `max_interval`.
fn limited(wait: f32, settings: &ScheduleSettings) -> (Duration, Option<WaitLimit>) {
    let (min, max) = (
        settings.min_interval.min(settings.max_interval),
        settings.max_interval,
    );
    let wait = seconds(wait);
    if wait <= min {
        (min, Some(WaitLimit::MinInterval))
    } else if wait >= max {
        (max, Some(WaitLimit::MaxInterval))
    } else {
        (wait, None)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
