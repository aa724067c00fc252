//! Classes and messages of failed requests.

use std::error::Error;
use std::io;

use forgewatch_core::verdict::{ErrorKind, PollError};

/// The error of a request without any response.
pub fn request_error(error: &reqwest::Error) -> PollError {
    let (kind, words) = if chain(error).any(is_tls) {
        (ErrorKind::Tls, "TLS handshake failed")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, "connection timed out")
    } else if chain(error).any(|e| e.to_string() == "dns error") {
        (ErrorKind::Dns, "could not resolve the host name")
    } else if error.is_connect() {
        (ErrorKind::Connect, "could not connect")
    } else if chain(error).any(is_invalid_response) {
        (ErrorKind::BadResponse, "invalid HTTP response")
    } else {
        (ErrorKind::Disconnected, "connection lost")
    };
    transport_error(kind, format!("{words}: {}", root_cause(error)))
}

/// The error of a response whose body is incomplete.
pub fn body_error(error: &reqwest::Error) -> PollError {
    transport_error(
        ErrorKind::Disconnected,
        format!(
            "connection lost while reading the response: {}",
            root_cause(error)
        ),
    )
}

/// The error of a body that cannot be decompressed.
pub fn undecodable(error: &io::Error) -> PollError {
    transport_error(
        ErrorKind::BadResponse,
        format!("could not decompress the response: {error}"),
    )
}

/// An error without an HTTP status.
pub fn transport_error(kind: ErrorKind, message: String) -> PollError {
    PollError {
        kind,
        http_status: None,
        message,
        retry_after: None,
    }
}

/// The innermost cause. The errors around it add the URL, which may contain a secret.
pub fn root_cause(error: &reqwest::Error) -> String {
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

/// The source of an I/O error is not the error it contains, which may be another I/O error.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().is_some_and(|inner| is_tls(inner)),
        None => error.is::<rustls::Error>(),
    }
}

fn is_invalid_response(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
}
