//! Fixtures of tests: default limits, a scripted watch, seeded random numbers.

use std::time::Duration;

use super::{Context, Effects, FreshStatus, Input, Next, Watch};
use crate::event::{Event, EventOrigin, WatchId};
use crate::job::JobState;
use crate::limits::{JobFailed, Limits};
use crate::rng::SeededRng;
use crate::schedule::{Calibration, Policy, ScheduleSettings};
use crate::status::Status;
use crate::time::Moment;
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

/// A scripted watch: `at(5).running(40)` polls it after 5 s with a status; `events` are those emitted so far.
pub struct Scenario {
    pub limits: Limits,
    pub refusal_is_global: bool,
    pub watch: Watch,
    pub now: Moment,
    pub events: Vec<Event>,
    pub next: Next,
    pub(super) calibration: Calibration,
    rng: SeededRng,
}

impl Scenario {
    pub fn of(job: &str) -> Self {
        let now = Moment {
            up_ms: 1_000,
            wall_ms: EPOCH_S * 1000,
        };
        let watch = Watch::new(WatchId([7; 16]), job.parse().unwrap(), None, now);
        Self {
            limits: limits(),
            refusal_is_global: true,
            watch,
            now,
            events: Vec::new(),
            next: Next::Wait {
                until: now.up_ms,
                deadline: u64::MAX,
            },
            calibration: Calibration::default(),
            rng: SeededRng::new(1),
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Moves the clocks to this many seconds after the start.
    pub fn at(mut self, seconds: u64) -> Self {
        self.now = Moment {
            up_ms: 1_000 + seconds * 1_000,
            wall_ms: (EPOCH_S + seconds.cast_signed()) * 1_000,
        };
        self
    }

    pub fn step(mut self, input: Input) -> Self {
        assert!(
            !matches!(self.next, Next::End { .. }),
            "no input after an end"
        );
        let cx = Context {
            now: self.now,
            server_now_ms: self.now.wall_ms,
            limits: &self.limits,
            calibration: &self.calibration,
            refusal_is_global: self.refusal_is_global,
        };
        let (watch, Effects { events, next, .. }) = self.watch.step(input, &cx, &mut self.rng);
        self.watch = watch;
        self.events.extend(events);
        self.next = next;
        self
    }

    pub fn status(self, status: Status) -> Self {
        let server_now_ms = self.now.wall_ms;
        self.step(Input::Status(Box::new(FreshStatus {
            status,
            server_now_ms,
            min_wait: Duration::ZERO,
        })))
    }

    pub fn state(self, state: JobState, progress: f32) -> Self {
        self.status(Status {
            state: Some(state),
            progress: Some(progress),
            ..Status::default()
        })
    }

    pub fn running(self, progress: f32) -> Self {
        self.state(JobState::Running, progress)
    }

    pub fn error(self, kind: ErrorKind) -> Self {
        self.step(Input::Error(error(kind)))
    }

    /// The types of the events so far, without `job.`.
    pub fn types(&self) -> Vec<&'static str> {
        self.events
            .iter()
            .map(|e| e.kind.as_str().trim_start_matches("job."))
            .collect()
    }

    pub fn last(&self) -> &Event {
        self.events.last().unwrap()
    }

    /// Milliseconds until the next `Due` or `Deadline`.
    pub fn wait(&self) -> u64 {
        match self.next {
            Next::Wait { until, deadline } => until.min(deadline).saturating_sub(self.now.up_ms),
            ref other => panic!("not waiting: {other:?}"),
        }
    }
}

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
