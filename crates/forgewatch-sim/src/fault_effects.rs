//! Applies the faults of a request: to its response and to the transport of that response.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use crate::body::Body;
use crate::script::fault::{BadResponse, FaultKind, RetryAfter};
use crate::status_json;
use crate::transport::{EarlyClose, HttpResponse, Transport};

/// Nesting depth of [`BadResponse::DeepJson`].
const JSON_DEPTH: usize = 100_000;

/// Length of the header of [`BadResponse::HugeHeader`].
const HUGE_HEADER: usize = 1 << 20;

/// Upper bound of one pause at a very low speed, in seconds.
const MAX_PAUSE: f64 = 1e9;

/// The response that this fault sends instead of the job's status, if any. `date` formats the time that is so many
/// milliseconds ahead of the server's clock.
pub(crate) fn replacement(
    kind: &FaultKind,
    date: impl Fn(i64) -> String,
) -> io::Result<Option<HttpResponse>> {
    Ok(Some(match kind {
        FaultKind::Status {
            code,
            retry_after,
            location,
            body,
        } => {
            let text = body
                .clone()
                .unwrap_or_else(|| format!("{{\"status\":{code}}}"));
            let mut response = json(*code, Body::text(text));
            if let Some(after) = retry_after {
                let value = match after {
                    RetryAfter::Text(text) => text.clone(),
                    RetryAfter::Date(ahead) => date(ahead.as_millis() as i64),
                };
                response = response.with_header("Retry-After", value);
            }
            if let Some(to) = location {
                response = response.with_header("Location", to);
            }
            response
        }
        FaultKind::Envelope { code, message } => json(200, status_json::envelope(*code, message)),
        FaultKind::GzipBomb(size) => {
            json(200, Body::bomb(*size)?).with_header("Content-Encoding", "gzip")
        }
        FaultKind::BadResponse(kind) => return Ok(bad_response(*kind)),
        FaultKind::Delay(_)
        | FaultKind::Slow { .. }
        | FaultKind::Truncate(_)
        | FaultKind::Reset(_)
        | FaultKind::DateOffset(_) => {
            return Ok(None);
        }
    }))
}

/// None for [`BadResponse::HugeHeader`], which keeps the status and adds a header.
fn bad_response(kind: BadResponse) -> Option<HttpResponse> {
    Some(match kind {
        BadResponse::Html => {
            let page = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head><body>Proxy</body></html>\n";
            HttpResponse {
                headers: vec![("Content-Type", "text/html; charset=utf-8".to_owned())],
                ..json(200, Body::text(page))
            }
        }
        BadResponse::InvalidUtf8 => json(
            200,
            Body::text(*b"{\"jobprogress\":10,\"jobstatename\":\"Run\xff\xfening\"}"),
        ),
        BadResponse::DeepJson => {
            let (open, close) = ("[".repeat(JSON_DEPTH), "]".repeat(JSON_DEPTH));
            let text = format!("{{\"jobprogress\":10,\"messages\":{open}{close}}}");
            json(200, Body::text(text))
        }
        BadResponse::Empty => json(200, Body::text("")),
        BadResponse::HugeHeader => return None,
    })
}

/// A response with the vendor's content type.
pub(crate) fn json(status: u16, body: Body) -> HttpResponse {
    HttpResponse {
        status,
        headers: vec![("Content-Type", "application/json; charset=utf-8".to_owned())],
        body,
    }
}

/// The header of [`BadResponse::HugeHeader`].
pub(crate) fn padding_header(faults: &[FaultKind]) -> Option<(&'static str, String)> {
    let huge = |kind: &FaultKind| matches!(kind, FaultKind::BadResponse(BadResponse::HugeHeader));
    faults
        .iter()
        .any(huge)
        .then(|| ("X-Padding", "x".repeat(HUGE_HEADER)))
}

/// The sum of all `date_offset` faults, in milliseconds.
pub(crate) fn date_offset(faults: &[FaultKind]) -> i64 {
    let offset = |kind: &FaultKind| match kind {
        FaultKind::DateOffset(by) => *by,
        _ => 0,
    };
    faults.iter().map(offset).fold(0, i64::saturating_add)
}

/// Delays add up; of several faults of another kind, the first one applies.
pub(crate) fn transport(faults: &[FaultKind], speed: f64) -> Transport {
    let scale = |d: Duration| Duration::from_secs_f64((d.as_secs_f64() / speed).min(MAX_PAUSE));
    let mut transport = Transport::default();
    for kind in faults {
        match *kind {
            FaultKind::Delay(by) => transport.delay = transport.delay.saturating_add(scale(by)),
            FaultKind::Slow { bytes, every } => {
                transport.pace.get_or_insert((bytes, scale(every)));
            }
            FaultKind::Truncate(after) | FaultKind::Reset(after) => {
                let reset = matches!(kind, FaultKind::Reset(_));
                let close = EarlyClose { after, reset };
                transport.early_close.get_or_insert(close);
            }
            _ => {}
        }
    }
    transport
}

/// A summary for the request log, such as `200, delayed, reset after 17 bytes`.
pub(crate) fn served(status: u16, transport: &Transport) -> String {
    let mut text = status.to_string();
    if !transport.delay.is_zero() {
        text.push_str(", delayed");
    }
    if transport.pace.is_some() {
        text.push_str(", slow");
    }
    if let Some(early_close) = transport.early_close {
        let how = if early_close.reset {
            "reset"
        } else {
            "cut off"
        };
        // writing to a String cannot fail
        let _ = write!(text, ", {how} after {} bytes", early_close.after);
    }
    text
}
