//! What faults do to a response and to the way it travels.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use super::answer;
use super::body::Body;
use super::fault::{Kind, RetryAfter, Rubbish};
use super::wire::{Cut, Response, Transport};

/// How deep [`Rubbish::Deep`] nests.
const DEPTH: usize = 100_000;

/// How long the header of [`Rubbish::HugeHead`] is.
const HUGE: usize = 1 << 20;

/// The longest a fault may hold a response up at a very low speed, in seconds.
const LONGEST_PAUSE: f64 = 1e9;

/// The response a fault puts in the place of the answer, if it does. `date` writes a time so many milliseconds
/// ahead on the server's clock.
pub(super) fn instead(kind: &Kind, date: impl Fn(i64) -> String) -> io::Result<Option<Response>> {
    Ok(Some(match kind {
        Kind::Status {
            code,
            retry_after,
            location,
            body,
        } => {
            let text = body
                .clone()
                .unwrap_or_else(|| format!("{{\"status\":{code}}}"));
            let mut response = json(*code, text);
            if let Some(after) = retry_after {
                let value = match after {
                    RetryAfter::Text(text) => text.clone(),
                    RetryAfter::Date(ahead) => date(ahead.as_millis() as i64),
                };
                response.headers.push(("Retry-After", value));
            }
            response
                .headers
                .extend(location.clone().map(|to| ("Location", to)));
            response
        }
        Kind::Envelope { code, message } => json(200, answer::envelope(*code, message)),
        Kind::GzipBomb(size) => {
            let mut response = json(200, "");
            response.body = Body::bomb(*size)?;
            response
                .headers
                .push(("Content-Encoding", "gzip".to_owned()));
            response
        }
        Kind::Rubbish(rubbish) => return Ok(no_status(*rubbish)),
        Kind::Delay(_) | Kind::Slow { .. } | Kind::Truncate(_) | Kind::Reset(_) | Kind::Date(_) => {
            return Ok(None);
        }
    }))
}

/// HTTP 200 around something that is no status; [`Rubbish::HugeHead`] leaves the answer as it is.
fn no_status(rubbish: Rubbish) -> Option<Response> {
    Some(match rubbish {
        Rubbish::Html => {
            let page = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head><body>Proxy</body></html>\n";
            let mut response = json(200, page);
            response.headers = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
            response
        }
        Rubbish::Utf8 => json(
            200,
            *b"{\"jobprogress\":10,\"jobstatename\":\"Run\xff\xfening\"}",
        ),
        Rubbish::Deep => {
            let (open, close) = ("[".repeat(DEPTH), "]".repeat(DEPTH));
            json(
                200,
                format!("{{\"jobprogress\":10,\"messages\":{open}{close}}}"),
            )
        }
        Rubbish::Empty => json(200, ""),
        Rubbish::HugeHead => return None,
    })
}

/// A response as all of the vendor's are labelled.
pub(super) fn json(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status,
        headers: vec![("Content-Type", "application/json; charset=utf-8".to_owned())],
        body: Body::text(body),
    }
}

/// The header that makes a head huge, if a fault wants one.
pub(super) fn padding(faults: &[Kind]) -> Option<(&'static str, String)> {
    let huge = |kind: &Kind| matches!(kind, Kind::Rubbish(Rubbish::HugeHead));
    faults
        .iter()
        .any(huge)
        .then(|| ("X-Padding", "x".repeat(HUGE)))
}

/// By how many milliseconds the faults put `Date` off.
pub(super) fn date_shift(faults: &[Kind]) -> i64 {
    let shift = |kind: &Kind| match kind {
        Kind::Date(by) => *by,
        _ => 0,
    };
    faults.iter().map(shift).fold(0, i64::saturating_add)
}

/// How the response travels: delays add up, of the rest the first of its kind counts.
pub(super) fn manner(faults: &[Kind], speed: f64) -> Transport {
    let scale = |d: Duration| Duration::from_secs_f64((d.as_secs_f64() / speed).min(LONGEST_PAUSE));
    let mut manner = Transport::default();
    for kind in faults {
        let cut = match kind {
            Kind::Truncate(after) => Some(Cut {
                after: *after,
                reset: false,
            }),
            Kind::Reset(after) => Some(Cut {
                after: *after,
                reset: true,
            }),
            _ => None,
        };
        manner.cut = manner.cut.or(cut);
        match kind {
            Kind::Delay(by) => manner.delay = manner.delay.saturating_add(scale(*by)),
            Kind::Slow { bytes, every } => {
                manner.pace = manner.pace.or(Some((*bytes, scale(*every))));
            }
            _ => {}
        }
    }
    manner
}

/// A few words for the log.
pub(super) fn served(status: u16, manner: &Transport) -> String {
    let mut text = status.to_string();
    if !manner.delay.is_zero() {
        text.push_str(", delayed");
    }
    if manner.pace.is_some() {
        text.push_str(", slow");
    }
    if let Some(cut) = manner.cut {
        let how = if cut.reset { "reset" } else { "cut off" };
        // writing to a String cannot fail
        let _ = write!(text, ", {how} after {} bytes", cut.after);
    }
    text
}
