//! An event as one flat object.

use serde::Serialize;

use super::limits::{self, Labels};
use super::{Event, EventFields};
use crate::job::{JobKind, JobRef};
use crate::time::rfc3339_ms;

impl Event {
    /// The event as one flat log record: what `--output json` prints, in a line of less than [`super::LONGEST_LINE`].
    pub fn record(&self) -> Record<'_> {
        let about = self.about.as_deref();
        let names = about.map(|a| &a.names);
        Record {
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
            labels: about
                .map(|a| &a.labels)
                .filter(|l| !l.is_empty())
                .map(Labels),
            facts: &self.facts,
            game: names.and_then(|n| n.game.as_deref()).map(limits::name),
            image: names.and_then(|n| n.image.as_deref()).map(limits::name),
            machine: names.and_then(|n| n.machine.as_deref()).map(limits::name),
        }
    }
}

/// The flat log record: absent rather than null, `labels` the only nested field, every text within its bounds.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
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
    facts: &'a EventFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    game: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a str>,
}
