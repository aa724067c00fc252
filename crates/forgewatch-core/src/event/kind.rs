//! Event types: their names and log levels.

use crate::job::Outcome;

/// The pattern that matches all events of jobs.
pub const ALL_JOB_EVENTS: &str = "job.*";

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The first status of a job.
    Watching,
    /// `jobstateid` changed without ending the job.
    StateChanged,
    /// Progress crossed a step.
    Progressed,
    /// The ETA moved later by more than a quarter of the time left, and more than a minute.
    EtaSlipped,
    /// Neither `jobupdated` nor progress changed for `stalled_after`.
    Stalled,
    /// A stalled job progressed again.
    Resumed,
    /// Polls failed for `unreachable_after`.
    Unreachable,
    /// Polls of an unreachable job work again.
    Reachable,
    /// The watch ended.
    Ended(Outcome),
    /// Watching started.
    WatchStarted,
    /// The configuration was reloaded.
    WatchReloaded,
    /// Output lines were dropped, because the reader was too slow.
    WatchLagged,
    /// Watching ended.
    WatchFinished,
    /// A delivery to a hook failed: its retries are used up.
    HookFailed,
}

impl EventType {
    /// The names of all types, in the order of the manual.
    pub const NAMES: [&'static str; 22] = [
        "job.watching",
        "job.state_changed",
        "job.progressed",
        "job.eta_slipped",
        "job.stalled",
        "job.resumed",
        "job.unreachable",
        "job.reachable",
        "job.completed",
        "job.failed",
        "job.squashed",
        "job.not_found",
        "job.refused",
        "job.timed_out",
        "job.gave_up",
        "job.removed",
        "job.abandoned",
        "watch.started",
        "watch.reloaded",
        "watch.lagged",
        "watch.finished",
        "hook.failed",
    ];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watching => "job.watching",
            Self::StateChanged => "job.state_changed",
            Self::Progressed => "job.progressed",
            Self::EtaSlipped => "job.eta_slipped",
            Self::Stalled => "job.stalled",
            Self::Resumed => "job.resumed",
            Self::Unreachable => "job.unreachable",
            Self::Reachable => "job.reachable",
            Self::Ended(outcome) => match outcome {
                Outcome::Completed => "job.completed",
                Outcome::Failed => "job.failed",
                Outcome::Squashed => "job.squashed",
                Outcome::NotFound => "job.not_found",
                Outcome::Refused => "job.refused",
                Outcome::TimedOut => "job.timed_out",
                Outcome::GaveUp => "job.gave_up",
                Outcome::Removed => "job.removed",
                Outcome::Abandoned(_) => "job.abandoned",
            },
            Self::WatchStarted => "watch.started",
            Self::WatchReloaded => "watch.reloaded",
            Self::WatchLagged => "watch.lagged",
            Self::WatchFinished => "watch.finished",
            Self::HookFailed => "hook.failed",
        }
    }

    /// The log level, by the names of `tracing`.
    pub fn level(self) -> &'static str {
        match self {
            Self::Ended(
                Outcome::Failed
                | Outcome::NotFound
                | Outcome::Refused
                | Outcome::TimedOut
                | Outcome::GaveUp,
            )
            | Self::HookFailed => "ERROR",
            Self::Ended(Outcome::Squashed | Outcome::Abandoned(_))
            | Self::EtaSlipped
            | Self::Stalled
            | Self::Unreachable
            | Self::WatchLagged => "WARN",
            _ => "INFO",
        }
    }
}
