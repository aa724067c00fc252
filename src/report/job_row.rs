//! A job as bars, heartbeats and totals show it.

use std::time::Duration;

use forgewatch_core::event::labels_text;
use forgewatch_core::job::{JobRef, JobState, Outcome};
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::{Moment, millis};
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::watch::Watch;

/// The least width of a column of job names.
pub(super) const NAME: usize = 12;

/// A job as the bars and the heartbeat show it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    pub job: JobRef,
    /// None before the first status.
    pub state: Option<JobState>,
    /// Percent, 0 to 100.
    pub progress: Option<f32>,
    pub left: TimeLeft,
    /// The time since the last status.
    pub since_status: Duration,
    /// The time until the next poll.
    pub next_poll: Option<Duration>,
    pub outcome: Option<Outcome>,
    pub unreachable: bool,
    pub stalled: bool,
    /// For people: `build=8812,stage=live`.
    pub labels: String,
    /// Why the job cannot be polled at the moment. Untrusted text.
    pub poll_error: Option<String>,
    /// The time since the first poll.
    pub elapsed: Duration,
}

impl JobRow {
    pub fn of(watch: &Watch, left: TimeLeft, now: Moment) -> Self {
        let since = watch
            .first_poll_at()
            .map_or(0, |at| now.up_ms.saturating_sub(at));
        Self {
            job: watch.job(),
            state: watch.state(),
            progress: watch.progress(),
            left,
            since_status: watch.since_status(now),
            next_poll: Some(watch.next_poll_in(now)),
            outcome: None,
            unreachable: watch.is_unreachable(),
            stalled: watch.is_stalled(),
            labels: watch
                .meta()
                .map_or_else(String::new, |meta| labels_text(&meta.labels)),
            poll_error: watch
                .poll_error()
                .map(|(kind, message)| format!("{message} ({kind})")),
            elapsed: Duration::from_millis(since),
        }
    }

    /// A job without a status.
    pub fn starting(job: JobRef) -> Self {
        Self {
            job,
            state: None,
            progress: None,
            left: TimeLeft::default(),
            since_status: Duration::ZERO,
            next_poll: None,
            outcome: None,
            unreachable: false,
            stalled: false,
            labels: String::new(),
            poll_error: None,
            elapsed: Duration::ZERO,
        }
    }

    /// A job that has ended, without further data.
    pub fn ended(job: JobRef, outcome: Outcome) -> Self {
        Self {
            outcome: Some(outcome),
            ..Self::starting(job)
        }
    }

    /// The outcome or state, or `unreachable` or `stalled`.
    pub(super) fn word(&self) -> &'static str {
        match (self.outcome, self.state) {
            (Some(outcome), _) => outcome_word(outcome),
            (None, _) if self.unreachable => "unreachable",
            (None, _) if self.stalled => "stalled",
            (None, Some(state)) => state.as_str(),
            (None, None) => "starting",
        }
    }

    /// The progress that a job may have reached since its last status, in percent.
    pub(super) fn estimated_progress(&self) -> f32 {
        let reported = self.progress.unwrap_or(0.0);
        if self.unreachable || self.stalled {
            return reported;
        }
        self.left.estimated_progress(reported, self.since_status)
    }

    /// The progress in whole percent.
    pub(super) fn percent(&self) -> Option<u8> {
        self.progress.map(whole_percent)
    }
}

pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::Squashed => "squashed",
        Outcome::NotFound => "not found",
        Outcome::Refused => "refused",
        Outcome::TimedOut => "timed out",
        Outcome::GaveUp => "gave up",
        Outcome::Removed => "removed",
        Outcome::Abandoned(_) => "abandoned",
    }
}

/// The `room` most important jobs, in the order given: unreachable ones first, then those nearest to their end, then
/// those with the most progress.
pub(super) fn most_important<'a>(rows: &[&'a JobRow], room: usize) -> Vec<&'a JobRow> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    if rows.len() > room {
        order.sort_by_key(|&i| rows.get(i).map(|row| rank(row)));
        order.truncate(room);
        order.sort_unstable();
    }
    order.iter().filter_map(|&i| rows.get(i).copied()).collect()
}

fn rank(row: &JobRow) -> (u8, u64) {
    let remaining = row
        .progress
        .map_or(100, |p| (100.0 - p).clamp(0.0, 100.0) as u64);
    match (row.unreachable, row.left.latest(), row.state) {
        (true, ..) => (0, remaining),
        (_, Some(left), _) => (1, millis(left)),
        (_, None, Some(JobState::Running)) => (2, remaining),
        (_, None, Some(JobState::Queued)) => (3, remaining),
        (_, None, Some(_)) => (4, remaining),
        (_, None, None) => (5, remaining),
    }
}

/// The width of a column with the names of these jobs.
pub(super) fn name_width(rows: &[&JobRow]) -> usize {
    let names = rows.iter().map(|row| row.job.to_string().len());
    names.max().unwrap_or(0).max(NAME)
}
