//! Turns the daemon's values into responses of the control socket.

use forgewatch_core::delivery::{
    DeliveryId, DeliveryRow, DeliveryState, EventPayload, OpenDelivery, OpenState,
};
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::millis;
use forgewatch_core::watch::Watch;
use serde_json::value::RawValue;

use crate::control::protocol::{
    AddOutcome, AddedJob, DeliveryStatus, DeliverySummary, JobDetails, JobPage, JobSummary,
    RequestErrorKind, Response,
};
use crate::daemon::{
    AddResult, AddedWatch, DeliveryList, DeliveryReport, RequestFailure, WatchDetails, WatchPage,
    WatchReport,
};

pub(super) fn respond<T>(
    result: Result<T, RequestFailure>,
    response: impl FnOnce(T) -> Response,
) -> Response {
    result.map_or_else(
        |error| {
            if let RequestFailure::Store(error) = &error {
                // Otherwise only the client would see it.
                tracing::error!(target: "forgewatch::daemon", %error, "a client's request failed");
            }
            let kind = match &error {
                RequestFailure::InvalidCursor(_) => RequestErrorKind::Invalid,
                RequestFailure::NotWatched(_) | RequestFailure::NoFailedDelivery(_) => {
                    RequestErrorKind::NotFound
                }
                RequestFailure::StillEnding(_)
                | RequestFailure::ServedElsewhere(_)
                | RequestFailure::UnknownHook(_) => RequestErrorKind::Conflict,
                RequestFailure::Entropy(_) | RequestFailure::Store(_) => RequestErrorKind::Failed,
            };
            Response::error_of(kind, error.to_string())
        },
        response,
    )
}

pub(super) fn added(watches: Vec<AddedWatch>) -> Response {
    let added = |added: AddedWatch| {
        let outcome = match added.result {
            AddResult::Started => AddOutcome::Started,
            AddResult::AlreadyWatched => AddOutcome::AlreadyWatched,
            AddResult::Ended(outcome) => AddOutcome::Ended(outcome),
        };
        let (job, watch) = (added.job, added.watch.to_string());
        let is_new = outcome == AddOutcome::Started;
        tracing::debug!(target: "forgewatch::daemon", %job, watch, is_new, "added by a client");
        AddedJob {
            job,
            watch,
            outcome,
        }
    };
    Response::Added(watches.into_iter().map(added).collect())
}

pub(super) fn jobs(page: WatchPage) -> Response {
    Response::Jobs(JobPage {
        jobs: page.watches.into_iter().map(summary).collect(),
        next: page.next.map(|id| id.to_string()),
    })
}

pub(super) fn job(details: WatchDetails) -> Response {
    Response::Job(Box::new(JobDetails {
        summary: summary(details.report),
        next_poll_reason: details.next_poll_reason,
        events: details
            .events
            .into_iter()
            .filter_map(|event| RawValue::from_string(event.record).ok())
            .collect(),
        polls: details.polls,
        deliveries: details
            .deliveries
            .into_iter()
            .filter_map(delivery)
            .collect(),
    }))
}

pub(super) fn deliveries(list: DeliveryList) -> Response {
    Response::Deliveries {
        deliveries: list.deliveries.into_iter().filter_map(delivery).collect(),
        omitted: list.omitted,
    }
}

fn summary(report: WatchReport) -> JobSummary {
    let WatchReport {
        watch, left, at, ..
    } = report;
    let running = report.is_running.then_some(&watch);
    let error = running.and_then(Watch::poll_error);
    JobSummary {
        job: watch.job(),
        watch: watch.id().to_string(),
        labels: watch
            .meta()
            .map(|meta| meta.labels.clone())
            .unwrap_or_default(),
        state: watch.state().map(|state| state.as_str().to_owned()),
        progress: watch.progress().map(whole_percent),
        estimated_progress: running.and_then(|watch| {
            let estimated = left.estimated_progress(watch.progress()?, watch.since_status(at));
            Some(whole_percent(estimated))
        }),
        left,
        next_poll_ms: running.map(|watch| millis(watch.next_poll_in(at))),
        requests: watch.requests(),
        unreachable: report.is_running && watch.is_unreachable(),
        stalled: report.is_running && watch.is_stalled(),
        error_message: error.map(|(_, message)| message.to_owned()),
        error_kind: error.map(|(kind, _)| kind.to_string()),
        outcome: report.outcome,
        started_at_ms: watch.first_poll_wall_ms(),
        ended_at_ms: report.ended_wall_ms,
    }
}

/// None if the stored payload is unreadable.
fn delivery(report: DeliveryReport) -> Option<DeliverySummary> {
    match report {
        DeliveryReport::Open(delivery) => Some(open_delivery(delivery)),
        DeliveryReport::Stored(row) => stored_delivery(row),
    }
}

fn open_delivery(delivery: OpenDelivery) -> DeliverySummary {
    let (state, due_at_ms) = match delivery.state {
        OpenState::Pending { due_ms } => (DeliveryStatus::Pending, Some(due_ms)),
        OpenState::Running => (DeliveryStatus::Running, None),
    };
    DeliverySummary {
        state,
        due_at_ms,
        error_message: delivery.last_failure.map(|why| why.error),
        ..line(&delivery.id, &delivery.payload, delivery.attempts)
    }
}

fn stored_delivery(row: DeliveryRow) -> Option<DeliverySummary> {
    let payload = EventPayload::parse(row.body).ok()?;
    let (state, due_at_ms, error_message) = match row.state {
        DeliveryState::Pending { due_ms } => (DeliveryStatus::Pending, Some(due_ms), None),
        DeliveryState::Failed(why) => (DeliveryStatus::Failed, None, Some(why.error)),
        DeliveryState::Delivered => (DeliveryStatus::Delivered, None, None),
        DeliveryState::Discarded => (DeliveryStatus::Discarded, None, None),
    };
    Some(DeliverySummary {
        state,
        due_at_ms,
        error_message,
        ..line(&row.id, &payload, row.attempts)
    })
}

fn line(id: &DeliveryId, payload: &EventPayload, attempts: u32) -> DeliverySummary {
    DeliverySummary {
        id: id.to_string(),
        hook: id.hook.to_string(),
        event_type: payload.kind().to_owned(),
        job: payload.job(),
        attempts,
        state: DeliveryStatus::Pending,
        due_at_ms: None,
        error_message: None,
    }
}
