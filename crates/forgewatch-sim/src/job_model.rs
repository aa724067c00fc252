//! Where a job truly stands at a time. Pure: seconds of the script since the job was born in, a standing out.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::eta::Eta;
use super::fault::Fault;
use super::values::Count;
use forgewatch_core::job::{JobRef, JobState};

/// A job as [`super::job_text`] has checked it. Times are seconds of the script since its birth.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) name: JobRef,
    pub(super) start: Start,
    /// From the start to the birth: until then the job is not there (404).
    pub(super) appears_after: f64,
    /// From birth to end.
    pub(super) duration: f64,
    /// How long of that it waits for its turn.
    pub(super) queued: f64,
    pub(super) ending: Ending,
    pub(super) eta: Eta,
    /// The server rounds its ETA down to a multiple of so many seconds.
    pub(super) grain: f64,
    /// The bend of the progress: 1 is a line, above it starts slowly, below it starts fast.
    pub(super) bend: f64,
    /// By time, none during another.
    pub(super) set_backs: Vec<SetBack>,
    pub(super) stalls: Vec<Stall>,
    pub(super) shape: Shape,
    pub(super) files: FileCounts,
    pub(super) names: Names,
    pub(super) faults: Vec<Fault>,
}

/// When a job's time begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    #[default]
    FirstRequest,
    ServerStart,
}

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
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

/// How answers are spelled; see [`super::answer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    #[default]
    Plain,
    Strings,
    Sparse,
}

/// How many files a finished diff lists.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileCounts {
    pub(super) added: Count,
    pub(super) modified: Count,
    pub(super) removed: Count,
}

/// The names `diff_info=1` asks for.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) game: String,
    pub(super) image: String,
    pub(super) machine: String,
}

/// State and progress go backwards, stay there a while, and go on from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetBack {
    pub(super) at: f64,
    pub(super) until: f64,
    pub(super) state: JobState,
    pub(super) progress: u8,
    /// `jobfailed` from then on, as servers that count failures tell it.
    pub(super) jobfailed: u32,
}

/// Nothing moves from `at` to `until`; the end stays where it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub(super) at: f64,
    pub(super) until: f64,
}

/// What is true of a job at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing<'a> {
    pub(super) state: JobState,
    /// 0 to 100.
    pub(super) progress: u8,
    pub(super) jobfailed: u32,
    pub(super) error: Option<&'a str>,
    /// Whether it has left the queue.
    pub(super) started: bool,
    pub(super) ended: bool,
    /// When it last changed, as far as the server tells.
    pub(super) updated: f64,
}

impl Job {
    /// Where the job stands `t` seconds after its birth.
    pub(super) fn standing(&self, t: f64) -> Standing<'_> {
        if t >= self.duration {
            return self.end();
        }
        let stall = self.stalls.iter().find(|s| s.at <= t && t < s.until);
        let t = stall.map_or(t, |s| s.at);
        let back = self.set_backs.iter().rev().find(|b| b.at <= t);
        let mut standing = Standing {
            state: JobState::Running,
            progress: self.progress(t),
            jobfailed: back.map_or(0, |b| b.jobfailed),
            error: None,
            started: t >= self.queued,
            ended: false,
            updated: t,
        };
        if let Some(back) = back.filter(|b| t < b.until) {
            standing.state = back.state;
        } else if t < self.queued {
            standing.state = JobState::Queued;
            standing.updated = 0.0;
        }
        standing
    }

    /// Percent done at `t`, before the end: along the bend from the queue, or from the last set-back, to the end.
    fn progress(&self, t: f64) -> u8 {
        let (from, base) = match self.set_backs.iter().rev().find(|b| b.at <= t) {
            Some(back) => (back.until, f64::from(back.progress)),
            None => (self.queued, 0.0),
        };
        let share = ((t - from).max(0.0) / (self.duration - from)).powf(self.bend);
        (base + (100.0 - base) * share).min(99.0) as u8
    }

    fn end(&self) -> Standing<'_> {
        let (state, progress, error) = match &self.ending {
            Ending::Completed => (JobState::Completed, 100, None),
            Ending::Failed { error } => (JobState::Failed, 99, Some(error.as_str())),
            Ending::Squashed => (JobState::Squashed, 99, None),
            Ending::JobfailedOnly { error } => (JobState::Running, 99, Some(error.as_str())),
            Ending::ProgressOnly => (JobState::Running, 100, None),
        };
        let before = self.set_backs.last().map_or(0, |b| b.jobfailed);
        Standing {
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

impl fmt::Display for Job {
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

    fn job(lines: &str) -> Job {
        let text = format!("[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\nbend = 1.0\n{lines}");
        Script::parse(&text).unwrap().jobs.remove(0)
    }

    /// Where a job stands at these seconds: state, progress, and when it last changed.
    fn story(job: &Job, at: &[f64]) -> Vec<(JobState, u8, f64)> {
        let standing = |t: &f64| job.standing(*t);
        at.iter()
            .map(standing)
            .map(|s| (s.state, s.progress, s.updated))
            .collect()
    }

    #[test]
    fn a_job_waits_runs_and_ends() {
        use JobState::{Completed, Queued, Running};
        assert_eq!(
            story(
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
    fn a_set_back_goes_backwards_stays_there_and_goes_on_to_the_same_end() {
        use JobState::{Completed, Queued, Running};
        let job = job(
            "set_back = [{ at = \"50s\", for = \"10s\", to_state = \"queued\", progress = 20, jobfailed = 1 }]",
        );
        assert_eq!(
            story(&job, &[49.0, 50.0, 59.0, 60.0, 80.0, 100.0]),
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
            .map(|t| job.standing(*t).jobfailed)
            .collect();
        assert_eq!(failures, [0, 1, 1, 1]);
    }

    #[test]
    fn nothing_moves_in_a_stall_and_the_end_stays_where_it_was() {
        use JobState::{Completed, Running};
        let job = job("stall = [{ at = \"30s\", for = \"20s\" }, { at = \"90s\", for = \"1h\" }]");
        assert_eq!(
            story(&job, &[30.0, 49.0, 50.0, 95.0, 100.0]),
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
        fn progress_is_a_percentage_and_the_past_is_the_past(t in 0.0..300.0, bend in 0.1..10.0) {
            let mut job = job("queued = \"7s\"\nset_back = [{ at = \"30s\", progress = 3 }]");
            job.bend = bend;
            let standing = job.standing(t);
            prop_assert!(standing.progress <= 100);
            prop_assert!(standing.updated <= t);
            prop_assert_eq!(standing.ended, t >= 100.0);
            prop_assert_eq!(standing.ended, standing.progress == 100);
        }
    }
}
