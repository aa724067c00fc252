//! From a distribution of the time left to the next request.
//!
//! J. B. Keller ("Optimum checking schedules for systems subject to random failure", Management Science 21, 1974)
//! and R. E. Barlow, L. C. Hunter and F. Proschan ("Optimum checking procedures", J. SIAM 11, 1963) place all
//! requests at once, from what is known at the beginning. But each answer here tells more, and the nearer the end,
//! the more exactly: so only the next request is placed, where its expected cost, counted in requests, is least:
//!
//! ```text
//! cost(d) = E[(d - R) / k;  R <= d]  +  E[further(R - d);  R > d]
//! ```
//!
//! with R the time left, k the delay that a request is worth, and `further(r)` what it will still cost when the job
//! turns out to have r left. Someone who learns nothing on the way pays Keller's `~ sqrt(r / k)`. Someone whose
//! estimate errs by the share `s` of what is left halves that in a few requests, however long it is, and
//! pays `~ s ln r`. One formula goes over from the first (r of the order of k) to the second:
//!
//! ```text
//! further(r) = again + b ln(1 + c sqrt(r / k) / b),    b = 8 s,    c = sqrt(8 / pi)
//! ```
//!
//! For a constant hazard and no knowledge (b without bound) this is Keller's interval, sqrt(2 k / hazard), but for
//! `again`. The expectations are sums over points of the distribution.

use super::Rules;
use super::forecast::{Forecast, WINDOW, life_at, life_odds};

/// Probabilities of points of a normal that lie `JOINED_STEP` standard deviations apart around its mean, to 3 on both
/// sides: on the early side, where being late gets dear, the tail decides.
const JOINED: [f32; 16] = [
    0.001_773, 0.005_433, 0.014_190, 0.031_580, 0.059_891, 0.096_788, 0.133_290, 0.156_417,
    0.156_417, 0.133_290, 0.096_788, 0.059_891, 0.031_580, 0.014_190, 0.005_433, 0.001_773,
];
const JOINED_STEP: f32 = 0.4;
/// The same for its outliers, more coarsely.
const OUTLIERS: [f32; 10] = [
    0.006_253, 0.026_390, 0.077_711, 0.159_651, 0.228_833, 0.228_833, 0.159_651, 0.077_711,
    0.026_390, 0.006_253,
];
const OUTLIERS_STEP: f32 = 0.6;
/// All points; a multiple of `LANES`.
const POINTS: usize = WINDOW + JOINED.len() + OUTLIERS.len();
/// Sums are kept apart so that the compiler can work on several points at once.
const LANES: usize = 8;

/// The chance that the joined estimate is off by far more than its calibration says.
const OUTLIER: f32 = 0.01;
/// Standard deviation of such a one, at least: a factor of e.
const OUTLIER_SIGMA: f32 = 1.0;
/// The c of `further`: sqrt(8 / pi), with which a constant hazard and no knowledge give Keller's interval.
const BLIND: f32 = 1.596;
/// The b of `further`, for each unit of the estimate's standard deviation.
const LEARNING: f32 = 8.0;
/// The b of `further` for an ETA that is kept: one knows where to look.
const LEARNING_KEPT: f32 = 0.6;
/// A request that came too early costs the next, and that one comes late by this share of `min_interval`.
const TOO_EARLY: f32 = 0.7;
/// The median life of a job of which nothing is known, seconds: a minute or two.
const UNKNOWN_MEDIAN: f32 = 90.0;

/// Points of a distribution, each with what it means for the requests after the next.
struct Outlook {
    left: [f32; POINTS],
    weight: [f32; POINTS],
    /// The b of `further`.
    learning: [f32; POINTS],
    /// c / b.
    steepness: [f32; POINTS],
    used: usize,
    /// Whether nothing will be learnt on the way.
    blind: bool,
}

/// Seconds to wait, from `least` to `most` of the rules.
pub(super) fn wait(forecast: &Forecast, rules: &Rules) -> f32 {
    let (least, most) = (
        rules.min_interval.as_secs_f32().max(1e-3),
        rules.max_interval.as_secs_f32().min(1e7),
    );
    let k = rules.request_cost.as_secs_f32().clamp(1e-3, 1e6);
    let again = match *forecast {
        Forecast::Unknown { age } => return unknown(age, k).clamp(least, most.max(least)),
        // Where nothing is learnt on the way, nobody is near enough to the end to come too early by a little.
        Forecast::Life { .. } => 1.0,
        Forecast::Estimated { .. } => 1.0 + TOO_EARLY * least / k,
    };
    let outlook = Outlook::of(forecast);
    let mut best = (f32::INFINITY, least);
    let consider = |wait: f32, best: &mut (f32, f32)| {
        let wait = wait.clamp(least, most.max(least));
        let cost = outlook.cost(wait, 1.0 / k, again);
        if cost < best.0 {
            *best = (cost, wait);
        }
        cost
    };
    // Before the first point all cost falls, after the last all cost rises; and it need not rise far.
    let (from, to) = outlook.range();
    let mut coarse = from.max(least);
    let mut cost = consider(coarse, &mut best);
    while coarse < to.min(most) && cost < 2.0 * best.0 + 3.0 {
        coarse *= 1.5;
        cost = consider(coarse, &mut best);
    }
    if let Forecast::Estimated { window, .. } = forecast
        && window[WINDOW - 1].1 > 1e-4
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

/// The wait where nothing is known but the age. Lengths are taken as hyperbolic, with the hazard 1 / (median + age), so
/// that none comes as a surprise; the integral of Keller's density, `sqrt(hazard / 2k)`, then reaches one in
/// closed form. The waits grow with the root of the age: that is what keeps requests and lateness in balance, and the
/// ratio to hindsight within bounds, however long the job lasts.
fn unknown(age: f32, k: f32) -> f32 {
    (2.0 * k * (UNKNOWN_MEDIAN + age)).sqrt() + 0.5 * k
}

impl Outlook {
    fn of(forecast: &Forecast) -> Self {
        let mut outlook = Self {
            left: [0.0; POINTS],
            weight: [0.0; POINTS],
            learning: [1.0; POINTS],
            steepness: [BLIND; POINTS],
            used: 0,
            blind: false,
        };
        match *forecast {
            Forecast::Unknown { .. } => {}
            Forecast::Life { mu, spread, age } => {
                outlook.blind = true;
                let odds = life_odds(mu, spread, age);
                for j in 0..POINTS {
                    // closer together where the next wait is decided
                    let gone = (j as f32 + 0.5) / POINTS as f32;
                    let left = life_at(mu, spread, odds, 1.0 - gone * gone) - age;
                    let weight = (2 * j + 1) as f32 / (POINTS * POINTS) as f32;
                    outlook.put(left.max(0.0), weight, 1.0);
                }
            }
            Forecast::Estimated { mu, sigma, window } => {
                let kept: f32 = window.iter().map(|&(_, weight)| weight).sum();
                let share = (1.0 - kept) * (1.0 - OUTLIER);
                outlook.normal(mu, sigma, share, (&JOINED, JOINED_STEP));
                let wide = sigma.max(OUTLIER_SIGMA);
                let share = (1.0 - kept) * OUTLIER;
                outlook.normal(mu, wide, share, (&OUTLIERS, OUTLIERS_STEP));
                if kept > 0.0 {
                    for (left, weight) in window {
                        outlook.put(left, weight, LEARNING_KEPT);
                    }
                }
            }
        }
        outlook
    }

    fn put(&mut self, left: f32, weight: f32, learning: f32) {
        self.left[self.used] = left;
        self.weight[self.used] = weight;
        self.learning[self.used] = learning;
        self.steepness[self.used] = BLIND / learning;
        self.used += 1;
    }

    /// The first and the last point of any weight.
    fn range(&self) -> (f32, f32) {
        let used = &self.left[..self.used];
        let first = used.iter().copied().fold(f32::INFINITY, f32::min);
        (first, used.iter().copied().fold(0.0, f32::max))
    }

    /// Points of a lognormal, `step` standard deviations apart, with a share of these probabilities.
    fn normal(&mut self, mu: f32, sigma: f32, share: f32, (of, step): (&[f32], f32)) {
        let learning = (LEARNING * sigma).max(LEARNING_KEPT);
        let first = mu - sigma * step * 0.5 * (of.len() - 1) as f32;
        let (mut left, ratio) = (first.exp(), (sigma * step).exp());
        for probability in of {
            self.put(left, share * probability, learning);
            left *= ratio;
        }
    }

    /// Expected cost of asking after `wait` seconds, in requests. `rate` is 1 / k.
    fn cost(&self, wait: f32, rate: f32, again: f32) -> f32 {
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
                let more = if self.blind {
                    BLIND * root
                } else {
                    learnings[lane] * ln(1.0 + steepnesses[lane] * root)
                };
                let cost = if late >= 0.0 { late } else { again + more };
                sums[lane] += weights[lane] * cost;
            }
        }
        sums.iter().sum()
    }
}

/// Natural logarithm of a finite number from 1 up, within 0.0001: the exponent's bits, and a polynomial for the rest.
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
    use std::time::Duration;

    fn rules() -> Rules {
        Rules {
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
            window: [(0.0, 0.0); WINDOW],
        }
    }

    #[test]
    fn the_fast_logarithm_is_near_the_true_one() {
        for x in [1.0f32, 1.001, 1.5, 2.0, 3.7, 1e3, 1e9] {
            assert!((ln(x) - x.ln()).abs() < 1e-4, "{x}");
        }
    }

    #[test]
    fn the_surer_the_estimate_the_longer_the_wait() {
        let waits = [0.1, 0.3, 0.6, 1.0].map(|sigma| wait(&estimated(300.0, sigma), &rules()));
        assert!(waits.is_sorted_by(|a, b| a > b), "{waits:?}");
        assert!(waits[0] > 150.0 && waits[0] < 300.0, "{waits:?}");
    }

    #[test]
    fn dearer_requests_are_fewer() {
        let cheap = wait(&estimated(300.0, 0.5), &rules());
        let dear = Rules {
            request_cost: Duration::from_secs(30),
            ..rules()
        };
        assert!(wait(&estimated(300.0, 0.5), &dear) > cheap);
    }

    #[test]
    fn without_knowledge_the_interval_is_near_to_kellers() {
        // A log-logistic of spread 1 has the hazard 1 / (age + median): nearly constant over one interval.
        let (age, median) = (1000.0f32, 1000.0f32);
        let forecast = Forecast::Life {
            mu: median.ln(),
            spread: 1.0,
            age,
        };
        let keller = (2.0 * (age + median)).sqrt();
        let wait = wait(&forecast, &rules());
        assert!(
            (wait / keller - 1.0).abs() < 0.25,
            "{wait} against {keller}"
        );
    }

    #[test]
    fn knowing_nothing_costs_about_as_much_in_requests_as_in_lateness() {
        let (mut age, mut requests) = (0.0, 0.0);
        while age < 3_600.0 {
            age += wait(&Forecast::Unknown { age }, &rules());
            requests += 1.0;
        }
        let late = 0.5 * wait(&Forecast::Unknown { age }, &rules());
        assert!(
            (0.5..2.0).contains(&(requests / late)),
            "{requests} requests, {late} s"
        );
        assert!(wait(&Forecast::Unknown { age: 0.0 }, &rules()) < 15.0);
    }

    #[test]
    fn an_eta_sure_to_be_kept_is_asked_about_just_after_it() {
        let mut window = [(0.0, 0.0); WINDOW];
        for (j, point) in window.iter_mut().enumerate() {
            *point = (300.0 + 0.25 * j as f32, 0.98 / WINDOW as f32);
        }
        let forecast = Forecast::Estimated {
            mu: 300f32.ln(),
            sigma: 0.5,
            window,
        };
        let wait = wait(&forecast, &rules());
        assert!((300.0..302.0).contains(&wait), "{wait}");
    }
}
