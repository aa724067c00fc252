//! Sample responses: jobs in every state, deliveries, polls; some with hostile text.

use forgewatch::control::protocol::{
    DeliveryStatus, DeliverySummary, JobDetails, JobPage, JobSummary, Response,
};
use forgewatch_core::job::JobRef;
use forgewatch_core::poll_log::{PollRecord, PollResult, WaitReason};
use forgewatch_core::schedule::{EstimateSource, ForecastBasis};
use forgewatch_core::time_left::TimeLeft;
use serde_json::value::RawValue;

use crate::fixture::wall;

pub(crate) fn job(name: &str) -> JobRef {
    name.parse().unwrap()
}

/// A job that was not polled yet.
pub(crate) fn unpolled(name: &str) -> JobSummary {
    JobSummary {
        job: job(name),
        watch: "a5".repeat(16),
        labels: [].into(),
        state: None,
        progress: None,
        estimated_progress: None,
        left: TimeLeft::default(),
        next_poll_ms: Some(0),
        requests: 0,
        unreachable: false,
        stalled: false,
        error_message: None,
        error_kind: None,
        outcome: None,
        started_at_ms: None,
        ended_at_ms: None,
    }
}

pub(crate) fn running(name: &str) -> JobSummary {
    JobSummary {
        labels: [("build", "8812"), ("stage", "live")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        state: Some("running".to_owned()),
        progress: Some(40),
        estimated_progress: Some(64),
        left: TimeLeft {
            eta_seconds: Some(129),
            estimate_low_ms: Some(110_000),
            estimate_high_ms: Some(160_000),
        },
        next_poll_ms: Some(11_200),
        requests: 7,
        started_at_ms: Some(wall(0)),
        ..unpolled(name)
    }
}

/// The only page of a list.
pub(crate) fn listing(jobs: Vec<JobSummary>) -> Response {
    Response::Jobs(JobPage { jobs, next: None })
}

/// Jobs in every state, oldest watch first, one with a hostile label.
pub(crate) fn jobs() -> Vec<JobSummary> {
    let hostile = "\x1b[2J\u{202e}::error::x\nforged   1".to_owned();
    vec![
        running("diff/1234"),
        JobSummary {
            unreachable: true,
            error_message: Some("HTTP 503 Service Unavailable".to_owned()),
            error_kind: Some("server".to_owned()),
            started_at_ms: Some(wall(1)),
            ..running("update/77")
        },
        JobSummary {
            labels: [("note".to_owned(), hostile)].into(),
            next_poll_ms: None,
            left: TimeLeft::default(),
            state: Some("completed".to_owned()),
            outcome: Some("completed".to_owned()),
            started_at_ms: Some(wall(2)),
            ended_at_ms: Some(wall(9)),
            ..running("diff/7")
        },
        unpolled("diff/18446744073709551615"),
    ]
}

pub(crate) fn delivery() -> DeliverySummary {
    DeliverySummary {
        id: format!("{}-3/chat", "a5".repeat(16)),
        hook: "chat".to_owned(),
        event_type: "job.failed".to_owned(),
        job: Some(job("diff/1234")),
        attempts: 8,
        state: DeliveryStatus::Failed,
        due_at_ms: None,
        error_message: Some("exit status 1: \x1b[31mno\nroute".to_owned()),
    }
}

/// A complete list of deliveries.
pub(crate) fn deliveries(lines: Vec<DeliverySummary>) -> Response {
    Response::Deliveries {
        deliveries: lines,
        omitted: 0,
    }
}

pub(crate) fn shown() -> JobDetails {
    let record = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let mut estimates = [None; EstimateSource::ALL.len()];
    estimates[EstimateSource::Eta as usize] = Some(130.0);
    estimates[EstimateSource::Progress as usize] = Some(128.0);
    let why = WaitReason::Forecast(ForecastBasis {
        estimates,
        main_source: Some(EstimateSource::Eta),
        ..ForecastBasis::default()
    });
    let poll = |at, result, next_poll_ms, next_poll_reason| PollRecord {
        wall_ms: wall(at),
        result,
        next_poll_ms,
        next_poll_reason,
    };
    let refused = PollResult::Error {
        error_message: "the server is busy \x1b[2J".to_owned(),
        error_kind: "rate_limited".into(),
        http_status: Some(429),
    };
    let status = PollResult::Status {
        state: Some("running".into()),
        progress: Some(40),
        eta_seconds: Some(-30),
    };
    JobDetails {
        summary: running("diff/1234"),
        next_poll_reason: Some(why),
        events: vec![
            record(
                r#"{"timestamp":"2027-01-15T08:00:00.000Z","event_type":"job.watching","message":"diff/1234 is running at 10%"}"#,
            ),
            record(
                r#"{"timestamp":"2027-01-15T08:00:01.000Z","event_type":"job.unreachable","message":"diff/1234 is unreachable","error_message":"\u001b[2J429"}"#,
            ),
            record(r#"{"something":"else"}"#),
        ],
        polls: vec![
            poll(1, refused, 60_000, WaitReason::RetryAfter),
            poll(61, status, 11_400, why),
        ],
        deliveries: vec![delivery()],
    }
}
