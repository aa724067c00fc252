//! The results of a run, one per job, as reports and annotations show them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job_row::outcome_word;
use super::text::untrusted_error;
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::{JobRef, Outcome, Reason};

/// What a result means for a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildResult {
    Passed,
    /// The job itself ended badly.
    Failed,
    /// The job's end was not seen.
    Error,
    /// The job has no result, which is no problem of this run.
    Skipped,
}

/// One job: how it ended, and the last event about it.
#[derive(Clone, Debug, Default)]
pub struct JobResult {
    /// None if the run did not wait for its end.
    pub outcome: Option<Outcome>,
    /// An error without an event. Untrusted text.
    error: Option<String>,
    pub(super) last: Option<Event>,
}

/// A job whose end is a problem of the run, as an annotation shows it. Both texts are untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProblem {
    pub title: String,
    pub message: String,
}

/// The end of the run.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// The name of the exit status, as in `watch.finished`.
    pub outcome: &'static str,
    pub exit_status: u8,
    /// The start of the run, Unix milliseconds.
    pub began_ms: i64,
    pub elapsed: Duration,
    /// One sentence for people.
    pub message: String,
}

impl RunEnd {
    /// The end that a `watch.finished` reports, of a run that began at this wall time.
    pub fn of(finished: &Event, exit_status: u8, began_ms: i64) -> Self {
        let fields = &finished.fields;
        Self {
            outcome: fields.counts.map_or("", |counts| counts.outcome),
            exit_status,
            began_ms,
            elapsed: Duration::from_millis(fields.elapsed_ms.unwrap_or(0)),
            message: finished.message(),
        }
    }
}

#[derive(Debug)]
pub struct RunResults {
    /// What a squashed job means.
    squashed: BuildResult,
    pub(super) jobs: BTreeMap<JobRef, JobResult>,
}

impl RunResults {
    pub fn new(squashed: BuildResult) -> Self {
        let jobs = BTreeMap::new();
        Self { squashed, jobs }
    }

    pub fn add(&mut self, jobs: impl IntoIterator<Item = JobRef>) {
        self.jobs
            .extend(jobs.into_iter().map(|job| (job, JobResult::default())));
    }

    pub fn on_event(&mut self, event: &Event) {
        if let Some(job) = event.job
            && event.kind != EventType::HookFailed
        {
            let result = self.jobs.entry(job).or_default();
            if let EventType::Ended(outcome) = event.kind {
                result.outcome = Some(outcome);
            }
            result.last = Some(event.clone());
        }
    }

    /// A job has ended without an event.
    pub fn end(&mut self, job: JobRef, outcome: Outcome, error: Option<String>) {
        let result = self.jobs.entry(job).or_default();
        (result.outcome, result.error) = (Some(outcome), error);
    }

    /// The jobs without an outcome.
    pub fn active(&self) -> Vec<JobRef> {
        let active = self.jobs.iter().filter(|(_, job)| job.outcome.is_none());
        active.map(|(&job, _)| job).collect()
    }

    /// The problems that no event has reported.
    pub fn unreported_problems(&self) -> Vec<JobProblem> {
        let unreported = self.jobs.iter().filter(|(_, result)| {
            result.ending_event().is_none()
                && matches!(
                    self.build_result(result),
                    BuildResult::Failed | BuildResult::Error
                )
        });
        unreported
            .map(|(&job, result)| JobProblem::of(job, result))
            .collect()
    }

    pub(super) fn build_result(&self, result: &JobResult) -> BuildResult {
        match result.outcome {
            Some(Outcome::Completed) => BuildResult::Passed,
            Some(Outcome::Failed) => BuildResult::Failed,
            Some(Outcome::Squashed) => self.squashed,
            Some(Outcome::Abandoned(Reason::FailFast)) | None => BuildResult::Skipped,
            Some(_) => BuildResult::Error,
        }
    }
}

impl JobResult {
    fn ending_event(&self) -> Option<&Event> {
        let event = self.last.as_ref()?;
        matches!(event.kind, EventType::Ended(_)).then_some(event)
    }

    /// The outcome, or the state if the run did not wait for the end.
    pub(super) fn word(&self) -> &'static str {
        self.outcome.map_or("not waited for", outcome_word)
    }

    /// What happened, in one sentence of forgewatch.
    pub(super) fn sentence(&self, job: JobRef) -> String {
        let event = self.ending_event().map(Event::message);
        event.unwrap_or_else(|| format!("{job} {}", self.word()))
    }

    /// `joberror`, or the error of polling. Untrusted text.
    pub(super) fn error(&self) -> Option<String> {
        let event = self.ending_event().and_then(untrusted_error);
        event.or_else(|| self.error.clone())
    }

    pub(super) fn elapsed(&self) -> Option<Duration> {
        let event = self.last.as_ref()?;
        event.fields.elapsed_ms.map(Duration::from_millis)
    }
}

impl JobProblem {
    fn of(job: JobRef, result: &JobResult) -> Self {
        Self {
            title: format!("{job} {}", result.word()),
            message: result.error().unwrap_or_else(|| result.sentence(job)),
        }
    }

    /// The problem that the event reports, if it is one.
    pub(super) fn of_event(event: &Event) -> Option<Self> {
        let title = match (event.kind, event.job) {
            (EventType::Ended(outcome), Some(job)) => format!("{job} {}", outcome_word(outcome)),
            (EventType::HookFailed, _) => "hook delivery failed".to_owned(),
            _ => return None,
        };
        let message = match (event.kind, untrusted_error(event)) {
            (EventType::HookFailed, Some(error)) => format!("{}: {error}", event.message()),
            (_, error) => error.unwrap_or_else(|| event.message()),
        };
        Some(Self { title, message })
    }
}
