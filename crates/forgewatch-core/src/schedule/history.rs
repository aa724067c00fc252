//! What a watch keeps of its answers: a few of them, spread over its age, in 64 bytes.
//!
//! Times are `f32` seconds since the watch's first answer (to a millisecond within the first hours), so that a trace
//! can be stored and go on in another process once `since_up_ms` is shifted to its clock.

use std::time::Duration;

use super::calibration::{KindCalibration, Samples, Source};
use super::forecast::{self, Forecast};
use super::{Bound, Observation, Plan, Policy, Rules, Why, inspection};

/// How many answers are kept, the latest among them.
pub(super) const MARKS: usize = 5;
/// The code of an unknown progress; the others are half percents.
const NO_PROGRESS: u8 = u8::MAX;
/// The coarsest grain of an ETA that is told apart, seconds.
const COARSEST: u8 = 60;
/// Seconds; nothing that lies farther away is of any use.
const FARTHEST: f32 = 1e7;
/// What is promised of short jobs: one that ends within its first 5 s is seen less than 8 s late.
const SHORT: f32 = 5.0;
/// Until a watch is `SHORT` seconds old it asks again by this age, whatever any estimate says.
const SHORT_SEEN: f32 = 12.5;
/// The plain policy's factor from one wait to the next, and its longest wait in seconds.
const BACKOFF: (f32, f32) = (1.5, 30.0);

/// What a watch keeps for its schedule. [`Default`] is a watch that has no answer yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct History {
    /// When the first answer came; the only absolute time.
    pub(super) since_up_ms: u64,
    /// Seconds since the first answer, rising; those of the first `len` count.
    pub(super) at: [f32; MARKS],
    /// When the end was expected, seconds since the first answer; NaN where not told.
    pub(super) eta: [f32; MARKS],
    /// Half percents, or `NO_PROGRESS`.
    pub(super) progress: [u8; MARKS],
    pub(super) len: u8,
    /// The coarsest of 60, 10 and 1 s that divides every ETA so far.
    pub(super) grain: u8,
    /// How many answers there were.
    pub(super) answers: u16,
    /// How old the job was at the first answer by `jobstart`, seconds; 0 where not told.
    pub(super) born: f32,
}

/// One answer, unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Seconds since the first answer.
    pub at: f32,
    /// The expected end on the same scale.
    pub eta: Option<f32>,
    /// 0 to 100.
    pub progress: Option<f32>,
}

impl History {
    /// Takes note of an answer that did not end the job, and says when to ask next.
    #[must_use]
    pub fn next(
        &self,
        seen: &Observation,
        memory: &KindCalibration,
        rules: &Rules,
    ) -> (Self, Plan) {
        let trace = self.with(seen);
        let (forecast, mut why) = forecast::forecast(&trace, memory);
        let mut wait = match rules.policy {
            Policy::Inspection => inspection::wait(&forecast, rules),
            Policy::Exponential => {
                let times = BACKOFF.0.powi(i32::from(self.answers));
                (rules.min_interval.as_secs_f32() * times).min(BACKOFF.1)
            }
        };
        let at = trace.latest().at;
        if rules.policy == Policy::Inspection && at < SHORT && wait > SHORT_SEEN - at {
            wait = SHORT_SEEN - at;
            why.bound = Some(Bound::ShortJob);
        }
        let (wait, bound) = bounded(wait, rules);
        why.bound = bound.or(why.bound);
        let left = left(&forecast, &why).map(seconds);
        (trace, Plan { wait, left, why })
    }

    /// What the job's own end teaches, seen at `end_up_ms`; it ended at any time since the latest answer.
    pub fn samples(&self, end_up_ms: u64) -> Samples {
        let mut samples = Samples::default();
        if self.len == 0 {
            return samples;
        }
        let last = self.latest().at;
        let seen = self.seconds_at(end_up_ms).max(last);
        let end = 0.5 * (last + seen);
        samples.life = Some((self.born + end).max(1.0).ln());
        let unsure = (seen - last) * (seen - last) / 12.0;
        let (mut claims, mut kept) = (0.0, 0.0);
        for len in 1..=self.len {
            let then = Self { len, ..*self };
            let left = end - then.latest().at;
            if left > 0.5 {
                let found = forecast::estimates(&then);
                for source in Source::ALL {
                    if let Some(estimate) = found[source as usize] {
                        let error = (left.ln() - estimate.mu) / estimate.share.sqrt();
                        let noise = (estimate.var + unsure / (left * left)) / estimate.share;
                        samples.errors[source as usize].add(error, noise);
                    }
                }
            }
            if let Some(eta) = forecast::standing(&then) {
                /// Seconds beside its grain by which an ETA may fail and still count as kept.
                const SLACK: f32 = 2.0;
                claims += 1.0;
                if last <= eta + self.grain() + SLACK && seen >= eta - SLACK {
                    kept += 1.0;
                }
            }
        }
        samples.kept = (claims > 0.0).then(|| kept / claims);
        samples
    }

    /// The answers kept before the latest, oldest first.
    pub(super) fn earlier(&self) -> impl DoubleEndedIterator<Item = Sample> + '_ {
        (0..usize::from(self.len).saturating_sub(1)).map(|i| self.mark(i))
    }

    /// The latest answer.
    pub(super) fn latest(&self) -> Sample {
        self.mark(usize::from(self.len).saturating_sub(1))
    }

    /// The grain of the ETAs so far, seconds.
    pub(super) fn grain(&self) -> f32 {
        f32::from(self.grain)
    }

    /// How old the job is at the latest answer, as far as is known, seconds.
    pub(super) fn age(&self) -> f32 {
        self.born + self.latest().at
    }

    /// Whether the first answer's ETA lay in the future. One that had already passed is evidence of nothing.
    pub(super) fn promised(&self) -> bool {
        let first = self.mark(0);
        first.eta.is_some_and(|eta| eta > first.at)
    }

    fn mark(&self, i: usize) -> Sample {
        Sample {
            at: self.at[i],
            eta: Some(self.eta[i]).filter(|eta| !eta.is_nan()),
            progress: Some(self.progress[i])
                .filter(|&code| code != NO_PROGRESS)
                .map(|code| f32::from(code) / 2.0),
        }
    }

    fn seconds_at(&self, up_ms: u64) -> f32 {
        (up_ms.saturating_sub(self.since_up_ms) as f32 / 1e3).min(FARTHEST)
    }

    /// The trace with one more answer.
    fn with(&self, seen: &Observation) -> Self {
        let mut next = *self;
        let now_ms = seen.server_now_ms;
        if self.answers == 0 {
            next.since_up_ms = seen.up_ms;
            next.grain = COARSEST;
            if let (Some(now), Some(start)) = (now_ms, seen.start) {
                next.born = between(start, now).max(0.0);
            }
        }
        next.answers = self.answers.saturating_add(1);
        // A clock that went back stands still.
        let at = next.seconds_at(seen.up_ms).max(self.latest().at);
        let eta = match (seen.eta, now_ms) {
            (Some(eta), Some(now)) => {
                next.grain = next.grain.min(grain_of(eta));
                at - between(eta, now)
            }
            _ => f32::NAN,
        };
        let progress = seen.progress.filter(|progress| progress.is_finite());
        let slot = next.free_slot();
        next.at[slot] = at;
        next.eta[slot] = eta;
        next.progress[slot] = progress.map_or(NO_PROGRESS, |p| (p.clamp(0.0, 100.0) * 2.0) as u8);
        next
    }

    /// Makes room for one more at the end; of a full trace the one goes whose neighbours lie closest together, but
    /// neither the first nor the last, so that the rest stay spread over its age.
    fn free_slot(&mut self) -> usize {
        let len = usize::from(self.len);
        if len < MARKS {
            self.len += 1;
            return len;
        }
        let gap = |i: &usize| self.at[i + 1] - self.at[i - 1];
        let out = (1..MARKS - 1)
            .min_by(|i, j| gap(i).total_cmp(&gap(j)))
            .unwrap_or(1);
        self.at.copy_within(out + 1.., out);
        self.eta.copy_within(out + 1.., out);
        self.progress.copy_within(out + 1.., out);
        MARKS - 1
    }
}

/// Seconds from a Unix time in seconds to one in milliseconds.
fn between(from: i64, to_ms: i64) -> f32 {
    let ms = to_ms.saturating_sub(from.saturating_mul(1000));
    (ms as f32 / 1e3).clamp(-FARTHEST, FARTHEST)
}

/// The coarsest of the usual grains that an ETA fits.
fn grain_of(eta: i64) -> u8 {
    match eta {
        _ if eta % 60 == 0 => COARSEST,
        _ if eta % 10 == 0 => 10,
        _ => 1,
    }
}

/// The median of the time left, seconds; None where nothing but a guess is known.
fn left(forecast: &Forecast, why: &Why) -> Option<f32> {
    match forecast {
        Forecast::Unknown { .. } => None,
        Forecast::Life { .. } => why.life,
        Forecast::Estimated { window, .. } if why.kept > 0.5 => {
            Some(0.5 * (window[0].0 + window[window.len() - 1].0))
        }
        Forecast::Estimated { mu, .. } => Some(mu.exp()),
    }
}

fn seconds(left: f32) -> Duration {
    Duration::from_millis((left.clamp(0.0, FARTHEST) * 1e3) as u64)
}

/// The wait, within the rules; a shortest above the longest counts as the longest.
fn bounded(wait: f32, rules: &Rules) -> (Duration, Option<Bound>) {
    let (least, most) = (
        rules.min_interval.min(rules.max_interval),
        rules.max_interval,
    );
    let wait = seconds(wait);
    if wait <= least {
        (least, Some(Bound::MinInterval))
    } else if wait >= most {
        (most, Some(Bound::MaxInterval))
    } else {
        (wait, None)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
