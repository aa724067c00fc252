//! What a request that brought no answer, or half of one, is called.

use std::error::Error;
use std::io;

use forgewatch_core::verdict::{ErrorKind, PollError};

/// Of a request that never got as far as an answer.
pub fn of_request(error: &reqwest::Error) -> PollError {
    let (kind, words) = if chain(error).any(is_tls) {
        (ErrorKind::Tls, "the TLS handshake failed")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, "no connection in time")
    } else if chain(error).any(|e| e.to_string() == "dns error") {
        (ErrorKind::Dns, "the host's name could not be looked up")
    } else if error.is_connect() {
        (ErrorKind::Connect, "no connection")
    } else {
        (ErrorKind::Disconnected, "the connection broke")
    };
    without_answer(kind, format!("{words}: {}", innermost(error)))
}

/// Of an answer that broke off on its way.
pub fn of_body(error: &reqwest::Error) -> PollError {
    let garbled = chain(error)
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| {
            matches!(
                e.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            )
        });
    let (kind, words) = if garbled {
        (ErrorKind::BadResponse, "the answer could not be unpacked")
    } else {
        (
            ErrorKind::Disconnected,
            "the connection broke in the middle of the answer",
        )
    };
    without_answer(kind, format!("{words}: {}", innermost(error)))
}

/// A failure of the way there, with no HTTP status.
pub fn without_answer(kind: ErrorKind, message: String) -> PollError {
    PollError {
        kind,
        http_status: None,
        message,
        retry_after: None,
    }
}

/// The cause under all the wrappings, which alone says something. Names no address: that is the user's own.
pub fn innermost(error: &reqwest::Error) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, |e| match e.downcast_ref::<io::Error>() {
            Some(io) => io
                .get_ref()
                .map_or_else(|| io.to_string(), ToString::to_string),
            None => e.to_string(),
        })
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&e| e.source())
}

/// An I/O error does not name what it holds as its source, and may hold another one.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().is_some_and(|held| is_tls(held)),
        None => error.is::<rustls::Error>(),
    }
}
