//! The timeline of a job: its states, its progress, its polls, and its end.

use serde::Serialize;
use serde_json::value::RawValue;

use super::inert;
use crate::control::protocol::JobDetails;
use forgewatch_core::poll_log::{PollRecord, PollResult};
use forgewatch_core::time::{rfc3339_ms, span, span_in_seconds};

/// The width of the drawing.
const WIDTH: f64 = 1_000.0;
/// Where 0 and 100 % are.
const ZERO: f64 = 95.0;
const HUNDRED: f64 = 28.0;

/// The parts of the drawing; positions from 0 to [`WIDTH`].
#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    /// What a screen reader says.
    label: String,
    from: String,
    to: String,
    states: Vec<Band>,
    /// The points of the line of the progress.
    progress: String,
    polls: Vec<Mark>,
    ends: Vec<Mark>,
    /// After what time the end was detected.
    seen: String,
}

#[derive(Debug, Serialize)]
struct Band {
    x: String,
    width: String,
    title: String,
}

#[derive(Debug, Serialize)]
struct Mark {
    x: String,
    class: &'static str,
    title: String,
}

/// The fields of an event that the timeline shows.
#[derive(Debug, serde::Deserialize)]
pub(super) struct EventRecord {
    pub(super) timestamp: String,
    pub(super) event_type: String,
    pub(super) message: String,
    pub(super) state: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) detection_delay_ms: Option<u64>,
}

/// The readable events of a job.
pub(super) fn events(records: &[Box<RawValue>]) -> Vec<EventRecord> {
    let records = records.iter();
    records
        .filter_map(|record| serde_json::from_str(record.get()).ok())
        .collect()
}

/// None before the first poll.
pub(super) fn timeline(job: &JobDetails, events: &[EventRecord], now_ms: i64) -> Option<Timeline> {
    let summary = &job.summary;
    let from = summary.started_at_ms?;
    let to = summary.ended_at_ms.unwrap_or(now_ms).max(from + 1);
    let next = (summary.next_poll_ms.filter(|_| summary.outcome.is_none()))
        .and_then(|ms| now_ms.checked_add_unsigned(ms));
    let scale = Scale {
        from,
        // Some space on the right for the next poll, or for the end.
        to: next.unwrap_or(to).max(to),
    };
    let mut ends = Vec::new();
    let mut seen = String::new();
    if let (Some(at), Some(outcome)) = (summary.ended_at_ms, &summary.outcome) {
        let delay = events.last().and_then(|event| event.detection_delay_ms);
        let class = if outcome == "completed" {
            "end"
        } else {
            "end failed"
        };
        ends.push(Mark {
            x: scale.x(at),
            class,
            title: format!("{}: {}", rfc3339_ms(at), inert(outcome)),
        });
        seen = delay.map_or_else(String::new, |ms| {
            format!("The end was detected after {}.", span(ms))
        });
    }
    if let Some(at) = next {
        ends.push(Mark {
            x: scale.x(at),
            class: "next",
            title: format!("next poll: {}", rfc3339_ms(at)),
        });
    }
    Some(Timeline {
        label: format!(
            "{} polls kept, {} events, {} in all",
            job.polls.len(),
            events.len(),
            span_in_seconds(u64::try_from(to - from).unwrap_or(0))
        ),
        from: rfc3339_ms(from),
        to: rfc3339_ms(scale.to),
        states: states(events, &scale, to),
        progress: progress(job, &scale),
        polls: polls(job, &scale),
        ends,
        seen,
    })
}

struct Scale {
    from: i64,
    to: i64,
}

impl Scale {
    fn position(&self, at_ms: i64) -> f64 {
        let share = (at_ms - self.from) as f64 / (self.to - self.from) as f64;
        share.clamp(0.0, 1.0) * WIDTH
    }

    fn x(&self, at_ms: i64) -> String {
        format!("{:.1}", self.position(at_ms))
    }
}

/// A band from each change of the state to the next.
fn states(events: &[EventRecord], scale: &Scale, end: i64) -> Vec<Band> {
    let changes: Vec<(i64, &str)> = (events.iter())
        .filter_map(|event| Some((wall_ms(&event.timestamp)?, event.state.as_deref()?)))
        .collect();
    let mut bands: Vec<(i64, i64, &str)> = Vec::new();
    for (at, state) in changes {
        match bands.last_mut() {
            Some((_, until, last)) if *last == state => *until = end,
            last => {
                if let Some((_, until, _)) = last {
                    *until = at;
                }
                bands.push((at, end, state));
            }
        }
    }
    bands
        .into_iter()
        .map(|(from, until, state)| Band {
            x: scale.x(from),
            width: format!(
                "{:.1}",
                (scale.position(until) - scale.position(from) - 1.0).max(0.5)
            ),
            title: format!("{} since {}", inert(state), rfc3339_ms(from)),
        })
        .collect()
}

fn progress(job: &JobDetails, scale: &Scale) -> String {
    let points = job.polls.iter().filter_map(|poll| match &poll.result {
        PollResult::Status { progress, .. } => {
            let y = ZERO - (ZERO - HUNDRED) * f64::from((*progress)?) / 100.0;
            Some(format!("{},{y:.1}", scale.x(poll.wall_ms)))
        }
        PollResult::Error { .. } => None,
    });
    points.collect::<Vec<_>>().join(" ")
}

fn polls(job: &JobDetails, scale: &Scale) -> Vec<Mark> {
    let mark = |poll: &PollRecord| Mark {
        x: scale.x(poll.wall_ms),
        class: match poll.result {
            PollResult::Error { .. } => "pollerror",
            PollResult::Status { .. } => "poll",
        },
        title: format!(
            "{}: {}",
            rfc3339_ms(poll.wall_ms),
            inert(&poll.result.text())
        ),
    };
    job.polls.iter().map(mark).collect()
}

fn wall_ms(timestamp: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(timestamp).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}
