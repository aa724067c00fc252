//! Reads an answer's body: in time, within its limits, straight into the decoder.

use std::future::Future;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::at_least_between;
use super::redact::Redactor;
use crate::http_client::errors::{of_body, without_answer};
use crate::http_client::headers;
use forgewatch_core::decode::{Decoder, Reply};
use forgewatch_core::status::{ApiError, Status};
use forgewatch_core::verdict::{ErrorKind, PollError};

/// This much of an answer has to come within `timeout`; what follows only has to flow.
pub(super) const FIRST_PART: u64 = 1024 * 1024;
/// What comes after the first part may take this long for each [`LEAST_FLOW`].
const FLOW_WINDOW: Duration = Duration::from_secs(10);
/// Decoded in about a millisecond.
const TURN: u64 = 256 * 1024;
/// 64 KiB a second.
const LEAST_FLOW: u64 = 10 * 64 * 1024;
/// Of an answer that is no status, this much is read, for the server's own words in it.
const REFUSAL_BYTES: u64 = 64 * 1024;
/// The server's own words are cut here.
const MESSAGE_CHARS: usize = 200;

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) timeout: Duration,
    /// Decoded bytes.
    pub(super) max_body: u64,
}

/// Until when something has to come.
pub(super) struct Deadline {
    started: Instant,
    at: Instant,
    timeout: Duration,
    received: u64,
    /// With this much received, there is time for more.
    mark: u64,
    /// With this much received, others have their turn.
    turn: u64,
}

impl Deadline {
    pub(super) fn start(limits: &Limits) -> Self {
        let started = Instant::now();
        let at = started + limits.timeout;
        Self {
            started,
            at,
            timeout: limits.timeout,
            received: 0,
            mark: FIRST_PART,
            turn: TURN,
        }
    }

    pub(super) async fn within<T>(&self, what: impl Future<Output = T>) -> Result<T, PollError> {
        timeout_at(self.at, what).await.map_err(|_| {
            let message = if self.mark == FIRST_PART {
                format!(
                    "no whole answer within {}",
                    humantime::format_duration(self.timeout)
                )
            } else {
                "the answer flowed slower than 64 KiB a second".to_owned()
            };
            without_answer(ErrorKind::Timeout, message)
        })
    }

    /// Takes note of what came, and says how much that is by now.
    fn received(&mut self, bytes: usize) -> u64 {
        self.received += bytes as u64;
        if self.received >= self.mark {
            self.mark = self.received + LEAST_FLOW;
            self.at = Instant::now() + FLOW_WINDOW;
        }
        self.received
    }

    /// Whether so much has come that all other jobs, which share this thread, should have their turn: what is
    /// unpacked from a small answer is always at hand and would never wait by itself.
    fn has_come_far(&mut self) -> bool {
        let far = self.received >= self.turn;
        if far {
            self.turn = self.received + TURN;
        }
        far
    }
}

/// The status in a 200, and how long to leave the server alone after it.
pub(super) async fn status(
    mut response: Response,
    mut deadline: Deadline,
    limits: &Limits,
    redactor: &Redactor,
) -> Result<(Status, Duration), PollError> {
    let at_200 = |kind, message| PollError {
        http_status: Some(StatusCode::OK.as_u16()),
        ..without_answer(kind, message)
    };
    // In a box, so that the future of a poll is below 1,032 bytes: glibc has such blocks at hand.
    let mut decoder = Box::new(Decoder::new());
    while let Some(chunk) = deadline
        .within(response.chunk())
        .await?
        .map_err(|e| of_body(&e))?
    {
        if deadline.received(chunk.len()) > limits.max_body {
            let message = format!(
                "the answer is larger than max_body, {} bytes",
                limits.max_body
            );
            return Err(at_200(ErrorKind::TooLarge, message));
        }
        decoder
            .push(&chunk)
            .map_err(|e| at_200(ErrorKind::BadResponse, e.to_string()))?;
        if deadline.has_come_far() {
            tokio::task::yield_now().await;
        }
    }
    match decoder
        .finish()
        .map_err(|e| at_200(ErrorKind::BadResponse, e.to_string()))?
    {
        Reply::Status(status) => Ok((
            *status,
            at_least_between(deadline.received, deadline.started),
        )),
        Reply::Refusal(error) => Err(at_200(ErrorKind::Api, own_words(error, redactor))),
    }
}

/// What an answer other than 200 means. Its body is read as far as it may hold the server's own words, which
/// also leaves the connection fit for the next request.
pub(super) async fn refusal(
    mut response: Response,
    mut deadline: Deadline,
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
    let retry_after = headers::retry_after(response.headers());
    let mut message = match code.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", code.as_u16()),
        None => format!("HTTP {}", code.as_u16()),
    };
    if kind == ErrorKind::Redirect {
        message.push_str(&whereto(&response));
    } else if let Some(words) = words_in(&mut response, &mut deadline, redactor).await {
        message = format!("{message}: {words}");
    }
    PollError {
        kind,
        http_status: Some(code.as_u16()),
        message,
        retry_after,
    }
}

/// A redirect is not followed; its target's origin is told, without what may be secret in it.
fn whereto(response: &Response) -> String {
    let location = response.headers().get(reqwest::header::LOCATION);
    let target = location
        .and_then(|l| l.to_str().ok())
        .and_then(|l| response.url().join(l).ok());
    match target.map(|url| url.origin().ascii_serialization()) {
        Some(origin) => {
            let origin: String = origin.chars().take(MESSAGE_CHARS).collect();
            format!(" to {origin}, not followed: check base_url")
        }
        None => ", not followed: check base_url".to_owned(),
    }
}

async fn words_in(
    response: &mut Response,
    deadline: &mut Deadline,
    redactor: &Redactor,
) -> Option<String> {
    let mut decoder = Some(Decoder::new());
    while let Some(chunk) = deadline.within(response.chunk()).await.ok()?.ok()? {
        if deadline.received(chunk.len()) > REFUSAL_BYTES {
            return None;
        }
        decoder = decoder.and_then(|mut decoder| decoder.push(&chunk).is_ok().then_some(decoder));
    }
    match decoder?.finish().ok()? {
        Reply::Refusal(error) if !error.message.is_empty() => Some(own_words(error, redactor)),
        _ => None,
    }
}

fn own_words(mut error: ApiError, redactor: &Redactor) -> String {
    // Before the cut, which might leave the half of a key.
    redactor.text(&mut error.message);
    let words: String = error.message.chars().take(MESSAGE_CHARS).collect();
    match (words.is_empty(), error.code) {
        (false, Some(code)) => format!("{words} (error {code})"),
        (false, None) => words,
        (true, Some(code)) => format!("the API refuses the request (error {code})"),
        (true, None) => "the API refuses the request".to_owned(),
    }
}
