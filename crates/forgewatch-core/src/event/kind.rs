//! The types of events: their names, and how loud they are.

use crate::job::Outcome;

/// The type that stands for all events of jobs.
pub const ALL_OF_JOBS: &str = "job.*";

/// The types of events. [`EventType::as_str`] is the name that users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The first answer for a job.
    Watching,
    /// `jobstateid` changed without ending the job.
    StateChanged,
    /// Progress crossed a step.
    Progressed,
    /// The expected end moved later by more than a quarter of what was left, and a minute.
    EtaSlipped,
    /// Neither `jobupdated` nor progress moved for `stalled_after`.
    Stalled,
    /// Moved again after that.
    Resumed,
    /// Asking failed for `unreachable_after`.
    Unreachable,
    /// Asking works again.
    Reachable,
    /// An end of the watch.
    Ended(Outcome),
    /// The watcher began.
    WatchStarted,
    /// The watcher goes by another configuration from here on.
    WatchReloaded,
    /// Lines were dropped, since nobody read them.
    WatchLagged,
    /// The watcher ended.
    WatchFinished,
    /// A delivery to a hook was given up.
    HookFailed,
}

impl EventType {
    /// The names of all types, in the order in which the manual lists them.
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

    /// The name that users see and match on.
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

    /// How loud it is, as tracing names its levels.
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
