//! Every format against its receiver: the receiver's own types where a registry has them, else a stand-in that is written
//! from the receiver's documentation alone.

mod hostile;
mod replies;
mod stand_ins;
mod telemetry;
mod templates;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::{Format, Template};
use crate::delivery::EventPayload;
use crate::event::{
    Event, EventFields, EventId, EventOrigin, EventType, FailedDelivery, JobMeta, WatchId,
};
use crate::job::{JobState, Outcome};
use crate::status::{DiffFiles, DiffNames, FileSum};

/// A template that writes every untrusted field.
const BODY: &str = r#"{
    "text": {{ message }}, "error": {{ error_message }}, "state": {{ state_name }}, "labels": {{ labels }},
    "build": {{ labels.build }}, "names": [{{ game }}, {{ image }}, {{ machine }}],
    "is_failed": {{ state == "failed" }}, "test": {{ test }}, "line": {{ "job " ~ job ~ ": " ~ (error_message or "-") }}
}"#;

/// An event in which every untrusted text is `text`.
fn event(kind: EventType, text: &str) -> Event {
    let own = || Some(text.to_owned());
    let is_job = kind.is_about_job();
    let delivery = FailedDelivery {
        hook: "chat".to_owned(),
        delivery: "x/chat".to_owned(),
        attempt: 3,
        exit_status: None,
        what: text.to_owned(),
        of_hook_failed: false,
    };
    let sum = FileSum { count: 3, bytes: 9 };
    let fields = EventFields {
        origin: EventOrigin {
            instance: Some("build01".into()),
            trace: None,
        },
        state: is_job.then_some(match kind {
            EventType::Ended(Outcome::Completed) => JobState::Completed,
            EventType::Ended(_) => JobState::Failed,
            EventType::Watching => JobState::Queued,
            _ => JobState::Running,
        }),
        state_name: own().filter(|_| is_job),
        progress: is_job.then_some(45),
        error_message: own(),
        elapsed_ms: Some(90_000),
        detection_delay_ms: Some(500),
        queued_ms: Some(5_000),
        run_ms: Some(60_000),
        files: (kind == EventType::Ended(Outcome::Completed)).then_some(DiffFiles {
            added: sum,
            modified: sum,
            removed: sum,
        }),
        delivery: (kind == EventType::HookFailed).then(|| Box::new(delivery)),
        ..EventFields::default()
    };
    let labels = (1..=9).map(|n| (format!("label_{n}"), text.to_owned()));
    let build = ("build".to_owned(), text.to_owned());
    let meta = JobMeta {
        labels: labels.chain([build]).collect::<BTreeMap<_, _>>(),
        names: DiffNames {
            game: own(),
            image: own(),
            machine: own(),
        },
    };
    Event {
        id: EventId {
            watch: WatchId(*b"0123456789abcdef"),
            seq: 7,
        },
        kind,
        wall_ms: 1_800_000_000_123,
        job: is_job.then(|| "diff/1234".parse().unwrap()),
        meta: is_job.then(|| Arc::new(meta)),
        fields,
    }
}

fn payload(event: &Event) -> EventPayload {
    EventPayload::of(event, "build01").unwrap()
}

/// All formats; the template is checked once.
fn formats() -> &'static [Format] {
    static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| {
        let samples = EventType::ALL.map(|kind| payload(&event(kind, "x")));
        let template = Template::new(BODY.to_owned(), &samples).unwrap();
        let named = Format::NAMES.into_iter().filter_map(Format::from_name);
        named
            .chain([Format::Template(Arc::new(template))])
            .collect()
    });
    &FORMATS
}

/// The bodies of one format, for the events of every type that have one.
fn bodies_of(name: &str, text: &str) -> Vec<(EventType, Value)> {
    bodies_of_types(name, text, &EventType::ALL)
}

fn bodies_of_types(name: &str, text: &str, kinds: &[EventType]) -> Vec<(EventType, Value)> {
    let format = formats()
        .iter()
        .find(|format| format.name() == name)
        .unwrap();
    let body = |kind: EventType| {
        let message = format.message(&payload(&event(kind, text))).unwrap()?;
        assert!(format.has_type(kind), "{name} of {kind:?}");
        Some((kind, serde_json::from_str(&message.body).unwrap()))
    };
    kinds.iter().copied().filter_map(body).collect()
}

/// Every text in a body, keys excluded.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_name_is_a_format_and_its_own_name() {
    for name in Format::NAMES {
        let format = Format::from_name(name);
        assert!(format.is_none_or(|format| format.name() == name), "{name}");
    }
    assert!(Format::from_name("mattermost").is_none());
}

#[test]
fn job_star_is_narrowed_to_the_types_that_have_a_body() {
    let on = || vec!["job.*".to_owned(), "hook.failed".to_owned()];
    assert_eq!(Format::Slack.narrow(on()), on());
    let narrowed = Format::Otlp.narrow(vec!["job.*".to_owned()]);
    assert_eq!(narrowed.len(), 9, "{narrowed:?}");
    assert!(narrowed.contains(&"job.gave_up".to_owned()));
    let narrowed = Format::CdEvents.narrow(vec!["job.*".to_owned()]);
    assert_eq!(narrowed.len(), 11, "{narrowed:?}");
    assert!(narrowed.contains(&"job.state_changed".to_owned()));
}

#[test]
fn cloudevents_is_the_payload_unchanged() {
    let payload = payload(&event(EventType::Progressed, "x"));
    let message = Format::CloudEvents.message(&payload).unwrap().unwrap();
    assert_eq!(message.body, payload.body());
    assert_eq!(message.content_type, "application/cloudevents+json");
}
