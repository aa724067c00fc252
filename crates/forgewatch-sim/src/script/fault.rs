//! Faults of requests: reads and checks the `[[faults]]` entries of a script.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::value::{ByteSize, ClockOffset, NonNegative, RequestRange, ScriptDuration, ScriptError};

#[derive(Clone, Debug)]
pub(crate) struct ScriptedFault {
    pub(crate) requests: RequestRange,
    pub(crate) kind: FaultKind,
}

/// The first five affect the transport of a response and can be combined. The others replace the response; of several for
/// one request, the first one applies.
#[derive(Clone, Debug)]
pub(crate) enum FaultKind {
    /// Time before the first byte.
    Delay(Duration),
    /// So many bytes at a time, with a pause after each.
    Slow { bytes: usize, every: Duration },
    /// The connection is closed after so many bytes of the response, its head included.
    Truncate(u64),
    /// The connection is reset (RST) after so many bytes of the response, its head included.
    Reset(u64),
    /// The `Date` of this response is off by so many milliseconds.
    DateOffset(i64),
    Status {
        code: u16,
        retry_after: Option<RetryAfter>,
        location: Option<String>,
        body: Option<String>,
    },
    /// HTTP 200 with the vendor's error envelope.
    Envelope { code: i64, message: String },
    /// Small on the wire, so many spaces when decoded.
    GzipBomb(u64),
    /// HTTP 200 without a valid status.
    BadResponse(BadResponse),
}

#[derive(Clone, Debug)]
pub(crate) enum RetryAfter {
    /// Sent as it is, valid or not.
    Text(String),
    /// A date, so far ahead of the server's clock.
    Date(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BadResponse {
    /// The HTML page of a proxy.
    Html,
    InvalidUtf8,
    /// JSON nested 100,000 levels deep.
    DeepJson,
    Empty,
    /// A valid status after a header of 1 MiB.
    HugeHeader,
}

/// A fault as written in the script: a range of requests and exactly one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultEntry {
    requests: RequestRange,
    delay: Option<ScriptDuration>,
    slow: Option<SlowEntry>,
    truncate_after: Option<NonNegative>,
    reset_after: Option<NonNegative>,
    date_offset: Option<ClockOffset>,
    status: Option<Spanned<NonNegative>>,
    redirect: Option<String>,
    retry_after: Option<String>,
    retry_after_date: Option<ScriptDuration>,
    body: Option<String>,
    envelope: Option<EnvelopeEntry>,
    gzip_bomb: Option<ByteSize>,
    bad_response: Option<BadResponse>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlowEntry {
    bytes: Spanned<NonNegative>,
    every: ScriptDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeEntry {
    #[serde(default = "one")]
    code: i64,
    message: String,
}

fn one() -> i64 {
    1
}

const ONE_KIND: &str = "a fault needs exactly one kind: one of delay, slow, truncate_after, reset_after, date_offset, \
    status, redirect, body, envelope, gzip_bomb, bad_response";

/// Checks a fault. An error has the position of the invalid value or, if keys contradict each other, of the fault.
pub(crate) fn check(text: Spanned<FaultEntry>, source: &str) -> Result<ScriptedFault, ScriptError> {
    let span = text.span();
    let mut text = text.into_inner();
    let at = |message: &str| ScriptError::at(source, span.start, message);
    let status = status_fault(&mut text, source, &at)?;
    let slow = match text.slow {
        None => None,
        Some(slow) if slow.bytes.get_ref().0 == 0 => {
            return Err(ScriptError::at(
                source,
                slow.bytes.span().start,
                "bytes must be 1 or more",
            ));
        }
        Some(slow) => Some(FaultKind::Slow {
            bytes: slow.bytes.get_ref().0 as usize,
            every: slow.every.0,
        }),
    };
    let mut kinds = [
        text.delay.map(|d| FaultKind::Delay(d.0)),
        slow,
        text.truncate_after
            .map(|after| FaultKind::Truncate(after.0)),
        text.reset_after.map(|after| FaultKind::Reset(after.0)),
        text.date_offset.map(|d| FaultKind::DateOffset(d.0)),
        status,
        text.envelope.map(|e| FaultKind::Envelope {
            code: e.code,
            message: e.message,
        }),
        text.gzip_bomb.map(|size| FaultKind::GzipBomb(size.0)),
        text.bad_response.map(FaultKind::BadResponse),
    ]
    .into_iter()
    .flatten();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Ok(ScriptedFault {
            requests: text.requests,
            kind,
        }),
        _ => Err(at(ONE_KIND)),
    }
}

/// The fault that `status`, `redirect`, `body` and the two forms of `retry_after` define together, if any.
fn status_fault(
    text: &mut FaultEntry,
    source: &str,
    at: &impl Fn(&str) -> ScriptError,
) -> Result<Option<FaultKind>, ScriptError> {
    let retry_after = match (text.retry_after.take(), text.retry_after_date.take()) {
        (None, None) => None,
        (Some(value), None) => Some(RetryAfter::Text(value)),
        (None, Some(ahead)) => Some(RetryAfter::Date(ahead.0)),
        (Some(_), Some(_)) => {
            return Err(at(
                "retry_after and retry_after_date set the same header: use one of them",
            ));
        }
    };
    let (location, body) = (text.redirect.take(), text.body.take());
    let mut headers = location.iter().chain(match &retry_after {
        Some(RetryAfter::Text(value)) => Some(value),
        _ => None,
    });
    if headers.any(|value| value.bytes().any(|b| b.is_ascii_control())) {
        return Err(at(
            "redirect and retry_after are header values: use text without control characters",
        ));
    }
    let code = match status_code(text, source, location.is_some())? {
        Some(code) => code,
        None if location.is_some() => 302,
        None if retry_after.is_some() => {
            return Err(at("retry_after requires a status, such as 429 or 503"));
        }
        None if body.is_some() => 200,
        None => return Ok(None),
    };
    Ok(Some(FaultKind::Status {
        code,
        retry_after,
        location,
        body,
    }))
}

fn status_code(
    text: &FaultEntry,
    source: &str,
    redirects: bool,
) -> Result<Option<u16>, ScriptError> {
    let Some(status) = &text.status else {
        return Ok(None);
    };
    let (range, message) = if redirects {
        (
            300..=399,
            "status of a redirect is out of range: use 300 to 399",
        )
    } else {
        (200..=599, "status is out of range: use 200 to 599")
    };
    match u16::try_from(status.get_ref().0) {
        Ok(code) if range.contains(&code) => Ok(Some(code)),
        _ => Err(ScriptError::at(source, status.span().start, message)),
    }
}
