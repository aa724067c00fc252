//! What a request that brought no status means for the job it was about.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::job::Outcome;
use super::limits::Limits;

/// What a failed request means for its job. Three verdicts, never a bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask again by the retry schedule.
    Retry,
    /// Ask again, but not before this long.
    SlowDown {
        /// From now.
        at_least: Duration,
    },
    /// The watch ends here.
    GiveUp(Outcome),
}

/// A daemon does not end for a refusal: somebody will mend the credentials. It asks this seldom.
pub const REFUSED_INTERVAL: Duration = Duration::from_mins(5);

/// What came before, the failure being judged included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Refusals (401, 403) since the last answer.
    pub refusals: u8,
    /// 404s since the last answer.
    pub missing: u8,
    /// How long 404 has been the only answer.
    pub missing_for: Duration,
    /// Whether the refusal is of this client rather than of this job: no other job was answered, and none is
    /// still waiting for its first answer.
    pub alone: bool,
}

/// Judges one failed request.
pub fn judge(error: &PollError, past: &Past, limits: &Limits) -> Verdict {
    let twice = past.refusals >= 2;
    match error.kind {
        ErrorKind::Gone => return Verdict::GiveUp(Outcome::NotFound),
        ErrorKind::NotFound if past.missing >= 2 && past.missing_for >= limits.not_found_grace => {
            return Verdict::GiveUp(Outcome::NotFound);
        }
        ErrorKind::Unauthorized | ErrorKind::Forbidden if !limits.refusal_ends => {
            return Verdict::SlowDown {
                at_least: REFUSED_INTERVAL,
            };
        }
        ErrorKind::Unauthorized if twice => return Verdict::GiveUp(Outcome::Refused),
        ErrorKind::Forbidden if twice && past.alone => return Verdict::GiveUp(Outcome::Refused),
        _ => {}
    }
    match error.retry_after {
        Some(at_least) => Verdict::SlowDown { at_least },
        None => Verdict::Retry,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests_support::limits;

    fn error(kind: ErrorKind) -> PollError {
        PollError {
            kind,
            http_status: None,
            message: String::new(),
            retry_after: None,
        }
    }

    fn past(refusals: u8, missing: u8, missing_for: u64, alone: bool) -> Past {
        Past {
            refusals,
            missing,
            missing_for: Duration::from_secs(missing_for),
            alone,
        }
    }

    #[test]
    fn a_missing_job_is_given_its_grace_and_a_second_look() {
        let end = Verdict::GiveUp(Outcome::NotFound);
        for (missing, seconds, want) in [
            (1, 3600, Verdict::Retry),
            (2, 59, Verdict::Retry),
            (2, 60, end),
            (9, 61, end),
        ] {
            let past = past(0, missing, seconds, true);
            assert_eq!(judge(&error(ErrorKind::NotFound), &past, &limits()), want);
        }
        assert_eq!(
            judge(&error(ErrorKind::Gone), &past(0, 0, 0, false), &limits()),
            end
        );
    }

    #[test]
    fn wrong_credentials_end_a_one_shot_at_the_second_refusal() {
        let end = Verdict::GiveUp(Outcome::Refused);
        for (kind, refusals, alone, want) in [
            (ErrorKind::Unauthorized, 1, true, Verdict::Retry),
            (ErrorKind::Unauthorized, 2, false, end),
            (ErrorKind::Forbidden, 1, true, Verdict::Retry),
            (ErrorKind::Forbidden, 2, true, end),
            (ErrorKind::Forbidden, 9, false, Verdict::Retry),
        ] {
            assert_eq!(
                judge(&error(kind), &past(refusals, 0, 0, alone), &limits()),
                want
            );
        }
    }

    #[test]
    fn a_daemon_never_ends_for_a_refusal_but_asks_seldom() {
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
    fn the_server_can_slow_us_down() {
        let told = PollError {
            retry_after: Some(Duration::from_secs(7)),
            ..error(ErrorKind::RateLimited)
        };
        let verdict = judge(&told, &Past::default(), &limits());
        assert_eq!(
            verdict,
            Verdict::SlowDown {
                at_least: Duration::from_secs(7)
            }
        );
    }
}
