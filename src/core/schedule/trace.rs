//! What a watch remembers of its answers.

use std::time::Duration;

use super::calibration::{KindMemory, OVERDUE, PROGRESS, SLIP, Samples, TOLD};
use super::forecast::{self, Forecast, k};
use super::{Plan, Policy, Rules, Seen, Why, inspection};

pub const MARKS: usize = 5;
const NO_PROGRESS: u8 = u8::MAX;

/// Packed memory of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trace {
    since_up_ms: u64,
    /// How old the job was at the first answer, seconds, by `jobstart`; 0 where unknown.
    born: f32,
    answers: u16,
    len: u8,
    grain: u8,
    at: [f32; MARKS],
    eta: [f32; MARKS],
    progress: [u8; MARKS],
}

/// One answer, in seconds of the watch's age.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub at: f32,
    pub eta: Option<f32>,
    pub progress: Option<f32>,
}

impl Trace {
    pub fn next(&self, seen: &Seen, memory: &KindMemory, rules: &Rules) -> (Self, Plan) {
        let trace = self.with(seen);
        let forecast = forecast::forecast(&trace, memory);
        let wait = match rules.policy {
            Policy::Inspection => inspection::wait(&forecast, trace.latest().at, rules),
            Policy::Exponential => (rules.min_interval.as_secs_f32()
                * 1.5f32.powi(i32::from(trace.answers) - 1))
            .min(30.0),
        };
        let wait = Duration::from_millis((wait.clamp(0.0, 1e9) * 1e3) as u64)
            .clamp(rules.min_interval, rules.max_interval);
        (
            trace,
            Plan {
                wait,
                left: None,
                why: Why {},
            },
        )
    }

    fn with(&self, seen: &Seen) -> Self {
        let mut next = *self;
        if self.answers == 0 {
            next.since_up_ms = seen.up_ms;
            next.grain = 60;
            if let (Some(now), Some(start)) = (seen.server_now_ms, seen.start) {
                next.born =
                    ((now.saturating_sub(start.saturating_mul(1000))) as f32 / 1e3).clamp(0.0, 1e7);
            }
        }
        next.answers = self.answers.saturating_add(1);
        let at = seen.up_ms.saturating_sub(next.since_up_ms) as f32 / 1e3;
        let eta = match (seen.eta, seen.server_now_ms) {
            (Some(eta), Some(now)) => {
                let g = if eta % 60 == 0 {
                    60
                } else if eta % 10 == 0 {
                    10
                } else {
                    1
                };
                next.grain = next.grain.min(g);
                at + (eta.saturating_mul(1000).saturating_sub(now) as f32 / 1e3).clamp(-1e7, 1e7)
            }
            _ => f32::NAN,
        };
        let progress = seen
            .progress
            .map_or(NO_PROGRESS, |p| (p.clamp(0.0, 100.0) * 2.0) as u8);
        let len = usize::from(self.len);
        let slot = if len == MARKS {
            // drop the one whose neighbours lie closest together
            let drop = (1..MARKS - 1)
                .min_by(|&i, &j| {
                    (self.at[i + 1] - self.at[i - 1]).total_cmp(&(self.at[j + 1] - self.at[j - 1]))
                })
                .unwrap_or(1);
            for i in drop..MARKS - 1 {
                next.at[i] = next.at[i + 1];
                next.eta[i] = next.eta[i + 1];
                next.progress[i] = next.progress[i + 1];
            }
            MARKS - 1
        } else {
            next.len += 1;
            len
        };
        next.at[slot] = at;
        next.eta[slot] = eta;
        next.progress[slot] = progress;
        next
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }
    pub fn grain(&self) -> f32 {
        f32::from(self.grain)
    }
    pub fn born(&self) -> f32 {
        self.born
    }
    pub fn mark(&self, i: usize) -> Mark {
        Mark {
            at: self.at[i],
            eta: Some(self.eta[i]).filter(|eta| !eta.is_nan()),
            progress: Some(self.progress[i])
                .filter(|&p| p != NO_PROGRESS)
                .map(|p| f32::from(p) / 2.0),
        }
    }
    pub fn latest(&self) -> Mark {
        self.mark(self.len().max(1) - 1)
    }
    /// The trace as it was at its `n`-th mark.
    pub fn first(&self, n: usize) -> Self {
        Self {
            len: n as u8,
            ..*self
        }
    }

    pub fn samples(&self, end_up_ms: u64) -> Samples {
        let mut samples = Samples::default();
        if self.len == 0 {
            return samples;
        }
        let seen = end_up_ms.saturating_sub(self.since_up_ms) as f32 / 1e3;
        let last = self.latest().at;
        let end = 0.5 * (seen + last);
        samples.life = Some((self.born + end).max(1.0).ln());
        for n in 1..=self.len() {
            let trace = self.first(n);
            let left = end - trace.latest().at;
            if left > 0.5 {
                let e = forecast::estimates(&trace);
                for source in [TOLD, SLIP, PROGRESS, OVERDUE] {
                    if let Some(x) = e[source] {
                        let noise = (x.var + (seen - last) * (seen - last) / (12.0 * left * left))
                            / x.share;
                        let w = k(15) / (k(15) + noise);
                        samples.errors[source].add((left.ln() - x.mu) / x.share.sqrt(), noise, w);
                    }
                }
            }
        }
        let (mut hits, mut claims) = (0.0, 0.0);
        for n in 1..=self.len() {
            if let Some(eta) = forecast::unmoved(&self.first(n)) {
                let slack = self.grain() + 2.0;
                claims += 1.0;
                if last <= eta + slack && seen >= eta - 2.0 {
                    hits += 1.0;
                }
            }
        }
        if claims > 0.0 {
            samples.kept = Some(hits / claims);
        }
        samples
    }
}

impl From<&Forecast> for Why {
    fn from(_: &Forecast) -> Self {
        Self {}
    }
}
