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
    pub kept_left: [f32; KEPT],
    pub kept_weight: [f32; KEPT],
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
    let slack = 1.5
        + if trace.grain() > 1.0 {
            trace.grain()
        } else {
            0.0
        };
    let mut told = 0;
    for i in 0..trace.len() {
        let Some(eta) = trace.mark(i).eta else {
            continue;
        };
        if (eta - now).abs() > slack {
            return None;
        }
        told += 1;
    }
    (told >= 2 || k(12) > 0.5).then_some(now)
}

fn knob(i: usize) -> f32 {
    KNOBS.with(|k| k.borrow()[i])
}
thread_local! {
    pub static KNOBS: std::cell::RefCell<[f32; 16]> = const { std::cell::RefCell::new([
        8.0, 0.6, 1.6, 0.01, 2.0, 0.25, 2.0, 0.3, 0.3, 0.1, 4.0, 1.0, 0.0, 0.5, 0.1, 0.25]) };
}
pub fn k(i: usize) -> f32 {
    knob(i)
}

pub fn estimates(trace: &Trace) -> [Option<Estimate>; SOURCES] {
    let mut found = [None; SOURCES];
    let now = trace.latest();
    if let Some(eta) = now.eta {
        let left = eta - now.at;
        if left + trace.grain() > 0.0 {
            let g = trace.grain();
            let left = left + 0.5 * g;
            found[TOLD] = Some(Estimate {
                mu: left.max(0.5).ln(),
                var: k(14) * g * g / (left * left),
                share: 1.0,
            });
        } else if trace.mark(0).eta.is_some_and(|eta| eta > trace.mark(0).at) {
            found[OVERDUE] = Some(Estimate {
                mu: (-left).max(1.0).ln(),
                var: 0.0,
                share: 1.0,
            });
        }
        if left > 0.0 {
            for i in 0..trace.len() - 1 {
                let then = trace.mark(i);
                let Some(then_left) = then.eta.map(|eta| eta - then.at) else {
                    continue;
                };
                let gain = then_left - left;
                if gain > 0.0 {
                    let nu = k(5);
                    let var = (nu * nu * (then_left * then_left + left * left)
                        + 0.5 * trace.grain() * trace.grain())
                        / (gain * gain);
                    let left = left * (now.at - then.at) / gain;
                    let share = left / (left + now.at - then.at);
                    found[SLIP] = Some(Estimate {
                        mu: left.clamp(0.5, 1e7).ln(),
                        var,
                        share,
                    });
                }
                break;
            }
        }
    }
    if let Some(p) = now.progress.filter(|&p| p > 0.0) {
        for i in (0..trace.len() - 1).rev() {
            let then = trace.mark(i);
            let Some(p0) = then.progress.filter(|&p0| p0 < p) else {
                continue;
            };
            let gain = p - p0;
            let left = (100.0 - p - 0.5).max(0.5) * (now.at - then.at) / gain;
            let mut var = 0.16 / (gain * gain) + k(9) / ((100.5 - p) * (100.5 - p));
            if p0 < 0.5 {
                var += 0.4;
            }
            let share = left / (left + now.at - then.at);
            found[PROGRESS] = Some(Estimate {
                mu: left.clamp(0.5, 1e7).ln(),
                var,
                share,
            });
            if p0 <= 0.5 * p {
                break;
            }
        }
    }
    found
}

/// How long a job of this kind that is `age` old still lasts.
fn life(memory: &KindMemory, age: f32) -> Estimate {
    let (mu, s) = (memory.life.mean(), memory.life.sigma() * 0.551_33);
    let odds = ((age.max(1e-3).ln() - mu) / s).exp();
    // survival is 1 / (1 + odds); its quantile function is exp(mu) * odds^s
    let left = |q: f32| -> f32 { ((((1.0 + odds) / q - 1.0).ln() * s + mu).exp() - age).max(0.5) };
    let (a, b, c) = (left(0.75), left(0.5), left(0.25));
    let sigma = (c / a).ln() / 1.35;
    Estimate {
        mu: b.ln(),
        var: sigma * sigma * (1.0 + k(10) / memory.lives as f32),
        share: 1.0,
    }
}

struct Join {
    weights: f32,
    sum: f32,
    squares: f32,
}
impl Join {
    fn new() -> Self {
        Self {
            weights: 0.0,
            sum: 0.0,
            squares: 0.0,
        }
    }
    fn add(&mut self, mu: f32, var: f32) {
        let w = 1.0 / var;
        self.weights += w;
        self.sum += w * mu;
        self.squares += w * mu * mu;
    }
    fn get(&self) -> (f32, f32) {
        let mu = self.sum / self.weights;
        let spread = (self.squares - self.sum * mu).max(0.0);
        (mu, (1.0 + k(7) * spread) / self.weights)
    }
}

pub fn forecast(trace: &Trace, memory: &KindMemory) -> Forecast {
    let now = trace.latest();
    let found = estimates(trace);
    let mut f = Forecast {
        life_mu: memory.life.mean(),
        life_sigma: memory.life.sigma(),
        age: trace.born() + now.at,
        ..Forecast::default()
    };
    if found.iter().all(Option::is_none) {
        return f;
    }
    let mut others = Join::new();
    if memory.lives > 0 {
        let e = life(memory, f.age);
        others.add(e.mu, e.var);
    }
    let cal = |s: usize| {
        found[s].map(|e| {
            let c = &memory.errors[s];
            (
                e.mu + c.mean() * e.share.sqrt(),
                c.sigma() * c.sigma() * e.share + e.var,
            )
        })
    };
    if let Some((mu, var)) = cal(PROGRESS) {
        others.add(mu, var);
    }
    let other = (others.weights > 0.0).then(|| others.get());
    for s in [TOLD, SLIP, OVERDUE] {
        if let Some((mu, var)) = cal(s) {
            others.add(mu, var);
        }
    }
    let (mu, var) = others.get();
    f.mu = mu;
    f.sigma = var.sqrt();
    f.joined = 1.0;
    f.life_mu = f.mu;
    f.life_sigma = f.sigma.max(k(11));
    f.age = 0.0;
    if let Some(eta) = unmoved(trace) {
        let g = trace.grain() + 0.5;
        let high = eta - now.at + g;
        let low = (high - g).max(0.0);
        if high > 0.0 {
            let prior = memory.kept.mean().clamp(0.01, 0.98);
            let mut odds = prior / (1.0 - prior) * (high - low) / g;
            let mut total = 0.0;
            for j in 0..KEPT {
                let r = low + (high - low) * (j as f32 + 0.5) / KEPT as f32;
                let w = match other {
                    None => 1.0,
                    Some((mu, var)) => {
                        let z = r.max(0.1).ln() - mu;
                        let all = var + k(13);
                        ((all / var).sqrt() * (-0.5 * z * z * (1.0 / var - 1.0 / all)).exp())
                            .min(20.0)
                    }
                };
                f.kept_left[j] = r;
                f.kept_weight[j] = w;
                total += w;
            }
            odds *= total / KEPT as f32;
            let kept = odds / (1.0 + odds);
            for w in &mut f.kept_weight {
                *w *= kept / total.max(1e-20);
            }
            f.joined = 1.0 - kept;
        }
    }
    f
}
pub const KEPT: usize = 6;
