//! Classes and messages of failed requests.

use std::error::Error;
use std::io;

use h2::Reason;
use reqwest::StatusCode;

use super::Proxy;
use forgewatch_core::verdict::{ErrorKind, PollError};

/// The error of a request without any response, through `proxy` if there is one. `tunnel_status` is the proxy's response
/// to CONNECT, if it rejected that.
pub(super) fn request_error(
    error: &reqwest::Error,
    proxy: Option<&Proxy>,
    tunnel_status: Option<StatusCode>,
) -> PollError {
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
    let cause = match tunnel_status {
        Some(status @ StatusCode::PROXY_AUTHENTICATION_REQUIRED) => {
            format!("HTTP {status}; check the user name and password in the variable")
        }
        Some(status) => format!("HTTP {status}"),
        None => root_cause(error),
    };
    // Only the proxy is looked up and connected to; TLS is the server's.
    let is_at_proxy = matches!(kind, ErrorKind::Dns | ErrorKind::Connect);
    let message = match proxy {
        Some(proxy) if is_at_proxy => format!("proxy {proxy}: {words}: {cause}"),
        Some(proxy) if error.is_connect() => {
            format!("{words} through the proxy {proxy}: {cause}")
        }
        _ => format!("{words}: {cause}"),
    };
    transport_error(kind, message)
}

/// Whether a proxy did not open the tunnel.
pub(super) fn is_tunnel_rejected(error: &reqwest::Error) -> bool {
    chain(error).any(|e| e.to_string().starts_with("tunnel error"))
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

/// Why an HTTP/2 server rejected a request that it did not process.
pub(super) fn rejection(error: &reqwest::Error) -> Option<Reason> {
    let h2 = chain(error).find_map(|e| e.downcast_ref::<h2::Error>())?;
    let reason = h2.reason().filter(|_| h2.is_remote())?;
    let is_unprocessed = match reason {
        Reason::NO_ERROR => h2.is_go_away(),
        reason => matches!(reason, Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED),
    };
    is_unprocessed.then_some(reason)
}

/// The innermost cause. The errors around it add the URL, which may contain a secret.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
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
