//! One answer of a status endpoint, normalised.
//!
//! What the server may send in three spellings and five types is one thing here. [`super::decode`] makes it,
//! [`super::watch`] and [`super::schedule`] read it.

use super::job::JobState;

/// What an answer told of a job. A field is `None` where the answer did not tell it or told nothing usable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// `jobstateid`, or where that is missing `jobstatename` if it is a word of the table.
    pub state: Option<JobState>,
    /// `jobstatename`, the server's own word, as sent (at most 8 KiB).
    pub state_name: Option<String>,
    /// `jobprogress`, 0 to 100; never NaN.
    pub progress: Option<f32>,
    /// `jobfailed`: 0 where it is not set, 1 for true, else the number (some servers count failures).
    pub failed: u32,
    /// `joberror`, not empty, as sent (at most 8 KiB). Somebody else's text.
    pub error: Option<String>,
    /// `jobeta`: when the job is expected to end, Unix seconds, 1 to the end of the year 9999.
    pub eta: Option<i64>,
    /// `jobcreated`, Unix seconds, same range.
    pub created: Option<i64>,
    /// `jobstart`, Unix seconds, same range.
    pub start: Option<i64>,
    /// `jobupdated`, Unix seconds, same range.
    pub updated: Option<i64>,
    /// What a diff found, where the answer had at least one of the three maps.
    pub files: Option<Files>,
    /// The names that `diff_info=1` asks for.
    pub names: Names,
}

/// Progress as it is told: whole percent, rounded down, so that 100 is only told of what is done.
pub fn whole_percent(progress: f32) -> u8 {
    progress.clamp(0.0, 100.0) as u8
}

/// A diff's files, counted and summed, never kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Files being added.
    pub added: FileSum,
    /// Files being changed.
    pub modified: FileSum,
    /// Files being removed.
    pub removed: FileSum,
}

/// How many files, and how large together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSum {
    /// Number of files.
    pub count: u64,
    /// Their sizes in bytes, added up (saturating); a file whose size was not told counts as 0.
    pub bytes: u64,
}

/// The names of what a diff is about (each at most 8 KiB).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `game.name`.
    pub game: Option<String>,
    /// `image.name`.
    pub image: Option<String>,
    /// `machine.name`.
    pub machine: Option<String>,
}

impl Names {
    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.game.is_none() && self.image.is_none() && self.machine.is_none()
    }
}

/// The server's error envelope: HTTP 200, but the *request* failed (not the job).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    /// `error_code`, where told.
    pub code: Option<i64>,
    /// `error_message`, or `error` where that is a text (at most 8 KiB; empty where there was neither). Somebody
    /// else's text.
    pub message: String,
}
