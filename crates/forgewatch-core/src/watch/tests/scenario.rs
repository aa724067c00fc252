//! A watch that follows a script.

use std::time::Duration;

use crate::event::{Event, WatchId};
use crate::job::JobState;
use crate::limits::Limits;
use crate::rng::SeededRng;
use crate::schedule::Calibration;
use crate::status::Status;
use crate::time::Moment;
use crate::verdict::ErrorKind;
use crate::watch::fixtures::{EPOCH_S, error, limits};
use crate::watch::{Context, Effects, FreshStatus, Input, Next, Watch};

/// A scripted watch: `at(5).running(40)` polls it after 5 s with a status; `events` are those emitted so far.
pub(in crate::watch) struct Scenario {
    pub(in crate::watch) limits: Limits,
    pub(in crate::watch) refusal_is_global: bool,
    pub(in crate::watch) watch: Watch,
    pub(in crate::watch) now: Moment,
    pub(in crate::watch) events: Vec<Event>,
    pub(in crate::watch) next: Next,
    pub(in crate::watch) calibration: Calibration,
    rng: SeededRng,
}

impl Scenario {
    pub(in crate::watch) fn of(job: &str) -> Self {
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

    pub(in crate::watch) fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Moves the clocks to this many seconds after the start.
    pub(in crate::watch) fn at(mut self, seconds: u64) -> Self {
        self.now = Moment {
            up_ms: 1_000 + seconds * 1_000,
            wall_ms: (EPOCH_S + seconds.cast_signed()) * 1_000,
        };
        self
    }

    pub(in crate::watch) fn step(mut self, input: Input) -> Self {
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

    pub(in crate::watch) fn status(self, status: Status) -> Self {
        let server_now_ms = self.now.wall_ms;
        self.step(Input::Status(Box::new(FreshStatus {
            status,
            server_now_ms,
            min_wait: Duration::ZERO,
        })))
    }

    pub(in crate::watch) fn state(self, state: JobState, progress: f32) -> Self {
        self.status(Status {
            state: Some(state),
            progress: Some(progress),
            ..Status::default()
        })
    }

    pub(in crate::watch) fn running(self, progress: f32) -> Self {
        self.state(JobState::Running, progress)
    }

    pub(in crate::watch) fn error(self, kind: ErrorKind) -> Self {
        self.step(Input::Error(error(kind)))
    }

    /// The types of the events so far, without `job.`.
    pub(in crate::watch) fn types(&self) -> Vec<&'static str> {
        self.events
            .iter()
            .map(|e| e.kind.as_str().trim_start_matches("job."))
            .collect()
    }

    pub(in crate::watch) fn last(&self) -> &Event {
        self.events.last().unwrap()
    }

    /// Milliseconds until the next `Due` or `Deadline`.
    pub(in crate::watch) fn wait(&self) -> u64 {
        match self.next {
            Next::Wait { until, deadline } => until.min(deadline).saturating_sub(self.now.up_ms),
            ref other => panic!("not waiting: {other:?}"),
        }
    }
}
