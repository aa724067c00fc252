//! When to ask next: the heart of the program.
//!
//! A request costs the API something; a late one costs somebody waiting. With `request_cost` k, the delay that one
//! request is worth, a watch costs `requests + detection_delay / k`, and the schedule keeps that low whatever the
//! server's ETA is worth. `core::watch` calls [`History::next`] after every answer that did not end the job and
//! [`History::samples`] after the one that did; the engine owns the [`Calibration`] and, for each host, a [`ServerClock`].
//!
//! [`history`](Trace) keeps a few answers; `forecast` makes of them a distribution of the time left; `inspection`
//! places the next request; `calibration` learns from the jobs that ended; `clock` says which clock the server's
//! times go by. `docs/schedule.md` tells how well it works. All of it is pure: the same inputs, the same schedule.

mod calibration;
mod forecast;
mod history;
mod inspection;
mod persist;
mod server_clock;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use calibration::{Calibration, KindCalibration, Samples, Source};
pub use history::History;
pub use persist::SavedHistory;
pub use server_clock::ServerClock;

/// What bounds and steers the schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How the moment is chosen.
    pub policy: Policy,
    /// How long a delay in seeing the end one request is worth; above zero.
    pub request_cost: Duration,
    /// Never sooner than this after an answer.
    pub min_interval: Duration,
    /// Never later than this, and at least `min_interval`.
    pub max_interval: Duration,
}

/// How the moment of the next request is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// By what is known of the time left.
    Inspection,
    /// From `min_interval`, times 1.5, up to 30 s.
    Exponential,
}

/// One answer as the schedule sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// When the answer came, monotonic milliseconds.
    pub up_ms: u64,
    /// What the server's clock showed then, Unix milliseconds; without it the two times below say nothing.
    pub server_now_ms: Option<i64>,
    /// `jobeta`, Unix seconds on the server's clock.
    pub eta: Option<i64>,
    /// `jobstart`, Unix seconds on the server's clock.
    pub start: Option<i64>,
    /// `jobprogress`, 0 to 100.
    pub progress: Option<f32>,
}

/// When to ask next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// How long to wait, from `min_interval` to `max_interval`.
    pub wait: Duration,
    /// The time left as well as it is known (a median), for people; None where nothing is known.
    pub left: Option<Duration>,
    /// What the plan was made from.
    pub why: Why,
}

/// What a plan was made from, for `show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The calibrated estimates of the time left in seconds, in the order of [`Source::ALL`]; in JSON by their names.
    #[serde(default, serialize_with = "by_name", deserialize_with = "from_names")]
    pub estimates: [Option<f32>; Source::ALL.len()],
    /// What the lives of earlier jobs say of the time left, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<f32>,
    /// The estimate with the smallest error; None where there is none and lives alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighs_most: Option<Source>,
    /// How likely the ETA is to be kept to its grain, 0 to 1.
    pub kept: f32,
    /// What the wait was cut or stretched by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
}

/// What a wait was cut or stretched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It would have been shorter than `min_interval`.
    MinInterval,
    /// It would have been longer than `max_interval`.
    MaxInterval,
    /// The job may be over within seconds: a new watch asks again soon.
    ShortJob,
}

fn by_name<S: Serializer>(
    estimates: &[Option<f32>; Source::ALL.len()],
    s: S,
) -> Result<S::Ok, S::Error> {
    let told = Source::ALL.into_iter().zip(estimates);
    s.collect_map(told.filter_map(|(source, left)| left.map(|left| (source, left))))
}

fn from_names<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<[Option<f32>; Source::ALL.len()], D::Error> {
    let told = BTreeMap::<Source, f32>::deserialize(d)?;
    Ok(Source::ALL.map(|source| told.get(&source).copied()))
}
