//! Reads a response body into the decoder, within its limits of time and size.

use std::future::Future;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::LOCATION;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::content_encoding::ContentEncoding;
use crate::http_client::errors::{body_error, transport_error, undecodable};
use crate::http_client::{Redactor, retry_after};
use forgewatch_core::decode::{DecodedBody, Decoder};
use forgewatch_core::status::{ApiError, Status};
use forgewatch_core::verdict::{ErrorKind, PollError};

/// The first part of a body must arrive within `timeout`; the rest must keep a minimum rate.
const FIRST_PART: u64 = 1024 * 1024;
/// After the first part, [`MIN_PART`] must arrive in every span of this length.
const PART_TIMEOUT: Duration = Duration::from_secs(10);
/// 64 KiB/s.
const MIN_PART: u64 = 10 * 64 * 1024;
/// The bytes decoded before yielding to other tasks: about a millisecond.
const YIELD_EVERY: u64 = 256 * 1024;
/// The limit of an error response; it is read for its message.
const MAX_ERROR_BODY: u64 = 64 * 1024;
/// The limit of a message from the server.
const MESSAGE_CHARS: usize = 200;

/// The limits of a response body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) timeout: Duration,
    /// In decompressed bytes.
    pub(super) max_body: u64,
}

/// The time limit of one request, which each part of the body extends.
pub(super) struct Deadline {
    started: Instant,
    at: Instant,
    timeout: Duration,
    received: u64,
    /// The number of bytes that extends the deadline.
    extend_at: u64,
    /// The number of bytes at which to yield to other tasks.
    yield_at: u64,
}

impl Deadline {
    pub(super) fn start(limits: &BodyLimits) -> Self {
        let started = Instant::now();
        let at = started + limits.timeout;
        Self {
            started,
            at,
            timeout: limits.timeout,
            received: 0,
            extend_at: FIRST_PART,
            yield_at: YIELD_EVERY,
        }
    }

    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, PollError> {
        timeout_at(self.at, work).await.map_err(|_| {
            let message = if self.extend_at == FIRST_PART {
                format!(
                    "request timed out after {}",
                    humantime::format_duration(self.timeout)
                )
            } else {
                "response too slow: below 64 KiB/s".to_owned()
            };
            transport_error(ErrorKind::Timeout, message)
        })
    }

    /// Whether the response did not arrive in time, even if its head did.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }

    /// Adds received bytes and returns their sum.
    fn receive(&mut self, bytes: usize) -> u64 {
        self.received += bytes as u64;
        if self.received >= self.extend_at {
            self.extend_at = self.received + MIN_PART;
            self.at = Instant::now() + PART_TIMEOUT;
        }
        self.received
    }

    /// Whether to yield to the other tasks of this thread. A small response that decompresses to a large body never
    /// waits for the network.
    fn should_yield(&mut self) -> bool {
        let due = self.received >= self.yield_at;
        if due {
            self.yield_at = self.received + YIELD_EVERY;
        }
        due
    }

    /// The minimum wait until the next poll after a response above [`FIRST_PART`]: ten times the time it took.
    fn min_wait(&self) -> Duration {
        if self.received > FIRST_PART {
            self.started.elapsed().saturating_mul(10)
        } else {
            Duration::ZERO
        }
    }
}

/// Reads the status from a successful response, with the minimum wait until the next poll.
pub(super) async fn read_status(
    mut response: Response,
    deadline: &mut Deadline,
    limits: &BodyLimits,
    redactor: &Redactor,
) -> Result<(Status, Duration), PollError> {
    let http_status = response.status().as_u16();
    let invalid = |kind, message| PollError {
        http_status: Some(http_status),
        ..transport_error(kind, message)
    };
    let mut encoding = ContentEncoding::of(response.headers()).map_err(|name| {
        invalid(
            ErrorKind::BadResponse,
            format!("unknown content encoding {name}"),
        )
    })?;
    // Boxed to keep the future of a poll below 1,032 bytes, which glibc allocates from its cache.
    let mut decoder = Box::new(Decoder::new());
    loop {
        let chunk = match deadline.within(response.chunk()).await? {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // Some servers close TLS without close_notify. After the object, nothing of interest can be missing.
            Err(_) if decoder.is_complete() => break,
            Err(error) => return Err(body_error(&error)),
        };
        for piece in encoding.pieces(&chunk) {
            let piece = piece.map_err(|e| undecodable(&e))?;
            if deadline.receive(piece.len()) > limits.max_body {
                let message = format!("response larger than max_body ({} bytes)", limits.max_body);
                return Err(invalid(ErrorKind::TooLarge, message));
            }
            decoder
                .push(&piece)
                .map_err(|e| invalid(ErrorKind::BadResponse, e.to_string()))?;
            if deadline.should_yield() {
                tokio::task::yield_now().await;
            }
        }
    }
    match decoder
        .finish()
        .map_err(|e| invalid(ErrorKind::BadResponse, e.to_string()))?
    {
        DecodedBody::Status(status) => Ok((*status, deadline.min_wait())),
        DecodedBody::Error(error) => Err(invalid(ErrorKind::Api, api_message(error, redactor))),
    }
}

/// Reads the error from a response with any other HTTP status. Reading the body also allows the connection to be
/// reused.
pub(super) async fn read_error(
    mut response: Response,
    deadline: &mut Deadline,
    base_url: &Url,
    redactor: &Redactor,
) -> PollError {
    let code = response.status();
    let kind = match code.as_u16() {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        410 => ErrorKind::Gone,
        429 => ErrorKind::RateLimited,
        300..=399 => ErrorKind::Redirect,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Http,
    };
    let retry_after = retry_after(response.headers());
    let mut message = match code.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", code.as_u16()),
        None => format!("HTTP {}", code.as_u16()),
    };
    if kind == ErrorKind::Redirect {
        message.push_str(&redirect_target(&response, base_url));
    } else if let Some(text) = read_message(&mut response, deadline, redactor).await {
        message = format!("{message}: {text}");
    }
    PollError {
        kind,
        http_status: Some(code.as_u16()),
        message,
        retry_after,
    }
}

/// The target of a redirect: its origin only, since its path and query may contain secrets.
fn redirect_target(response: &Response, base_url: &Url) -> String {
    let location = response.headers().get(LOCATION);
    let target = location
        .and_then(|l| l.to_str().ok())
        .and_then(|l| base_url.join(l).ok());
    match target.map(|url| url.origin().ascii_serialization()) {
        Some(origin) => {
            let origin: String = origin.chars().take(MESSAGE_CHARS).collect();
            format!(": redirect to {origin} not followed; check base_url")
        }
        None => ", not followed; check base_url".to_owned(),
    }
}

/// The message in the error envelope of the body, if there is one.
async fn read_message(
    response: &mut Response,
    deadline: &mut Deadline,
    redactor: &Redactor,
) -> Option<String> {
    let mut encoding = ContentEncoding::of(response.headers()).ok()?;
    let mut decoder = Some(Decoder::new());
    while let Some(chunk) = deadline.within(response.chunk()).await.ok()?.ok()? {
        for piece in encoding.pieces(&chunk) {
            let piece = piece.ok()?;
            if deadline.receive(piece.len()) > MAX_ERROR_BODY {
                return None;
            }
            decoder =
                decoder.and_then(|mut decoder| decoder.push(&piece).is_ok().then_some(decoder));
        }
    }
    match decoder?.finish().ok()? {
        DecodedBody::Error(error) if !error.message.is_empty() => {
            Some(api_message(error, redactor))
        }
        _ => None,
    }
}

fn api_message(mut error: ApiError, redactor: &Redactor) -> String {
    // Before the cut, which could leave a part of a key.
    redactor.redact(&mut error.message);
    let message: String = error.message.chars().take(MESSAGE_CHARS).collect();
    match (message.is_empty(), error.code) {
        (false, Some(code)) => format!("{message} (error {code})"),
        (false, None) => message,
        (true, Some(code)) => format!("the API rejected the request (error {code})"),
        (true, None) => "the API rejected the request".to_owned(),
    }
}
