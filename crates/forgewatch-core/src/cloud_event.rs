//! An event as a CloudEvents 1.0 object: what hooks and webhooks receive.
//!
//! The format is that of
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>; `data` is the log record.

use serde::Serialize;

use super::event::{Event, LogRecord};
use super::time::rfc3339_ms;

/// The CloudEvents object, to be serialized.
#[derive(Debug, Serialize)]
pub struct CloudEvent<'a> {
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

impl Event {
    /// The event as a CloudEvents object whose source is `urn:forgewatch:<instance>`.
    pub fn cloud_event(&self, instance: &str) -> CloudEvent<'_> {
        CloudEvent {
            specversion: "1.0",
            id: self.id.to_string(),
            source: format!("urn:forgewatch:{instance}"),
            kind: format!("io.forgewatch.{}.v1", self.kind.as_str()),
            subject: self.job.map(|job| job.to_string()),
            time: rfc3339_ms(self.wall_ms),
            datacontenttype: "application/json",
            data: self.record(),
        }
    }
}
