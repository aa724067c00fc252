//! Events: one [`Event`] for each transition of a job or of forgewatch itself, and its log record.
//!
//! [`super::watch`] emits the events of jobs, the applications those of forgewatch itself. The names and types of the
//! fields are a contract with log aggregators; a test checks them against `config/schema/event.json`.
//!
//! `id` holds an event's identity, `kind` its type, `fields` its data; `message` is its sentence for people, `record` its log
//! record for programs, and `limits` keeps that record short enough for a journal.

mod fields;
mod id;
mod kind;
mod limits;
mod message;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use fields::{EventFields, FailedDelivery, FinishedCounts, Lag};
pub use id::{EventId, InvalidId, WatchId};
pub use kind::{ALL_JOB_EVENTS, EventType};
pub use limits::{MAX_LINE_BYTES, escaped_len, truncate_escaped};
pub use record::LogRecord;

use super::job::JobRef;
use super::status::DiffNames;

/// A job's labels and names: kept apart from the watch, because most jobs have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobMeta {
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The server's names of game, image and machine.
    pub names: DiffNames,
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
