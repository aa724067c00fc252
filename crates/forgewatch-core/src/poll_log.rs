//! What is kept of each poll: what came of it, when the next one is, and why then.
//!
//! The engine makes one with every answer and every failure, the store keeps the last of each watch as JSON, and `show`
//! prints them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::schedule::{Bound, Source, Why};
use super::time::span;

/// One poll of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// When it came back, Unix milliseconds.
    pub wall_ms: i64,
    /// What it brought.
    #[serde(flatten)]
    pub brought: PollResult,
    /// How long until the next one, milliseconds, as it was planned then.
    pub next_poll_ms: u64,
    /// What determined that.
    pub why: WaitReason,
}

/// What a poll brought. The fields have the names that the log record gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PollResult {
    /// No status.
    Failure {
        /// In a sentence. May quote the server; at most 200 characters are worth keeping.
        error: String,
        /// Its class, as [`super::verdict::ErrorKind::as_str`] has it.
        error_kind: Cow<'static, str>,
        /// Of an answer that was no status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
    },
    /// A status.
    Status {
        /// Our word for where the job stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<Cow<'static, str>>,
        /// Whole percent, rounded down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<u8>,
        /// Until the end that the server expects, by its own clock; negative where that has passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta_seconds: Option<i64>,
    },
}

/// What determined how long to wait until the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum WaitReason {
    /// What is known of the time left.
    Forecast(Why),
    /// The policy `exponential`: how often the job was asked.
    Steps {
        /// What the wait was cut or stretched by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<Bound>,
    },
    /// A failure that is only believed when the next answer says the same.
    Confirmation,
    /// An answer so large that asking often would be a burden.
    LargeAnswer,
    /// Failures in a row: each doubles the longest wait, and the dice choose within it.
    Backoff {
        /// How many by then.
        failures: u8,
    },
    /// The server does not know the job yet: 404 within the grace.
    NotFound,
    /// What the server asked for with `Retry-After`.
    RetryAfter,
    /// The credentials are refused: seldom, until somebody mends them.
    Refused,
    /// The API as a whole is down: nobody asks but one probe.
    Outage,
}

impl WaitReason {
    /// One sentence for people, without its full stop; what it goes by is in [`WaitReason::estimates`]. Holds no text of the
    /// server's.
    pub fn sentence(&self) -> String {
        match self {
            Self::Forecast(why) => forecast(why),
            Self::Steps { bound } => {
                let steps = "each wait is half as long again as the one before";
                bounded(steps.to_owned(), *bound)
            }
            Self::Confirmation => {
                "a failure counts when two answers tell it, so it is asked again at once".to_owned()
            }
            Self::LargeAnswer => {
                "the answers are so large that they are asked for less often".to_owned()
            }
            Self::Backoff { failures: 1 } => "asking failed; it is tried again soon".to_owned(),
            Self::Backoff { failures } => {
                format!(
                    "asking failed {failures} times in a row; the wait is a random part of a limit that doubles each \
                     time"
                )
            }
            Self::NotFound => {
                "the server does not know the job yet; it may just have been made".to_owned()
            }
            Self::RetryAfter => "the server asked for this pause".to_owned(),
            Self::Refused => {
                "the credentials are refused; asked seldom until they are mended".to_owned()
            }
            Self::Outage => "the API is down as a whole; one probe asks for all".to_owned(),
        }
    }

    /// What each estimate of the time left says, for people, a phrase each; none where nothing was estimated.
    pub fn estimates(&self) -> Vec<String> {
        let Self::Forecast(why) = self else {
            return Vec::new();
        };
        let told = Source::ALL.into_iter().zip(why.estimates);
        let sources = told.filter_map(|(source, left)| Some((name(source), left?)));
        let all = sources.chain(why.life.map(|left| (EARLIER_JOBS, left)));
        let mut says: Vec<String> = all
            .map(|(by, left)| format!("{} by {by}", time_left(left)))
            .collect();
        if why.kept > 0.5 && !says.is_empty() {
            let percent = (why.kept.min(1.0) * 100.0) as u8;
            says.push(format!("the ETA is likely to be kept ({percent} %)"));
        }
        says
    }
}

/// Which estimate is believed, and the bound.
fn forecast(why: &Why) -> String {
    let known = why.estimates.iter().flatten().count() + usize::from(why.life.is_some());
    let source = why.weighs_most.map_or(EARLIER_JOBS, name);
    let sentence = match known {
        0 => "nothing is known of the time left; waits grow with the job's age".to_owned(),
        1 => format!("going by {source}"),
        _ => format!("going mostly by {source}"),
    };
    bounded(sentence, why.bound)
}

/// Seconds as people read them, whole ones: an estimate is not more exact. NaN and what is below one are one.
fn time_left(seconds: f32) -> String {
    format!("{} left", span(seconds.round().max(1.0) as u64 * 1_000))
}

const EARLIER_JOBS: &str = "how long earlier jobs took";

fn name(source: Source) -> &'static str {
    match source {
        Source::Eta => "its ETA",
        Source::Slip => "its ETA, slipping on as it has so far",
        Source::Progress => "the pace of its progress",
        Source::Overdue => "how long it is over its ETA",
    }
}

fn bounded(sentence: String, bound: Option<Bound>) -> String {
    let bound = match bound {
        None => return sentence,
        Some(Bound::MinInterval) => "not sooner than min_interval allows",
        Some(Bound::MaxInterval) => "not later than max_interval allows",
        Some(Bound::ShortJob) => "sooner than that wants, as the job may turn out short",
    };
    format!("{sentence}; {bound}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(brought: PollResult, why: WaitReason) -> Poll {
        Poll {
            wall_ms: 1_800_000_000_000,
            brought,
            next_poll_ms: 12_000,
            why,
        }
    }

    fn forecast_of(eta: Option<f32>, progress: Option<f32>) -> Why {
        Why {
            estimates: [eta, None, progress, None],
            weighs_most: Some(Source::Eta),
            ..Why::default()
        }
    }

    #[test]
    fn a_poll_is_one_flat_object_and_comes_back_as_it_was() {
        let status = PollResult::Status {
            state: Some("running".into()),
            progress: Some(40),
            eta_seconds: Some(-3),
        };
        let why = Why {
            life: Some(90.5),
            kept: 0.25,
            bound: Some(Bound::MinInterval),
            ..forecast_of(Some(130.25), None)
        };
        let failure = PollResult::Failure {
            error: "connection refused".to_owned(),
            error_kind: "connect".into(),
            http_status: None,
        };
        let polls = [
            poll(status, WaitReason::Forecast(why)),
            poll(failure, WaitReason::Backoff { failures: 3 }),
        ];
        let lines = polls.each_ref().map(|p| serde_json::to_string(p).unwrap());
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"wall_ms":1800000000000,"state":"running","progress":40,"eta_seconds":-3,"next_poll_ms":12000,"why":{"by":"forecast","estimates":{"eta":130.25},"life":90.5,"weighs_most":"eta","kept":0.25,"bound":"min_interval"}}
        {"wall_ms":1800000000000,"error":"connection refused","error_kind":"connect","next_poll_ms":12000,"why":{"by":"backoff","failures":3}}
        "#);
        for (poll, line) in polls.iter().zip(lines) {
            assert_eq!(*poll, serde_json::from_str(&line).unwrap());
        }
    }

    #[test]
    fn every_cause_comes_back_as_it_was() {
        for cause in [
            WaitReason::Forecast(Why::default()),
            WaitReason::Steps {
                bound: Some(Bound::ShortJob),
            },
            WaitReason::Confirmation,
            WaitReason::LargeAnswer,
            WaitReason::Backoff { failures: 255 },
            WaitReason::NotFound,
            WaitReason::RetryAfter,
            WaitReason::Refused,
            WaitReason::Outage,
        ] {
            let line = serde_json::to_string(&cause).unwrap();
            assert_eq!(cause, serde_json::from_str(&line).unwrap(), "{line}");
        }
    }

    #[test]
    fn a_forecast_says_what_was_known_and_what_was_believed() {
        let both = forecast_of(Some(130.2), Some(110.0));
        let sentences = [
            Why::default(),
            forecast_of(Some(0.2), None),
            both,
            Why {
                kept: 0.83,
                bound: Some(Bound::MaxInterval),
                ..both
            },
            Why {
                life: Some(7_260.0),
                ..Why::default()
            },
            Why {
                bound: Some(Bound::MinInterval),
                ..forecast_of(Some(f32::NAN), None)
            },
        ]
        .map(|why| {
            let cause = WaitReason::Forecast(why);
            let lines = [vec![cause.sentence()], cause.estimates()].concat();
            lines.join("\n  ")
        });
        insta::assert_snapshot!(sentences.join("\n"), @r"
        nothing is known of the time left; waits grow with the job's age
        going by its ETA
          1s left by its ETA
        going mostly by its ETA
          2m 10s left by its ETA
          1m 50s left by the pace of its progress
        going mostly by its ETA; not later than max_interval allows
          2m 10s left by its ETA
          1m 50s left by the pace of its progress
          the ETA is likely to be kept (83 %)
        going by how long earlier jobs took
          2h 1m left by how long earlier jobs took
        going by its ETA; not sooner than min_interval allows
          1s left by its ETA
        ");
    }
}
