//! The values that go into a schedule and come out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::calibration::EstimateSource;

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
    /// The median of the forecast time left, for display; None without a forecast.
    pub time_left: Option<Duration>,
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
