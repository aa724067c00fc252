//! Models of servers and the errors in their ETAs.
//!
//! The first seven are the project's yardstick. The schedule was not tuned on the others; the last three only judge it.

use forgewatch_core::rng::SeededRng;

/// The lifetimes of jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Median 8 min, 15 s to 2 h.
    Long,
    /// 20 to 60 s.
    Short,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ServerModel {
    Exact,
    Noisy,
    Fixed,
    Optimistic,
    Extrapolated,
    ProgressOnly,
    Blind,
    // not in the yardstick
    ToTheSecond,
    Minutes,
    AlwaysLate,
    StuckExtrapolation,
    ExactNearTheEnd,
    TwoPhases,
    Pieces,
    Stalls,
    ZeroToHundred,
    HeavyTail,
    ClockOffset,
    SmoothedRate,
    Restated,
    // nothing is tuned on these
    QueueThenRun,
    SlowLastPhase,
    FiveMinutes,
}

impl ServerModel {
    pub(crate) const YARDSTICK: [Self; 7] = [
        Self::Exact,
        Self::Noisy,
        Self::Fixed,
        Self::Optimistic,
        Self::Extrapolated,
        Self::ProgressOnly,
        Self::Blind,
    ];

    pub(crate) const OTHERS: [Self; 13] = [
        Self::ToTheSecond,
        Self::Minutes,
        Self::AlwaysLate,
        Self::StuckExtrapolation,
        Self::ExactNearTheEnd,
        Self::TwoPhases,
        Self::Pieces,
        Self::Stalls,
        Self::ZeroToHundred,
        Self::HeavyTail,
        Self::ClockOffset,
        Self::SmoothedRate,
        Self::Restated,
    ];

    pub(crate) const ODD: [Self; 3] = [Self::QueueThenRun, Self::SlowLastPhase, Self::FiveMinutes];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Noisy => "noisy",
            Self::Fixed => "fixed",
            Self::Optimistic => "optimistic",
            Self::Extrapolated => "extrapolated",
            Self::ProgressOnly => "progress only",
            Self::Blind => "blind",
            Self::ToTheSecond => "to the second",
            Self::Minutes => "whole minutes, noisy",
            Self::AlwaysLate => "always late",
            Self::StuckExtrapolation => "extrapolated, stuck",
            Self::ExactNearTheEnd => "exact near the end",
            Self::TwoPhases => "two phases",
            Self::Pieces => "progress in pieces",
            Self::Stalls => "stalls",
            Self::ZeroToHundred => "0 or 100",
            Self::HeavyTail => "heavy tail",
            Self::ClockOffset => "clock 3 s off",
            Self::SmoothedRate => "smoothed rate",
            Self::Restated => "restated now and then",
            Self::QueueThenRun => "queue then run",
            Self::SlowLastPhase => "slow last phase",
            Self::FiveMinutes => "five minutes",
        }
    }
}

/// The status of a running job; times in seconds from the first poll.
pub(crate) struct JobStatus {
    pub eta: Option<f64>,
    pub progress: f64,
}

/// One job, with all its random values drawn.
#[derive(Clone)]
pub(crate) struct SimulatedJob {
    model: ServerModel,
    pub end: f64,
    queued: f64,
    bias: f64,
    shape: f64,
    half: f64,
    spread: f64,
    grain: f64,
    /// The share of the run that the progress stays at 99 %.
    last_phase: f64,
    /// Knots of a piecewise linear progress: shares of the time, shares of the work.
    knots: [(f64, f64); 4],
    noise: Option<(f64, f64)>,
    last_eta: Option<(f64, f64)>,
    rng: SeededRng,
}

impl SimulatedJob {
    pub(crate) fn draw(model: ServerModel, length: Length, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let mut end = match length {
            Length::Short => rng.between(20.0, 60.0),
            Length::Long => rng.normal(480f64.ln(), 1.0).exp().clamp(15.0, 7200.0),
        };
        if model == ServerModel::HeavyTail {
            // Pareto with exponent 1.1 from a fifth of the usual length on.
            let scale = if length == Length::Short { 8.0 } else { 100.0 };
            end = (scale / rng.between(0.0, 1.0).powf(1.0 / 1.1)).min(20_000.0);
        }
        let queued = match model {
            ServerModel::QueueThenRun => rng.between(0.0, 0.7) * end,
            _ => rng.between(0.0, 0.1) * end,
        };
        let sigma = rng.between(0.2, 0.8);
        let mut cuts = [rng.between(0.1, 0.9), rng.between(0.1, 0.9)];
        cuts.sort_by(f64::total_cmp);
        let mut works = [rng.between(0.05, 0.95), rng.between(0.05, 0.95)];
        works.sort_by(f64::total_cmp);
        Self {
            model,
            end,
            queued,
            bias: rng.normal(0.0, sigma).exp(),
            shape: rng.between(0.6, 1.6),
            half: rng.between(0.3, 0.9),
            spread: rng.between(0.1, 0.6),
            grain: [1.0, 1.0, 10.0, 60.0][rng.index(4)],
            last_phase: match model {
                ServerModel::SlowLastPhase => rng.between(0.03, 0.25),
                _ => 0.0,
            },
            knots: [
                (0.0, 0.0),
                (cuts[0], works[0]),
                (cuts[1], works[1]),
                (1.0, 1.0),
            ],
            noise: None,
            last_eta: None,
            rng,
        }
    }

    /// The share of the work done at `t`, 0 to 1.
    fn done(&self, t: f64) -> f64 {
        if t <= self.queued {
            return 0.0;
        }
        let x = (t - self.queued) / (self.end - self.queued);
        match self.model {
            ServerModel::TwoPhases => {
                let (at, work) = (self.knots[1].0, self.half * 0.9);
                if x < at {
                    work * x / at
                } else {
                    work + (1.0 - work) * (x - at) / (1.0 - at)
                }
            }
            ServerModel::Pieces => {
                let i = if x < self.knots[1].0 {
                    0
                } else if x < self.knots[2].0 {
                    1
                } else {
                    2
                };
                let ((x0, y0), (x1, y1)) = (self.knots[i], self.knots[i + 1]);
                y0 + (y1 - y0) * (x - x0) / (x1 - x0).max(1e-9)
            }
            ServerModel::Stalls => {
                // The progress stops for a third of the time.
                let from = self.half * 0.7;
                let moving = if x < from { x } else { from.max(x - 0.3) };
                moving / 0.7
            }
            // The last 3 to 25 % of the time.
            ServerModel::SlowLastPhase => x / (1.0 - self.last_phase),
            ServerModel::StuckExtrapolation
            | ServerModel::SmoothedRate
            | ServerModel::QueueThenRun
            | ServerModel::HeavyTail => x,
            _ => x.powf(self.shape),
        }
    }

    /// Lognormal noise with a correlation time of a minute.
    fn noise(&mut self, t: f64) -> f64 {
        let x = match self.noise {
            None => self.rng.normal(0.0, self.spread),
            Some((then, x)) => {
                let a = (-(t - then) / 60.0).exp();
                a * x + (1.0 - a * a).sqrt() * self.rng.normal(0.0, self.spread)
            }
        };
        self.noise = Some((t, x));
        x.exp()
    }

    /// The status at `t`; None once the job has ended.
    pub(crate) fn status(&mut self, t: f64) -> Option<JobStatus> {
        if t >= self.end {
            return None;
        }
        let left = self.end - t;
        let mut progress = (100.0 * self.done(t)).floor().clamp(0.0, 99.0);
        let extrapolated = |progress: f64| {
            (progress > 0.0).then(|| t + (t - self.queued) * (100.0 - progress) / progress)
        };
        let mut grain = self.grain;
        let eta = match self.model {
            ServerModel::Exact | ServerModel::Stalls => Some(self.end),
            ServerModel::Fixed => Some(self.end * self.bias),
            ServerModel::Optimistic => Some(t + self.half * left),
            ServerModel::Extrapolated
            | ServerModel::TwoPhases
            | ServerModel::Pieces
            | ServerModel::SlowLastPhase => extrapolated(progress),
            ServerModel::QueueThenRun => {
                let running = t > self.queued;
                running.then(|| t + left * (1.0 + self.rng.normal(0.0, 0.05)))
            }
            ServerModel::FiveMinutes => {
                grain = 1.0;
                let eta = t + left * (1.0 + self.rng.normal(0.0, 0.1));
                // Five minutes of the clock: the first poll is at 60 s.
                Some(((eta + 60.0) / 300.0).ceil() * 300.0 - 60.0)
            }
            ServerModel::Noisy | ServerModel::HeavyTail => Some(t + left * self.noise(t)),
            ServerModel::ProgressOnly => None,
            ServerModel::Blind => {
                progress = 0.0;
                None
            }
            ServerModel::ToTheSecond => {
                grain = 1.0;
                progress = 0.0;
                Some(self.end)
            }
            ServerModel::Minutes => {
                grain = 60.0;
                Some(t + left * self.noise(t) + 30.0)
            }
            ServerModel::AlwaysLate => Some(self.end * (1.0 + 0.5 * self.half)),
            ServerModel::StuckExtrapolation => {
                // The ETA is recomputed at every tenth of the progress only.
                let step = (progress / 10.0).floor() * 10.0;
                (step > 0.0).then(|| {
                    let at = self.queued + step / 100.0 * (self.end - self.queued);
                    let slow =
                        1.0 + 0.3 * (self.bias - 1.0).clamp(-1.0, 1.0) * (1.0 - step / 100.0);
                    at + (self.end - at) * slow
                })
            }
            ServerModel::ExactNearTheEnd => Some(if t < 0.7 * self.end {
                self.end * self.bias
            } else {
                self.end
            }),
            ServerModel::ZeroToHundred => {
                progress = 0.0;
                Some(t + left * self.noise(t))
            }
            ServerModel::ClockOffset => Some(self.end + 3.0),
            ServerModel::SmoothedRate => {
                // The error shrinks as the work is done.
                let done = self.done(t);
                Some(t + left * (1.0 + (self.bias - 1.0) * (1.0 - done)))
            }
            ServerModel::Restated => {
                // A noisy ETA is recomputed every twentieth of the time.
                let due = self.last_eta.is_none_or(|(at, _)| t - at > 0.05 * self.end);
                if due {
                    let eta = t + left * self.noise(t);
                    self.last_eta = Some((t, eta));
                }
                self.last_eta.map(|(_, eta)| eta)
            }
        };
        Some(JobStatus {
            eta: eta.map(|eta| (eta / grain).trunc() * grain),
            progress,
        })
    }
}
