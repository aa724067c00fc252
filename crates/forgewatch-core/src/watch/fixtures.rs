//! Fixtures of tests: default limits, failed polls.

use std::time::Duration;

use super::Input;
use crate::event::EventOrigin;
use crate::limits::{JobFailed, Limits};
use crate::schedule::{Policy, ScheduleSettings};
use crate::verdict::{ErrorKind, PollError};

/// The one-shot's defaults.
pub fn limits() -> Limits {
    Limits {
        origin: EventOrigin::default(),
        schedule: ScheduleSettings {
            policy: Policy::Inspection,
            request_cost: Duration::from_secs(1),
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(600),
        },
        progress_step: 10,
        stalled_after: Duration::from_secs(1800),
        unreachable_after: Duration::from_secs(120),
        not_found_grace: Duration::from_secs(60),
        give_up_after: Some(Duration::from_secs(600)),
        jobfailed: JobFailed::Flag,
        diff_info: true,
        refusal_ends: true,
    }
}

/// 2024-01-01T00:00:00Z, the start of every scenario.
pub const EPOCH_S: i64 = 1_704_067_200;

pub fn error(kind: ErrorKind) -> PollError {
    let http_status = match kind {
        ErrorKind::NotFound => Some(404),
        ErrorKind::Unauthorized => Some(401),
        ErrorKind::Server => Some(503),
        _ => None,
    };
    PollError {
        kind,
        http_status,
        message: format!("a scripted {kind}"),
        retry_after: None,
    }
}

/// The API is down.
pub fn suspended() -> Input {
    Input::Suspended {
        error: error(ErrorKind::Server),
        until: None,
    }
}
