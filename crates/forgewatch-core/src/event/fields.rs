//! What is told with an event, by the names of the log record.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::limits;
use crate::job::{JobState, Reason};
use crate::status::Files;
use crate::verdict::ErrorKind;

/// An event's optional fields, by the names the log record gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventFields {
    /// Where the job stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// Where it stood before, of `job.state_changed` and of ends that came with a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_state: Option<JobState>,
    /// The server's own word for the state.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "limits::as_name"
    )]
    pub state_name: Option<String>,
    /// Whole percent, rounded down: 100 only at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// When the server expects the end, Unix seconds; RFC 3339 in the record.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "rfc3339_seconds"
    )]
    pub eta: Option<i64>,
    /// The same in seconds from now, by the server's clock; negative where it has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Until the job is asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<u64>,
    /// `joberror`, or what went wrong with asking.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "limits::as_error"
    )]
    pub error: Option<String>,
    /// The class of what went wrong with asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// The HTTP status of an answer that was no status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why a one-shot stopped before its jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Polls so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Since the first poll; of the watcher's events, since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// End seen minus `jobupdated` of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_delay_ms: Option<u64>,
    /// A finished diff's files.
    #[serde(flatten, serialize_with = "flat_files")]
    pub files: Option<Files>,
    /// How many jobs are watched, of the watcher's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// How it all went, of `watch.finished`.
    #[serde(flatten)]
    pub tally: Option<FinishedCounts>,
    /// Which delivery was given up, of `hook.failed`.
    #[serde(flatten)]
    pub delivery: Option<Box<FailedDelivery>>,
    /// What was not written, of `watch.lagged`.
    #[serde(flatten)]
    pub lag: Option<Box<Lag>>,
}

/// The lines that a `watch.lagged` is about. The events themselves are kept: `forgewatch events` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// How many lines were dropped, one after the other.
    pub lines_dropped: u64,
    /// The id of the first event among them.
    #[serde(serialize_with = "limits::as_word")]
    pub first_dropped: String,
    /// The id of the last.
    #[serde(serialize_with = "limits::as_word")]
    pub last_dropped: String,
}

/// The delivery that a `hook.failed` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedDelivery {
    /// The hook's name.
    #[serde(serialize_with = "limits::as_word")]
    pub hook: String,
    /// The delivery's id: the event's and the hook's name.
    #[serde(serialize_with = "limits::as_word")]
    pub delivery: String,
    /// How often it was tried; 0 where it never was.
    pub attempt: u32,
    /// The hook's last exit status, where it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// What was to be delivered, for people: `job.failed of diff/1234`.
    #[serde(skip)]
    pub what: String,
    /// Whether what was to be delivered tells of a delivery given up itself: then nobody is told of this one.
    #[serde(skip)]
    pub of_hook_failed: bool,
}

/// The count of ends in `watch.finished`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FinishedCounts {
    /// Completed.
    pub completed: u32,
    /// Failed.
    pub failed: u32,
    /// Squashed.
    pub squashed: u32,
    /// Ended in any other way.
    pub other: u32,
    /// What the exit status says, in a word.
    pub outcome: &'static str,
}

impl FinishedCounts {
    /// The outcome of a daemon's stop, which ends no watch.
    pub const STOPPED: &'static str = "stopped";
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn rfc3339_seconds<S: Serializer>(seconds: &Option<i64>, s: S) -> Result<S::Ok, S::Error> {
    const LAST: u64 = 253_402_300_799;
    let Some(seconds) = seconds else {
        return s.serialize_none();
    };
    let seconds = u64::try_from(*seconds).unwrap_or(0).min(LAST);
    s.collect_str(&humantime::format_rfc3339_seconds(
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    ))
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn flat_files<S: Serializer>(files: &Option<Files>, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Flat {
        files_added: u64,
        files_modified: u64,
        files_removed: u64,
        bytes_added: u64,
        bytes_modified: u64,
        bytes_removed: u64,
    }
    files
        .map(|f| Flat {
            files_added: f.added.count,
            files_modified: f.modified.count,
            files_removed: f.removed.count,
            bytes_added: f.added.bytes,
            bytes_modified: f.modified.bytes,
            bytes_removed: f.removed.bytes,
        })
        .serialize(s)
}
