//! Classes and messages of failed requests.

use std::error::Error;
use std::io;

use h2::Reason;
use hyper_util::client::legacy;

use super::connector::{ConnectTimeout, ProxyError};
use forgewatch_core::verdict::{ErrorKind, PollError};

/// The error of a request without any response.
pub fn request_error(error: &legacy::Error) -> PollError {
    let (kind, words) = if chain(error).any(is_tls) {
        (ErrorKind::Tls, "TLS handshake failed")
    } else if chain(error).any(is_timeout) {
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
    let cause = root_cause(error);
    let message = match chain(error).find_map(|e| e.downcast_ref::<ProxyError>()) {
        Some(ProxyError {
            proxy, at_proxy, ..
        }) if *at_proxy => {
            format!("proxy {proxy}: {words}: {cause}")
        }
        Some(ProxyError { proxy, .. }) => format!("{words} through the proxy {proxy}: {cause}"),
        None => format!("{words}: {cause}"),
    };
    transport_error(kind, message)
}

/// The error of a response whose body is incomplete.
pub fn body_error(error: &hyper::Error) -> PollError {
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

/// Why an HTTP/2 server rejected a request that it did not process.
pub(super) fn rejection(error: &legacy::Error) -> Option<Reason> {
    let h2 = chain(error).find_map(|e| e.downcast_ref::<h2::Error>())?;
    let reason = h2.reason().filter(|_| h2.is_remote())?;
    let is_unprocessed = match reason {
        Reason::NO_ERROR => h2.is_go_away(),
        reason => matches!(reason, Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED),
    };
    is_unprocessed.then_some(reason)
}

/// The innermost cause.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, |e| match e.downcast_ref::<io::Error>() {
            Some(io) => io
                .get_ref()
                .map_or_else(|| io.to_string(), ToString::to_string),
            None => e.to_string(),
        })
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&e| e.source())
}

/// The source of an I/O error is not the error it contains, which may be another I/O error.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().is_some_and(|inner| is_tls(inner)),
        None => error.is::<rustls::Error>(),
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    let hyper = error.downcast_ref::<hyper::Error>();
    error.is::<ConnectTimeout>()
        || io.is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
        || hyper.is_some_and(hyper::Error::is_timeout)
}

fn is_invalid_response(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
}
