//! The settings of watches. The configuration fills them in and checks their ranges.

use std::time::Duration;

use super::event::EventOrigin;
use super::schedule::ScheduleSettings;

/// Limits and thresholds, the same for all watches of a process. `Default` is zero: the configuration sets all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Where its events come from.
    pub origin: EventOrigin,
    /// When to poll.
    pub schedule: ScheduleSettings,
    /// `job.progressed` is emitted at every multiple of this percentage, 1 to 100.
    pub progress_step: u8,
    /// `job.stalled` after this time without progress.
    pub stalled_after: Duration,
    /// `job.unreachable` after this time of failed polls.
    pub unreachable_after: Duration,
    /// `job.not_found` after this time of 404 responses only.
    pub not_found_grace: Duration,
    /// `job.gave_up` after this time of failed polls; None is never.
    pub give_up_after: Option<Duration>,
    /// What `jobfailed` means.
    pub jobfailed: JobFailed,
    /// Whether the names of game, image and machine of a diff are requested once.
    pub diff_info: bool,
    /// Whether refused credentials (401, 403) end a watch: true in the one-shot, false in the daemon.
    pub refusal_ends: bool,
}

/// The two meanings of `jobfailed` that the vendor's documentation allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobFailed {
    /// Set means failed.
    #[default]
    Flag,
    /// It counts failures of a job that is retried: only state 6 in two polls means failed.
    Count,
}
