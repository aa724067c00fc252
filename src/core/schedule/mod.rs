//! When to ask next.

pub mod clock;

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

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub up_ms: u64,
    pub server_now_ms: Option<i64>,
    pub eta: Option<i64>,
    pub start: Option<i64>,
    pub progress: Option<f32>,
}
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    n: u8,
    pad: [u64; 5],
}
#[derive(Clone, Copy, Debug)]
pub struct Why;
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub wait: Duration,
    pub left: Option<Duration>,
    pub why: Why,
}
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples;
#[derive(Clone, Debug, Default)]
pub struct KindMemory;
#[derive(Clone, Debug, Default)]
pub struct Memory {
    kind: KindMemory,
}
impl Memory {
    pub fn of(&self, _kind: super::job::JobKind) -> &KindMemory {
        &self.kind
    }
    pub fn learn(&mut self, _kind: super::job::JobKind, _samples: &Samples) {}
}
impl Trace {
    pub fn next(&self, _seen: &Seen, _memory: &KindMemory, rules: &Rules) -> (Trace, Plan) {
        let wait = rules
            .min_interval
            .mul_f64(1.5f64.powi(i32::from(self.n.min(20))));
        let wait = wait.min(Duration::from_secs(30)).min(rules.max_interval);
        (
            Trace {
                n: self.n.saturating_add(1),
                pad: self.pad,
            },
            Plan {
                wait,
                left: None,
                why: Why,
            },
        )
    }
    pub fn samples(&self, _end_up_ms: u64) -> Samples {
        Samples
    }
}
