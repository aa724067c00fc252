//! What is told to the world: one [`Event`] for each transition, and its flat log record.
//!
//! [`super::watch`] makes the events of jobs, the engine those of the watcher itself; `report` prints them. The
//! names and forms of the fields are a contract with log aggregators, checked against
//! `config/schema/event.json` by a test.
//!
//! `id` says which event it is, `kind` of which type, `facts` what is told with it; `message` is the sentence for people,
//! `record` the whole for programs, and `bound` keeps that short enough for a journal.

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
pub use kind::{ALL_OF_JOBS, EventType};
pub use limits::{LONGEST_LINE, short, spelled};
pub use record::Record;

use super::job::JobRef;
use super::status::Names;

/// What is known of a job besides its status: apart from the watch, shared, and absent for most jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobMeta {
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The server's names for what a diff is about.
    pub names: Names,
}

/// One transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// Its type.
    pub kind: EventType,
    /// When it was seen, Unix milliseconds.
    pub wall_ms: i64,
    /// The job it is about; None for the watcher's own.
    pub job: Option<JobRef>,
    /// That job's labels and names.
    pub about: Option<Arc<JobMeta>>,
    /// Everything else that is told with it.
    pub facts: EventFields,
}
