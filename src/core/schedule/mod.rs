//! When to ask next.

use std::time::Duration;

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
