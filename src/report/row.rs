//! A job as the bars and the heartbeat show it.

use std::time::Duration;

use forgewatch_core::job::{JobRef, JobState, Outcome};
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Watch;

#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    pub job: JobRef,
    /// None before the first status.
    pub state: Option<JobState>,
    /// Percent, 0 to 100.
    pub progress: Option<f32>,
    /// The estimated time left.
    pub left: Option<Duration>,
    /// The time until the next poll.
    pub next_poll: Option<Duration>,
    pub outcome: Option<Outcome>,
    pub unreachable: bool,
    /// The time since the first poll.
    pub elapsed: Duration,
}

impl JobRow {
    pub fn of(watch: &Watch, now: Moment) -> Self {
        let since = watch
            .first_poll_at()
            .map_or(0, |at| now.up_ms.saturating_sub(at));
        Self {
            job: watch.job(),
            state: watch.state(),
            progress: watch.progress(),
            left: watch.estimated_left(now),
            next_poll: Some(watch.next_poll_in(now)),
            outcome: None,
            unreachable: watch.is_unreachable(),
            elapsed: Duration::from_millis(since),
        }
    }

    /// A job that has ended, without further data.
    pub fn ended(job: JobRef, outcome: Outcome) -> Self {
        Self {
            job,
            state: None,
            progress: None,
            left: None,
            next_poll: None,
            outcome: Some(outcome),
            unreachable: false,
            elapsed: Duration::ZERO,
        }
    }

    /// The outcome or state, or `unreachable`.
    pub(super) fn word(&self) -> &'static str {
        match (self.outcome, self.unreachable, self.state) {
            (Some(outcome), _, _) => outcome_word(outcome),
            (None, true, _) => "unreachable",
            (None, false, Some(state)) => state.as_str(),
            (None, false, None) => "starting",
        }
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
