//! The peer: the published inspection schedule (Keller's density on one lognormal), as plainly as it is known,
//! beside the intervals that people use today.

use std::collections::BTreeMap;

use super::models::Answer;

/// How a policy is driven through a job; seconds from the first request.
pub(crate) trait Policy {
    /// After an answer at `t`: how long to wait.
    fn wait(&mut self, t: f64, answer: &Answer) -> f64;
    /// The job was last seen going on at `last` and seen ended at `seen`.
    fn end(&mut self, _last: f64, _seen: f64) {}
}

impl Policy for Box<dyn Policy> {
    fn wait(&mut self, t: f64, answer: &Answer) -> f64 {
        self.as_mut().wait(t, answer)
    }
}

/// Always the same interval.
pub(crate) struct Every(pub f64);

impl Policy for Every {
    fn wait(&mut self, _t: f64, _answer: &Answer) -> f64 {
        self.0
    }
}

/// Sleeps until the ETA, then backs off from 1 s by 1.5 to 30 s.
pub(crate) struct EtaThenBackoff(pub f64);

impl Policy for EtaThenBackoff {
    fn wait(&mut self, t: f64, answer: &Answer) -> f64 {
        if let Some(eta) = answer.eta.filter(|&eta| eta > t) {
            return (eta - t).max(1.0);
        }
        let wait = self.0;
        self.0 = (wait * 1.5).min(30.0);
        wait
    }
}

#[derive(Clone, Copy)]
struct ErrorStats {
    n: f64,
    mean: f64,
    var: f64,
}

impl ErrorStats {
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
enum Source {
    Eta,
    Overdue,
    Progress,
}

/// What the reference keeps between jobs.
#[derive(Clone)]
pub(crate) struct Calibration {
    calibrations: [ErrorStats; 3],
    life: ErrorStats,
    lives: u64,
}

impl Calibration {
    pub(crate) fn new() -> Self {
        Self {
            calibrations: [0.7, 1.0, 0.7].map(ErrorStats::new),
            life: ErrorStats::new(1.2),
            lives: 0,
        }
    }
}

/// The reference's watch of one job.
pub(crate) struct Reference<'a> {
    memory: &'a mut Calibration,
    cost: f64,
    made: Vec<(Source, f64, f64)>,
    progress0: Option<(f64, f64)>,
    first: bool,
}

const LEAST: f64 = 1.0;
const MOST: f64 = 600.0;

impl<'a> Reference<'a> {
    pub(crate) fn new(memory: &'a mut Calibration, cost: f64) -> Self {
        Self {
            memory,
            cost,
            made: Vec::new(),
            progress0: None,
            first: true,
        }
    }

    fn estimates(&mut self, t: f64, answer: &Answer) -> Vec<(Source, f64)> {
        let mut found = Vec::new();
        let first = std::mem::replace(&mut self.first, false);
        match answer.eta {
            Some(eta) if eta > t => found.push((Source::Eta, eta - t)),
            Some(eta) if !first => found.push((Source::Overdue, (t - eta).max(1.0))),
            _ => {}
        }
        if answer.progress > 0.0 {
            match self.progress0 {
                None => self.progress0 = Some((t, answer.progress)),
                Some((t0, p0)) if answer.progress > p0 => {
                    let pace = (t - t0) / (answer.progress - p0);
                    found.push((Source::Progress, (100.0 - answer.progress) * pace));
                }
                Some(_) => {}
            }
        }
        found
    }

    fn forecast(&mut self, t: f64, answer: &Answer) -> (f64, f64, f64) {
        let found = self.estimates(t, answer);
        self.made
            .extend(found.iter().map(|&(source, left)| (source, t, left)));
        if !found.is_empty() {
            let (mut weights, mut sum, mut sigma) = (0.0, 0.0, f64::INFINITY);
            for (source, left) in found {
                let calibration = self.memory.calibrations[source as usize];
                let weight = calibration.sigma().powi(-2);
                weights += weight;
                sum += weight * (left.max(0.5).ln() + calibration.mean);
                sigma = sigma.min(calibration.sigma());
            }
            (sum / weights, sigma, 0.0)
        } else if self.memory.lives > 0 {
            (self.memory.life.mean, self.memory.life.sigma(), t)
        } else {
            (60f64.ln(), 1.5, t)
        }
    }
}

impl Policy for Reference<'_> {
    fn wait(&mut self, t: f64, answer: &Answer) -> f64 {
        let (mu, sigma, age) = self.forecast(t, answer);
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
        for &(source, ..) in &self.made {
            *count.entry(source).or_insert(0.0) += 1.0;
        }
        for &(source, t, left) in &self.made {
            if end - t > 0.5 {
                let x = ((end - t) / left.max(0.5)).ln().clamp(-3.0, 3.0);
                self.memory.calibrations[source as usize].add(x, 1.0 / count[&source]);
            }
        }
        let life = end.max(1.0).ln();
        if self.memory.lives == 0 {
            self.memory.life.mean = life;
        }
        self.memory.lives += 1;
        self.memory.life.add(life, 1.0);
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
fn erfc(x: f64) -> f64 {
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
