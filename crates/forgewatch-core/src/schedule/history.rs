//! The samples that a watch keeps of its polls: a few, spread over its age, in 64 bytes.
//!
//! Times are `f32` seconds since the first observation, exact to a millisecond within the first hours. A stored history
//! continues in another process once `since_up_ms` is shifted to that process's clock.

use serde::{Deserialize, Serialize};

use super::Observation;

/// How many samples are kept, the latest included.
pub(super) const MAX_SAMPLES: usize = 5;
/// The code of an unknown progress; all other codes are half percents.
const NO_PROGRESS: u8 = u8::MAX;
/// The coarsest granularity of ETAs that is recognized, seconds.
const COARSEST: u8 = 60;
/// Seconds within which two ETAs are the same: they are whole seconds, and responses take time to arrive.
pub(super) const SAME_ETA: f32 = 1.5;
/// Times and spans are capped here, seconds.
pub(super) const MAX_SECONDS: f32 = 1e7;

/// What a watch keeps for its schedule. [`Default`] has no observation yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct History {
    /// The time of the first observation, the only absolute time.
    since_up_ms: u64,
    /// Seconds since the first observation, rising; only the first `len` are used.
    at: [f32; MAX_SAMPLES],
    /// The ETA, seconds since the first observation; NaN if there was none.
    eta: [f32; MAX_SAMPLES],
    /// Half percents, or `NO_PROGRESS`.
    progress: [u8; MAX_SAMPLES],
    len: u8,
    /// The coarsest of 60, 10 and 1 s that divides every ETA so far.
    granularity: u8,
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

/// The fields of a [`History`], with its one absolute time as wall time, and floats as bits since JSON has no NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedHistory {
    since_wall_ms: i64,
    at: [u32; MAX_SAMPLES],
    eta: [u32; MAX_SAMPLES],
    progress: [u8; MAX_SAMPLES],
    len: u8,
    granularity: u8,
    observations: u16,
    initial_age: u32,
}

impl History {
    /// All samples, oldest first.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        (0..usize::from(self.len)).map(|i| self.sample(i))
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

    /// The ETA, if there is only one sample.
    pub(super) fn only_eta(&self) -> Option<f32> {
        self.latest().eta.filter(|_| self.len == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The history after each of its samples, oldest first.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Self> + '_ {
        (1..=self.len).map(|len| Self { len, ..*self })
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

    pub(super) fn seconds_at(&self, up_ms: u64) -> f32 {
        (up_ms.saturating_sub(self.since_up_ms) as f32 / 1e3).min(MAX_SECONDS)
    }

    /// The history with one more observation.
    pub(super) fn with(&self, observation: &Observation) -> Self {
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

    /// Converts to the stored form; `to_wall` turns an `up_ms` into Unix milliseconds.
    pub fn save(&self, to_wall: impl Fn(u64) -> i64) -> SavedHistory {
        SavedHistory {
            since_wall_ms: to_wall(self.since_up_ms),
            at: self.at.map(f32::to_bits),
            eta: self.eta.map(f32::to_bits),
            progress: self.progress,
            len: self.len,
            granularity: self.granularity,
            observations: self.observations,
            initial_age: self.initial_age.to_bits(),
        }
    }

    /// Restores a history; `to_up` turns Unix milliseconds into an `up_ms`. An invalid one becomes an empty history:
    /// that costs some requests and is never wrong.
    pub fn restore(saved: &SavedHistory, to_up: impl Fn(i64) -> u64) -> Self {
        let history = Self {
            since_up_ms: to_up(saved.since_wall_ms),
            at: saved.at.map(f32::from_bits),
            eta: saved.eta.map(f32::from_bits),
            progress: saved.progress,
            len: saved.len,
            granularity: saved.granularity,
            observations: saved.observations,
            initial_age: f32::from_bits(saved.initial_age),
        };
        let used = usize::from(history.len);
        let valid = history.at.get(..used).is_some_and(|at| {
            at.is_sorted() && at.iter().all(|at| (0.0..=MAX_SECONDS).contains(at))
        }) && history
            .eta
            .iter()
            .take(used)
            .all(|eta| eta.is_nan() || eta.abs() <= 1e9)
            && (0.0..=1e9).contains(&history.initial_age)
            && history.granularity <= COARSEST;
        if valid { history } else { Self::default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(at_s: u64, eta_s: i64) -> Observation {
        Observation {
            up_ms: at_s * 1_000,
            server_now_ms: Some(at_s as i64 * 1_000),
            eta: Some(eta_s),
            ..Observation::default()
        }
    }

    #[test]
    fn a_history_takes_at_most_64_bytes() {
        assert!(size_of::<History>() <= 64);
    }

    #[test]
    fn a_full_history_keeps_its_first_and_latest_samples_and_stays_spread() {
        let mut history = History::default();
        for i in 0..200u64 {
            history = history.with(&observation(i, 500));
        }
        let at: Vec<f32> = history.earlier().map(|sample| sample.at).collect();
        assert_eq!(at.len(), MAX_SAMPLES - 1);
        assert!(at[0].abs() < f32::EPSILON);
        assert!((history.latest().at - 199.0).abs() < 1e-3);
        assert!(at[1] > 20.0, "{at:?}");
    }

    #[test]
    fn whole_minutes_are_recognized_until_an_eta_breaks_them() {
        let mut history = History::default().with(&observation(0, 600));
        assert!((history.granularity() - 60.0).abs() < f32::EPSILON);
        history = history.with(&observation(1, 610));
        assert!((history.granularity() - 10.0).abs() < f32::EPSILON);
        history = history.with(&observation(2, 611));
        assert!((history.granularity() - 1.0).abs() < f32::EPSILON);
    }
}
