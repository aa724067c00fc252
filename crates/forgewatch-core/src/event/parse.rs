//! Reads an event back from its log record, for programs that receive records and show them to people.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::origin::TraceFields;
use super::{Event, EventFields, EventOrigin, EventType, JobMeta};
use crate::job::{JobRef, JobState, Outcome, Reason};
use crate::schedule::Unusual;
use crate::status::{DiffFiles, DiffNames, FileSum};
use crate::time_left::TimeLeft;
use crate::verdict::ErrorKind;

/// What a record says. Fields that it may gain later are ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRecord {
    /// The event. Of events without a job, only id, type and time are complete.
    pub event: Event,
    /// The record's sentence for people.
    pub message: String,
}

/// A text is not a log record of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a log record of an event: {0}")]
pub struct InvalidRecord(String);

#[derive(Deserialize)]
struct RecordText {
    timestamp: String,
    message: String,
    event_id: String,
    event_type: String,
    job: Option<JobRef>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    instance: Option<String>,
    #[serde(flatten)]
    trace: TraceFields,
    state: Option<String>,
    previous_state: Option<String>,
    state_name: Option<String>,
    progress: Option<u8>,
    eta: Option<String>,
    #[serde(flatten)]
    left: TimeLeft,
    next_poll_ms: Option<u64>,
    error_message: Option<String>,
    error_kind: Option<String>,
    http_status: Option<u16>,
    reason: Option<Reason>,
    requests: Option<u32>,
    elapsed_ms: Option<u64>,
    stalled_ms: Option<u64>,
    detection_delay_ms: Option<u64>,
    queued_ms: Option<u64>,
    run_ms: Option<u64>,
    #[serde(default)]
    test: bool,
    usual_ms: Option<u64>,
    unusual: Option<Unusual>,
    #[serde(flatten)]
    files: FilesText,
    game: Option<String>,
    image: Option<String>,
    machine: Option<String>,
}

#[derive(Deserialize)]
struct FilesText {
    files_added: Option<u64>,
    #[serde(default)]
    files_modified: u64,
    #[serde(default)]
    files_removed: u64,
    #[serde(default)]
    bytes_added: u64,
    #[serde(default)]
    bytes_modified: u64,
    #[serde(default)]
    bytes_removed: u64,
}

impl FilesText {
    fn files(&self) -> Option<DiffFiles> {
        let sum = |count, bytes| FileSum { count, bytes };
        self.files_added.map(|added| DiffFiles {
            added: sum(added, self.bytes_added),
            modified: sum(self.files_modified, self.bytes_modified),
            removed: sum(self.files_removed, self.bytes_removed),
        })
    }
}

impl From<serde_json::Error> for InvalidRecord {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl FromStr for ParsedRecord {
    type Err = InvalidRecord;

    fn from_str(record: &str) -> Result<Self, InvalidRecord> {
        Self::read(serde_json::from_str(record)?)
    }
}

impl ParsedRecord {
    /// Reads a record that is parsed as JSON.
    ///
    /// # Errors
    /// It is not a record of an event.
    pub fn from_object(record: Map<String, Value>) -> Result<Self, InvalidRecord> {
        Self::read(serde_json::from_value(Value::Object(record))?)
    }

    fn read(text: RecordText) -> Result<Self, InvalidRecord> {
        let invalid = |what: &str| InvalidRecord(what.to_owned());
        let kind = event_type(&text.event_type, text.reason);
        let time = humantime::parse_rfc3339(&text.timestamp);
        let meta = JobMeta {
            labels: text.labels,
            names: DiffNames {
                game: text.game,
                image: text.image,
                machine: text.machine,
            },
        };
        let event = Event {
            id: (text.event_id.parse()).map_err(|_| invalid("invalid event_id"))?,
            kind: kind.ok_or_else(|| invalid("unknown event_type"))?,
            wall_ms: unix_ms(time.map_err(|_| invalid("invalid timestamp"))?),
            job: text.job,
            meta: (meta != JobMeta::default()).then(|| Arc::new(meta)),
            fields: EventFields {
                origin: EventOrigin {
                    instance: text.instance.map(Arc::from),
                    trace: text.trace.context(),
                },
                state: text.state.as_deref().map(state),
                previous_state: text.previous_state.as_deref().map(state),
                state_name: text.state_name,
                progress: text.progress,
                eta: (text.eta.as_deref())
                    .and_then(|eta| humantime::parse_rfc3339(eta).ok())
                    .map(|eta| unix_ms(eta) / 1_000),
                left: text.left,
                next_poll_ms: text.next_poll_ms,
                error_message: text.error_message,
                error_kind: text.error_kind.as_deref().and_then(ErrorKind::from_name),
                http_status: text.http_status,
                requests: text.requests,
                elapsed_ms: text.elapsed_ms,
                stalled_ms: text.stalled_ms,
                detection_delay_ms: text.detection_delay_ms,
                queued_ms: text.queued_ms,
                run_ms: text.run_ms,
                test: text.test,
                usual_ms: text.usual_ms,
                unusual: text.unusual,
                reason: text.reason,
                files: text.files.files(),
                ..EventFields::default()
            },
        };
        Ok(Self {
            event,
            message: text.message,
        })
    }
}

fn event_type(name: &str, reason: Option<Reason>) -> Option<EventType> {
    match reason {
        Some(reason) if name == "job.abandoned" => {
            Some(EventType::Ended(Outcome::Abandoned(reason)))
        }
        _ => EventType::from_name(name),
    }
}

/// The record has the name alone, so the number of a state that is not known is lost.
fn state(name: &str) -> JobState {
    JobState::from_name(name).unwrap_or(JobState::Unknown(0))
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{EventId, WatchId};

    /// An event with every field that people see.
    fn event(kind: EventType) -> Event {
        let sum = |count| FileSum {
            count,
            bytes: count * 10,
        };
        Event {
            id: EventId {
                watch: WatchId([0xa5; 16]),
                seq: 7,
            },
            kind,
            wall_ms: 1_800_000_000_123,
            job: Some("diff/1234".parse().unwrap()),
            meta: Some(Arc::new(JobMeta {
                labels: BTreeMap::from([("build".to_owned(), "8812".to_owned())]),
                names: DiffNames {
                    game: Some("Game \u{202e}".to_owned()),
                    ..DiffNames::default()
                },
            })),
            fields: EventFields {
                state: Some(JobState::Running),
                previous_state: Some(JobState::Unknown(0)),
                state_name: Some("Warming up".to_owned()),
                progress: Some(40),
                eta: Some(1_800_000_060),
                left: TimeLeft {
                    eta_seconds: Some(-3),
                    estimate_low_ms: Some(1_000),
                    estimate_high_ms: Some(2_000),
                },
                next_poll_ms: Some(2_000),
                error_message: Some("disk full\n::error::x".to_owned()),
                error_kind: Some(ErrorKind::TooLarge),
                http_status: Some(503),
                reason: match kind {
                    EventType::Ended(Outcome::Abandoned(reason)) => Some(reason),
                    _ => None,
                },
                requests: Some(3),
                elapsed_ms: Some(60_000),
                stalled_ms: Some(1_800_000),
                detection_delay_ms: Some(10),
                queued_ms: Some(5_000),
                run_ms: Some(55_000),
                test: true,
                files: Some(DiffFiles {
                    added: sum(1),
                    modified: sum(0),
                    removed: sum(3),
                }),
                ..EventFields::default()
            },
        }
    }

    #[test]
    fn a_record_becomes_the_event_that_it_was() {
        let abandoned = |reason| EventType::Ended(Outcome::Abandoned(reason));
        let more = [abandoned(Reason::FailFast), abandoned(Reason::Interrupted)];
        for kind in EventType::ALL.into_iter().chain(more) {
            if matches!(kind, EventType::Ended(Outcome::Abandoned(_))) && !more.contains(&kind) {
                continue;
            }
            let event = event(kind);
            let record = serde_json::to_string(&event.record()).unwrap();
            let parsed: ParsedRecord = record.parse().unwrap();
            assert_eq!(parsed.event, event, "{record}");
            assert_eq!(parsed.message, event.message());
        }
    }

    #[test]
    fn fields_of_later_versions_are_ignored_and_other_texts_rejected() {
        let record = serde_json::to_string(&event(EventType::Watching).record()).unwrap();
        let later = record.replacen('{', "{\"later\":[1],", 1);
        assert_eq!(later.parse::<ParsedRecord>(), record.parse());
        for text in [
            "",
            "[]",
            "{}",
            &record.replace("job.watching", "job.later"),
            &record.replace("diff/1234", "diff/x"),
            &record.replace("2027-01-15T", "yesterday"),
        ] {
            assert!(text.parse::<ParsedRecord>().is_err(), "{text}");
        }
    }
}
