//! From answers to a distribution of the time left.

use super::calibration::{KindMemory, OVERDUE, PROGRESS, SLIP, SOURCES, TOLD};
use super::trace::Trace;

/// An estimate of the time left: ln seconds, and its own share of the error beside the calibration.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    pub mu: f32,
    pub var: f32,
    /// share of the calibration's variance that applies
    pub share: f32,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Forecast {
    /// weight and [low, high] of the ETA's own claim
    pub kept: f32,
    pub kept_low: f32,
    pub kept_high: f32,
    /// joined log-normal
    pub joined: f32,
    pub mu: f32,
    pub sigma: f32,
    /// the rest: life given age
    pub life: f32,
    pub life_mu: f32,
    pub life_sigma: f32,
    pub age: f32,
}

pub fn unmoved(trace: &Trace) -> Option<f32> {
    let now = trace.latest().eta?;
    let slack = 1.5 + if trace.grain() > 1.0 { trace.grain() } else { 0.0 };
    let mut told = 0;
    for i in 0..trace.len() {
        let Some(eta) = trace.mark(i).eta else { continue };
        if (eta - now).abs() > slack { return None; }
        told += 1;
    }
    (told >= 2 || k(12) > 0.5).then_some(now)
}

fn knob(i: usize) -> f32 {
    KNOBS.with(|k| k.borrow()[i])
}
thread_local! {
    pub static KNOBS: std::cell::RefCell<[f32; 16]> = const { std::cell::RefCell::new([
        5.5, 0.6, 1.6, 0.01, 1.6, 0.25, 1.5, 0.3, 0.3, 0.1, 0.4, 1.2, 0.06, 0.5, 0.1, 0.0]) };
}
pub fn k(i: usize) -> f32 { knob(i) }

pub fn estimates(trace: &Trace) -> [Option<Estimate>; SOURCES] {
    let mut found = [None; SOURCES];
    let now = trace.latest();
    if let Some(eta) = now.eta {
        let left = eta - now.at;
        if left + trace.grain() > 0.0 {
            let g = trace.grain();
            let left = left + 0.5 * g;
            found[TOLD] = Some(Estimate { mu: left.max(0.5).ln(), var: k(14) * g * g / (left * left), share: 1.0 });
        } else if trace.mark(0).eta.is_some_and(|eta| eta > trace.mark(0).at) {
            found[OVERDUE] = Some(Estimate { mu: (-left).max(1.0).ln(), var: 0.0, share: 1.0 });
        }
        if left > 0.0 {
            for i in 0..trace.len() - 1 {
                let then = trace.mark(i);
                let Some(then_left) = then.eta.map(|eta| eta - then.at) else { continue };
                let gain = then_left - left;
                if gain > 0.0 {
                    let nu = k(5);
                    let var = (nu * nu * (then_left * then_left + left * left) + 0.5 * trace.grain() * trace.grain()) / (gain * gain);
                    let left = left * (now.at - then.at) / gain;
                    let share = left / (left + now.at - then.at);
                    found[SLIP] = Some(Estimate { mu: left.clamp(0.5, 1e7).ln(), var, share });
                }
                break;
            }
        }
    }
    if let Some(p) = now.progress.filter(|&p| p > 0.0) {
        for i in (0..trace.len() - 1).rev() {
            let then = trace.mark(i);
            let Some(p0) = then.progress.filter(|&p0| p0 < p) else { continue };
            let gain = p - p0;
            let left = (100.0 - p - k(13)).max(0.5) * (now.at - then.at) / gain;
            let mut var = 0.16 / (gain * gain) + k(9) / ((100.5 - p) * (100.5 - p));
            if p0 < 0.5 { var += k(10); }
            let share = left / (left + now.at - then.at);
            found[PROGRESS] = Some(Estimate { mu: left.clamp(0.5, 1e7).ln(), var, share });
            if p0 <= 0.5 * p {
                break;
            }
        }
    }
    found
}

pub fn forecast(trace: &Trace, memory: &KindMemory) -> Forecast {
    let now = trace.latest();
    let found = estimates(trace);
    let (mut weights, mut sum) = (0.0, 0.0);
    for (estimate, calibration) in found.iter().zip(&memory.errors) {
        if let Some(e) = estimate {
            let weight = 1.0 / (calibration.sigma() * calibration.sigma() * e.share + e.var);
            weights += weight;
            sum += weight * (e.mu + calibration.mean() * e.share.sqrt());
        }
    }
    let mut f = Forecast {
        life_mu: memory.life.mean(),
        life_sigma: memory.life.sigma(),
        age: trace.born() + now.at,
        ..Forecast::default()
    };
    if weights > 0.0 {
        f.mu = sum / weights;
        let mut spread = 0.0;
        for (estimate, calibration) in found.iter().zip(&memory.errors) {
            if let Some(e) = estimate {
                let weight = 1.0 / (calibration.sigma() * calibration.sigma() * e.share + e.var);
                let d = e.mu + calibration.mean() * e.share.sqrt() - f.mu;
                spread += weight * d * d;
            }
        }
        let least = found.iter().zip(&memory.errors).filter_map(|(e, c)| e.map(|e| c.sigma() * c.sigma() * e.share + e.var)).fold(f32::INFINITY, f32::min);
        f.sigma = ((1.0 + k(7) * spread) / weights * (1.0 - k(15)) + k(15) * least * (1.0 + k(7) * spread)).sqrt();
        f.joined = 1.0;
        f.life = k(3);
        if let Some(eta) = unmoved(trace) {
            let left = eta - now.at;
            let g = trace.grain();
            let (low, high) = (left.max(0.0), left + g + 0.5);
            if high > 0.0 {
                let prior = memory.kept.mean().clamp(0.01, 0.98);
                let mut odds = prior / (1.0 - prior) * ((high - low) / (g + 0.5)).min(1.0);
                if let Some(e) = found[PROGRESS] {
                    let c = &memory.errors[PROGRESS];
                    let var = c.sigma() * c.sigma() * e.share + e.var;
                    let claim = (0.5 * (low + high)).max(0.5);
                    let g = high - low;
                    let var = var + g * g / (12.0 * claim * claim);
                    let z = claim.ln() - e.mu - c.mean() * e.share.sqrt();
                    let all = var + 0.5;
                    odds *= (all / var).sqrt() * (-0.5 * z * z * (1.0 / var - 1.0 / all)).exp();
                }
                let kept = odds / (1.0 + odds);
                f.kept = kept;
                f.kept_low = low;
                f.kept_high = high;
                f.joined = 1.0 - kept;
            }
        }
        f.life_mu = f.mu;
        f.life_sigma = f.sigma.max(k(11));
        f.age = 0.0;
    } else {
        f.life = 1.0;
    }
    f
}
