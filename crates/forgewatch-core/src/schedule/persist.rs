//! A history as it is stored.

use serde::{Deserialize, Serialize};

use super::history::{History, MAX_SAMPLES};

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
        let valid = used <= MAX_SAMPLES
            && history
                .at
                .iter()
                .take(used)
                .all(|at| (0.0..=1e7).contains(at))
            && history.at.iter().take(used).is_sorted()
            && history
                .eta
                .iter()
                .take(used)
                .all(|eta| eta.is_nan() || eta.abs() <= 1e9)
            && (0.0..=1e9).contains(&history.initial_age)
            && history.granularity <= 60;
        if valid { history } else { Self::default() }
    }
}
