//! The page of one job: facts, timeline, events, polls, deliveries.

use serde::Serialize;

use super::list_page::JobCells;
use super::timeline::{EventRecord, Timeline, events, timeline};
use super::{DeliveryCells, RenderError, inert, render};
use crate::control::protocol::JobDetails;
use forgewatch_core::poll_log::{PollRecord, PollResult, WaitReason};
use forgewatch_core::time::rfc3339_ms;

/// The variables of the template.
#[derive(Serialize)]
struct JobVariables {
    rows_only: bool,
    instance: String,
    version: &'static str,
    job: JobCells,
    facts: Vec<(&'static str, String)>,
    timeline: Option<Timeline>,
    events: Vec<EventRow>,
    polls: Vec<PollRow>,
    deliveries: Vec<DeliveryCells>,
    omitted: usize,
}

#[derive(Serialize)]
struct EventRow {
    time: String,
    kind: String,
    message: String,
    error: Option<String>,
}

#[derive(Serialize)]
struct PollRow {
    time: String,
    result: String,
    is_error: bool,
    next: String,
    why: String,
}

/// Renders the page of a job.
///
/// # Errors
/// The template is wrong.
pub(in crate::http_api) fn job_page(
    job: &JobDetails,
    instance: &str,
    now_ms: i64,
) -> Result<String, RenderError> {
    let records = events(&job.events);
    let deliveries = job.deliveries.iter();
    render(&JobVariables {
        rows_only: false,
        instance: inert(instance),
        version: env!("CARGO_PKG_VERSION"),
        job: JobCells::of(&job.summary),
        facts: facts(job),
        timeline: timeline(job, &records, now_ms),
        events: records.iter().map(event_row).collect(),
        // The newest first.
        polls: job.polls.iter().rev().map(poll_row).collect(),
        deliveries: deliveries
            .map(|delivery| DeliveryCells::of(delivery, now_ms))
            .collect(),
        omitted: 0,
    })
}

fn facts(job: &JobDetails) -> Vec<(&'static str, String)> {
    let summary = &job.summary;
    let row = JobCells::of(summary);
    let why = job.next_poll_reason;
    let next = row.next.as_str();
    let next_poll = why.map(|why| match next {
        "now" => format!("now: {}", why.sentence()),
        _ => format!("in {next}: {}", why.sentence()),
    });
    let estimates = why.map(|why: WaitReason| why.estimates().join("; "));
    let error = summary.error_message.as_deref().map(inert);
    [
        ("Time left", Some(row.left)),
        ("Next poll", next_poll),
        ("Estimates", estimates),
        ("Error", error),
        ("Labels", Some(row.labels)),
        ("Polls", Some(summary.requests.to_string())),
        ("First poll", summary.started_at_ms.map(rfc3339_ms)),
        ("Ended", summary.ended_at_ms.map(rfc3339_ms)),
        ("Watch", Some(inert(&summary.watch))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.filter(|text| !text.is_empty())?)))
    .collect()
}

fn event_row(event: &EventRecord) -> EventRow {
    EventRow {
        time: inert(&event.timestamp),
        kind: inert(&event.event_type),
        message: inert(&event.message),
        error: event.error_message.as_deref().map(inert),
    }
}

fn poll_row(poll: &PollRecord) -> PollRow {
    PollRow {
        time: rfc3339_ms(poll.wall_ms),
        result: inert(&poll.result.text()),
        is_error: matches!(poll.result, PollResult::Error { .. }),
        next: poll.next_poll(),
        why: poll.next_poll_reason.sentence(),
    }
}
