//! A job as a `taskRun` of `CDEvents` 0.5.1, as a structured `CloudEvents` object: <https://cdevents.dev>.
//!
//! A taskRun of that version is started and finished only. That it is queued is a custom event, as the specification
//! provides for, until its next version has one.

use serde_json::{Map, Value, json};

use super::inert::{Markup, inert};
use super::{Envelope, Message};
use crate::event::EventType;
use crate::job::{JobState, Outcome};
use crate::time::rfc3339_ms;

const QUEUED: &str = "dev.cdeventsx.forgewatch-taskrun.queued.0.1.0";
const STARTED: &str = "dev.cdevents.taskrun.started.0.3.0";
const FINISHED: &str = "dev.cdevents.taskrun.finished.0.3.0";
/// In UTF-16 code units; the record has the whole error.
const ERRORS: usize = 4000;

/// Whether an event of this type can be one of the three.
pub(super) fn has_type(kind: EventType) -> bool {
    let has_state = matches!(kind, EventType::Watching | EventType::StateChanged);
    has_state || matches!(kind, EventType::Ended(_))
}

pub(super) fn message(envelope: &Envelope) -> Option<Message> {
    let event = &envelope.record.event;
    let job = event.job?;
    let (kind, outcome) = match event.kind {
        EventType::Ended(outcome) => (FINISHED, Some(outcome)),
        EventType::Watching | EventType::StateChanged => {
            let phase = phase(event.fields.state);
            let is_new = phase != phase_before(event.kind, event.fields.previous_state);
            (phase.filter(|_| is_new)?, None)
        }
        _ => return None,
    };
    let mut content = Map::new();
    content.insert("taskName".to_owned(), job.kind.as_str().into());
    if let Some(outcome) = outcome {
        content.insert("outcome".to_owned(), outcome_word(outcome).into());
        let errors = event.fields.error_message.as_deref();
        let errors = errors.map(|error| inert(error, Markup::Plain, ERRORS));
        content.extend(errors.map(|errors| ("errors".to_owned(), Value::from(errors))));
    }
    let (id, source) = (event.id.to_string(), &envelope.source);
    let time = rfc3339_ms(event.wall_ms);
    let labels = event.meta.as_deref().map(|meta| &meta.labels);
    let mut custom = json!({"job": job, "watch": event.id.watch.to_string()});
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        custom["labels"] = json!(labels);
    }
    if event.fields.test {
        custom["test"] = true.into();
    }
    let cdevent = json!({
        "context": {
            "specversion": "0.5.1",
            "id": id,
            "source": source,
            "type": kind,
            "timestamp": time,
        },
        "subject": {"id": job, "source": source, "content": content},
        "customData": custom,
        "customDataContentType": "application/json",
    });
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": kind,
        "subject": job,
        "time": time,
        "datacontenttype": "application/json",
        "data": cdevent,
    });
    Some(Message {
        content_type: "application/cloudevents+json",
        body: body.to_string(),
    })
}

fn phase(state: Option<JobState>) -> Option<&'static str> {
    match state? {
        JobState::Created | JobState::Pending | JobState::Queued => Some(QUEUED),
        JobState::Running => Some(STARTED),
        _ => None,
    }
}

/// The phase that an earlier event has reported.
fn phase_before(kind: EventType, state: Option<JobState>) -> Option<&'static str> {
    match kind {
        EventType::Watching => None,
        _ => phase(state),
    }
}

/// Its words are free: these are the ones of its pipelineRun, and `canceled`.
fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "success",
        Outcome::Failed => "failure",
        Outcome::Squashed | Outcome::Removed | Outcome::Abandoned(_) => "canceled",
        Outcome::NotFound | Outcome::Refused | Outcome::TimedOut | Outcome::GaveUp => "error",
    }
}
