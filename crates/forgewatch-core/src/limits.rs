//! What the user asked for, as far as the core needs it. `config` fills it in and checks the ranges.

use std::time::Duration;

use super::schedule::Rules;

/// The bounds and thresholds by which every watch of a process goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// When to ask next.
    pub schedule: Rules,
    /// `job.progressed` at every multiple of this many percent, 1 to 100.
    pub progress_step: u8,
    /// `job.stalled` after this long without a move.
    pub stalled_after: Duration,
    /// `job.unreachable` after this long of failed asking.
    pub unreachable_after: Duration,
    /// `job.not_found` after this long of nothing but 404.
    pub not_found_grace: Duration,
    /// `job.gave_up` after this long of failed asking; None is never.
    pub give_up_after: Option<Duration>,
    /// What `jobfailed` means.
    pub jobfailed: JobFailed,
    /// Whether a diff is asked once for the names of game, image and machine.
    pub diff_info: bool,
    /// Whether a refusal (401, 403) ends a watch: true in the one-shot, never in the daemon.
    pub refusal_ends: bool,
}

/// The two readings of `jobfailed` that the vendor's pages allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobFailed {
    /// Set means failed.
    Flag,
    /// It counts failures of a job that is tried again: only the state 6, seen twice, means failed.
    Count,
}
