//! Events: one [`Event`] for each transition of a job or of forgewatch itself, and its log record.
//!
//! [`super::watch`] emits the events of jobs, the applications those of forgewatch itself. The names and types of the
//! fields are a contract with log aggregators; a test checks them against `config/schema/event.json`.
//!
//! This file holds an event's identity and its type. `record` holds the event itself with its data and its log record for
//! programs, `parse` reads a record back, `message` has the sentence for people, `limits` keeps the record short enough for
//! a journal, `origin` says where an event comes from, `manual` explains each type, and `sample` makes events up.

mod field_names;
mod limits;
mod manual;
mod message;
pub(crate) mod origin;
mod parse;
mod record;
mod sample;

use std::fmt;
use std::str::FromStr;

use super::job::{Outcome, Reason};
use super::user_input::{quoted, suggestion};

pub use field_names::RECORD_FIELDS;
pub use limits::{MAX_LINE_BYTES, escaped_len, truncate_escaped};
pub use manual::{TYPE_MANUALS, TypeManual};
pub use origin::{EventOrigin, InvalidTrace, TRACEPARENT, TraceContext};
pub use parse::{InvalidRecord, ParsedRecord};
pub use record::{
    Event, EventFields, FailedDelivery, FinishedCounts, JobMeta, Lag, LogRecord, has_labels,
    labels_text,
};

/// The pattern that matches all events of jobs.
pub const ALL_JOB_EVENTS: &str = "job.*";

/// Whether `pattern`, an event type or [`ALL_JOB_EVENTS`], matches the event type `name`.
pub fn matches_type(pattern: &str, name: &str) -> bool {
    pattern == name || (pattern == ALL_JOB_EVENTS && name.starts_with("job."))
}

/// What a user can select events by: a type, or all events of jobs.
pub fn type_patterns() -> impl Iterator<Item = &'static str> + Clone {
    let types = EventType::ALL.map(EventType::as_str);
    types.into_iter().chain([ALL_JOB_EVENTS])
}

/// # Errors
/// There is no such type; the message suggests one.
pub fn type_pattern(name: &str) -> Result<String, String> {
    if type_patterns().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let hint = suggestion(name, type_patterns());
    Err(format!("unknown event type {}; {hint}", quoted(name)))
}

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
    /// The job has run longer than 95 % of the earlier jobs of its kind and image.
    Slow,
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
    /// All types, in the order of the manual.
    pub const ALL: [Self; 23] = [
        Self::Watching,
        Self::StateChanged,
        Self::Progressed,
        Self::EtaSlipped,
        Self::Stalled,
        Self::Resumed,
        Self::Slow,
        Self::Unreachable,
        Self::Reachable,
        Self::Ended(Outcome::Completed),
        Self::Ended(Outcome::Failed),
        Self::Ended(Outcome::Squashed),
        Self::Ended(Outcome::NotFound),
        Self::Ended(Outcome::Refused),
        Self::Ended(Outcome::TimedOut),
        Self::Ended(Outcome::GaveUp),
        Self::Ended(Outcome::Removed),
        Self::Ended(Outcome::Abandoned(Reason::Interrupted)),
        Self::WatchStarted,
        Self::WatchReloaded,
        Self::WatchLagged,
        Self::WatchFinished,
        Self::HookFailed,
    ];

    /// The type with this name. The reason of `job.abandoned` is not in its name and becomes [`Reason::Interrupted`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watching => "job.watching",
            Self::StateChanged => "job.state_changed",
            Self::Progressed => "job.progressed",
            Self::EtaSlipped => "job.eta_slipped",
            Self::Stalled => "job.stalled",
            Self::Resumed => "job.resumed",
            Self::Slow => "job.slow",
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

    /// Whether its events are about a job.
    pub fn is_about_job(self) -> bool {
        matches_type(ALL_JOB_EVENTS, self.as_str())
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
            | Self::Slow
            | Self::Unreachable
            | Self::WatchLagged => "WARN",
            _ => "INFO",
        }
    }
}

impl Outcome {
    /// Its name: the type of the ending event without `job.`.
    pub fn as_str(self) -> &'static str {
        let name = EventType::Ended(self).as_str();
        name.strip_prefix("job.").unwrap_or(name)
    }

    /// The outcome with this name. The reason of `abandoned` is not in its name and becomes [`Reason::Interrupted`].
    pub fn from_name(name: &str) -> Option<Self> {
        let mut outcomes = EventType::ALL.into_iter().filter_map(|kind| match kind {
            EventType::Ended(outcome) => Some(outcome),
            _ => None,
        });
        outcomes.find(|outcome| outcome.as_str() == name)
    }
}

/// The identity of a watch: random, created with the watch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub [u8; 16]);

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the id of a watch, event or delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid id")]
pub struct InvalidId;

impl FromStr for WatchId {
    type Err = InvalidId;

    /// Parses 32 hexadecimal digits, the form of `Display`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidId)?;
        digits
            .then_some(Self(number.to_be_bytes()))
            .ok_or(InvalidId)
    }
}

/// The identity of an event, `<watch>-<seq>`: the same wherever and however often the event appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The watch; for events of forgewatch itself, an id of the process.
    pub watch: WatchId,
    /// Counted from 1 within the watch.
    pub seq: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.watch, self.seq)
    }
}

impl FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (watch, seq) = text.split_once('-').ok_or(InvalidId)?;
        Ok(Self {
            watch: watch.parse()?,
            seq: seq.parse().map_err(|_| InvalidId)?,
        })
    }
}
