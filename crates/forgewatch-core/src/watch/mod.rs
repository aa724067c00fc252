//! The state machine of one watched job: an input goes in, a new watch and its effects come out.
//!
//! [`Watch::step`] is a pure function. The engine calls it when the timer of a watch is due, when a poll has returned
//! and when the watch is to end. It commits the result before it publishes the events; if the commit fails, it keeps
//! the old watch, as if the step had not happened. A watch that ended is dropped, so no event follows an end.

#[cfg(any(test, feature = "test-fixtures"))]
#[allow(missing_docs, reason = "fixtures of tests")]
pub mod fixtures;
mod inputs;
mod on_error;
mod on_status;
mod persist;
#[cfg(test)]
mod properties;
mod step;
#[cfg(test)]
mod tests;

use std::num::NonZeroI64;
use std::sync::Arc;
use std::time::Duration;

pub use inputs::{Context, Effects, FreshStatus, Input, Next};
pub use persist::{InvalidSavedWatch, outcome_of};

use super::event::{JobMeta, WatchId};
use super::job::{JobId, JobKind, JobRef, JobState, Outcome};
use super::limits::Limits;
use super::rng::SeededRng;
use super::schedule::{Calibration, History};
use super::time::{Moment, millis};
use super::time_left::TimeLeft;
use super::verdict::ErrorKind;
use step::PendingStep;

/// One watched job: all that is kept of it between two polls, in about 200 bytes.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Watch {
    id: WatchId,
    /// The two parts of a [`JobRef`], separate because together they take eight bytes more.
    job_id: JobId,
    job_kind: JobKind,
    meta: Option<Arc<JobMeta>>,
    /// Boxed, so that the many watches without errors stay small.
    errors: Option<Box<ErrorState>>,
    history: History,
    /// Valid once `requests` is above zero.
    first_poll_at: u64,
    /// The same in Unix milliseconds, as the wall clock showed it then: a later jump of the clock does not change it.
    first_poll_wall_ms: i64,
    /// When the next poll is due.
    poll_at: u64,
    /// When progress or `jobupdated` last changed.
    changed_at: u64,
    state: Option<JobState>,
    updated: Option<NonZeroI64>,
    eta: Option<NonZeroI64>,
    /// The ETA that the next one is compared with.
    eta_baseline: Option<EtaBaseline>,
    progress: Option<f32>,
    seq: u32,
    requests: u32,
    /// The highest progress step reported since the state last went backwards.
    reported_progress: u8,
    has_status: bool,
    stalled: bool,
    slow: bool,
    names_requested: bool,
}

/// An ETA in Unix seconds, and how many seconds away it was when it was first reported.
#[derive(Clone, Copy, Debug, PartialEq)]
struct EtaBaseline {
    eta: NonZeroI64,
    seconds_left: u32,
}

/// The errors of recent polls.
#[derive(Clone, Debug, Default, PartialEq)]
struct ErrorState {
    /// Set while every poll fails.
    streak: Option<FailureStreak>,
    /// Consecutive failures, for the retry schedule.
    failures: u8,
    /// 401 and 403 responses since the last status, and the time of the first.
    refused: u8,
    refused_since: u64,
    /// 404 responses since the last status, and the time of the first.
    not_found: u8,
    not_found_since: u64,
    /// With `jobfailed = "count"`: when the job's state was first 6.
    failed_since: Option<u64>,
    /// No poll before this time, not even a probe: `Retry-After`, or refused credentials.
    not_before: u64,
}

/// Failures without a success in between, with the error of the last one.
#[derive(Clone, Debug, PartialEq)]
struct FailureStreak {
    since: u64,
    /// Whether `job.unreachable` was emitted.
    reported: bool,
    /// Whether the last failure was an [`Input::Suspended`] without a known end.
    suspended: bool,
    kind: ErrorKind,
    http_status: Option<u16>,
    message: String,
}

impl Watch {
    /// A watch of `job` that is due at once.
    pub fn new(id: WatchId, job: JobRef, meta: Option<Arc<JobMeta>>, now: Moment) -> Self {
        Self {
            id,
            job_id: job.id,
            job_kind: job.kind,
            meta,
            errors: None,
            history: History::default(),
            first_poll_at: 0,
            first_poll_wall_ms: 0,
            poll_at: now.up_ms,
            changed_at: now.up_ms,
            state: None,
            updated: None,
            eta: None,
            eta_baseline: None,
            progress: None,
            seq: 0,
            requests: 0,
            reported_progress: 0,
            has_status: false,
            stalled: false,
            slow: false,
            names_requested: false,
        }
    }

    /// The transition function. Pure: the same arguments give the same result.
    pub fn step(&self, input: Input, cx: &Context, rng: &mut SeededRng) -> (Self, Effects) {
        let mut step = PendingStep {
            watch: self.clone(),
            cx,
            events: Vec::new(),
            poll: None,
        };
        let next = match input {
            Input::Due => step.on_due(),
            Input::Suspended { error, until } => step.on_suspended(error, until),
            Input::Deadline => step.on_deadline(),
            Input::Probe => step.poll(),
            Input::Status(fresh) => step.on_status(*fresh, rng),
            Input::Error(error) => step.on_error(error, rng),
            Input::PollNow => step.on_poll_now(),
            Input::LimitsChanged => step.on_limits_changed(),
            Input::CommitFailed {
                retry_at,
                not_before,
            } => step.on_commit_failed(retry_at, not_before),
            Input::Stop(outcome) => step.on_stop(outcome),
        };
        let effects = Effects {
            events: step.events,
            poll: step.poll,
            next,
        };
        (step.watch, effects)
    }

    /// The watch's identity.
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// The watched job.
    pub fn job(&self) -> JobRef {
        JobRef {
            kind: self.job_kind,
            id: self.job_id,
        }
    }

    /// The job's state, from the last status that had one.
    pub fn state(&self) -> Option<JobState> {
        self.state
    }

    /// Progress in percent, from the last status that had one.
    pub fn progress(&self) -> Option<f32> {
        self.progress
    }

    /// The time left, at this time by both clocks.
    pub fn time_left(&self, calibration: &Calibration, up_ms: u64, server_now_ms: i64) -> TimeLeft {
        let now = server_now_ms.div_euclid(1_000);
        let calibration = calibration.of(self.job_kind);
        TimeLeft::new(
            self.eta.map(|eta| eta.get() - now),
            self.history.estimate(calibration, up_ms),
        )
    }

    /// The time since the last status.
    pub fn since_status(&self, now: Moment) -> Duration {
        self.history.since_latest(now.up_ms)
    }

    /// Whether the job was reported as stalled and has not progressed since.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Time until the next poll; zero during a poll.
    pub fn next_poll_in(&self, now: Moment) -> Duration {
        Duration::from_millis(self.poll_at.saturating_sub(now.up_ms))
    }

    /// Whether the job was reported as unreachable.
    pub fn is_unreachable(&self) -> bool {
        self.streak().is_some_and(|f| f.reported)
    }

    /// Class and message of the error that has kept the job from being polled since its last success.
    pub fn poll_error(&self) -> Option<(ErrorKind, &str)> {
        self.streak().map(|f| (f.kind, f.message.as_str()))
    }

    /// Whether the last poll was refused (401, 403).
    pub fn is_refused(&self) -> bool {
        let refused = [ErrorKind::Unauthorized, ErrorKind::Forbidden];
        self.streak().is_some_and(|f| refused.contains(&f.kind))
    }

    /// Whether any poll returned a status.
    pub fn has_status(&self) -> bool {
        self.has_status
    }

    /// Whether any poll returned, with a status or an error.
    pub fn has_result(&self) -> bool {
        self.has_status || self.errors.is_some()
    }

    /// When the first poll started, as [`Moment::up_ms`].
    pub fn first_poll_at(&self) -> Option<u64> {
        (self.requests > 0).then_some(self.first_poll_at)
    }

    /// When the first poll started, Unix milliseconds.
    pub fn first_poll_wall_ms(&self) -> Option<i64> {
        (self.requests > 0).then_some(self.first_poll_wall_ms)
    }

    /// Events so far: the number of the last one.
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// Polls so far.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Whether polls are suspended because the API as a whole is down.
    pub fn is_suspended(&self) -> bool {
        self.streak().is_some_and(|f| f.suspended)
    }

    /// No poll before this [`Moment::up_ms`], not even a probe: the server's `Retry-After`, or refused credentials.
    pub fn not_before(&self) -> u64 {
        self.errors.as_ref().map_or(0, |errors| errors.not_before)
    }

    fn streak(&self) -> Option<&FailureStreak> {
        self.errors.as_ref()?.streak.as_ref()
    }

    /// The user's labels and the server's names, if any.
    pub fn meta(&self) -> Option<&Arc<JobMeta>> {
        self.meta.as_ref()
    }

    /// The name of the image, if known.
    pub fn image(&self) -> Option<&str> {
        self.meta.as_ref()?.names.image.as_deref()
    }

    /// When the next poll is due, as [`Moment::up_ms`].
    pub fn poll_at(&self) -> u64 {
        self.poll_at
    }

    /// When the watch gives up, becomes unreachable or stalls without another poll, as [`Moment::up_ms`]; `u64::MAX` is
    /// never.
    pub fn deadline(&self, limits: &Limits) -> u64 {
        let deadlines = [
            self.give_up_at(limits),
            self.unreachable_at(limits),
            self.stalled_at(limits),
        ];
        deadlines.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    fn give_up_at(&self, limits: &Limits) -> Option<u64> {
        Some(after(self.streak()?.since, limits.give_up_after?))
    }

    fn unreachable_at(&self, limits: &Limits) -> Option<u64> {
        let streak = self.streak().filter(|streak| !streak.reported)?;
        Some(after(streak.since, limits.unreachable_after))
    }

    /// While polls succeed, only a status shows a stall; so the next poll is awaited.
    fn stalled_at(&self, limits: &Limits) -> Option<u64> {
        let at = after(self.changed_at, limits.stalled_after);
        let poll_first = self.streak().is_none().then_some(self.poll_at);
        (self.has_status && !self.stalled).then_some(at.max(poll_first.unwrap_or(0)))
    }
}

fn after(up_ms: u64, duration: Duration) -> u64 {
    up_ms.saturating_add(millis(duration))
}
