//! The true state of a job at a time, as a pure function of the seconds since the job appeared.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::eta::EtaModel;
use crate::script::fault::ScriptedFault;
use crate::script::value::NonNegative;
use forgewatch_core::job::{JobRef, JobState};

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
    pub(crate) eta: EtaModel,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// State 5, progress 100.
    Completed,
    /// State 6, `jobfailed` 1, and a text.
    Failed { error: String },
    /// State 7.
    Squashed,
    /// `jobfailed` 1 and a text, while the state stays running.
    JobfailedOnly { error: String },
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
        let (state, progress, error) = match &self.ending {
            Ending::Completed => (JobState::Completed, 100, None),
            Ending::Failed { error } => (JobState::Failed, 99, Some(error.as_str())),
            Ending::Squashed => (JobState::Squashed, 99, None),
            Ending::JobfailedOnly { error } => (JobState::Running, 99, Some(error.as_str())),
            Ending::ProgressOnly => (JobState::Running, 100, None),
        };
        let before = self.setbacks.last().map_or(0, |b| b.jobfailed);
        JobSnapshot {
            state,
            progress,
            jobfailed: before + u32::from(error.is_some()),
            error,
            started: true,
            ended: true,
            updated: self.duration,
        }
    }
}

impl fmt::Display for ScriptedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match &self.ending {
            Ending::Completed => "completes",
            Ending::Failed { .. } => "fails",
            Ending::Squashed => "is squashed",
            Ending::JobfailedOnly { .. } => "fails, its state stays running",
            Ending::ProgressOnly => "reaches 100 %, its state stays running",
        };
        let duration = humantime::format_duration(Duration::from_secs_f64(self.duration));
        write!(f, "{}  {ending} after {duration}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Script;

    fn job(lines: &str) -> ScriptedJob {
        let text = format!(
            "[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\nprogress_curve = 1.0\n{lines}"
        );
        Script::parse(&text).unwrap().jobs.remove(0)
    }

    /// State, progress and time of the last change at these seconds.
    fn snapshots(job: &ScriptedJob, at: &[f64]) -> Vec<(JobState, u8, f64)> {
        let snapshot = |t: &f64| job.snapshot(*t);
        at.iter()
            .map(snapshot)
            .map(|s| (s.state, s.progress, s.updated))
            .collect()
    }

    #[test]
    fn a_job_is_queued_runs_and_ends() {
        use JobState::{Completed, Queued, Running};
        assert_eq!(
            snapshots(
                &job("queued = \"20s\""),
                &[0.0, 19.0, 20.0, 60.0, 99.9, 100.0, 500.0]
            ),
            [
                (Queued, 0, 0.0),
                (Queued, 0, 0.0),
                (Running, 0, 20.0),
                (Running, 50, 60.0),
                (Running, 99, 99.9),
                (Completed, 100, 100.0),
                (Completed, 100, 100.0)
            ]
        );
    }

    #[test]
    fn a_setback_goes_backwards_and_ends_at_the_same_time() {
        use JobState::{Completed, Queued, Running};
        let job = job(
            "setbacks = [{ at = \"50s\", for = \"10s\", state = \"queued\", progress = 20, jobfailed = 1 }]",
        );
        assert_eq!(
            snapshots(&job, &[49.0, 50.0, 59.0, 60.0, 80.0, 100.0]),
            [
                (Running, 49, 49.0),
                (Queued, 20, 50.0),
                (Queued, 20, 59.0),
                (Running, 20, 60.0),
                (Running, 60, 80.0),
                (Completed, 100, 100.0)
            ]
        );
        let failures: Vec<u32> = [49.0, 55.0, 70.0, 100.0]
            .iter()
            .map(|t| job.snapshot(*t).jobfailed)
            .collect();
        assert_eq!(failures, [0, 1, 1, 1]);
    }

    #[test]
    fn nothing_changes_during_a_stall_and_the_end_stays_the_same() {
        use JobState::{Completed, Running};
        let job = job("stalls = [{ at = \"30s\", for = \"20s\" }, { at = \"90s\", for = \"1h\" }]");
        assert_eq!(
            snapshots(&job, &[30.0, 49.0, 50.0, 95.0, 100.0]),
            [
                (Running, 30, 30.0),
                (Running, 30, 30.0),
                (Running, 50, 50.0),
                (Running, 90, 90.0),
                (Completed, 100, 100.0)
            ]
        );
    }

    proptest! {
        #[test]
        fn progress_is_a_percentage_and_updates_are_in_the_past(t in 0.0..300.0, progress_curve in 0.1..10.0) {
            let mut job = job("queued = \"7s\"\nsetbacks = [{ at = \"30s\", progress = 3 }]");
            job.progress_curve = progress_curve;
            let snapshot = job.snapshot(t);
            prop_assert!(snapshot.progress <= 100);
            prop_assert!(snapshot.updated <= t);
            prop_assert_eq!(snapshot.ended, t >= 100.0);
            prop_assert_eq!(snapshot.ended, snapshot.progress == 100);
        }
    }
}
