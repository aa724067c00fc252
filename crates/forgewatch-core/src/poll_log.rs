//! The record of a poll: its result, the time of the next poll and the reason for that time.
//!
//! The store keeps the last records of each watch as JSON, and `show` prints them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::schedule::{EstimateSource, ForecastBasis, WaitLimit};
use super::time::{span, span_in_seconds};

/// The record of one poll.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PollRecord {
    /// When the poll returned, Unix milliseconds.
    pub wall_ms: i64,
    /// Its result.
    #[serde(flatten)]
    pub result: PollResult,
    /// Time until the next poll, as planned then.
    pub next_poll_ms: u64,
    /// The reason for that time.
    pub next_poll_reason: WaitReason,
}

impl PollRecord {
    /// For people, when the next poll was planned: `at once`, `after 12s`.
    pub fn next_poll(&self) -> String {
        match self.next_poll_ms {
            0 => "at once".to_owned(),
            ms => format!("after {}", span_in_seconds(ms)),
        }
    }
}

/// The result of a poll, by the field names of the log record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PollResult {
    /// The poll failed.
    Error {
        /// A description, at most 200 characters. May quote the server.
        error_message: String,
        /// The class of the error, by [`super::verdict::ErrorKind::as_str`].
        error_kind: Cow<'static, str>,
        /// The HTTP status, if there was a response.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
    },
    /// The poll returned a status.
    Status {
        /// The job's state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<Cow<'static, str>>,
        /// Whole percent, rounded down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<u8>,
        /// Seconds until the ETA, by the server's clock; negative after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta_seconds: Option<i64>,
    },
}

impl PollResult {
    /// For people: `running, 40%, ETA in 2m 10s`, or the error after its class. May quote the server.
    pub fn text(&self) -> String {
        match self {
            // The message contains the HTTP status.
            Self::Error {
                error_message,
                error_kind,
                ..
            } => format!("{error_kind}: {error_message}"),
            Self::Status {
                state,
                progress,
                eta_seconds,
            } => {
                let mut parts = vec![state.as_deref().unwrap_or("unknown").to_owned()];
                parts.extend(progress.map(|percent| format!("{percent}%")));
                parts.extend(eta_seconds.map(eta));
                parts.join(", ")
            }
        }
    }
}

fn eta(seconds: i64) -> String {
    let span = span_in_seconds(seconds.unsigned_abs().saturating_mul(1_000));
    if seconds < 0 {
        format!("ETA {span} ago")
    } else {
        format!("ETA in {span}")
    }
}

/// The reason for the time of the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitReason {
    /// The forecast of the time left.
    Forecast(ForecastBasis),
    /// The policy `exponential`.
    Exponential {
        /// The limit that changed the wait, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limited_by: Option<WaitLimit>,
    },
    /// The job seems to have failed; the next poll has to confirm it.
    Confirmation,
    /// The responses are so large that frequent polls would burden the API.
    LargeResponse,
    /// Backoff after consecutive failures: a random part of a limit that doubles with each.
    Backoff {
        /// Number of consecutive failures.
        failures: u8,
    },
    /// The server does not know the job yet: 404 within `not_found_grace`.
    NotFound,
    /// The server's `Retry-After`.
    RetryAfter,
    /// The API rejects the credentials: rare polls until they are replaced.
    Refused,
    /// The API as a whole is down: polls are suspended until a probe succeeds.
    Outage,
}

impl WaitReason {
    /// A phrase for people, without text from the server. [`WaitReason::estimates`] has the estimates.
    pub fn sentence(&self) -> String {
        match self {
            Self::Forecast(basis) => forecast(basis),
            Self::Exponential { limited_by } => {
                let steps = "each wait is 1.5 times the one before";
                with_limit(steps.to_owned(), *limited_by)
            }
            Self::Confirmation => "polling again at once to confirm that the job failed".to_owned(),
            Self::LargeResponse => "polling less often because the responses are large".to_owned(),
            Self::Backoff { failures: 1 } => "retrying soon after a failed poll".to_owned(),
            Self::Backoff { failures } => {
                format!(
                    "{failures} polls in a row failed; the wait is a random part of a limit that doubles each time"
                )
            }
            Self::NotFound => "the server does not know the job yet; it may be new".to_owned(),
            Self::RetryAfter => "the server requested this pause".to_owned(),
            Self::Refused => {
                "the API rejects the credentials; polling rarely until they are replaced".to_owned()
            }
            Self::Outage => {
                "the API is down; polls are suspended until a probe succeeds".to_owned()
            }
        }
    }

    /// The estimates of the time left, for people; empty without a forecast.
    pub fn estimates(&self) -> Vec<String> {
        let Self::Forecast(basis) = self else {
            return Vec::new();
        };
        let values = EstimateSource::ALL.into_iter().zip(basis.estimates);
        let sources = values.filter_map(|(source, left)| Some((name(source), left?)));
        let all = sources.chain(basis.earlier_jobs.map(|left| (EARLIER_JOBS, left)));
        let mut lines: Vec<String> = all
            .map(|(by, left)| format!("{} by {by}", time_left(left)))
            .collect();
        if basis.eta_reliability > 0.5 && !lines.is_empty() {
            let percent = (basis.eta_reliability.min(1.0) * 100.0) as u8;
            lines.push(format!("the ETA is likely to be met ({percent}%)"));
        }
        lines
    }
}

/// The estimate with the most weight, and the limit.
fn forecast(basis: &ForecastBasis) -> String {
    let known =
        basis.estimates.iter().flatten().count() + usize::from(basis.earlier_jobs.is_some());
    let source = basis.main_source.map_or(EARLIER_JOBS, name);
    let sentence = match known {
        0 => "no estimate of the time left; waits grow with the job's age".to_owned(),
        1 => format!("by {source}"),
        _ => format!("mostly by {source}"),
    };
    with_limit(sentence, basis.limited_by)
}

/// Whole seconds, at least one, also for NaN: an estimate is not more precise.
fn time_left(seconds: f32) -> String {
    format!("{} left", span(seconds.round().max(1.0) as u64 * 1_000))
}

const EARLIER_JOBS: &str = "the duration of earlier jobs";

fn name(source: EstimateSource) -> &'static str {
    match source {
        EstimateSource::Eta => "its ETA",
        EstimateSource::Slip => "its ETA, slipping as it has so far",
        EstimateSource::Progress => "its progress rate",
        EstimateSource::Curve => "the curve of its progress",
        EstimateSource::Overdue => "the time past its ETA",
    }
}

fn with_limit(sentence: String, limited_by: Option<WaitLimit>) -> String {
    let limit = match limited_by {
        None => return sentence,
        Some(WaitLimit::MinInterval) => "limited by min_interval",
        Some(WaitLimit::MaxInterval) => "limited by max_interval",
        Some(WaitLimit::ShortJob) => "capped: a young job may turn out to be short",
    };
    format!("{sentence}, {limit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(result: PollResult, next_poll_reason: WaitReason) -> PollRecord {
        PollRecord {
            wall_ms: 1_800_000_000_000,
            result,
            next_poll_ms: 12_000,
            next_poll_reason,
        }
    }

    fn forecast_of(eta: Option<f32>, progress: Option<f32>) -> ForecastBasis {
        ForecastBasis {
            estimates: [eta, None, progress, None, None],
            main_source: Some(EstimateSource::Eta),
            ..ForecastBasis::default()
        }
    }

    #[test]
    fn a_poll_record_is_one_flat_json_object_and_survives_a_round_trip() {
        let status = PollResult::Status {
            state: Some("running".into()),
            progress: Some(40),
            eta_seconds: Some(-3),
        };
        let basis = ForecastBasis {
            earlier_jobs: Some(90.5),
            eta_reliability: 0.25,
            limited_by: Some(WaitLimit::MinInterval),
            ..forecast_of(Some(130.25), None)
        };
        let failure = PollResult::Error {
            error_message: "connection refused".to_owned(),
            error_kind: "connect".into(),
            http_status: None,
        };
        let polls = [
            poll(status, WaitReason::Forecast(basis)),
            poll(failure, WaitReason::Backoff { failures: 3 }),
        ];
        let lines = polls.each_ref().map(|p| serde_json::to_string(p).unwrap());
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"wall_ms":1800000000000,"state":"running","progress":40,"eta_seconds":-3,"next_poll_ms":12000,"next_poll_reason":{"kind":"forecast","estimates":{"eta":130.25},"earlier_jobs":90.5,"main_source":"eta","eta_reliability":0.25,"limited_by":"min_interval"}}
        {"wall_ms":1800000000000,"error_message":"connection refused","error_kind":"connect","next_poll_ms":12000,"next_poll_reason":{"kind":"backoff","failures":3}}
        "#);
        for (poll, line) in polls.iter().zip(lines) {
            assert_eq!(*poll, serde_json::from_str(&line).unwrap());
        }
    }

    #[test]
    fn every_reason_survives_a_round_trip() {
        for reason in [
            WaitReason::Forecast(ForecastBasis::default()),
            WaitReason::Exponential {
                limited_by: Some(WaitLimit::ShortJob),
            },
            WaitReason::Confirmation,
            WaitReason::LargeResponse,
            WaitReason::Backoff { failures: 255 },
            WaitReason::NotFound,
            WaitReason::RetryAfter,
            WaitReason::Refused,
            WaitReason::Outage,
        ] {
            let line = serde_json::to_string(&reason).unwrap();
            assert_eq!(reason, serde_json::from_str(&line).unwrap(), "{line}");
        }
    }

    #[test]
    fn a_forecast_lists_its_estimates_and_its_main_source() {
        let both = forecast_of(Some(130.2), Some(110.0));
        let sentences = [
            ForecastBasis::default(),
            forecast_of(Some(0.2), None),
            both,
            ForecastBasis {
                eta_reliability: 0.83,
                limited_by: Some(WaitLimit::MaxInterval),
                ..both
            },
            ForecastBasis {
                earlier_jobs: Some(7_260.0),
                ..ForecastBasis::default()
            },
            ForecastBasis {
                limited_by: Some(WaitLimit::MinInterval),
                ..forecast_of(Some(f32::NAN), None)
            },
        ]
        .map(|basis| {
            let reason = WaitReason::Forecast(basis);
            let lines = [vec![reason.sentence()], reason.estimates()].concat();
            lines.join("\n  ")
        });
        insta::assert_snapshot!(sentences.join("\n"), @r"
        no estimate of the time left; waits grow with the job's age
        by its ETA
          1s left by its ETA
        mostly by its ETA
          2m 10s left by its ETA
          1m 50s left by its progress rate
        mostly by its ETA, limited by max_interval
          2m 10s left by its ETA
          1m 50s left by its progress rate
          the ETA is likely to be met (83%)
        by the duration of earlier jobs
          2h 1m left by the duration of earlier jobs
        by its ETA, limited by min_interval
          1s left by its ETA
        ");
    }
}
