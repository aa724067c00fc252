//! What is watched: a job's name, its states, and how a watch of it can end.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The two kinds of Clanforge jobs that have a status endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// An image diff: compares a build machine's files with the live image.
    Diff,
    /// An image update: copies a build to a build machine.
    Update,
}

impl JobKind {
    /// Both kinds, in the order in which lists show them.
    pub const ALL: [Self; 2] = [Self::Diff, Self::Update];

    /// The word in front of the slash of a job's name: `diff` or `update`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diff => "diff",
            Self::Update => "update",
        }
    }
}

/// A job's number: positive, 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(NonZeroU64);

impl JobId {
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

    /// Digits only: no sign, no blank, no zero, nothing over 64 bits.
    fn from_str(s: &str) -> Result<Self, JobRefError> {
        if s.is_empty() || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(JobRefError::Id(s.to_owned()));
        }
        s.parse()
            .map(Self)
            .map_err(|_| JobRefError::Id(s.to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job by its full name, written `diff/1234` or `update/77`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobRef {
    /// Which of the two endpoints knows it.
    pub kind: JobKind,
    /// Its number there.
    pub id: JobId,
}

impl FromStr for JobRef {
    type Err = JobRefError;

    fn from_str(s: &str) -> Result<Self, JobRefError> {
        let (kind, id) = s
            .split_once('/')
            .ok_or_else(|| JobRefError::Form(s.to_owned()))?;
        let kind = match kind {
            "diff" => JobKind::Diff,
            "update" => JobKind::Update,
            _ => return Err(JobRefError::Form(s.to_owned())),
        };
        Ok(Self {
            kind,
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

/// Why a text is no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobRefError {
    /// Neither `diff/…` nor `update/…`.
    #[error("{0:?} is not a job: write diff/1234 or update/77")]
    Form(String),
    /// The number is none, is zero, or does not fit.
    #[error("{0:?} is not a job ID: it is a whole number from 1 to {max}", max = u64::MAX)]
    Id(String),
}

/// Where a job stands, by Clanforge's `jobstateid` (in brackets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Known to the server, nothing done (1).
    Created,
    /// Waiting for something it depends on (2).
    Pending,
    /// Waiting for its turn (3).
    Queued,
    /// At work (4).
    Running,
    /// Done (5).
    Completed,
    /// Broke (6).
    Failed,
    /// Set aside in favour of another job; it will never complete (7).
    Squashed,
    /// A number outside the table, kept so that a change from one to another is seen; 0 where there was none.
    Unknown(i64),
}

impl JobState {
    /// The state with this `jobstateid`.
    pub fn from_id(id: i64) -> Self {
        match id {
            1 => Self::Created,
            2 => Self::Pending,
            3 => Self::Queued,
            4 => Self::Running,
            5 => Self::Completed,
            6 => Self::Failed,
            7 => Self::Squashed,
            other => Self::Unknown(other),
        }
    }

    /// The state with this `jobstatename`, in any case; "Complete" and "Completed" are one. None for words
    /// outside the table.
    pub fn from_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, JobState); 8] = [
            ("created", JobState::Created),
            ("pending", JobState::Pending),
            ("queued", JobState::Queued),
            ("running", JobState::Running),
            ("completed", JobState::Completed),
            ("complete", JobState::Completed),
            ("failed", JobState::Failed),
            ("squashed", JobState::Squashed),
        ];
        NAMES
            .iter()
            .find(|(word, _)| name.trim().eq_ignore_ascii_case(word))
            .map(|&(_, state)| state)
    }

    /// The `jobstateid`; 0 where the server told none.
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

    /// Our word for it, as events carry it.
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

/// How the watch of a job ended. Final: nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The job did its work.
    Completed,
    /// The job broke.
    Failed,
    /// The job was set aside in favour of another.
    Squashed,
    /// The server knows no such job.
    NotFound,
    /// The server refuses these credentials.
    Refused,
    /// `--timeout` or `--job-timeout` ran out.
    TimedOut,
    /// Asking failed for longer than `give_up_after`.
    GaveUp,
    /// The user took it out.
    Removed,
    /// The one-shot stopped before the job did.
    Abandoned(Reason),
}

impl Outcome {
    /// Whether answers, or the lack of them, led to it, rather than somebody's wish that the watch end now.
    pub fn is_the_servers(self) -> bool {
        !matches!(self, Self::TimedOut | Self::Removed | Self::Abandoned(_))
    }
}

/// Why a one-shot stopped before its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Another job failed, and `--fail-fast` was asked for.
    FailFast,
    /// SIGINT or SIGTERM.
    Interrupted,
}

/// A job to watch, with what the user says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// The job.
    pub job: JobRef,
    /// The user's labels, told with every event.
    pub labels: BTreeMap<String, String>,
}
