//! How a job goes: its true state, a pure function of the seconds since the job appeared, and the ETAs that the server
//! reports of it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::script::fault::ScriptedFault;
use crate::script::value::NonNegative;
use forgewatch_core::job::{JobRef, JobState};
use forgewatch_core::rng::SeededRng;

/// Time constant of the noise of [`EtaModel::Noisy`], in seconds: responses closer together have similar errors.
const NOISE_DECAY: f64 = 60.0;

/// A checked job of the script. Times are seconds of the script since the job appeared.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedJob {
    pub(crate) name: JobRef,
    pub(crate) start: StartTrigger,
    /// Until then, counted from the start, requests get 404.
    pub(crate) appears_after: f64,
    pub(crate) duration: f64,
    /// The part of `duration` that the job is queued.
    pub(crate) queued: f64,
    pub(crate) ending: Ending,
    /// The `joberror` of the ending, if it has one.
    pub(crate) error: Option<String>,
    pub(crate) eta: EtaSettings,
    /// Reported ETAs are rounded down to multiples of so many seconds.
    pub(crate) eta_rounding: f64,
    /// Exponent of progress over time: 1 is linear, a larger one starts slowly, a smaller one fast.
    pub(crate) progress_curve: f64,
    /// In order of time, without overlap.
    pub(crate) setbacks: Vec<Setback>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) json_style: JsonStyle,
    pub(crate) files: FileCounts,
    pub(crate) names: ScriptedNames,
    pub(crate) faults: Vec<ScriptedFault>,
}

/// When the time of a job begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StartTrigger {
    #[default]
    FirstRequest,
    ServerStart,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// State 5, progress 100.
    #[default]
    Completed,
    /// State 6, `jobfailed` 1, and a text.
    Failed,
    /// State 7.
    Squashed,
    /// `jobfailed` 1 and a text, while the state stays running.
    JobfailedOnly,
    /// Progress 100, while the state stays running.
    ProgressOnly,
}

/// How responses are written; see [`super::status_json`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JsonStyle {
    #[default]
    Plain,
    Strings,
    Sparse,
}

/// Number of files that a finished diff lists.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileCounts {
    pub(crate) added: NonNegative,
    pub(crate) modified: NonNegative,
    pub(crate) removed: NonNegative,
}

/// The names that `diff_info=1` requests.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedNames {
    pub(crate) game: String,
    pub(crate) image: String,
    pub(crate) machine: String,
}

/// State and progress go backwards at `at`, stay there until `until`, then continue from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setback {
    pub(crate) at: f64,
    pub(crate) until: f64,
    pub(crate) state: JobState,
    pub(crate) progress: u8,
    /// `jobfailed` from then on, as reported by servers that count failures.
    pub(crate) jobfailed: u32,
}

/// Nothing changes from `at` to `until`; the end of the job stays the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) at: f64,
    pub(crate) until: f64,
}

/// The true state of a job at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobSnapshot<'a> {
    pub(crate) state: JobState,
    /// 0 to 100.
    pub(crate) progress: u8,
    pub(crate) jobfailed: u32,
    pub(crate) error: Option<&'a str>,
    /// It has left the queue.
    pub(crate) started: bool,
    pub(crate) ended: bool,
    /// Time of the last reported change.
    pub(crate) updated: f64,
}

impl ScriptedJob {
    pub(crate) fn snapshot(&self, t: f64) -> JobSnapshot<'_> {
        if t >= self.duration {
            return self.end();
        }
        let stalls = self.stalls.iter().find(|s| s.at <= t && t < s.until);
        let t = stalls.map_or(t, |s| s.at);
        let back = self.setbacks.iter().rev().find(|b| b.at <= t);
        let mut snapshot = JobSnapshot {
            state: JobState::Running,
            progress: self.progress(t),
            jobfailed: back.map_or(0, |b| b.jobfailed),
            error: None,
            started: t >= self.queued,
            ended: false,
            updated: t,
        };
        if let Some(back) = back.filter(|b| t < b.until) {
            snapshot.state = back.state;
        } else if t < self.queued {
            snapshot.state = JobState::Queued;
            snapshot.updated = 0.0;
        }
        snapshot
    }

    /// Percent at `t`, before the end: along the curve from the end of the queue, or of the last setback.
    fn progress(&self, t: f64) -> u8 {
        let (from, base) = match self.setbacks.iter().rev().find(|b| b.at <= t) {
            Some(back) => (back.until, f64::from(back.progress)),
            None => (self.queued, 0.0),
        };
        let share = ((t - from).max(0.0) / (self.duration - from)).powf(self.progress_curve);
        (base + (100.0 - base) * share).min(99.0) as u8
    }

    fn end(&self) -> JobSnapshot<'_> {
        let (state, progress) = match self.ending {
            Ending::Completed => (JobState::Completed, 100),
            Ending::Failed => (JobState::Failed, 99),
            Ending::Squashed => (JobState::Squashed, 99),
            Ending::JobfailedOnly => (JobState::Running, 99),
            Ending::ProgressOnly => (JobState::Running, 100),
        };
        let before = self.setbacks.last().map_or(0, |b| b.jobfailed);
        JobSnapshot {
            state,
            progress,
            jobfailed: before + u32::from(self.error.is_some()),
            error: self.error.as_deref(),
            started: true,
            ended: true,
            updated: self.duration,
        }
    }
}

impl fmt::Display for ScriptedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match self.ending {
            Ending::Completed => "completes",
            Ending::Failed => "fails",
            Ending::Squashed => "is squashed",
            Ending::JobfailedOnly => "fails, its state stays running",
            Ending::ProgressOnly => "reaches 100%, its state stays running",
        };
        let duration = humantime::format_duration(Duration::from_secs_f64(self.duration));
        write!(f, "{}  {ending} after {duration}", self.name)
    }
}

/// How reported ETAs deviate from the true end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EtaModel {
    #[default]
    Exact,
    /// The remaining time times a factor: log-normal with deviation `spread`, correlated in time.
    Noisy,
    /// `bias` times the true duration, never corrected.
    Fixed,
    /// Always too early: `fraction` of the remaining time.
    Optimistic,
    /// Extrapolated from the progress so far, at a constant rate.
    Extrapolated,
    /// Progress, but no ETA.
    ProgressOnly,
    /// Neither progress nor ETA.
    Hidden,
}

/// A model, and the parameters of all models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EtaSettings {
    pub(crate) model: EtaModel,
    pub(crate) spread: f64,
    pub(crate) bias: f64,
    pub(crate) fraction: f64,
}

/// The reported ETAs of one job: its model, and the noise kept between responses.
#[derive(Clone, Debug)]
pub(crate) struct EtaPredictor {
    eta: EtaSettings,
    rng: SeededRng,
    /// Time and value of the last draw.
    noise: Option<(f64, f64)>,
}

impl EtaPredictor {
    pub(crate) fn new(eta: EtaSettings, rng: SeededRng) -> Self {
        Self {
            eta,
            rng,
            noise: None,
        }
    }

    /// The ETA reported at `t` for a job that left the queue at `queued` and ends at `end`, if the model reports one.
    pub(crate) fn predict(&mut self, t: f64, queued: f64, end: f64, progress: u8) -> Option<f64> {
        match self.eta.model {
            EtaModel::Exact => Some(end),
            EtaModel::Noisy => Some(t + (end - t) * self.next_noise(t).exp()),
            EtaModel::Fixed => Some(end * self.eta.bias),
            EtaModel::Optimistic => Some(t + self.eta.fraction * (end - t)),
            EtaModel::Extrapolated => (progress > 0).then(|| {
                let done = f64::from(progress);
                t + (t - queued).max(0.0) * (100.0 - done) / done
            }),
            EtaModel::ProgressOnly | EtaModel::Hidden => None,
        }
    }

    pub(crate) fn reports_progress(&self) -> bool {
        self.eta.model != EtaModel::Hidden
    }

    /// The next value of an Ornstein-Uhlenbeck process: the noise depends on time, not on the number of requests.
    fn next_noise(&mut self, t: f64) -> f64 {
        let innovation = self.rng.normal(0.0, self.eta.spread);
        let x = match self.noise {
            None => innovation,
            Some((before, x)) => {
                let kept = (-(t - before).max(0.0) / NOISE_DECAY).exp();
                kept * x + (1.0 - kept * kept).sqrt() * innovation
            }
        };
        self.noise = Some((t, x));
        x
    }
}

#[cfg(test)]
#[path = "job_model_tests.rs"]
mod tests;
