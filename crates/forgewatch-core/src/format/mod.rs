//! Formats of webhooks: each turns an event into the body of a request, by a pure function in a file of its own.
//!
//! What is stored of a delivery is its [`EventPayload`], whatever the format. Text of servers is inert in each format: a
//! chat shows it, but finds no mention, link or markup in it (`inert`). `notice` chooses what chats show, `reply` reads
//! what their responses mean beyond the status.

mod cdevents;
mod discord;
mod inert;
mod notice;
mod otlp;
mod reply;
mod slack;
mod teams;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::delivery::EventPayload;
use crate::event::{ALL_JOB_EVENTS, EventType, InvalidRecord, ParsedRecord};

pub use template::{Template, TemplateError};

/// The form in which a webhook receives events.
#[derive(Clone, Debug, Default)]
pub enum Format {
    /// The payload as it is: a CloudEvents object whose data is the log record.
    #[default]
    CloudEvents,
    /// A message for an incoming webhook of Slack, in Block Kit.
    Slack,
    /// A message for a webhook of Discord, with an embed.
    Discord,
    /// A message for Microsoft Teams, with an Adaptive Card.
    Teams,
    /// A `taskRun` event of `CDEvents`, in `CloudEvents`.
    CdEvents,
    /// The spans of an ended job, for an OpenTelemetry collector: OTLP/HTTP in JSON.
    Otlp,
    /// The user's own.
    Template(Arc<Template>),
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The media type.
    pub content_type: &'static str,
    /// The content.
    pub body: String,
}

impl Message {
    fn json(body: &serde_json::Value) -> Self {
        Self {
            content_type: "application/json",
            body: body.to_string(),
        }
    }
}

/// An event has no body in a format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The payload was stored by another version.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// The template does not fit the event.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// The name of [`Format::Template`].
pub const TEMPLATE: &str = "template";

impl Format {
    /// The names that users write.
    pub const NAMES: [&str; 7] = [
        "cloudevents",
        "slack",
        "discord",
        "teams",
        "cdevents",
        "otlp",
        TEMPLATE,
    ];

    /// The format of this name; None for [`TEMPLATE`], which needs one, and for other words.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "cloudevents" => Self::CloudEvents,
            "slack" => Self::Slack,
            "discord" => Self::Discord,
            "teams" => Self::Teams,
            "cdevents" => Self::CdEvents,
            "otlp" => Self::Otlp,
            _ => return None,
        })
    }

    /// The user's own template.
    pub fn source(&self) -> Option<String> {
        match self {
            Self::Template(template) => template.source(),
            _ => None,
        }
    }

    /// The name that users write.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::CdEvents => "cdevents",
            Self::Otlp => "otlp",
            Self::Template(_) => TEMPLATE,
        }
    }

    /// Whether events of this type can have a body.
    pub fn has_type(&self, kind: EventType) -> bool {
        match self {
            Self::CdEvents => cdevents::has_type(kind),
            Self::Otlp => otlp::has_type(kind),
            _ => true,
        }
    }

    /// The types of `on`, without those of `job.*` that never have a body.
    pub fn narrow(&self, on: Vec<String>) -> Vec<String> {
        if EventType::ALL.into_iter().all(|kind| self.has_type(kind)) {
            return on;
        }
        let of_jobs = |kind: &EventType| kind.is_about_job() && self.has_type(*kind);
        let expand = |on: String| match &*on {
            ALL_JOB_EVENTS => {
                let types = EventType::ALL.into_iter().filter(of_jobs);
                types.map(|kind| kind.as_str().to_owned()).collect()
            }
            _ => vec![on],
        };
        on.into_iter().flat_map(expand).collect()
    }

    /// The body for an event; None if the format has none for it.
    ///
    /// # Errors
    /// The stored event is unreadable, or the template does not fit it.
    pub fn message(&self, payload: &EventPayload) -> Result<Option<Message>, FormatError> {
        if let Self::CloudEvents = self {
            return Ok(Some(Message {
                content_type: "application/cloudevents+json",
                body: payload.body().to_owned(),
            }));
        }
        let envelope = Envelope::parse(payload)?;
        Ok(match self {
            Self::CloudEvents => None,
            Self::Slack => Some(slack::message(&envelope)),
            Self::Discord => Some(discord::message(&envelope)),
            Self::Teams => Some(teams::message(&envelope)),
            Self::CdEvents => cdevents::message(&envelope),
            Self::Otlp => otlp::message(&envelope),
            Self::Template(template) => Some(template.message(&envelope)?),
        })
    }

    /// The error in the body of a response whose status is a success.
    pub fn error_in_success(&self, body: &str) -> Option<ReplyError> {
        reply::error_in_success(self, body)
    }
}

pub use reply::{ReplyError, retry_after};

/// The parts of a payload that formats use.
struct Envelope {
    source: String,
    record: ParsedRecord,
    /// The record as an object.
    data: serde_json::Map<String, serde_json::Value>,
}

impl Envelope {
    fn parse(payload: &EventPayload) -> Result<Self, FormatError> {
        #[derive(serde::Deserialize)]
        struct Body {
            source: String,
            data: serde_json::Map<String, serde_json::Value>,
        }
        let Body { source, data } =
            serde_json::from_str(payload.body()).map_err(InvalidRecord::from)?;
        Ok(Self {
            source,
            record: ParsedRecord::from_object(data.clone())?,
            data,
        })
    }
}
