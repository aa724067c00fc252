//! What the body of a response says beyond its status.

use std::time::Duration;

use serde_json::Value;

use super::Format;

/// A receiver did not accept an event although its status is a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Another attempt may succeed.
    Retry,
    /// Another attempt must not be made.
    Final,
}

pub(super) fn error_in_success(format: &Format, body: &str) -> Option<ReplyError> {
    let body = body.trim();
    let json = || serde_json::from_str::<Value>(body).ok();
    match format {
        Format::Slack => {
            let is_denied = |reply: Value| reply["ok"] == false || reply["success"] == false;
            // An error is one word, such as `no_text`.
            let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
            let is_error = !body.is_empty() && body != "ok" && body.chars().all(is_word);
            (is_error || json().is_some_and(is_denied)).then_some(ReplyError::Retry)
        }
        // A connector reports the error of the service behind it with status 200.
        Format::Teams => {
            let is_error = body.contains("HTTP error") || body.contains("delivery failed");
            is_error.then_some(ReplyError::Retry)
        }
        // "The client MUST NOT retry the request when it receives a partial success response where the
        // `partial_success` is populated." Without rejected spans its message is a warning.
        Format::Otlp => {
            let rejected = json()?["partialSuccess"]["rejectedSpans"].clone();
            // A 64-bit number, so it may be text.
            let number = rejected.as_str().and_then(|n| n.parse().ok());
            let number = number.or(rejected.as_u64()).unwrap_or(0);
            (number > 0).then_some(ReplyError::Final)
        }
        Format::CloudEvents | Format::Discord | Format::CdEvents | Format::Template(_) => None,
    }
}

/// The delay that the body of a response with status 429 requests, as Discord's does: `retry_after` in seconds.
pub fn retry_after(body: &str) -> Option<Duration> {
    let reply: Value = serde_json::from_str(body).ok()?;
    Duration::try_from_secs_f64(reply["retry_after"].as_f64()?).ok()
}
