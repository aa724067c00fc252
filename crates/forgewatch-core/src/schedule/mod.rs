//! When to poll a job next.
//!
//! Each poll costs the API a request; each second between the end of a job and the poll that sees it costs the user
//! waiting time. With `request_cost` k, the delay that one request is worth, a watch costs `requests +
//! detection_delay / k`. The schedule minimizes that cost however accurate the server's ETA is. `watch` calls
//! [`History::observe`] with every status that does not end the job and [`History::calibration_update`] with the one
//! that does; the engine owns the [`Calibration`] and, for each host, a [`ServerClock`].
//!
//! `history` keeps a few samples; `forecast` turns them into a distribution of the time left, with `progress_curve` for
//! work that slows down or speeds up and `eta_line` for an ETA that slips at a constant rate; `inspection` finds the wait with the least cost; `calibration` learns from jobs
//! that ended, with `error_stats`, `kept_eta` and `lifetime` as its parts, and `server_calibration` keeps servers apart;
//! `server_clock` finds the clock that the server's times refer to; `estimate` is the range that people see, `coverage`
//! how often it holds, and `durations` what is unusual. This file puts it all together. `docs/schedule.md` has figures.
//! All of it is pure: the same input gives the same schedule.

mod calibration;
mod coverage;
mod durations;
mod error_stats;
mod estimate;
mod eta_line;
mod forecast;
mod history;
mod inspection;
mod kept_eta;
mod lifetime;
mod progress_curve;
mod server_calibration;
mod server_clock;
#[cfg(test)]
mod tests;
mod time_left;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use calibration::{Calibration, CalibrationUpdate, EstimateSource, KindCalibration};
pub use durations::{Durations, Unusual};
pub use estimate::EstimateRange;
pub use history::{History, SavedHistory};
pub use server_calibration::{ServerCalibration, ServerKey};
pub use server_clock::ServerClock;

use history::MAX_SECONDS;
use kept_eta::EndAfterEta;
use progress_curve::ProgressCurve;

/// A job that ends within this many seconds is seen to end less than 8 s late.
const SHORT_JOB: f32 = 5.0;
/// While a watch is younger than `SHORT_JOB` seconds, its next poll is at this age at the latest.
const SHORT_JOB_POLLED_BY: f32 = 12.5;
/// The policy `exponential`: the factor from one wait to the next, and the longest wait in seconds.
const EXPONENTIAL: (f32, f32) = (1.5, 30.0);

/// The settings of a schedule. `Default` is zero: the configuration sets all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScheduleSettings {
    /// How the time of the next poll is chosen.
    pub policy: Policy,
    /// The detection delay that costs as much as one request; above zero.
    pub request_cost: Duration,
    /// The shortest wait between two polls.
    pub min_interval: Duration,
    /// The longest wait between two polls, at least `min_interval`.
    pub max_interval: Duration,
}

/// How the time of the next poll is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// By the forecast of the time left.
    #[default]
    Inspection,
    /// Exponential growth: from `min_interval`, times 1.5, up to 30 s.
    Exponential,
}

/// One fresh status, as the schedule needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// When the response came, monotonic milliseconds.
    pub up_ms: u64,
    /// The server's clock at that time, Unix milliseconds; without it, `eta` and `start` are ignored.
    pub server_now_ms: Option<i64>,
    /// `jobeta`, Unix seconds on the server's clock.
    pub eta: Option<i64>,
    /// `jobstart`, Unix seconds on the server's clock.
    pub start: Option<i64>,
    /// `jobprogress`, 0 to 100.
    pub progress: Option<f32>,
}

/// The planned next poll of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextPoll {
    /// The wait, from `min_interval` to `max_interval`.
    pub wait: Duration,
    /// The forecast that determined the wait.
    pub basis: ForecastBasis,
}

/// The parts of a forecast, for `show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForecastBasis {
    /// The calibrated estimates of the time left in seconds, in the order of [`EstimateSource::ALL`]; in JSON a map by
    /// source.
    #[serde(
        default,
        serialize_with = "serialize_by_source",
        deserialize_with = "deserialize_by_source"
    )]
    pub estimates: [Option<f32>; EstimateSource::ALL.len()],
    /// The time left by the lifetimes of earlier jobs, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_jobs: Option<f32>,
    /// The source with the smallest calibrated variance; None if only lifetimes of earlier jobs are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_source: Option<EstimateSource>,
    /// The probability that the job ends at its ETA, within the ETA's granularity; 0 to 1.
    pub eta_reliability: f32,
    /// The limit that changed the wait, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<WaitLimit>,
}

/// A limit that changed a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitLimit {
    /// The wait was raised to `min_interval`.
    MinInterval,
    /// The wait was cut to `max_interval`.
    MaxInterval,
    /// The wait was cut because a young job may turn out to be short.
    ShortJob,
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
        let (forecast, mut basis) = forecast::forecast(&history, calibration, None);
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
        (history, NextPoll { wait, basis })
    }

    /// The time from the latest observation to `up_ms`.
    pub fn since_latest(&self, up_ms: u64) -> Duration {
        if self.is_empty() {
            return Duration::ZERO;
        }
        seconds(self.seconds_at(up_ms) - self.latest().at)
    }

    /// How long the job has run at `up_ms`: since `jobstart` if the first observation had it, otherwise since then.
    pub fn age_at(&self, up_ms: u64) -> Duration {
        seconds(self.initial_age + self.seconds_at(up_ms))
    }

    /// Measures the errors of all estimates once the job has ended by itself. The end was seen at `end_up_ms` and came
    /// at an unknown time since the latest sample.
    pub fn calibration_update(
        &self,
        end_up_ms: u64,
        calibration: &KindCalibration,
    ) -> CalibrationUpdate {
        /// Seconds beside its granularity by which an ETA may be off and still count as met.
        const SLACK: f32 = 2.0;
        let mut update = CalibrationUpdate::default();
        if self.is_empty() {
            return update;
        }
        let last = self.latest().at;
        let seen = self.seconds_at(end_up_ms).max(last);
        let end = 0.5 * (last + seen);
        update.misses = self.misses(calibration, seen);
        update.misfit = ProgressCurve::new(self, 1.0).and_then(|curve| curve.misfit);
        update.set_lifetime(self.initial_age + end);
        // The variance of a uniform distribution between the latest sample and the end seen.
        let end_var = (seen - last) * (seen - last) / 12.0;
        let (_, offset) = calibration.eta_offsets().range();
        let is_met = |eta: f32| {
            let end = eta + offset;
            last <= end + self.granularity() + SLACK && seen >= end - SLACK
        };
        // Of an ETA in whole minutes, the rounding hides the offset.
        let precise = forecast::steady_eta(self).filter(|_| self.granularity() <= 1.0);
        update.end_after_eta = precise.map(|eta| EndAfterEta {
            from: last - eta,
            to: seen - eta,
        });
        let (mut steady, mut met) = (0.0, 0.0);
        let (mut lines, mut lines_met) = (0.0, 0.0);
        for then in self.prefixes() {
            let left = end - then.latest().at;
            if left > 0.5 {
                let estimates = forecast::estimates(&then, calibration);
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
                met += f32::from(is_met(eta));
            } else if let Some(eta) = then.only_eta() {
                update.first_eta_met = Some(f32::from(is_met(eta)));
            } else if let Some((from, width)) = eta_line::end_by_line(&then) {
                lines += 1.0;
                lines_met += f32::from(last <= from + width + 1.0 && seen >= from - 1.0);
            }
        }
        update.line_met = (lines > 0.0).then(|| lines_met / lines);
        update.eta_met = (steady > 0.0).then(|| met / steady);
        update
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

fn serialize_by_source<S: Serializer>(
    estimates: &[Option<f32>; EstimateSource::ALL.len()],
    s: S,
) -> Result<S::Ok, S::Error> {
    let pairs = EstimateSource::ALL.into_iter().zip(estimates);
    s.collect_map(pairs.filter_map(|(source, left)| left.map(|left| (source, left))))
}

fn deserialize_by_source<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<[Option<f32>; EstimateSource::ALL.len()], D::Error> {
    let by_source = BTreeMap::<EstimateSource, f32>::deserialize(d)?;
    Ok(EstimateSource::ALL.map(|source| by_source.get(&source).copied()))
}
