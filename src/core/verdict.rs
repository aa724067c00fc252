//! What a request that brought no status means for the job it was about.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The class of what went wrong with asking; `error_kind` in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The host's name could not be looked up.
    Dns,
    /// No connection was made.
    Connect,
    /// The TLS handshake failed: certificate, name or version.
    Tls,
    /// No answer, or none fast enough, in time.
    Timeout,
    /// The connection broke before the answer was whole.
    Disconnected,
    /// HTTP 5xx.
    Server,
    /// HTTP 429.
    RateLimited,
    /// HTTP 401: the credentials are wrong.
    Unauthorized,
    /// HTTP 403: the credentials, or the account service ID, may not see this job.
    Forbidden,
    /// HTTP 404.
    NotFound,
    /// HTTP 410.
    Gone,
    /// HTTP 3xx: never followed, the credentials would go with it.
    Redirect,
    /// Any other HTTP status that is not 200.
    Http,
    /// The server's error envelope: HTTP 200, `"success": false`.
    Api,
    /// An answer that is no status: HTML, broken JSON, the wrong shape.
    BadResponse,
    /// The answer was larger than `max_body`.
    TooLarge,
}

impl ErrorKind {
    /// The word events carry. 401 and 403 are both `refused`, 404 and 410 both `not_found`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Server => "server",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized | Self::Forbidden => "refused",
            Self::NotFound | Self::Gone => "not_found",
            Self::Redirect => "redirect",
            Self::Http => "http",
            Self::Api => "api_error",
            Self::BadResponse => "bad_response",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether it speaks of the API as a whole rather than of one job: what is counted before asking is
    /// stopped for all.
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::Dns
                | Self::Connect
                | Self::Tls
                | Self::Timeout
                | Self::Disconnected
                | Self::Server
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// A request that brought no status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollError {
    /// Its class.
    pub kind: ErrorKind,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// One sentence on what happened. May quote the server; never holds a secret.
    pub message: String,
    /// The server's `Retry-After`, already a span from now.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
