//! What the tests of the core share: limits at their defaults, a scripted watch, dice from a seed.

use std::time::Duration;

use super::{Answer, Context, Effects, Input, Next, Rng, Watch};
use crate::event::{Event, WatchId};
use crate::job::JobState;
use crate::limits::{JobFailed, Limits};
use crate::schedule::{Calibration, Policy, Rules};
use crate::status::Status;
use crate::time::Moment;
use crate::verdict::{ErrorKind, PollError};

/// The one-shot's defaults.
pub fn limits() -> Limits {
    Limits {
        schedule: Rules {
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

/// splitmix64: small, and the same everywhere.
pub struct SeededRng(pub u64);

impl Rng for SeededRng {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// 2024-01-01T00:00:00Z, the moment at which every story starts.
pub const EPOCH_S: i64 = 1_704_067_200;

/// One watch and the world around it, told as a story: `at(5).running(40)`, and then what was told.
pub struct Story {
    pub limits: Limits,
    pub alone: bool,
    pub watch: Watch,
    pub now: Moment,
    pub told: Vec<Event>,
    pub next: Next,
    memory: Calibration,
    rng: SeededRng,
}

impl Story {
    pub fn of(job: &str) -> Self {
        let now = Moment {
            up_ms: 1_000,
            wall_ms: EPOCH_S * 1000,
        };
        let watch = Watch::new(WatchId([7; 16]), job.parse().unwrap(), None, now);
        Self {
            limits: limits(),
            alone: true,
            watch,
            now,
            told: Vec::new(),
            next: Next::Wait { until: now.up_ms },
            memory: Calibration::default(),
            rng: SeededRng(1),
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

    pub fn take(mut self, input: Input) -> Self {
        assert!(
            !matches!(self.next, Next::End { .. }),
            "nothing may happen after an end"
        );
        let cx = Context {
            now: self.now,
            server_now_ms: self.now.wall_ms,
            limits: &self.limits,
            memory: &self.memory,
            backoff: |failures| {
                Duration::from_secs(1 << failures.clamp(1, 9) >> 1).min(Duration::from_secs(300))
            },
            alone: self.alone,
        };
        let (watch, Effects { events, next, .. }) = self.watch.step(input, &cx, &mut self.rng);
        self.watch = watch;
        self.told.extend(events);
        self.next = next;
        self
    }

    pub fn answer(self, status: Status) -> Self {
        let server_now_ms = self.now.wall_ms;
        self.take(Input::Answered(Box::new(Answer {
            status,
            server_now_ms,
            at_least: Duration::ZERO,
        })))
    }

    pub fn state(self, state: JobState, progress: f32) -> Self {
        self.answer(Status {
            state: Some(state),
            progress: Some(progress),
            ..Status::default()
        })
    }

    pub fn running(self, progress: f32) -> Self {
        self.state(JobState::Running, progress)
    }

    pub fn fails(self, kind: ErrorKind) -> Self {
        self.take(Input::Failed(error(kind)))
    }

    /// The names of the events so far, without `job.`.
    pub fn types(&self) -> Vec<&'static str> {
        self.told
            .iter()
            .map(|e| e.kind.as_str().trim_start_matches("job."))
            .collect()
    }

    pub fn last(&self) -> &Event {
        self.told.last().unwrap()
    }

    /// Milliseconds until the next `Due`.
    pub fn wait(&self) -> u64 {
        match self.next {
            Next::Wait { until } => until.saturating_sub(self.now.up_ms),
            ref other => panic!("it does not wait: {other:?}"),
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

/// What a finished job teaches.
pub fn samples() -> crate::schedule::Samples {
    let story = Story::of("diff/7")
        .take(Input::Due)
        .running(10.0)
        .at(5)
        .running(50.0)
        .at(10)
        .running(100.0);
    match story.next {
        Next::End {
            samples: Some(samples),
            ..
        } => samples,
        ref other => panic!("it goes on: {other:?}"),
    }
}
