//! What earlier jobs teach: how each estimate errs, whether an ETA is kept, how long jobs last.

use serde::{Deserialize, Serialize};

use crate::core::job::JobKind;

/// A running mean and variance that forgets slowly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    n: f32,
    mean: f32,
    var: f32,
}

impl Calibration {
    pub const fn new(mean: f32, sigma: f32) -> Self {
        Self {
            n: 2.0,
            mean,
            var: sigma * sigma,
        }
    }
    pub fn mean(&self) -> f32 {
        self.mean
    }
    pub fn sigma(&self) -> f32 {
        self.var.max(4e-4).sqrt()
    }
    pub fn add(&mut self, mean: f32, square: f32, w: f32) {
        self.n = (self.n + w).min(60.0);
        let a = w / self.n;
        let spread = (square - mean * mean).max(0.0);
        let d = mean - self.mean;
        self.mean += a * d;
        self.var += a * (d * (mean - self.mean) + spread - self.var);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub count: f32,
    pub sum: f32,
    pub squares: f32,
}

impl Tally {
    pub fn add(&mut self, x: f32, noise: f32, w: f32) {
        let x = x.clamp(-3.0, 3.0);
        self.count += w;
        self.sum += w * x;
        self.squares += w * (x * x - noise).max(0.0);
    }
}

pub const TOLD: usize = 0;
pub const SLIP: usize = 1;
pub const PROGRESS: usize = 2;
pub const OVERDUE: usize = 3;
pub const SOURCES: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Samples {
    pub errors: [Tally; SOURCES],
    pub life: Option<f32>,
    pub kept: Option<f32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindMemory {
    pub errors: [Calibration; SOURCES],
    pub life: Calibration,
    pub lives: u32,
    pub kept: Calibration,
}

impl Default for KindMemory {
    fn default() -> Self {
        Self {
            errors: [
                Calibration::new(0.0, 0.7),
                Calibration::new(0.0, 0.5),
                Calibration::new(0.0, 0.5),
                Calibration::new(0.0, 1.0),
            ],
            life: Calibration::new(4.7, 1.5),
            lives: 0,
            kept: Calibration::new(0.3, 0.3),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    diff: KindMemory,
    update: KindMemory,
}

impl Memory {
    pub fn of(&self, kind: JobKind) -> &KindMemory {
        match kind {
            JobKind::Diff => &self.diff,
            JobKind::Update => &self.update,
        }
    }
    pub fn learn(&mut self, kind: JobKind, samples: &Samples) {
        let memory = match kind {
            JobKind::Diff => &mut self.diff,
            JobKind::Update => &mut self.update,
        };
        for (calibration, tally) in memory.errors.iter_mut().zip(&samples.errors) {
            if tally.count > 0.0 {
                calibration.add(
                    tally.sum / tally.count,
                    tally.squares / tally.count,
                    tally.count.min(1.0),
                );
            }
        }
        if let Some(life) = samples.life {
            if memory.lives == 0 {
                memory.life.mean = life;
                memory.life.var = 1.44;
            }
            memory.lives += 1;
            memory.life.add(life, life * life, 1.0);
        }
        if let Some(kept) = samples.kept {
            memory.kept.add(kept, kept * kept, 1.0);
        }
    }
}
