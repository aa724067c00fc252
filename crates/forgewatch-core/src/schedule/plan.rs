//! From the history of a watch to its next poll, and from its end to the calibration.

use std::time::Duration;

use super::calibration::{CalibrationUpdate, EstimateSource, KindCalibration};
use super::forecast::{self, Forecast};
use super::history::{History, MAX_SECONDS};
use super::inspection;
use super::types::{ForecastBasis, NextPoll, Observation, Policy, ScheduleSettings, WaitLimit};

/// A job that ends within this many seconds is seen to end less than 8 s late.
const SHORT_JOB: f32 = 5.0;
/// While a watch is younger than `SHORT_JOB` seconds, its next poll is at this age at the latest.
const SHORT_JOB_POLLED_BY: f32 = 12.5;
/// The policy `exponential`: the factor from one wait to the next, and the longest wait in seconds.
const EXPONENTIAL: (f32, f32) = (1.5, 30.0);

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
        if self.is_empty() {
            return update;
        }
        let last = self.latest().at;
        let seen = self.seconds_at(end_up_ms).max(last);
        let end = 0.5 * (last + seen);
        update.lifetime = Some((self.initial_age + end).max(1.0).ln());
        // The variance of a uniform distribution between the latest sample and the end seen.
        let end_var = (seen - last) * (seen - last) / 12.0;
        let (mut steady, mut met) = (0.0, 0.0);
        for then in self.prefixes() {
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
#[path = "plan_tests.rs"]
mod tests;
