//! What a daemon says: jobs in every state, deliveries, polls; some of it up to no good.

use forgewatch::control::protocol::{Answer, DeliveryLine, JobLine, JobShown, Stands};
use forgewatch_core::job::JobRef;
use forgewatch_core::poll_log::{Poll, PollResult, WaitReason};
use forgewatch_core::schedule::{Source, Why};
use serde_json::value::RawValue;

use crate::fixture::wall;

pub(crate) fn job(name: &str) -> JobRef {
    name.parse().unwrap()
}

/// A job about which nothing is known yet.
pub(crate) fn unasked(name: &str) -> JobLine {
    JobLine {
        job: job(name),
        watch: "a5".repeat(16),
        labels: [].into(),
        state: None,
        progress: None,
        left_ms: None,
        next_poll_ms: Some(0),
        requests: 0,
        unreachable: false,
        outcome: None,
        began_ms: None,
        ended_ms: None,
    }
}

pub(crate) fn running(name: &str) -> JobLine {
    JobLine {
        labels: [("build", "8812"), ("stage", "live")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        state: Some("running".to_owned()),
        progress: Some(40),
        left_ms: Some(129_300),
        next_poll_ms: Some(11_200),
        requests: 7,
        began_ms: Some(wall(0)),
        ..unasked(name)
    }
}

/// Jobs in every state, the last with a label that is up to no good.
pub(crate) fn jobs() -> Vec<JobLine> {
    let hostile = "\x1b[2J\u{202e}::error::x\nforged   1".to_owned();
    vec![
        running("diff/1234"),
        JobLine {
            unreachable: true,
            ..running("update/77")
        },
        unasked("diff/18446744073709551615"),
        JobLine {
            labels: [("note".to_owned(), hostile)].into(),
            next_poll_ms: None,
            left_ms: None,
            state: Some("completed".to_owned()),
            outcome: Some("completed".to_owned()),
            ended_ms: Some(wall(9)),
            ..running("diff/7")
        },
    ]
}

pub(crate) fn delivery() -> DeliveryLine {
    DeliveryLine {
        id: format!("{}-3/chat", "a5".repeat(16)),
        hook: "chat".to_owned(),
        event_type: "job.failed".to_owned(),
        job: Some(job("diff/1234")),
        attempts: 8,
        standing: Stands::Failed,
        due_ms: None,
        error: Some("exit status 1: \x1b[31mno\nroute".to_owned()),
    }
}

/// These, and there are no more.
pub(crate) fn deliveries(lines: Vec<DeliveryLine>) -> Answer {
    Answer::Deliveries { lines, more: 0 }
}

pub(crate) fn shown() -> JobShown {
    let record = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let mut estimates = [None; Source::ALL.len()];
    estimates[Source::Eta as usize] = Some(130.0);
    estimates[Source::Progress as usize] = Some(128.0);
    let why = WaitReason::Forecast(Why {
        estimates,
        weighs_most: Some(Source::Eta),
        ..Why::default()
    });
    let poll = |at, brought, next_poll_ms, why| Poll {
        wall_ms: wall(at),
        brought,
        next_poll_ms,
        why,
    };
    let refused = PollResult::Failure {
        error: "the server is busy \x1b[2J".to_owned(),
        error_kind: "rate_limited".into(),
        http_status: Some(429),
    };
    let status = PollResult::Status {
        state: Some("running".into()),
        progress: Some(40),
        eta_seconds: Some(-30),
    };
    JobShown {
        line: running("diff/1234"),
        why: Some(why),
        events: vec![
            record(
                r#"{"timestamp":"2027-01-15T08:00:00.000Z","event_type":"job.watching","message":"diff/1234 is running at 10 %"}"#,
            ),
            record(
                r#"{"timestamp":"2027-01-15T08:00:01.000Z","event_type":"job.unreachable","message":"diff/1234 cannot be asked","error":"\u001b[2J429"}"#,
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
