//! Errors as JSON, by RFC 9457.

use std::fmt::Display;

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::control::protocol::{RequestErrorKind, Response};

pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// Why a request failed, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// A standard header that explains the status.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// Whether the connection cannot be used any more.
    pub(super) closes: bool,
    members: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Display) -> Self {
        let mut members = Map::new();
        members.insert("status".to_owned(), status.as_u16().into());
        let title = status.canonical_reason().unwrap_or_default();
        members.insert("title".to_owned(), title.into());
        members.insert("detail".to_owned(), detail.to_string().into());
        Self {
            status,
            header: None,
            closes: false,
            members,
        }
    }

    /// A wrong parameter of the path or query.
    pub(super) fn parameter(name: &str, what: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{name}: {what}")).with("parameter", name)
    }

    pub(super) fn bad_request(what: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }

    pub(super) fn unavailable(what: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, what)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The offset is beyond the last event.
    pub(super) fn unknown_offset(offset: u64, last: u64) -> Self {
        let what = format!(
            "offset {offset} is beyond the last event, {last}; if the state file is new, start with since=0"
        );
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, what)
            .with("offset", offset)
            .with("last", last)
    }

    /// The problem that a response of the daemon stands for, when another response was expected.
    pub(super) fn of_response(response: Response) -> Self {
        match response {
            Response::Error { messages, kind } => {
                let status = match kind {
                    RequestErrorKind::Invalid => StatusCode::BAD_REQUEST,
                    RequestErrorKind::NotFound => StatusCode::NOT_FOUND,
                    RequestErrorKind::Conflict => StatusCode::CONFLICT,
                    RequestErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
                };
                Self::new(status, messages.join("; ")).with("errors", json!(messages))
            }
            Response::Unavailable { message } => Self::unavailable(message),
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "unexpected response of the daemon",
            ),
        }
    }

    /// Adds a member for programs.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        let header = Some((name, value));
        Self { header, ..self }
    }

    pub(super) fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    pub(super) fn into_json(self) -> Vec<u8> {
        Value::Object(self.members).to_string().into_bytes()
    }
}
