//! The log record of an event.

use serde::Serialize;

use super::limits::{self, Labels};
use super::{Event, EventFields};
use crate::job::{JobKind, JobRef};
use crate::time::rfc3339_ms;

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
                .map(Labels),
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
    labels: Option<Labels<'a>>,
    #[serde(flatten)]
    fields: &'a EventFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    game: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a str>,
}
