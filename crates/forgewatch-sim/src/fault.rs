//! What can go wrong with a request, and on which ones it does.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::script::ScriptError;
use super::values::{Count, Requests, Shift, Size, Span};

/// One thing that goes wrong, and the requests it goes wrong on.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) requests: Requests,
    pub(super) kind: Kind,
}

/// What goes wrong. The first five are about how a response travels and add to each other; the others are the
/// response, and of several for one request the first counts.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing is sent for so long.
    Delay(Duration),
    /// So many bytes at a time, with a pause after each.
    Slow { bytes: usize, every: Duration },
    /// The connection is closed after so many bytes of the response, its head included.
    Truncate(u64),
    /// The connection is reset (RST) after so many bytes of the response, its head included.
    Reset(u64),
    /// The `Date` of this response alone is wrong, by so many milliseconds.
    Date(i64),
    /// A bare HTTP status.
    Status {
        code: u16,
        retry_after: Option<RetryAfter>,
        location: Option<String>,
        body: Option<String>,
    },
    /// HTTP 200 around an error, as the vendor's applications tell one.
    Envelope { code: i64, message: String },
    /// Little on the wire, this many bytes of blanks when decoded.
    GzipBomb(u64),
    /// HTTP 200 around something that is no status.
    Rubbish(Rubbish),
}

/// The two forms of `Retry-After`.
#[derive(Clone, Debug)]
pub(super) enum RetryAfter {
    /// The header's value as it is: seconds, a date, or nonsense.
    Text(String),
    /// A date, so far ahead on the server's clock.
    Date(Duration),
}

/// Bodies that are no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rubbish {
    /// A proxy's page.
    Html,
    /// A status whose text is not UTF-8.
    Utf8,
    /// JSON nested a hundred thousand deep.
    Deep,
    /// Nothing at all.
    Empty,
    /// A head of a mebibyte before a good body.
    HugeHead,
}

/// A fault as the script has it: which requests, and exactly one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultText {
    requests: Requests,
    delay: Option<Span>,
    slow: Option<SlowText>,
    truncate: Option<Count>,
    reset: Option<Count>,
    date: Option<Shift>,
    status: Option<Spanned<Count>>,
    redirect: Option<String>,
    retry_after: Option<String>,
    retry_after_date: Option<Span>,
    body: Option<String>,
    envelope: Option<EnvelopeText>,
    gzip_bomb: Option<Size>,
    rubbish: Option<Rubbish>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlowText {
    bytes: Spanned<Count>,
    every: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeText {
    #[serde(default = "one")]
    code: i64,
    message: String,
}

fn one() -> i64 {
    1
}

/// What is said when a fault has no kind, or two.
const ONE_KIND: &str = "a fault has exactly one kind: one of delay, slow, truncate, reset, date, status, \
    redirect, body, envelope, gzip_bomb, rubbish";

/// Checks a fault. Errors stand at the value that is wrong or, where keys do not go together, at the fault.
pub(super) fn check(text: Spanned<FaultText>, source: &str) -> Result<Fault, ScriptError> {
    let span = text.span();
    let mut text = text.into_inner();
    let at = |message: &str| ScriptError::at(source, span.start, message);
    let answer = answer(&mut text, source, &at)?;
    let slow = match text.slow {
        None => None,
        Some(slow) if slow.bytes.get_ref().0 == 0 => {
            return Err(ScriptError::at(
                source,
                slow.bytes.span().start,
                "no bytes at a time never end: 1 or more will do",
            ));
        }
        Some(slow) => Some(Kind::Slow {
            bytes: slow.bytes.get_ref().0 as usize,
            every: slow.every.0,
        }),
    };
    let mut kinds = [
        text.delay.map(|d| Kind::Delay(d.0)),
        slow,
        text.truncate.map(|after| Kind::Truncate(after.0)),
        text.reset.map(|after| Kind::Reset(after.0)),
        text.date.map(|d| Kind::Date(d.0)),
        answer,
        text.envelope.map(|e| Kind::Envelope {
            code: e.code,
            message: e.message,
        }),
        text.gzip_bomb.map(|size| Kind::GzipBomb(size.0)),
        text.rubbish.map(Kind::Rubbish),
    ]
    .into_iter()
    .flatten();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Ok(Fault {
            requests: text.requests,
            kind,
        }),
        _ => Err(at(ONE_KIND)),
    }
}

/// The fault that `status`, `redirect`, `body` and the two forms of `retry_after` make together, if there is any.
fn answer(
    text: &mut FaultText,
    source: &str,
    at: &impl Fn(&str) -> ScriptError,
) -> Result<Option<Kind>, ScriptError> {
    let retry_after = match (text.retry_after.take(), text.retry_after_date.take()) {
        (None, None) => None,
        (Some(value), None) => Some(RetryAfter::Text(value)),
        (None, Some(ahead)) => Some(RetryAfter::Date(ahead.0)),
        (Some(_), Some(_)) => {
            return Err(at(
                "retry_after and retry_after_date are one header: one of them will do",
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
            "redirect and retry_after are headers: text without control characters will do",
        ));
    }
    let code = match status(text, source, location.is_some())? {
        Some(code) => code,
        None if location.is_some() => 302,
        None if retry_after.is_some() => {
            return Err(at(
                "retry_after goes with a status: 429 or 503, for example",
            ));
        }
        None if body.is_some() => 200,
        None => return Ok(None),
    };
    Ok(Some(Kind::Status {
        code,
        retry_after,
        location,
        body,
    }))
}

/// The status, where the fault has one, within its range.
fn status(text: &FaultText, source: &str, redirects: bool) -> Result<Option<u16>, ScriptError> {
    let Some(status) = &text.status else {
        return Ok(None);
    };
    let (range, message) = if redirects {
        (
            300..=399,
            "that is no status of a redirect: 300 to 399 will do",
        )
    } else {
        (
            200..=599,
            "that is no HTTP status of a response: 200 to 599 will do",
        )
    };
    match u16::try_from(status.get_ref().0) {
        Ok(code) if range.contains(&code) => Ok(Some(code)),
        _ => Err(ScriptError::at(source, status.span().start, message)),
    }
}
