//! When to ask next.

pub mod calibration;
pub mod clock;
pub mod forecast;
mod inspection;
mod trace;

use std::time::Duration;

pub use calibration::{KindMemory, Memory, Samples};
pub use trace::Trace;

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
    /// By the estimated hazard of the end.
    Inspection,
    /// From `min_interval`, times 1.5, up to 30 s.
    Exponential,
}

/// One answer as the schedule sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// When the answer came, monotonic milliseconds.
    pub up_ms: u64,
    /// Unix milliseconds on the server's clock; None if unknown.
    pub server_now_ms: Option<i64>,
    /// `jobeta`, Unix seconds on the server's clock.
    pub eta: Option<i64>,
    /// `jobstart`, Unix seconds on the server's clock.
    pub start: Option<i64>,
    /// `jobprogress`, 0 to 100.
    pub progress: Option<f32>,
}

/// When to ask next, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// How long to wait.
    pub wait: Duration,
    /// Median of the time left.
    pub left: Option<Duration>,
    /// Why.
    pub why: Why,
}

/// What the plan was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Why {}
