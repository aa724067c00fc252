//! The reference: the published inspection schedule (Keller's density on one lognormal) without refinements, and common
//! fixed intervals.

use std::collections::BTreeMap;

use super::models::JobStatus;

/// Chooses the polls of one job; times are in seconds from the first poll.
pub(crate) trait PollingPolicy {
    /// The wait after a poll at `t`.
    fn wait(&mut self, t: f64, status: &JobStatus) -> f64;
    /// The job was last seen running at `last` and first seen ended at `seen`.
    fn end(&mut self, _last: f64, _seen: f64) {}
}

impl PollingPolicy for Box<dyn PollingPolicy> {
    fn wait(&mut self, t: f64, status: &JobStatus) -> f64 {
        self.as_mut().wait(t, status)
    }
}

/// A fixed interval.
pub(crate) struct Every(pub f64);

impl PollingPolicy for Every {
    fn wait(&mut self, _t: f64, _status: &JobStatus) -> f64 {
        self.0
    }
}

/// Sleeps until the ETA, then backs off from 1 s by 1.5 to 30 s.
pub(crate) struct EtaThenBackoff(pub f64);

impl PollingPolicy for EtaThenBackoff {
    fn wait(&mut self, t: f64, status: &JobStatus) -> f64 {
        if let Some(eta) = status.eta.filter(|&eta| eta > t) {
            return (eta - t).max(1.0);
        }
        let wait = self.0;
        self.0 = (wait * 1.5).min(30.0);
        wait
    }
}

#[derive(Clone, Copy)]
struct RunningStats {
    n: f64,
    mean: f64,
    var: f64,
}

impl RunningStats {
    fn new(sigma: f64) -> Self {
        Self {
            n: 2.0,
            mean: 0.0,
            var: sigma * sigma,
        }
    }

    fn add(&mut self, x: f64, weight: f64) {
        self.n = (self.n + weight).min(60.0);
        let (a, d) = (weight / self.n, x - self.mean);
        self.mean += a * d;
        self.var += a * (d * (x - self.mean) - self.var);
    }

    fn sigma(&self) -> f64 {
        self.var.max(1e-6).sqrt().max(0.02)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ReferenceSource {
    Eta,
    Overdue,
    Progress,
}

/// The calibration that the reference keeps between jobs.
#[derive(Clone)]
pub(crate) struct ReferenceCalibration {
    calibrations: [RunningStats; 3],
    life: RunningStats,
    lives: u64,
}

impl ReferenceCalibration {
    pub(crate) fn new() -> Self {
        Self {
            calibrations: [0.7, 1.0, 0.7].map(RunningStats::new),
            life: RunningStats::new(1.2),
            lives: 0,
        }
    }
}

/// The reference's watch of one job.
pub(crate) struct Reference<'a> {
    calibration: &'a mut ReferenceCalibration,
    cost: f64,
    predictions: Vec<(ReferenceSource, f64, f64)>,
    progress0: Option<(f64, f64)>,
    first: bool,
}

const LEAST: f64 = 1.0;
const MOST: f64 = 600.0;

impl<'a> Reference<'a> {
    pub(crate) fn new(calibration: &'a mut ReferenceCalibration, cost: f64) -> Self {
        Self {
            calibration,
            cost,
            predictions: Vec::new(),
            progress0: None,
            first: true,
        }
    }

    fn estimates(&mut self, t: f64, status: &JobStatus) -> Vec<(ReferenceSource, f64)> {
        let mut found = Vec::new();
        let first = std::mem::replace(&mut self.first, false);
        match status.eta {
            Some(eta) if eta > t => found.push((ReferenceSource::Eta, eta - t)),
            Some(eta) if !first => found.push((ReferenceSource::Overdue, (t - eta).max(1.0))),
            _ => {}
        }
        if status.progress > 0.0 {
            match self.progress0 {
                None => self.progress0 = Some((t, status.progress)),
                Some((t0, p0)) if status.progress > p0 => {
                    let pace = (t - t0) / (status.progress - p0);
                    found.push((ReferenceSource::Progress, (100.0 - status.progress) * pace));
                }
                Some(_) => {}
            }
        }
        found
    }

    fn forecast(&mut self, t: f64, status: &JobStatus) -> (f64, f64, f64) {
        let found = self.estimates(t, status);
        self.predictions
            .extend(found.iter().map(|&(source, left)| (source, t, left)));
        if !found.is_empty() {
            let (mut weights, mut sum, mut sigma) = (0.0, 0.0, f64::INFINITY);
            for (source, left) in found {
                let calibration = self.calibration.calibrations[source as usize];
                let weight = calibration.sigma().powi(-2);
                weights += weight;
                sum += weight * (left.max(0.5).ln() + calibration.mean);
                sigma = sigma.min(calibration.sigma());
            }
            (sum / weights, sigma, 0.0)
        } else if self.calibration.lives > 0 {
            (self.calibration.life.mean, self.calibration.life.sigma(), t)
        } else {
            (60f64.ln(), 1.5, t)
        }
    }
}

impl PollingPolicy for Reference<'_> {
    fn wait(&mut self, t: f64, status: &JobStatus) -> f64 {
        let (mu, sigma, age) = self.forecast(t, status);
        let (mut u, mut sum, mut step) = (age, 0.0, (0.04 * mu.exp() * sigma.min(1.0)).max(0.05));
        while sum < 1.0 && u < age + MOST {
            let floor = 0.02 / ((u - age).max(1.0) + mu.exp());
            let hazard = hazard(u + step / 2.0, mu, sigma) + floor;
            sum += (hazard / (2.0 * self.cost)).sqrt() * step;
            u += step;
            if u - age > 50.0 * step {
                step *= 1.1;
            }
        }
        (u - age).clamp(LEAST, MOST)
    }

    fn end(&mut self, last: f64, seen: f64) {
        let end = f64::midpoint(last, seen);
        let mut count = BTreeMap::new();
        for &(source, ..) in &self.predictions {
            *count.entry(source).or_insert(0.0) += 1.0;
        }
        for &(source, t, left) in &self.predictions {
            if end - t > 0.5 {
                let x = ((end - t) / left.max(0.5)).ln().clamp(-3.0, 3.0);
                self.calibration.calibrations[source as usize].add(x, 1.0 / count[&source]);
            }
        }
        let life = end.max(1.0).ln();
        if self.calibration.lives == 0 {
            self.calibration.life.mean = life;
        }
        self.calibration.lives += 1;
        self.calibration.life.add(life, 1.0);
    }
}

fn hazard(u: f64, mu: f64, sigma: f64) -> f64 {
    let z = (u.ln() - mu) / sigma;
    let survival = 0.5 * erfc(z / std::f64::consts::SQRT_2);
    if survival < 1e-12 {
        z / (sigma * u)
    } else {
        (-z * z / 2.0).exp() / ((std::f64::consts::TAU).sqrt() * sigma * u * survival)
    }
}

/// Complementary error function, relative error below 1.2e-7 (Press et al., Numerical Recipes, 6.2).
pub(crate) fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let poly = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ]
    .iter()
    .fold(0.0, |sum, c| sum * t + c);
    let y = t * (-x * x + poly).exp();
    if x >= 0.0 { y } else { 2.0 - y }
}
