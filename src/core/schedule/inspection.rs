//! From a distribution of the time left to the next request.

use super::Rules;
use super::forecast::{Forecast, k};

const N: usize = 34;
fn ln(x: f32) -> f32 {
    // fast log: mantissa polynomial
    let bits = x.to_bits() as i32;
    let e = (bits >> 23) - 127;
    let m = f32::from_bits((bits & 0x007F_FFFF | 0x3F80_0000) as u32) - 1.0;
    let p = m * (0.999_94 + m * (-0.497_87 + m * (0.311_4 + m * (-0.163_4 + m * 0.043_0))));
    e as f32 * std::f32::consts::LN_2 + p
}

pub fn wait(f: &Forecast, at: f32, rules: &Rules) -> f32 {
    let cost = rules.request_cost.as_secs_f32().clamp(1e-3, 1e6);
    let mut left = [0.0f32; N];
    let mut weight = [0.0f32; N];
    let mut fine = [1.0f32; N];
    let (least, most) = (
        rules.min_interval.as_secs_f32(),
        rules.max_interval.as_secs_f32(),
    );
    let mut n = 0;
    let mut put = |r: f32, w: f32, b: f32| {
        if n < N {
            left[n] = r;
            weight[n] = w;
            fine[n] = b;
            n += 1;
        }
    };
    if f.joined > 0.0 {
        for j in 0..6 {
            put(f.kept_left[j], f.kept_weight[j], k(1));
        }
        let b = (k(0) * f.sigma).max(k(8));
        for j in 0..16 {
            let z = (j as f32 - 7.5) * 0.4;
            put(
                (f.mu + f.sigma * z).exp(),
                f.joined * (1.0 - k(3)) * 0.4 * 0.398_94 * (-0.5 * z * z).exp(),
                b,
            );
        }
        let b = k(0) * f.life_sigma;
        for j in 0..12 {
            let z = (j as f32 - 5.5) * 0.5;
            put(
                (f.life_mu + f.life_sigma * z).exp(),
                f.joined * k(3) * 0.5 * 0.398_94 * (-0.5 * z * z).exp(),
                b,
            );
        }
    } else {
        // life given age: quantiles of the log-logistic beyond the age, close together where the next wait is decided
        let s = f.life_sigma * 0.551_33;
        let x = (f.age.max(1e-3).ln() - f.life_mu) / s;
        let alive = 1.0 / (1.0 + x.exp());
        for j in 0..N {
            let q = (j as f32 + 0.5) / N as f32;
            let q = alive * (1.0 - q * q);
            let u = (f.life_mu + s * ((1.0 - q) / q).ln()).exp();
            put(
                (u - f.age).max(0.0),
                (2 * j + 1) as f32 / (N * N) as f32,
                200.0,
            );
        }
    }
    let c = if f.joined > 0.0 { k(4) } else { k(2) };
    let g = |d: f32| -> f32 {
        let mut sum = 0.0;
        for j in 0..N {
            let over = d - left[j];
            let b = fine[j];
            let rest = (-over).max(0.0);
            let w = k(6) + b * ln(1.0 + c * (rest / cost).sqrt() / b);
            sum += weight[j] * if over >= 0.0 { over / cost } else { w };
        }
        sum
    };
    let mut best = (f32::INFINITY, least);
    let better = |best: (f32, f32), d: f32| {
        let v = g(d);
        if v < best.0 { (v, d) } else { best }
    };
    let mut d = least;
    while d < most {
        best = better(best, d);
        d *= 1.3;
    }
    best = better(best, most);
    if f.kept_weight[0] > 0.0 {
        for j in 0..6 {
            best = better(best, (f.kept_left[j] + 0.1).clamp(least, most));
        }
        best = better(
            best,
            (2.0 * f.kept_left[5] - f.kept_left[4] + 0.1).clamp(least, most),
        );
    }
    let centre = best.1;
    for s in [0.82, 0.88, 0.94, 1.06, 1.12, 1.2] {
        best = better(best, (centre * s).clamp(least, most));
    }
    let d = best.1;
    if at < 5.0 { d.min(12.5 - at) } else { d }
}
