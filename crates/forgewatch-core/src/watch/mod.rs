//! One job's state machine: what happened goes in, a new watch and its effects come out.
//!
//! [`Watch::step`] is a pure function. The engine calls it when a watch's timer falls due, when an answer or a
//! failure has arrived and when the user wants it ended; it commits what came out before anybody is told, and
//! if that fails it keeps the old watch, as if nothing had been asked. A watch that ended is gone: the engine
//! drops it, so nothing can follow an end.

mod on_error;
mod on_status;
mod persist;
#[cfg(test)]
mod properties;
mod step;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "test-fixtures"))]
#[allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "fixtures of tests"
)]
pub mod tests_support;

use std::num::NonZeroI64;
use std::sync::Arc;
use std::time::Duration;

pub use persist::{InvalidSavedWatch, outcome_of};

use super::event::{Event, JobMeta, WatchId};
use super::job::{JobId, JobKind, JobRef, JobState, Outcome};
use super::limits::Limits;
use super::poll_log::Poll;
use super::schedule::{Calibration, History, Samples};
use super::status::Status;
use super::time::{Moment, millis};
use super::verdict::{ErrorKind, PollError};
use step::Step;

/// A status, and what only the one who fetched it knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What the server told.
    pub status: Status,
    /// Now, by the clock that the server's times go by, Unix milliseconds.
    pub server_now_ms: i64,
    /// The least wait before this job is asked again: above zero where the answer was so large that asking
    /// often would be a burden.
    pub at_least: Duration,
}

/// What a step may look at besides the watch: shared by all watches of the process.
pub struct Context<'a> {
    /// When the input came.
    pub now: Moment,
    /// What the clock that the server's times go by shows then, Unix milliseconds.
    pub server_now_ms: i64,
    /// What the user asked for.
    pub limits: &'a Limits,
    /// What earlier jobs taught.
    pub memory: &'a Calibration,
    /// The longest wait after this many failures in a row, before jitter.
    pub backoff: fn(u8) -> Duration,
    /// Whether no other job was answered yet, and none still waits for its first answer.
    pub alone: bool,
}

/// Chance, handed in: the jitter of retries.
pub trait Rng {
    /// A number from 0 up to but not including 1, all equally likely.
    fn roll(&mut self) -> f64;
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment that the last step asked for has come.
    Due,
    /// It fell due, but the API as a whole is down and only a probe asks: as failed as if it had been asked.
    Held(ErrorKind),
    /// A request brought a status.
    Answered(Box<Answer>),
    /// A request brought none.
    Failed(PollError),
    /// It is to end now: removed, out of time, or left behind by a one-shot that stops.
    Stop(Outcome),
}

/// What follows from a step. Events first, then what is next.
#[derive(Debug)]
pub struct Effects {
    /// To be told, in this order, once the step is committed.
    pub events: Vec<Event>,
    /// What is kept of the request that came back, for people; None without one, and at an end.
    pub poll: Option<Poll>,
    /// What to do with the watch now.
    pub next: Next,
}

/// How a watch goes on.
#[derive(Debug)]
pub enum Next {
    /// Ask the job's status now and step with what comes of it. There is nothing to tell with it.
    Poll {
        /// Ask for the names of game, image and machine too.
        diff_info: bool,
    },
    /// Step with [`Input::Due`] at this `up_ms`.
    Wait {
        /// By the clock of [`Moment::up_ms`].
        until: u64,
    },
    /// It is over: drop the watch.
    End {
        /// How it ended.
        outcome: Outcome,
        /// What the end teaches, if it was the job's own.
        samples: Option<Samples>,
    },
}

/// One job being watched: all that is known of it between two answers, in about 200 bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    id: WatchId,
    /// The two parts of a [`JobRef`], apart because together they take eight bytes more.
    job_id: JobId,
    job_kind: JobKind,
    about: Option<Arc<JobMeta>>,
    /// Only while something is wrong, so that the many watches with nothing wrong stay small.
    trouble: Option<Box<ErrorState>>,
    trace: History,
    /// When the first request was made; counts once `requests` is above zero.
    first_poll: u64,
    /// The same as the wall's clock had it then, Unix milliseconds: what is told of it never changes.
    began: i64,
    /// When to ask next.
    poll_at: u64,
    /// When progress or `jobupdated` last moved.
    moved_at: u64,
    /// When the end is expected by our own best guess; 0 where there is none.
    expected: u64,
    state: Option<JobState>,
    updated: Option<NonZeroI64>,
    eta: Option<NonZeroI64>,
    /// The expected end that the next one is held against.
    slip: Option<Slip>,
    progress: Option<f32>,
    seq: u32,
    requests: u32,
    /// The highest step of progress told since the state last went backwards.
    told: u8,
    answered: bool,
    stalled: bool,
    asked_names: bool,
}

/// An expected end, and how long it was off when it was first believed. Unix seconds and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slip {
    eta: NonZeroI64,
    left: u32,
}

/// What is wrong with asking, since when, and what was told of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct ErrorState {
    /// Since when every request has failed, and with what the last one did.
    failing: Option<FailureStreak>,
    /// Failures in a row, for the retry schedule.
    failures: u8,
    /// 401 and 403 since the last answer.
    refusals: u8,
    /// 404 since the last answer, and when the first came.
    missing: u8,
    missing_since: u64,
    /// With `jobfailed = "count"`: when the state 6 was first seen.
    failed_since: Option<u64>,
    /// The server, or a refusal, wants it left alone until then, whoever asks.
    not_before: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct FailureStreak {
    since: u64,
    told: bool,
    held: bool,
    kind: ErrorKind,
    http_status: Option<u16>,
    message: String,
}

impl Watch {
    /// A watch of `job` that has not asked yet and is due at once.
    pub fn new(id: WatchId, job: JobRef, about: Option<Arc<JobMeta>>, now: Moment) -> Self {
        Self {
            id,
            job_id: job.id,
            job_kind: job.kind,
            about,
            trouble: None,
            trace: History::default(),
            first_poll: 0,
            began: 0,
            poll_at: now.up_ms,
            moved_at: now.up_ms,
            expected: 0,
            state: None,
            updated: None,
            eta: None,
            slip: None,
            progress: None,
            seq: 0,
            requests: 0,
            told: 0,
            answered: false,
            stalled: false,
            asked_names: false,
        }
    }

    /// The one transition function. Pure: the same arguments give the same result.
    pub fn step(&self, input: Input, cx: &Context, rng: &mut impl Rng) -> (Self, Effects) {
        let mut step = Step {
            watch: self.clone(),
            cx,
            events: Vec::new(),
            poll: None,
        };
        let next = match input {
            Input::Due => step.due(),
            Input::Held(kind) => step.held(kind),
            Input::Answered(answer) => step.answered(*answer),
            Input::Failed(error) => step.failed(error, rng),
            Input::Stop(outcome) => step.stop(outcome),
        };
        (
            step.watch,
            Effects {
                events: step.events,
                poll: step.poll,
                next,
            },
        )
    }

    /// Which watch it is.
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// The job it watches.
    pub fn job(&self) -> JobRef {
        JobRef {
            kind: self.job_kind,
            id: self.job_id,
        }
    }

    /// Where the job stood in the last answer that told.
    pub fn state(&self) -> Option<JobState> {
        self.state
    }

    /// Percent, from the last answer that told.
    pub fn progress(&self) -> Option<f32> {
        self.progress
    }

    /// How long until our own best guess of the end; None without a guess or past it.
    pub fn left(&self, now: Moment) -> Option<Duration> {
        self.expected
            .checked_sub(now.up_ms)
            .filter(|&ms| ms > 0)
            .map(Duration::from_millis)
    }

    /// How long until it is asked again; zero while it is being asked.
    pub fn next_poll(&self, now: Moment) -> Duration {
        Duration::from_millis(self.poll_at.saturating_sub(now.up_ms))
    }

    /// Whether it was told that asking fails.
    pub fn is_unreachable(&self) -> bool {
        self.failing().is_some_and(|f| f.told)
    }

    /// Whether the last request for it was refused (401, 403).
    pub fn is_refused(&self) -> bool {
        let refused = [ErrorKind::Unauthorized, ErrorKind::Forbidden];
        self.failing().is_some_and(|f| refused.contains(&f.kind))
    }

    /// Whether there was an answer yet that told a status.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether any request for it has come back yet, in whatever way.
    pub fn is_heard_of(&self) -> bool {
        self.answered || self.trouble.is_some()
    }

    /// When the first request was made, by the clock of [`Moment::up_ms`].
    pub fn first_poll(&self) -> Option<u64> {
        (self.requests > 0).then_some(self.first_poll)
    }

    /// When the first request was made, Unix milliseconds by the wall's clock of then.
    pub fn began_ms(&self) -> Option<i64> {
        (self.requests > 0).then_some(self.began)
    }

    /// Requests made so far.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Whether it is not asked because the API as a whole is down ([`Input::Held`]).
    pub fn is_held(&self) -> bool {
        self.failing().is_some_and(|f| f.held)
    }

    /// Not to be asked before then, not even for all of them: the server's `Retry-After`, or a refusal. By the clock of
    /// [`Moment::up_ms`]; long past where nobody said so.
    pub fn not_before(&self) -> u64 {
        self.trouble
            .as_ref()
            .map_or(0, |trouble| trouble.not_before)
    }

    /// Lets the next [`Input::Due`] ask if it comes at `up_ms` or later.
    pub fn ask_at(&mut self, up_ms: u64) {
        self.poll_at = up_ms;
    }

    /// Other limits are in force: it is asked no later than they allow, and no sooner than the server does.
    pub fn bring_forward(&mut self, now: Moment, limits: &Limits) {
        let latest = now.plus(limits.schedule.max_interval).up_ms;
        self.poll_at = self.poll_at.min(latest.max(self.not_before()));
    }

    /// A step from here to `lost` could not be committed. What the server asked for in it holds all the same; otherwise
    /// the watch asks again at `up_ms`. Returns when it does.
    pub fn take_back(&mut self, lost: &Self, up_ms: u64) -> u64 {
        let not_before = lost.not_before();
        if not_before > self.not_before() {
            self.trouble.get_or_insert_default().not_before = not_before;
        }
        self.poll_at = up_ms.max(not_before);
        self.poll_at
    }

    fn failing(&self) -> Option<&FailureStreak> {
        self.trouble.as_ref()?.failing.as_ref()
    }

    /// The user's labels and the server's names, where there are any.
    pub fn about(&self) -> Option<&Arc<JobMeta>> {
        self.about.as_ref()
    }

    /// The next moment at which there is something to do without an answer, by the clock of [`Moment::up_ms`].
    pub fn wake_at(&self, limits: &Limits) -> u64 {
        let Some(failing) = self.failing() else {
            return self.poll_at;
        };
        let after = |d: Duration| failing.since.saturating_add(millis(d));
        let mut at = self.poll_at;
        if !failing.told {
            at = at.min(after(limits.unreachable_after));
        }
        if let Some(limit) = limits.give_up_after {
            at = at.min(after(limit));
        }
        at
    }
}
