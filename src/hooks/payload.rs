//! An event as hooks get it: the text they are sent, and the few facts that decide who gets it.

use std::borrow::Cow;

use serde::Deserialize;

use forgewatch_core::event::{Event, EventId, EventType};
use forgewatch_core::job::JobRef;

/// The variables by which the event tells itself.
pub(crate) const OF_THE_EVENT: [&str; 9] = [
    "FORGEWATCH_EVENT_ID",
    "FORGEWATCH_EVENT_TYPE",
    "FORGEWATCH_JOB",
    "FORGEWATCH_JOB_KIND",
    "FORGEWATCH_JOB_ID",
    "FORGEWATCH_STATE",
    "FORGEWATCH_PROGRESS",
    "FORGEWATCH_ERROR",
    "FORGEWATCH_ATTEMPT",
];

/// The most bytes of one variable of the environment.
const LONGEST_VALUE: usize = 4096;

/// An event, ready to be delivered. A store keeps [`EventPayload::body`] alone: [`EventPayload::parse`] makes the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPayload {
    id: EventId,
    kind: String,
    job: Option<JobRef>,
    state: String,
    progress: String,
    error: String,
    body: String,
}

/// Why a stored text is no event of ours.
#[derive(Debug, thiserror::Error)]
#[error("not an event of forgewatch: {0}")]
pub struct PayloadError(String);

impl EventPayload {
    /// The event, told by the watcher called `instance`.
    pub fn of(event: &Event, instance: &str) -> Result<Self, PayloadError> {
        let body = serde_json::to_string(&event.cloud_event(instance));
        Self::parse(body.map_err(|e| PayloadError(e.to_string()))?)
    }

    /// Reads what [`EventPayload::body`] once said.
    pub fn parse(body: String) -> Result<Self, PayloadError> {
        let Read { data } = serde_json::from_str(&body).map_err(|e| PayloadError(e.to_string()))?;
        let id = EventId {
            watch: (data.watch.parse())
                .map_err(|_| PayloadError("its watch has no id".to_owned()))?,
            seq: data.seq,
        };
        let job = data.job.map(|job| job.parse::<JobRef>()).transpose();
        Ok(Self {
            id,
            kind: data.event_type,
            job: job.map_err(|e| PayloadError(e.to_string()))?,
            state: data.state.unwrap_or_default(),
            progress: data.progress.map_or_else(String::new, |p| p.to_string()),
            error: data.error.unwrap_or_default(),
            body,
        })
    }

    /// The event's identity.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Its type, as users write it.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The job it is about; None for the watcher's own.
    pub fn job(&self) -> Option<JobRef> {
        self.job
    }

    /// The CloudEvents object, in JSON.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// What it is, in a few words: `job.failed of diff/1234`.
    pub fn what(&self) -> String {
        match self.job {
            Some(job) => format!("{} of {job}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Whether it tells of a delivery given up: one that cannot be delivered either makes no other.
    pub fn is_hook_failed(&self) -> bool {
        self.kind == EventType::HookFailed.as_str()
    }

    /// The variables by which a program gets it: always the same ones, empty where the event says nothing.
    pub fn variables(&self, attempt: u32) -> impl Iterator<Item = (&'static str, String)> {
        let values: [Cow<'_, str>; OF_THE_EVENT.len()] = [
            self.id.to_string().into(),
            self.kind.as_str().into(),
            self.job.map_or_else(String::new, |j| j.to_string()).into(),
            self.job.map_or("", |j| j.kind.as_str()).into(),
            self.job
                .map_or_else(String::new, |j| j.id.to_string())
                .into(),
            self.state.as_str().into(),
            self.progress.as_str().into(),
            self.error.as_str().into(),
            attempt.to_string().into(),
        ];
        let pairs = OF_THE_EVENT.into_iter().zip(values);
        pairs.map(|(name, value)| (name, escaped(&value)))
    }
}

/// What of the text is looked at.
#[derive(Deserialize)]
struct Read {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    watch: String,
    seq: u32,
    event_type: String,
    job: Option<String>,
    state: Option<String>,
    progress: Option<u8>,
    error: Option<String>,
}

/// One line without control characters, in at most [`LONGEST_VALUE`] bytes: scripts print what they get.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST_VALUE));
    for c in text.chars() {
        let before = out.len();
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > LONGEST_VALUE {
            out.truncate(before);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::tests_support::event;

    #[test]
    fn what_is_stored_is_read_back_whole() {
        let mut event = event(7, "job.failed");
        event.facts.error = Some("disk\nfull".to_owned());
        let told = EventPayload::of(&event, "here").unwrap();
        assert_eq!(told.id(), event.id);
        assert_eq!(told.job(), event.job);
        assert_eq!(EventPayload::parse(told.body().to_owned()).unwrap(), told);
        assert_eq!(told.what(), "job.failed of diff/1234");
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"data":{"watch":"00","seq":1,"event_type":"job.failed"}}"#,
        ] {
            assert!(EventPayload::parse(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_object_is_cloud_events_and_its_data_the_log_record() {
        let event = event(7, "job.failed");
        let told = EventPayload::of(&event, "here").unwrap();
        let object: serde_json::Value = serde_json::from_str(told.body()).unwrap();
        assert_eq!(object["specversion"], "1.0");
        assert_eq!(object["id"], event.id.to_string());
        assert_eq!(object["source"], "urn:forgewatch:here");
        assert_eq!(object["type"], "io.forgewatch.job.failed.v1");
        assert_eq!(object["subject"], "diff/1234");
        assert_eq!(object["time"], object["data"]["timestamp"]);
        assert_eq!(object["datacontenttype"], "application/json");
        assert_eq!(
            object["data"],
            serde_json::to_value(event.record()).unwrap()
        );
    }

    #[test]
    fn variables_are_short_and_without_control_characters() {
        let mut event = event(1, "job.failed");
        event.facts.error = Some(format!("$(touch x)\n;\u{1b}[2J\u{9b}{}", "ä".repeat(9_000)));
        let told = EventPayload::of(&event, "here").unwrap();
        let all: Vec<(&str, String)> = told.variables(3).collect();
        assert_eq!(all.len(), 9);
        for (name, value) in &all {
            assert!(value.len() <= LONGEST_VALUE, "{name}");
            assert!(!value.chars().any(char::is_control), "{name}");
        }
        let (_, error) = all.iter().find(|(n, _)| *n == "FORGEWATCH_ERROR").unwrap();
        assert!(
            error.starts_with("$(touch x)\\n;\\u{1b}[2J\\u{9b}ää"),
            "{error}"
        );
        assert_eq!(all.last(), Some(&("FORGEWATCH_ATTEMPT", "3".to_owned())));
    }
}
