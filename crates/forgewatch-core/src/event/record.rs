//! An event with its data, and its log record. The fields have the names of the record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::limits::{self, LimitedLabels};
use super::{EventId, EventOrigin, EventType};
use crate::job::{JobKind, JobRef, JobState, Outcome, Reason};
use crate::sanitize::{LIMIT, sanitized};
use crate::schedule::Unusual;
use crate::status::{DiffFiles, DiffNames};
use crate::time::rfc3339_ms;
use crate::time_left::TimeLeft;
use crate::verdict::ErrorKind;

/// A job's labels and names: kept apart from the watch, because most jobs have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobMeta {
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The server's names of game, image and machine.
    pub names: DiffNames,
}

impl JobMeta {
    /// Labels without names; None without labels.
    pub fn of_labels(labels: BTreeMap<String, String>) -> Option<Arc<Self>> {
        let names = DiffNames::default();
        (!labels.is_empty()).then(|| Arc::new(Self { labels, names }))
    }
}

/// Whether `labels` has all that are `wanted`.
pub fn has_labels(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    let has = |(name, value)| labels.get(name) == Some(value);
    wanted.iter().all(has)
}

/// Labels as people read them, `build=8812,stage=live`, without characters that terminals act on.
pub fn labels_text(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    sanitized(&labels.join(","), LIMIT)
}

/// The record of one transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// Its type.
    pub kind: EventType,
    /// When the transition was observed, Unix milliseconds.
    pub wall_ms: i64,
    /// The job; None for events of forgewatch itself.
    pub job: Option<JobRef>,
    /// The job's labels and names.
    pub meta: Option<Arc<JobMeta>>,
    /// Everything else.
    pub fields: EventFields,
}

/// The optional fields of an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventFields {
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: EventOrigin,
    /// The job's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// The state before, of `job.state_changed` and of ends that changed the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_state: Option<JobState>,
    /// The server's name of the state.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "limits::as_name"
    )]
    pub state_name: Option<String>,
    /// Whole percent, rounded down: 100 only at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// The server's ETA, Unix seconds; RFC 3339 in the record.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "rfc3339_seconds"
    )]
    pub eta: Option<i64>,
    /// The time until the ETA, by the server's clock, and the estimated time left.
    #[serde(flatten)]
    pub left: TimeLeft,
    /// Time until the next poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<u64>,
    /// `joberror`, or the error of a poll or delivery.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "limits::as_error"
    )]
    pub error_message: Option<String>,
    /// The class of a poll's error.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "error_class"
    )]
    pub error_kind: Option<ErrorKind>,
    /// The HTTP status of a failed poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why a one-shot abandoned the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Polls so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Time since the first poll; of `watch.*`, since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// How long a stalled job has not progressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
    /// The time of the last poll minus its `jobupdated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_delay_ms: Option<u64>,
    /// How long the job waited by its own times: `jobstart` minus `jobcreated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
    /// How long the job ran; at its end by its own times, `jobupdated` minus `jobstart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    /// The median duration of earlier jobs of this kind and image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_ms: Option<u64>,
    /// Whether the duration of an ended job is unusual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusual: Option<Unusual>,
    /// Whether `hooks test` made the event up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// The files of a completed diff.
    #[serde(flatten, serialize_with = "flat_files")]
    pub files: Option<DiffFiles>,
    /// The number of watched jobs, of `watch.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// The numbers of ended jobs, of `watch.finished`.
    #[serde(flatten)]
    pub counts: Option<FinishedCounts>,
    /// The delivery that failed, of `hook.failed`.
    #[serde(flatten)]
    pub delivery: Option<Box<FailedDelivery>>,
    /// The dropped lines, of `watch.lagged`.
    #[serde(flatten)]
    pub lag: Option<Box<Lag>>,
}

/// The dropped lines of a `watch.lagged`. The store still has their events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The number of consecutive lines.
    pub lines_dropped: u64,
    /// The id of the first dropped event.
    #[serde(serialize_with = "limits::as_word")]
    pub first_dropped: String,
    /// The id of the last dropped event.
    #[serde(serialize_with = "limits::as_word")]
    pub last_dropped: String,
}

/// The delivery of a `hook.failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedDelivery {
    /// The hook's name.
    #[serde(serialize_with = "limits::as_word")]
    pub hook: String,
    /// The delivery's id, `<event>/<hook>`.
    #[serde(serialize_with = "limits::as_word")]
    pub delivery: String,
    /// The number of attempts; 0 if the delivery was never tried.
    pub attempt: u32,
    /// The exit status of the last attempt, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The event for people: `job.failed of diff/1234`.
    #[serde(skip)]
    pub what: String,
    /// Whether its payload is a `hook.failed` itself: then no hook receives the event of this failure.
    #[serde(skip)]
    pub of_hook_failed: bool,
}

/// The numbers of ended jobs in `watch.finished`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FinishedCounts {
    /// Jobs that completed.
    pub completed: u32,
    /// Jobs that failed.
    pub failed: u32,
    /// Jobs that were squashed.
    pub squashed: u32,
    /// Jobs with another outcome, including the four below.
    pub other: u32,
    /// Jobs that timed out.
    #[serde(skip)]
    pub timed_out: u32,
    /// Jobs that the server does not know.
    #[serde(skip)]
    pub not_found: u32,
    /// Jobs that the API refused.
    #[serde(skip)]
    pub refused: u32,
    /// Jobs that were unreachable for too long.
    #[serde(skip)]
    pub gave_up: u32,
    /// The name of the exit status.
    pub outcome: &'static str,
}

impl FinishedCounts {
    /// The `outcome` of a daemon's shutdown, which ends no watch.
    pub const STOPPED: &'static str = "stopped";

    /// Counts one ended job.
    pub fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Completed => &mut self.completed,
            Outcome::Failed => &mut self.failed,
            Outcome::Squashed => &mut self.squashed,
            _ => &mut self.other,
        };
        *count += 1;
        match outcome {
            Outcome::TimedOut => self.timed_out += 1,
            Outcome::NotFound => self.not_found += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::GaveUp => self.gave_up += 1,
            _ => {}
        }
    }
}

impl Event {
    /// The event's log record, as `--output json` prints it in a line shorter than [`super::MAX_LINE_BYTES`].
    pub fn record(&self) -> LogRecord<'_> {
        let meta = self.meta.as_deref();
        let names = meta.map(|a| &a.names);
        LogRecord {
            timestamp: rfc3339_ms(self.wall_ms),
            level: self.kind.level(),
            target: "forgewatch::watch",
            message: self.message(),
            event_id: self.id.to_string(),
            event_type: self.kind.as_str(),
            seq: self.id.seq,
            watch: self.id.watch.to_string(),
            job: self.job,
            job_kind: self.job.map(|j| j.kind),
            job_id: self.job.map(|j| j.id.get()),
            labels: meta
                .map(|a| &a.labels)
                .filter(|l| !l.is_empty())
                .map(LimitedLabels),
            fields: &self.fields,
            game: names.and_then(|n| n.game.as_deref()).map(limits::name),
            image: names.and_then(|n| n.image.as_deref()).map(limits::name),
            machine: names.and_then(|n| n.machine.as_deref()).map(limits::name),
        }
    }
}

/// A flat log record: absent fields instead of null, `labels` the only nested field, every text limited in length.
#[derive(Debug, Serialize)]
pub struct LogRecord<'a> {
    timestamp: String,
    level: &'static str,
    target: &'static str,
    message: String,
    event_id: String,
    event_type: &'static str,
    seq: u32,
    watch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_kind: Option<JobKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<LimitedLabels<'a>>,
    #[serde(flatten)]
    fields: &'a EventFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    game: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a str>,
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn error_class<S: Serializer>(kind: &Option<ErrorKind>, s: S) -> Result<S::Ok, S::Error> {
    kind.map(ErrorKind::as_str).serialize(s)
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
fn flat_files<S: Serializer>(files: &Option<DiffFiles>, s: S) -> Result<S::Ok, S::Error> {
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
