//! Jobs: their names, their states, and the outcomes of a watch.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kinds of Clanforge jobs with a status endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// An image diff: compares a build machine's files with the live image.
    Diff,
    /// An image update: copies a build to a build machine.
    Update,
    /// An image version: makes a diff the live image.
    Version,
}

impl JobKind {
    /// All kinds, in the order in which lists show them.
    pub const ALL: [Self; 3] = [Self::Diff, Self::Update, Self::Version];

    /// The part of the job's name before the slash.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diff => "diff",
            Self::Update => "update",
            Self::Version => "version",
        }
    }

    /// The part of the status address below `/cfp/v1/` that names the kind.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::Diff => "imagediff",
            Self::Update => "imageupdate",
            Self::Version => "imageversion",
        }
    }
}

/// The number of a job: positive, 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(NonZeroU64);

impl JobId {
    /// The lowest ID.
    pub const MIN: Self = Self(NonZeroU64::MIN);

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for JobId {
    type Error = JobRefError;

    fn try_from(id: u64) -> Result<Self, JobRefError> {
        NonZeroU64::new(id)
            .map(Self)
            .ok_or_else(|| JobRefError::Id(id.to_string()))
    }
}

impl FromStr for JobId {
    type Err = JobRefError;

    /// Accepts digits only: no sign, no space, not zero, at most 64 bits.
    fn from_str(s: &str) -> Result<Self, JobRefError> {
        let only_digits = s.bytes().all(|b| b.is_ascii_digit());
        let id = s.parse().ok().filter(|_| only_digits);
        id.map(Self).ok_or_else(|| JobRefError::Id(s.to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job, written `diff/1234`, `update/77` or `version/5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobRef {
    /// Its kind.
    pub kind: JobKind,
    /// Its number among the jobs of this kind.
    pub id: JobId,
}

impl FromStr for JobRef {
    type Err = JobRefError;

    fn from_str(s: &str) -> Result<Self, JobRefError> {
        let invalid = || JobRefError::Form(s.to_owned());
        let (name, id) = s.split_once('/').ok_or_else(invalid)?;
        let kind = JobKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        Ok(Self {
            kind: kind.ok_or_else(invalid)?,
            id: id.parse()?,
        })
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.id)
    }
}

impl Serialize for JobRef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobRef {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text is not a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobRefError {
    /// Not a kind, a slash and an ID.
    #[error("invalid job {0:?}: use diff/1234, update/77 or version/5")]
    Form(String),
    /// The number is not a positive 64-bit integer.
    #[error("invalid job ID {0:?}: use a whole number from 1 to {max}", max = u64::MAX)]
    Id(String),
}

/// The state of a job, with Clanforge's `jobstateid` in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Created, not yet processed (1).
    Created,
    /// Waiting for a dependency (2).
    Pending,
    /// Waiting in the queue (3).
    Queued,
    /// Running (4).
    Running,
    /// Completed (5).
    Completed,
    /// Failed (6).
    Failed,
    /// Superseded by another job; it never completes (7).
    Squashed,
    /// Another number, kept so that changes between such states are noticed; 0 without a number.
    Unknown(i64),
}

impl JobState {
    const KNOWN: [Self; 7] = [
        Self::Created,
        Self::Pending,
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Squashed,
    ];

    /// The state with this `jobstateid`.
    pub fn from_id(id: i64) -> Self {
        let known = Self::KNOWN.into_iter().find(|state| state.id() == id);
        known.unwrap_or(Self::Unknown(id))
    }

    /// The state with this `jobstatename`, in any case. `Complete` means `Completed`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        if name.eq_ignore_ascii_case("complete") {
            return Some(Self::Completed);
        }
        Self::KNOWN
            .into_iter()
            .find(|state| name.eq_ignore_ascii_case(state.as_str()))
    }

    /// The `jobstateid`; 0 without one.
    pub fn id(self) -> i64 {
        match self {
            Self::Created => 1,
            Self::Pending => 2,
            Self::Queued => 3,
            Self::Running => 4,
            Self::Completed => 5,
            Self::Failed => 6,
            Self::Squashed => 7,
            Self::Unknown(id) => id,
        }
    }

    /// The state's name in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Squashed => "squashed",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// How the watch of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The job completed.
    Completed,
    /// The job failed.
    Failed,
    /// Another job superseded the job.
    Squashed,
    /// The server does not know the job.
    NotFound,
    /// The API rejects the credentials.
    Refused,
    /// `--timeout` or `--job-timeout` ran out.
    TimedOut,
    /// Polls failed for longer than `give_up_after`.
    GaveUp,
    /// The user removed the job.
    Removed,
    /// The one-shot stopped before the job ended.
    Abandoned(Reason),
}

impl Outcome {
    /// Whether poll results led to the end, rather than the user or a time limit.
    pub fn is_from_polling(self) -> bool {
        !matches!(self, Self::TimedOut | Self::Removed | Self::Abandoned(_))
    }
}

/// Why a one-shot stopped before a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Another job failed, with `--fail-fast`.
    FailFast,
    /// SIGINT or SIGTERM.
    Interrupted,
}

/// A job to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// The job.
    pub job: JobRef,
    /// The labels of its events.
    pub labels: BTreeMap<String, String>,
}
