//! From a distribution of the time left to the time of the next poll.
//!
//! J. B. Keller ("Optimum checking schedules for systems subject to random failure", Management Science 21, 1974)
//! and R. E. Barlow, L. C. Hunter and F. Proschan ("Optimum checking procedures", J. SIAM 11, 1963) plan all
//! inspections at once, from what is known at the beginning. Here each poll brings new information, more precise the
//! nearer the end. So only the next poll is planned, at the wait d with the least expected cost, in requests:
//!
//! ```text
//! cost(d) = E[(d - R) / k;  R <= d]  +  E[cost_to_go(R - d);  R > d]
//! ```
//!
//! with R the time left, k the request cost, and `cost_to_go(r)` the cost from the next poll on if the job then has r
//! left. Without new information on the way, that is Keller's `~ sqrt(r / k)`. If the estimate errs by the share `s` of
//! the time left, a few polls halve the time left whatever it is, and the cost is `~ s ln r`. One formula passes from
//! the first (r of the order of k) to the second:
//!
//! ```text
//! cost_to_go(r) = next + b ln(1 + c sqrt(r / k) / b),    b = 8 s,    c = sqrt(8 / pi)
//! ```
//!
//! For a constant hazard and no information (b unbounded) this gives Keller's interval, sqrt(2 k / hazard), apart from
//! `next`, the cost of one more poll. The expectations are sums over points of the distribution.

use super::ScheduleSettings;
use super::forecast::{Forecast, WINDOW_POINTS};

/// The probabilities of points of a normal distribution, `NORMAL_STEP` standard deviations apart, up to 3 on both sides
/// of the mean: if the job ends early, a late poll is expensive, so the tail matters.
const NORMAL: [f32; 16] = [
    0.001_773, 0.005_433, 0.014_190, 0.031_580, 0.059_891, 0.096_788, 0.133_290, 0.156_417,
    0.156_417, 0.133_290, 0.096_788, 0.059_891, 0.031_580, 0.014_190, 0.005_433, 0.001_773,
];
const NORMAL_STEP: f32 = 0.4;
/// The same for outliers, more coarsely.
const OUTLIERS: [f32; 10] = [
    0.006_253, 0.026_390, 0.077_711, 0.159_651, 0.228_833, 0.228_833, 0.159_651, 0.077_711,
    0.026_390, 0.006_253,
];
const OUTLIERS_STEP: f32 = 0.6;
/// The number of points, a multiple of `LANES`.
const POINTS: usize = WINDOW_POINTS + NORMAL.len() + OUTLIERS.len();
/// Independent sums, so that the compiler can vectorize the loop.
const LANES: usize = 8;

/// The least standard deviation of an outlier, a forecast that is far off: a factor of e.
pub(super) const OUTLIER_SIGMA: f32 = 1.0;
/// The c of `cost_to_go`, with which a constant hazard and no information give Keller's interval.
const SQRT_8_BY_PI: f32 = 1.596;
/// The b of `cost_to_go`, per unit of the forecast's standard deviation.
const LEARNING: f32 = 8.0;
/// The b of `cost_to_go` for an ETA that is met: the end is known.
const LEARNING_ETA_MET: f32 = 0.6;
/// After a poll just before the end, the next one is late by this share of `min_interval`.
const EARLY_POLL: f32 = 0.7;
/// The assumed median lifetime of a job without any information, seconds.
const UNKNOWN_MEDIAN: f32 = 90.0;

/// A distribution of the time left as weighted points, each with its parameters of `cost_to_go`.
struct Quadrature {
    left: [f32; POINTS],
    weight: [f32; POINTS],
    /// The b of `cost_to_go`.
    learning: [f32; POINTS],
    /// The c / b of `cost_to_go`.
    steepness: [f32; POINTS],
    used: usize,
    /// Whether later polls bring no information until the job has ended.
    uninformed: bool,
}

/// Seconds to wait until the next poll, within `min_interval` and `max_interval`.
pub(super) fn wait(forecast: &Forecast, settings: &ScheduleSettings) -> f32 {
    let (min, max) = (
        settings.min_interval.as_secs_f32().max(1e-3),
        settings.max_interval.as_secs_f32().min(1e7),
    );
    let k = settings.request_cost.as_secs_f32().clamp(1e-3, 1e6);
    let next_poll_cost = match *forecast {
        Forecast::Unknown { age } => return unknown(age, k).clamp(min, max.max(min)),
        // Without an estimate, polls are so far apart that one just before the end is rare.
        Forecast::Lifetime { .. } => 1.0,
        Forecast::Estimated { .. } => 1.0 + EARLY_POLL * min / k,
    };
    let quadrature = Quadrature::of(forecast);
    let mut best = (f32::INFINITY, min);
    let consider = |wait: f32, best: &mut (f32, f32)| {
        let wait = wait.clamp(min, max.max(min));
        let cost = quadrature.cost(wait, 1.0 / k, next_poll_cost);
        if cost < best.0 {
            *best = (cost, wait);
        }
        cost
    };
    // The cost falls up to the first point and rises after the last; far above the best so far, the search can stop.
    let (from, to) = quadrature.range();
    let mut coarse = from.max(min);
    let mut cost = consider(coarse, &mut best);
    while coarse < to.min(max) && cost < 2.0 * best.0 + 3.0 {
        coarse *= 1.5;
        cost = consider(coarse, &mut best);
    }
    if let Forecast::Estimated { window, .. } = forecast
        && window[WINDOW_POINTS - 1].1 > 1e-4
    {
        let step = window[1].0 - window[0].0;
        for (left, _) in window.iter().skip(1).step_by(2) {
            consider(left + 0.5 * step, &mut best);
        }
    }
    let rough = best.1;
    for finer in [0.74, 0.84, 0.92, 1.09, 1.2, 1.34] {
        consider(rough * finer, &mut best);
    }
    best.1
}

/// The wait if only the age is known. The lifetime is assumed hyperbolic, with the hazard 1 / (median + age), so that
/// any length is plausible; the integral of Keller's density, `sqrt(hazard / 2k)`, then reaches one in closed form. The
/// waits grow with the root of the age, which balances requests and detection delay however long the job runs.
fn unknown(age: f32, k: f32) -> f32 {
    (2.0 * k * (UNKNOWN_MEDIAN + age)).sqrt() + 0.5 * k
}

impl Quadrature {
    fn of(forecast: &Forecast) -> Self {
        let mut quadrature = Self {
            left: [0.0; POINTS],
            weight: [0.0; POINTS],
            learning: [1.0; POINTS],
            steepness: [SQRT_8_BY_PI; POINTS],
            used: 0,
            uninformed: false,
        };
        match *forecast {
            Forecast::Unknown { .. } => {}
            Forecast::Lifetime { lifetime, age } => {
                quadrature.uninformed = true;
                let odds = lifetime.odds(age);
                for j in 0..POINTS {
                    // The points are closer together early on, where they decide the next wait.
                    let gone = (j as f32 + 0.5) / POINTS as f32;
                    let left = lifetime.age_at(odds, 1.0 - gone * gone) - age;
                    let weight = (2 * j + 1) as f32 / (POINTS * POINTS) as f32;
                    quadrature.push(left.max(0.0), weight, 1.0);
                }
            }
            Forecast::Estimated {
                mu,
                sigma,
                outlier,
                window,
            } => {
                let eta_met: f32 = window.iter().map(|&(_, weight)| weight).sum();
                let share = (1.0 - eta_met) * (1.0 - outlier);
                quadrature.normal(mu, sigma, share, (&NORMAL, NORMAL_STEP));
                let wide = sigma.max(OUTLIER_SIGMA);
                let share = (1.0 - eta_met) * outlier;
                quadrature.normal(mu, wide, share, (&OUTLIERS, OUTLIERS_STEP));
                if eta_met > 0.0 {
                    for (left, weight) in window {
                        quadrature.push(left, weight, LEARNING_ETA_MET);
                    }
                }
            }
        }
        quadrature
    }

    fn push(&mut self, left: f32, weight: f32, learning: f32) {
        self.left[self.used] = left;
        self.weight[self.used] = weight;
        self.learning[self.used] = learning;
        self.steepness[self.used] = SQRT_8_BY_PI / learning;
        self.used += 1;
    }

    /// The earliest and the latest point.
    fn range(&self) -> (f32, f32) {
        let used = &self.left[..self.used];
        let first = used.iter().copied().fold(f32::INFINITY, f32::min);
        (first, used.iter().copied().fold(0.0, f32::max))
    }

    /// Adds the points of a lognormal, `step` standard deviations apart, with a share of these probabilities.
    fn normal(&mut self, mu: f32, sigma: f32, share: f32, (of, step): (&[f32], f32)) {
        let learning = (LEARNING * sigma).max(LEARNING_ETA_MET);
        let first = mu - sigma * step * 0.5 * (of.len() - 1) as f32;
        let (mut left, ratio) = (first.exp(), (sigma * step).exp());
        for probability in of {
            self.push(left, share * probability, learning);
            left *= ratio;
        }
    }

    /// The expected cost of a poll after `wait` seconds, in requests. `rate` is 1 / k.
    fn cost(&self, wait: f32, rate: f32, next_poll_cost: f32) -> f32 {
        let mut sums = [0.0f32; LANES];
        let points = self.left.as_chunks::<LANES>().0.iter();
        let weights = self.weight.as_chunks::<LANES>().0.iter();
        let learnings = self.learning.as_chunks::<LANES>().0.iter();
        let steepnesses = self.steepness.as_chunks::<LANES>().0.iter();
        for (((lefts, weights), learnings), steepnesses) in
            points.zip(weights).zip(learnings).zip(steepnesses)
        {
            for lane in 0..LANES {
                let late = (wait - lefts[lane]) * rate;
                let root = (-late).max(0.0).sqrt();
                let later_polls = if self.uninformed {
                    SQRT_8_BY_PI * root
                } else {
                    learnings[lane] * ln(1.0 + steepnesses[lane] * root)
                };
                let cost = if late >= 0.0 {
                    late
                } else {
                    next_poll_cost + later_polls
                };
                sums[lane] += weights[lane] * cost;
            }
        }
        sums.iter().sum()
    }
}

/// The natural logarithm of a finite number of at least 1, within 0.0001: exponent bits, and a polynomial for the rest.
fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let m = f32::from_bits((bits & 0x007F_FFFF) | 0x3F80_0000) - 1.0;
    let rest = m * (0.999_94 + m * (-0.497_87 + m * (0.311_4 + m * (-0.163_4 + m * 0.043_0))));
    exponent as f32 * std::f32::consts::LN_2 + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Policy;
    use crate::schedule::lifetime::Lifetime;
    use std::time::Duration;

    fn settings() -> ScheduleSettings {
        ScheduleSettings {
            policy: Policy::Inspection,
            request_cost: Duration::from_secs(1),
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_mins(10),
        }
    }

    fn estimated(left: f32, sigma: f32) -> Forecast {
        Forecast::Estimated {
            mu: left.ln(),
            sigma,
            outlier: 0.01,
            window: [(0.0, 0.0); WINDOW_POINTS],
        }
    }

    #[test]
    fn the_fast_logarithm_is_close_to_the_exact_one() {
        for x in [1.0f32, 1.001, 1.5, 2.0, 3.7, 1e3, 1e9] {
            assert!((ln(x) - x.ln()).abs() < 1e-4, "{x}");
        }
    }

    #[test]
    fn a_more_certain_estimate_gives_a_longer_wait() {
        let waits = [0.1, 0.3, 0.6, 1.0].map(|sigma| wait(&estimated(300.0, sigma), &settings()));
        assert!(waits.is_sorted_by(|a, b| a > b), "{waits:?}");
        assert!(waits[0] > 150.0 && waits[0] < 300.0, "{waits:?}");
    }

    #[test]
    fn more_expensive_requests_are_further_apart() {
        let cheap = wait(&estimated(300.0, 0.5), &settings());
        let expensive = ScheduleSettings {
            request_cost: Duration::from_secs(30),
            ..settings()
        };
        assert!(wait(&estimated(300.0, 0.5), &expensive) > cheap);
    }

    #[test]
    fn without_information_the_interval_is_close_to_kellers() {
        // A log-logistic distribution of scale 1 has the hazard 1 / (age + median): nearly constant over one interval.
        let (age, median) = (1000.0f32, 1000.0f32);
        let lifetime = Lifetime {
            mu: median.ln(),
            scale: 1.0,
        };
        let forecast = Forecast::Lifetime { lifetime, age };
        let keller = (2.0 * (age + median)).sqrt();
        let wait = wait(&forecast, &settings());
        assert!((wait / keller - 1.0).abs() < 0.25, "{wait} vs. {keller}");
    }

    #[test]
    fn without_information_requests_and_detection_delay_cost_about_the_same() {
        let (mut age, mut requests) = (0.0, 0.0);
        while age < 3_600.0 {
            age += wait(&Forecast::Unknown { age }, &settings());
            requests += 1.0;
        }
        let late = 0.5 * wait(&Forecast::Unknown { age }, &settings());
        assert!(
            (0.5..2.0).contains(&(requests / late)),
            "{requests} requests, {late} s"
        );
        assert!(wait(&Forecast::Unknown { age: 0.0 }, &settings()) < 15.0);
    }

    #[test]
    fn a_job_with_a_reliable_eta_is_polled_just_after_it() {
        let mut window = [(0.0, 0.0); WINDOW_POINTS];
        for (j, point) in window.iter_mut().enumerate() {
            *point = (300.0 + 0.25 * j as f32, 0.98 / WINDOW_POINTS as f32);
        }
        let forecast = Forecast::Estimated {
            mu: 300f32.ln(),
            sigma: 0.5,
            outlier: 0.01,
            window,
        };
        let wait = wait(&forecast, &settings());
        assert!((300.0..302.0).contains(&wait), "{wait}");
    }
}
