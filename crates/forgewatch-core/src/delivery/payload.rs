//! What a hook receives: the event as a CloudEvents object, and as environment variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::origin::TraceFields;
use crate::event::{Event, EventId, EventType, LogRecord, TRACEPARENT, TraceContext};
use crate::job::JobRef;
use crate::time::rfc3339_ms;

/// The environment variables that describe every event, and their meanings.
pub const EVENT_VARIABLES: [(&str, &str); 10] = [
    (
        "FORGEWATCH_EVENT_ID",
        "Id of the event, the same for every attempt: it identifies an event that was processed before.",
    ),
    (
        "FORGEWATCH_EVENT_TYPE",
        "Type of the event, such as job.failed.",
    ),
    ("FORGEWATCH_JOB", "The job, such as diff/1234."),
    ("FORGEWATCH_JOB_KIND", "diff, update or version."),
    ("FORGEWATCH_JOB_ID", "Number of the job."),
    ("FORGEWATCH_STATE", "State of the job."),
    (
        "FORGEWATCH_PROGRESS",
        "Progress of the job in percent, without a sign.",
    ),
    (
        "FORGEWATCH_ERROR",
        "Error of the job, of a poll or of a delivery. Text from the server: do not trust it.",
    ),
    ("FORGEWATCH_ATTEMPT", "Number of the attempt, from 1."),
    (
        "FORGEWATCH_TEST",
        "true for an event of forgewatch hooks test.",
    ),
];
/// The beginning of the name of a variable with a label.
pub const LABEL_VARIABLE: &str = "FORGEWATCH_LABEL_";
/// The variables of events that have labels and a trace, and their meanings.
pub const OPTIONAL_VARIABLES: [(&str, &str); 2] = [
    (
        "FORGEWATCH_LABEL_<NAME>",
        "Value of a label of the job. In the name, letters are upper case, and all characters but letters and digits are _. Of labels with the same variable, the first by name counts.",
    ),
    (
        TRACEPARENT,
        "The trace that forgewatch works for, from its own TRACEPARENT.",
    ),
];

/// Most bytes of one environment variable.
const MAX_VALUE: usize = 4096;

/// An event, ready to be delivered. A store keeps [`EventPayload::body`] alone; [`EventPayload::parse`] restores the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPayload {
    id: EventId,
    job: Option<JobRef>,
    data: PayloadData,
    body: String,
}

/// A stored text is not an event of forgewatch.
#[derive(Debug, thiserror::Error)]
#[error("not an event of forgewatch: {0}")]
pub struct PayloadError(String);

impl EventPayload {
    /// The payload of an event; `instance` is the sender's name.
    ///
    /// # Errors
    /// The event cannot be encoded in JSON.
    pub fn of(event: &Event, instance: &str) -> Result<Self, PayloadError> {
        let body = serde_json::to_string(&CloudEvent::of(event, instance));
        Self::parse(body.map_err(|e| PayloadError(e.to_string()))?)
    }

    /// Parses an earlier [`EventPayload::body`].
    ///
    /// # Errors
    /// The text is not an event of forgewatch.
    pub fn parse(body: String) -> Result<Self, PayloadError> {
        let PayloadBody { data } =
            serde_json::from_str(&body).map_err(|e| PayloadError(e.to_string()))?;
        let id = EventId {
            watch: (data.watch.parse())
                .map_err(|_| PayloadError("the watch id is invalid".to_owned()))?,
            seq: data.seq,
        };
        let job = data.job.as_deref().map(str::parse::<JobRef>).transpose();
        Ok(Self {
            id,
            job: job.map_err(|e| PayloadError(e.to_string()))?,
            data,
            body,
        })
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The event type as users write it, such as `job.failed`.
    pub fn kind(&self) -> &str {
        &self.data.event_type
    }

    /// The job it is about, if any.
    pub fn job(&self) -> Option<JobRef> {
        self.job
    }

    /// The CloudEvents object, in JSON.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Type and job, such as `job.failed of diff/1234`.
    pub fn summary(&self) -> String {
        match self.job {
            Some(job) => format!("{} of {job}", self.kind()),
            None => self.kind().to_owned(),
        }
    }

    /// Whether it is a `hook.failed`: if its own delivery fails, no further one is made.
    pub fn is_hook_failed(&self) -> bool {
        self.kind() == EventType::HookFailed.as_str()
    }

    /// The trace that forgewatch worked for when it emitted the event.
    pub fn trace(&self) -> Option<TraceContext> {
        self.data.trace.context()
    }

    /// The environment variables for a program: those of every event, empty if it has no value, of labels and of the trace.
    pub fn variables(&self, attempt: u32) -> BTreeMap<String, String> {
        let (job, data) = (self.job, &self.data);
        let values = [
            Some(self.id.to_string()),
            Some(data.event_type.clone()),
            job.map(|job| job.to_string()),
            job.map(|job| job.kind.as_str().to_owned()),
            job.map(|job| job.id.to_string()),
            data.state.clone(),
            data.progress.map(|percent| percent.to_string()),
            data.error_message.clone(),
            Some(attempt.to_string()),
            data.test.then(|| "true".to_owned()),
        ];
        let names = EVENT_VARIABLES.iter().map(|(name, _)| (*name).to_owned());
        let values = values
            .into_iter()
            .map(|value| escaped(&value.unwrap_or_default()));
        let mut variables: BTreeMap<String, String> = names.zip(values).collect();
        for (label, value) in &data.labels {
            variables
                .entry(label_variable(label))
                .or_insert_with(|| escaped(value));
        }
        let trace = self.trace().map(|trace| trace.to_string());
        variables.extend(trace.map(|trace| (TRACEPARENT.to_owned(), trace)));
        variables
    }
}

/// A CloudEvents 1.0 object, whose `data` is the log record. The format is that of
/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: String,
    datacontenttype: &'static str,
    data: LogRecord<'a>,
}

impl<'a> CloudEvent<'a> {
    fn of(event: &'a Event, instance: &str) -> Self {
        Self {
            specversion: "1.0",
            id: event.id.to_string(),
            source: format!("urn:forgewatch:{instance}"),
            kind: format!("io.forgewatch.{}.v1", event.kind.as_str()),
            subject: event.job.map(|job| job.to_string()),
            time: rfc3339_ms(event.wall_ms),
            datacontenttype: "application/json",
            data: event.record(),
        }
    }
}

/// The parts of a stored body that deliveries need.
#[derive(Deserialize)]
struct PayloadBody {
    data: PayloadData,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PayloadData {
    watch: String,
    seq: u32,
    event_type: String,
    job: Option<String>,
    state: Option<String>,
    progress: Option<u8>,
    error_message: Option<String>,
    #[serde(default)]
    test: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    trace: TraceFields,
}

/// The name of the variable with a label.
pub fn label_variable(label: &str) -> String {
    let fit = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    };
    LABEL_VARIABLE
        .chars()
        .chain(label.chars().map(fit))
        .collect()
}

/// One line without control characters, at most [`MAX_VALUE`] bytes: scripts print these values.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_VALUE));
    for c in text.chars() {
        let before = out.len();
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > MAX_VALUE {
            out.truncate(before);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::event;
    use crate::event::JobMeta;

    #[test]
    fn a_stored_payload_is_parsed_back_unchanged() {
        let mut event = event(7, "job.failed");
        event.fields.error_message = Some("disk\nfull".to_owned());
        let payload = EventPayload::of(&event, "here").unwrap();
        assert_eq!(payload.id(), event.id);
        assert_eq!(payload.job(), event.job);
        assert_eq!(
            EventPayload::parse(payload.body().to_owned()).unwrap(),
            payload
        );
        assert_eq!(payload.summary(), "job.failed of diff/1234");
    }

    #[test]
    fn texts_that_are_not_events_are_rejected() {
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
    fn the_body_is_a_cloud_event_with_the_log_record_as_data() {
        let event = event(7, "job.failed");
        let payload = EventPayload::of(&event, "here").unwrap();
        let object: serde_json::Value = serde_json::from_str(payload.body()).unwrap();
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
        event.fields.error_message =
            Some(format!("$(touch x)\n;\u{1b}[2J\u{9b}{}", "ä".repeat(9_000)));
        let payload = EventPayload::of(&event, "here").unwrap();
        let all = payload.variables(3);
        assert_eq!(all.len(), 10);
        for (name, value) in &all {
            assert!(value.len() <= MAX_VALUE, "{name}");
            assert!(!value.chars().any(char::is_control), "{name}");
        }
        let error = &all["FORGEWATCH_ERROR"];
        assert!(
            error.starts_with("$(touch x)\\n;\\u{1b}[2J\\u{9b}ää"),
            "{error}"
        );
        assert_eq!(all["FORGEWATCH_ATTEMPT"], "3");
        assert_eq!(all["FORGEWATCH_TEST"], "");
    }

    #[test]
    fn labels_and_the_trace_are_variables() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut event = event(1, "job.failed");
        let labels = [
            ("build", "8812"),
            ("app.kubernetes.io/name", "x\ny"),
            ("a.b", "first"),
            ("a_b", "second"),
            ("A-B", "of all"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        event.meta = JobMeta::of_labels(labels.into());
        event.fields.origin.trace = trace.parse().ok();
        let payload = EventPayload::of(&event, "here").unwrap();
        let stored = EventPayload::parse(payload.body().to_owned()).unwrap();
        let all = stored.variables(1);
        assert_eq!(all["FORGEWATCH_LABEL_BUILD"], "8812");
        assert_eq!(all["FORGEWATCH_LABEL_APP_KUBERNETES_IO_NAME"], "x\\ny");
        assert_eq!(all["FORGEWATCH_LABEL_A_B"], "of all");
        assert_eq!(all["TRACEPARENT"], trace);
        assert_eq!(all.len(), 14);
    }
}
