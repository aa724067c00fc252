//! An event of every type, as the engine emits them, and rows for the bars.

use std::sync::Arc;
use std::time::Duration;

use crate::report::{JobRow, Style};
use forgewatch_core::event::{
    Event, EventFields, EventId, EventOrigin, EventType, FailedDelivery, FinishedCounts, JobMeta,
    Lag, WatchId,
};
use forgewatch_core::job::{JobState, Outcome, Reason};
use forgewatch_core::schedule::Unusual;
use forgewatch_core::status::{DiffFiles, DiffNames, FileSum};
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::verdict::ErrorKind;

/// A `joberror` written by an attacker.
pub(super) const HOSTILE: &str =
    "copy\n<0>forged\n::error::x ##[error]y ##teamcity[z]\x1b[2J\u{9b}1m\u{202e}txt";

/// The context of a traced pipeline.
pub(super) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// ASCII, without a terminal.
pub(super) const PLAIN: Style = Style {
    color: false,
    unicode: false,
    bars: false,
    sentences: false,
    title: false,
    tab_progress: false,
};

/// A modern terminal, without color.
pub(super) const MODERN: Style = Style {
    color: false,
    unicode: true,
    bars: true,
    sentences: true,
    title: false,
    tab_progress: false,
};

fn job(kind: EventType, seq: u32, fields: EventFields) -> Event {
    Event {
        id: EventId {
            watch: WatchId([0xa5; 16]),
            seq,
        },
        kind,
        wall_ms: 1_767_323_045_678 + i64::from(seq) * 1_000,
        job: Some("diff/1234".parse().unwrap()),
        meta: None,
        fields,
    }
}

pub(super) fn failure(error: &str) -> Event {
    job(
        EventType::Ended(Outcome::Failed),
        9,
        EventFields {
            state: Some(JobState::Failed),
            previous_state: Some(JobState::Running),
            progress: Some(45),
            error_message: Some(error.to_owned()),
            requests: Some(14),
            elapsed_ms: Some(121_500),
            ..EventFields::default()
        },
    )
}

fn on(state: JobState, progress: u8) -> EventFields {
    EventFields {
        state: Some(state),
        progress: Some(progress),
        requests: Some(7),
        elapsed_ms: Some(83_000),
        ..EventFields::default()
    }
}

fn running(progress: u8) -> EventFields {
    on(JobState::Running, progress)
}

fn expected(fields: EventFields, eta_seconds: i64) -> EventFields {
    EventFields {
        eta: Some(1_767_323_100 + eta_seconds),
        left: TimeLeft::new(Some(eta_seconds), None),
        ..fields
    }
}

fn poll_error(error: &str, kind: ErrorKind, http_status: Option<u16>) -> EventFields {
    EventFields {
        error_message: Some(error.to_owned()),
        error_kind: Some(kind),
        http_status,
        ..running(40)
    }
}

fn transitions() -> Vec<(EventType, EventFields)> {
    let changed = |from, to| EventFields {
        previous_state: Some(from),
        ..to
    };
    let frozen = EventFields {
        state_name: Some("Frozen\x1b[1m".to_owned()),
        ..on(JobState::Unknown(12), 1)
    };
    let hostile = "HTTP 503 from <html>\n::stop-commands::x";
    let kinds = [
        (EventType::Watching, expected(on(JobState::Queued, 0), 480)),
        (
            EventType::StateChanged,
            changed(JobState::Queued, expected(running(1), 470)),
        ),
        (EventType::StateChanged, changed(JobState::Running, frozen)),
        (
            EventType::Progressed,
            EventFields {
                left: TimeLeft {
                    eta_seconds: Some(130),
                    estimate_low_ms: Some(100_000),
                    estimate_high_ms: Some(200_000),
                },
                ..expected(running(40), 130)
            },
        ),
        (
            EventType::EtaSlipped,
            EventFields {
                left: TimeLeft {
                    eta_seconds: Some(720),
                    estimate_low_ms: Some(900_000),
                    estimate_high_ms: Some(2_400_000),
                },
                ..expected(running(41), 720)
            },
        ),
        (
            EventType::Stalled,
            EventFields {
                stalled_ms: Some(1_800_000),
                ..expected(running(41), -180)
            },
        ),
        (EventType::Resumed, running(42)),
        (
            EventType::Slow,
            EventFields {
                run_ms: Some(4_000_000),
                usual_ms: Some(1_260_000),
                ..running(42)
            },
        ),
        (
            EventType::Unreachable,
            poll_error(hostile, ErrorKind::Server, Some(503)),
        ),
        (EventType::Reachable, running(42)),
    ];
    let with_next_poll = |fields| EventFields {
        next_poll_ms: Some(12_400),
        ..fields
    };
    kinds
        .into_iter()
        .map(|(kind, fields)| (kind, with_next_poll(fields)))
        .collect()
}

fn ends() -> Vec<(EventType, EventFields)> {
    let sum = |count, bytes| FileSum { count, bytes };
    let completed = EventFields {
        detection_delay_ms: Some(870),
        queued_ms: Some(12_000),
        run_ms: Some(483_000),
        usual_ms: Some(240_000),
        unusual: Some(Unusual::Slow),
        files: Some(DiffFiles {
            added: sum(1_204, 3_412_000_000),
            modified: sum(3, 999_999),
            removed: sum(0, 0),
        }),
        ..on(JobState::Completed, 100)
    };
    let left = |reason| {
        let fields = EventFields {
            reason: Some(reason),
            ..running(60)
        };
        (Outcome::Abandoned(reason), fields)
    };
    let refused = poll_error("HTTP 401", ErrorKind::Unauthorized, Some(401));
    let gave_up = poll_error("connection refused", ErrorKind::Connect, None);
    let ends = [
        (Outcome::Completed, completed),
        (Outcome::Squashed, on(JobState::Squashed, 12)),
        (
            Outcome::NotFound,
            poll_error("HTTP 404", ErrorKind::NotFound, Some(404)),
        ),
        (Outcome::Refused, refused),
        (Outcome::TimedOut, expected(running(77), 40)),
        (Outcome::GaveUp, gave_up),
        (Outcome::Removed, running(3)),
        left(Reason::FailFast),
        left(Reason::Interrupted),
    ];
    ends.into_iter()
        .map(|(outcome, fields)| (EventType::Ended(outcome), fields))
        .collect()
}

/// One of every type; two of those with two forms.
pub(super) fn every_event() -> Vec<Event> {
    let mut events: Vec<Event> = (1..)
        .zip(transitions().into_iter().chain(ends()))
        .map(|(seq, (kind, fields))| job(kind, seq, fields))
        .collect();
    events.push(failure(HOSTILE));
    if let Some(first) = events.first_mut() {
        first.meta = Some(Arc::new(JobMeta {
            labels: [("build".to_owned(), "8812".to_owned())].into(),
            names: DiffNames {
                game: Some("Space\nGame".to_owned()),
                image: Some("live".to_owned()),
                machine: Some("build-7".to_owned()),
            },
        }));
    }
    events.insert(0, watch_event(EventType::WatchStarted, 1, None));
    let counts = FinishedCounts {
        completed: 3,
        failed: 1,
        squashed: 1,
        outcome: "failed",
        ..FinishedCounts::default()
    };
    events.push(watch_event(EventType::WatchFinished, 2, Some(counts)));
    events.push(hook_failed());
    events.push(watch_event(EventType::WatchReloaded, 4, None));
    events.push(lagged());
    if let Some(last) = events.last_mut() {
        last.fields.test = true;
    }
    for event in &mut events {
        event.fields.origin = EventOrigin {
            instance: Some("build01".into()),
            trace: TRACE.parse().ok(),
        };
    }
    events
}

fn lagged() -> Event {
    let fields = EventFields {
        lag: Some(Box::new(Lag {
            lines_dropped: 3,
            first_dropped: format!("{}-4", WatchId([0xa5; 16])),
            last_dropped: format!("{}-6", WatchId([0xa5; 16])),
        })),
        ..EventFields::default()
    };
    Event {
        job: None,
        ..job(EventType::WatchLagged, 5, fields)
    }
}

fn hook_failed() -> Event {
    let fields = EventFields {
        error_message: Some("exit status 3".to_owned()),
        delivery: Some(Box::new(FailedDelivery {
            hook: "chat".to_owned(),
            delivery: format!("{}-9/chat", WatchId([0xa5; 16])),
            attempt: 9,
            exit_status: Some(3),
            what: "job.failed of diff/1234".to_owned(),
            of_hook_failed: false,
        })),
        ..EventFields::default()
    };
    Event {
        job: None,
        ..job(EventType::HookFailed, 3, fields)
    }
}

fn watch_event(kind: EventType, seq: u32, counts: Option<FinishedCounts>) -> Event {
    Event {
        job: None,
        ..job(
            kind,
            seq,
            EventFields {
                jobs: Some(5),
                elapsed_ms: Some(483_000),
                counts,
                ..EventFields::default()
            },
        )
    }
}

pub(super) fn row(job: &str, state: JobState, progress: f32, left: u64) -> JobRow {
    JobRow {
        job: job.parse().unwrap(),
        state: Some(state),
        progress: Some(progress),
        left: TimeLeft {
            estimate_low_ms: Some(left * 800),
            estimate_high_ms: Some(left * 1_200),
            ..TimeLeft::default()
        },
        next_poll: Some(Duration::from_secs(left / 10)),
        outcome: None,
        unreachable: false,
        stalled: false,
        labels: String::new(),
        since_status: Duration::ZERO,
        poll_error: None,
        elapsed: Duration::from_mins(1),
    }
}

/// A handful of jobs in different states.
pub(super) fn handful() -> Vec<JobRow> {
    vec![
        row("diff/1234", JobState::Running, 45.9, 130),
        row("update/77", JobState::Running, 99.99, 4),
        JobRow {
            left: TimeLeft::default(),
            progress: None,
            ..row("diff/1235", JobState::Queued, 0.0, 30)
        },
        JobRow {
            unreachable: true,
            poll_error: Some("HTTP 503 Service Unavailable: \u{1b}[31mbusy (server)".to_owned()),
            ..row("update/78", JobState::Running, 12.0, 7_500)
        },
        JobRow {
            state: None,
            progress: None,
            left: TimeLeft::default(),
            next_poll: Some(Duration::ZERO),
            ..row("update/79", JobState::Created, 0.0, 0)
        },
        JobRow {
            outcome: Some(Outcome::Completed),
            ..row("diff/1236", JobState::Completed, 100.0, 0)
        },
    ]
}

/// Forty jobs: three ended, one unreachable, the others running or queued.
pub(super) fn forty() -> Vec<JobRow> {
    let of = |i: u16| {
        let state = if i % 4 == 3 {
            JobState::Queued
        } else {
            JobState::Running
        };
        let mut row = row(
            &format!("diff/{}", 4_000 + i),
            state,
            f32::from(i),
            600 - 10 * u64::from(i),
        );
        if state == JobState::Queued {
            row.left = TimeLeft::default();
        }
        row.unreachable = i == 6;
        row.outcome = match i {
            0 | 1 => Some(Outcome::Completed),
            2 => Some(Outcome::Failed),
            _ => None,
        };
        row
    };
    (0..40).map(of).collect()
}
