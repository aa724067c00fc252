//! A trace as it is written down.

use serde::{Deserialize, Serialize};

use super::history::{History, MARKS};

/// The fields of a [`History`], its one absolute time as a wall time. Floats as their bits, since JSON has no NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedHistory {
    since_wall_ms: i64,
    at: [u32; MARKS],
    eta: [u32; MARKS],
    progress: [u8; MARKS],
    len: u8,
    grain: u8,
    answers: u16,
    born: u32,
}

impl History {
    /// Writes it down; `to_wall` turns an `up_ms` into Unix milliseconds.
    pub fn save(&self, to_wall: impl Fn(u64) -> i64) -> SavedHistory {
        SavedHistory {
            since_wall_ms: to_wall(self.since_up_ms),
            at: self.at.map(f32::to_bits),
            eta: self.eta.map(f32::to_bits),
            progress: self.progress,
            len: self.len,
            grain: self.grain,
            answers: self.answers,
            born: self.born.to_bits(),
        }
    }

    /// Reads it back; `to_up` turns Unix milliseconds into an `up_ms`. What makes no sense is as if nothing had been
    /// seen yet: a schedule without a past is a slower start, never a wrong one.
    pub fn restore(saved: &SavedHistory, to_up: impl Fn(i64) -> u64) -> Self {
        let trace = Self {
            since_up_ms: to_up(saved.since_wall_ms),
            at: saved.at.map(f32::from_bits),
            eta: saved.eta.map(f32::from_bits),
            progress: saved.progress,
            len: saved.len,
            grain: saved.grain,
            answers: saved.answers,
            born: f32::from_bits(saved.born),
        };
        let used = usize::from(trace.len);
        let sound = used <= MARKS
            && trace
                .at
                .iter()
                .take(used)
                .all(|at| (0.0..=1e7).contains(at))
            && trace.at.iter().take(used).is_sorted()
            && trace
                .eta
                .iter()
                .take(used)
                .all(|eta| eta.is_nan() || eta.abs() <= 1e9)
            && (0.0..=1e9).contains(&trace.born)
            && trace.grain <= 60;
        if sound { trace } else { Self::default() }
    }
}
