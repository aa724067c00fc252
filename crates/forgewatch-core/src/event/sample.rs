//! Events that are made up, to test a hook and to check a template: each has the fields that its type usually has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Event, EventFields, EventId, EventOrigin, EventType, FailedDelivery, FinishedCounts, JobMeta,
    Lag,
};
use crate::job::{JobKind, JobRef, JobState, Outcome};
use crate::status::{DiffFiles, DiffNames, FileSum};
use crate::time_left::TimeLeft;
use crate::verdict::ErrorKind;

impl Event {
    /// An event of this type, marked as a test. Only an event about a job has `job` and `labels`.
    pub fn sample(
        id: EventId,
        kind: EventType,
        wall_ms: i64,
        job: JobRef,
        labels: BTreeMap<String, String>,
        origin: EventOrigin,
    ) -> Self {
        let fields = if kind.is_about_job() {
            job_fields(kind, job, wall_ms)
        } else {
            own_fields(kind, id)
        };
        let names = match job.kind {
            JobKind::Diff => DiffNames {
                game: Some("Farflung".to_owned()),
                image: Some("farflung-live".to_owned()),
                machine: Some("buildbox-1".to_owned()),
            },
            _ => DiffNames::default(),
        };
        Self {
            id,
            kind,
            wall_ms,
            job: kind.is_about_job().then_some(job),
            meta: kind
                .is_about_job()
                .then(|| Arc::new(JobMeta { labels, names })),
            fields: EventFields {
                origin,
                test: true,
                ..fields
            },
        }
    }
}

fn job_fields(kind: EventType, job: JobRef, wall_ms: i64) -> EventFields {
    let (state, progress) = match kind {
        EventType::Watching => (JobState::Queued, 0),
        EventType::Ended(Outcome::Completed) => (JobState::Completed, 100),
        EventType::Ended(Outcome::Failed) => (JobState::Failed, 45),
        EventType::Ended(Outcome::Squashed) => (JobState::Squashed, 45),
        _ => (JobState::Running, 40),
    };
    let error = match kind {
        EventType::Ended(Outcome::Failed) => Some(("disk full", None)),
        EventType::Unreachable | EventType::Ended(Outcome::GaveUp) => {
            Some(("HTTP 503", Some((ErrorKind::Server, 503))))
        }
        EventType::Ended(Outcome::NotFound) => Some(("HTTP 404", Some((ErrorKind::NotFound, 404)))),
        EventType::Ended(Outcome::Refused) => {
            Some(("HTTP 401", Some((ErrorKind::Unauthorized, 401))))
        }
        _ => None,
    };
    let polling = error.and_then(|(_, polling)| polling);
    let has_ended = matches!(kind, EventType::Ended(_));
    let is_new_state = matches!(kind, EventType::StateChanged | EventType::Ended(_));
    let sum = |count| FileSum {
        count,
        bytes: count * 1_000,
    };
    let left = TimeLeft {
        eta_seconds: Some(60),
        estimate_low_ms: Some(40_000),
        estimate_high_ms: Some(90_000),
    };
    let files = DiffFiles {
        added: sum(120),
        modified: sum(3400),
        removed: sum(15),
    };
    let is_full_diff = kind == EventType::Ended(Outcome::Completed) && job.kind == JobKind::Diff;
    EventFields {
        state: Some(state),
        previous_state: is_new_state.then_some(match kind {
            EventType::StateChanged => JobState::Queued,
            _ => JobState::Running,
        }),
        progress: Some(progress),
        eta: (!has_ended).then_some(wall_ms / 1_000 + 60),
        left: if has_ended { TimeLeft::default() } else { left },
        next_poll_ms: (!has_ended).then_some(2_000),
        error_message: error.map(|(message, _)| message.to_owned()),
        error_kind: polling.map(|(kind, _)| kind),
        http_status: polling.map(|(_, status)| status),
        reason: match kind {
            EventType::Ended(Outcome::Abandoned(reason)) => Some(reason),
            _ => None,
        },
        requests: Some(12),
        elapsed_ms: Some(90_000),
        stalled_ms: (kind == EventType::Stalled).then_some(1_800_000),
        usual_ms: (kind == EventType::Slow).then_some(60_000),
        detection_delay_ms: has_ended.then_some(500),
        queued_ms: has_ended.then_some(5_000),
        run_ms: (has_ended || kind == EventType::Slow).then_some(80_000),
        files: is_full_diff.then_some(files),
        ..EventFields::default()
    }
}

fn own_fields(kind: EventType, id: EventId) -> EventFields {
    let counts = FinishedCounts {
        completed: 2,
        failed: 1,
        outcome: "failed",
        ..FinishedCounts::default()
    };
    let delivery = FailedDelivery {
        hook: "next-step".to_owned(),
        delivery: format!("{id}/next-step"),
        attempt: 9,
        exit_status: Some(3),
        what: "job.failed of diff/1234".to_owned(),
        of_hook_failed: false,
    };
    let lag = Lag {
        lines_dropped: 3,
        first_dropped: id.to_string(),
        last_dropped: id.to_string(),
    };
    let is_of_jobs = matches!(
        kind,
        EventType::WatchStarted | EventType::WatchReloaded | EventType::WatchFinished
    );
    let is_failure = kind == EventType::HookFailed;
    EventFields {
        jobs: is_of_jobs.then_some(3),
        counts: (kind == EventType::WatchFinished).then_some(counts),
        elapsed_ms: is_of_jobs.then_some(90_000),
        error_message: is_failure.then(|| "exit status 3".to_owned()),
        delivery: is_failure.then(|| Box::new(delivery)),
        lag: (kind == EventType::WatchLagged).then(|| Box::new(lag)),
        ..EventFields::default()
    }
}
