//! The verdict on a failed poll: what it means for the watch of its job.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::Outcome;
use super::limits::Limits;

/// What a failed poll means for the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Poll again by the retry schedule.
    Retry,
    /// Poll again by the retry schedule, but not too soon.
    SlowDown {
        /// Shortest wait.
        at_least: Duration,
    },
    /// End the watch.
    GiveUp(Outcome),
}

/// Interval of polls with refused credentials in a daemon, whose watches do not end for them.
pub const REFUSED_INTERVAL: Duration = Duration::from_mins(5);

/// How long a refusal must last to end a watch once its job has had a status.
pub const REFUSAL_GRACE: Duration = Duration::from_mins(1);

/// The errors since the last status, including the one being judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorHistory {
    /// Number of refusals (401, 403).
    pub refused: u8,
    /// Time since the first refusal.
    pub refused_for: Duration,
    /// Number of 404 responses.
    pub not_found: u8,
    /// Time since the first 404.
    pub not_found_for: Duration,
    /// Whether a 403 concerns the credentials rather than this job: no other job has a status, and none is still
    /// waiting for its first response.
    pub refusal_is_global: bool,
    /// Whether the job has ever had a status.
    pub has_status: bool,
}

/// Judges a failed poll.
pub fn judge(error: &PollError, past: &ErrorHistory, limits: &Limits) -> Verdict {
    let lasts = past.refused >= 2 && (!past.has_status || past.refused_for >= REFUSAL_GRACE);
    match error.kind {
        ErrorKind::Gone => return Verdict::GiveUp(Outcome::NotFound),
        ErrorKind::NotFound
            if past.not_found >= 2 && past.not_found_for >= limits.not_found_grace =>
        {
            return Verdict::GiveUp(Outcome::NotFound);
        }
        ErrorKind::Unauthorized | ErrorKind::Forbidden if !limits.refusal_ends => {
            return Verdict::SlowDown {
                at_least: REFUSED_INTERVAL,
            };
        }
        ErrorKind::Unauthorized if lasts => return Verdict::GiveUp(Outcome::Refused),
        ErrorKind::Forbidden if lasts && past.refusal_is_global => {
            return Verdict::GiveUp(Outcome::Refused);
        }
        _ => {}
    }
    match error.retry_after {
        Some(at_least) => Verdict::SlowDown { at_least },
        None => Verdict::Retry,
    }
}

/// The class of a poll's error. It serializes as the name of the variant; `error_kind` in events is [`Self::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The host name could not be resolved.
    Dns,
    /// The connection failed.
    Connect,
    /// The TLS handshake failed: certificate, name or version.
    Tls,
    /// The response did not arrive in time.
    Timeout,
    /// The connection broke before the response was complete.
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
    /// The response is not a status: HTML, invalid JSON, the wrong shape.
    BadResponse,
    /// The response was larger than `max_body`.
    TooLarge,
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Disconnected,
        Self::Server,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Gone,
        Self::Redirect,
        Self::Http,
        Self::Api,
        Self::BadResponse,
        Self::TooLarge,
    ];

    /// The class's name in events. 401 and 403 are both `refused`, 404 and 410 both `not_found`.
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

    /// The class with this name in events. `refused` becomes [`Self::Unauthorized`], `not_found` [`Self::NotFound`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether the error concerns the API as a whole rather than one job: such errors open the circuit breaker.
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

/// The error of a failed poll.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PollError {
    /// Its class.
    pub kind: ErrorKind,
    /// The HTTP status, if there was a response.
    pub http_status: Option<u16>,
    /// A description without secrets. May quote the server.
    pub message: String,
    /// The server's `Retry-After`, as a duration from now.
    pub retry_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fixtures::limits;

    fn error(kind: ErrorKind) -> PollError {
        PollError {
            kind,
            http_status: None,
            message: String::new(),
            retry_after: None,
        }
    }

    fn past(
        refused: u8,
        not_found: u8,
        not_found_for: u64,
        refusal_is_global: bool,
    ) -> ErrorHistory {
        ErrorHistory {
            refused,
            not_found,
            not_found_for: Duration::from_secs(not_found_for),
            refusal_is_global,
            ..ErrorHistory::default()
        }
    }

    #[test]
    fn a_missing_job_is_polled_twice_and_until_the_grace_is_over() {
        let end = Verdict::GiveUp(Outcome::NotFound);
        for (not_found, seconds, want) in [
            (1, 3600, Verdict::Retry),
            (2, 59, Verdict::Retry),
            (2, 60, end),
            (9, 61, end),
        ] {
            let past = past(0, not_found, seconds, true);
            assert_eq!(judge(&error(ErrorKind::NotFound), &past, &limits()), want);
        }
        assert_eq!(
            judge(&error(ErrorKind::Gone), &past(0, 0, 0, false), &limits()),
            end
        );
    }

    #[test]
    fn a_one_shot_ends_at_the_second_refusal() {
        let end = Verdict::GiveUp(Outcome::Refused);
        for (kind, refused, refusal_is_global, want) in [
            (ErrorKind::Unauthorized, 1, true, Verdict::Retry),
            (ErrorKind::Unauthorized, 2, false, end),
            (ErrorKind::Forbidden, 1, true, Verdict::Retry),
            (ErrorKind::Forbidden, 2, true, end),
            (ErrorKind::Forbidden, 9, false, Verdict::Retry),
        ] {
            assert_eq!(
                judge(
                    &error(kind),
                    &past(refused, 0, 0, refusal_is_global),
                    &limits()
                ),
                want
            );
        }
    }

    #[test]
    fn once_a_job_has_had_a_status_a_refusal_ends_nothing_within_a_minute() {
        let end = Verdict::GiveUp(Outcome::Refused);
        for (refused, seconds, want) in [
            (9, 59, Verdict::Retry),
            (1, 60, Verdict::Retry),
            (2, 60, end),
        ] {
            let past = ErrorHistory {
                refused_for: Duration::from_secs(seconds),
                has_status: true,
                ..past(refused, 0, 0, true)
            };
            for kind in [ErrorKind::Unauthorized, ErrorKind::Forbidden] {
                assert_eq!(judge(&error(kind), &past, &limits()), want);
            }
        }
    }

    #[test]
    fn a_daemon_does_not_end_for_a_refusal_but_polls_rarely() {
        let daemon = Limits {
            refusal_ends: false,
            ..limits()
        };
        for kind in [ErrorKind::Unauthorized, ErrorKind::Forbidden] {
            let verdict = judge(&error(kind), &past(9, 0, 0, true), &daemon);
            assert_eq!(
                verdict,
                Verdict::SlowDown {
                    at_least: Duration::from_secs(300)
                }
            );
        }
    }

    #[test]
    fn retry_after_sets_the_shortest_wait() {
        let error = PollError {
            retry_after: Some(Duration::from_secs(7)),
            ..error(ErrorKind::RateLimited)
        };
        let verdict = judge(&error, &ErrorHistory::default(), &limits());
        assert_eq!(
            verdict,
            Verdict::SlowDown {
                at_least: Duration::from_secs(7)
            }
        );
    }
}
