//! What goes into a step of a watch, and what follows from it.

use std::time::Duration;

use crate::event::Event;
use crate::job::Outcome;
use crate::limits::Limits;
use crate::poll_log::PollRecord;
use crate::schedule::{Calibration, CalibrationUpdate};
use crate::status::Status;
use crate::time::Moment;
use crate::verdict::PollError;

/// A status, with what the client measured when it received it.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshStatus {
    /// The decoded response.
    pub status: Status,
    /// The current time by the server's clock, Unix milliseconds.
    pub server_now_ms: i64,
    /// Shortest wait until the next poll: above zero if the response was so large that frequent polls would burden
    /// the API.
    pub min_wait: Duration,
}

/// What a step reads besides the watch: shared by all watches of the process.
pub struct Context<'a> {
    /// When the input arrived.
    pub now: Moment,
    /// The same moment by the server's clock, Unix milliseconds.
    pub server_now_ms: i64,
    /// The current limits.
    pub limits: &'a Limits,
    /// Statistics of earlier jobs.
    pub calibration: &'a Calibration,
    /// Whether a 403 concerns the credentials rather than this job: no other job has a status, and none is still
    /// waiting for its first response.
    pub refusal_is_global: bool,
}

/// What happened to a watch.
#[derive(Clone, Debug)]
pub enum Input {
    /// The next poll is due and may start.
    Due,
    /// The next poll is due, but the API as a whole is down or has requested a pause. Counts as a failed poll.
    Suspended {
        /// Why.
        error: PollError,
        /// When the pause ends, as [`Moment::up_ms`]; None while the API is down.
        until: Option<u64>,
    },
    /// The `deadline` that the last step returned has been reached.
    Deadline,
    /// Poll before the deadline, as the probe of the circuit breaker.
    Probe,
    /// A poll returned a status.
    Status(Box<FreshStatus>),
    /// A poll failed.
    Error(PollError),
    /// The API is back or the credentials have changed: the next poll is due now.
    PollNow,
    /// The limits of the [`Context`] have changed.
    LimitsChanged,
    /// The last step could not be committed, and this watch replaces its result.
    CommitFailed {
        /// When the next poll is due, as [`Moment::up_ms`].
        retry_at: u64,
        /// The [`Watch::not_before`](super::Watch::not_before) of the lost result.
        not_before: u64,
    },
    /// The watch is to end now: removed, out of time, or abandoned by a one-shot that stops.
    Stop(Outcome),
}

/// What follows from a step.
#[derive(Debug)]
pub struct Effects {
    /// To be published in this order once the step is committed.
    pub events: Vec<Event>,
    /// The record of the poll that returned; None if the step had no poll or ended the watch.
    pub poll: Option<PollRecord>,
    /// How the watch goes on.
    pub next: Next,
}

/// What the engine does with a watch after a step.
#[derive(Debug)]
pub enum Next {
    /// Poll the job and step with the result. Comes without events.
    Poll {
        /// Also request the names of game, image and machine.
        diff_info: bool,
        /// Cancel the poll and step with [`Input::Deadline`] at this [`Moment::up_ms`]; `u64::MAX` is never.
        deadline: u64,
    },
    /// Step with [`Input::Due`] at one time or with [`Input::Deadline`] at the other, by the clock of
    /// [`Moment::up_ms`]. A poll that may start comes first.
    Wait {
        /// When the next poll is due.
        until: u64,
        /// When something is due that needs no poll; `u64::MAX` is never.
        deadline: u64,
    },
    /// Drop the watch.
    End {
        /// How it ended.
        outcome: Outcome,
        /// What the calibration learns from the end, if the job itself ended.
        calibration_update: Option<CalibrationUpdate>,
    },
}
