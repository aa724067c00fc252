//! The status of a job, decoded and normalized.
//!
//! The server may send a field in several spellings and types; here it has one. [`super::decode`] produces a status,
//! [`super::watch`] and [`super::schedule`] read it.

use super::job::{JobId, JobKind, JobRef, JobState, Outcome};
use super::limits::JobFailed;

/// What a response says about a job. A field is `None` if the response lacks it or has no usable value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// `jobstateid`, or without one a known `jobstatename`.
    pub state: Option<JobState>,
    /// `jobstatename`, the server's own name, as sent (at most 8 KiB).
    pub state_name: Option<String>,
    /// `jobprogress`, 0 to 100; never NaN.
    pub progress: Option<f32>,
    /// `jobfailed`: 0 if not set, 1 for true, otherwise the number (some servers count failures).
    pub failed: u32,
    /// `joberror`, or without one the message of the response if it is `rejected`; not empty, as sent (at most 8 KiB).
    /// Untrusted text.
    pub error: Option<String>,
    /// `jobeta`: the ETA, Unix seconds, 1 to the end of the year 9999.
    pub eta: Option<i64>,
    /// `jobcreated`, Unix seconds, same range.
    pub created: Option<i64>,
    /// `jobstart`, Unix seconds, same range.
    pub start: Option<i64>,
    /// `jobupdated`, Unix seconds, same range.
    pub updated: Option<i64>,
    /// The files of a diff, if the response has at least one of the three maps.
    pub files: Option<DiffFiles>,
    /// The names that `diff_info=1` requests.
    pub names: DiffNames,
    /// `diffid`, above 0.
    pub diff_id: Option<JobId>,
    /// `updateid`, above 0.
    pub update_id: Option<JobId>,
    /// `imageversionid`, above 0. A version's own ID; a diff has it too, with another meaning.
    pub version_id: Option<JobId>,
    /// Whether the response calls itself an error: `success` is false or `error` true. It counts only if the job failed.
    pub rejected: bool,
}

impl Status {
    /// How the job has ended by this status alone: failure first, then completion, then squashing.
    pub fn outcome(&self, jobfailed: JobFailed) -> Option<Outcome> {
        let failed_state = self.state == Some(JobState::Failed);
        if failed_state || (jobfailed == JobFailed::Flag && self.failed > 0) {
            return Some(Outcome::Failed);
        }
        let done = self.progress.is_some_and(|p| p >= 100.0);
        if done || self.state == Some(JobState::Completed) {
            return Some(Outcome::Completed);
        }
        (self.state == Some(JobState::Squashed)).then_some(Outcome::Squashed)
    }

    /// The job of this status, if it is another one than `job`.
    pub fn other_job(&self, job: JobRef) -> Option<JobRef> {
        let id = match job.kind {
            JobKind::Diff => self.diff_id,
            JobKind::Update => self.update_id,
            JobKind::Version => self.version_id,
        };
        let found = JobRef { id: id?, ..job };
        (found != job).then_some(found)
    }
}

/// Progress in whole percent, rounded down, so that 100 means completed.
pub fn whole_percent(progress: f32) -> u8 {
    progress.clamp(0.0, 100.0) as u8
}

/// Numbers and sizes of a diff's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiffFiles {
    /// Files being added.
    pub added: FileSum,
    /// Files being changed.
    pub modified: FileSum,
    /// Files being removed.
    pub removed: FileSum,
}

/// Number and total size of some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSum {
    /// Number of files.
    pub count: u64,
    /// Total size in bytes (saturating); a file without a size counts as 0.
    pub bytes: u64,
}

/// The names of a diff's game, image and machine (each at most 8 KiB).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffNames {
    /// `game.name`.
    pub game: Option<String>,
    /// `image.name`.
    pub image: Option<String>,
    /// `machine.name`.
    pub machine: Option<String>,
}

impl DiffNames {
    /// Whether all names are missing.
    pub fn is_empty(&self) -> bool {
        self.game.is_none() && self.image.is_none() && self.machine.is_none()
    }
}

/// The server's error envelope, or a status that calls itself an error: HTTP 200, but the *request* failed (not the job).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    /// `error_code`.
    pub code: Option<i64>,
    /// `error_message`, else `error` if that is a text, else `joberror`, else empty (at most 8 KiB). Untrusted text.
    pub message: String,
}
