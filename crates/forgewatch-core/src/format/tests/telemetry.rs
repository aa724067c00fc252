//! `CDEvents` and OTLP, read by the receivers' own types.

use std::collections::BTreeSet;

use cdevents_sdk::CDEvent;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute as semconv};
use serde_json::Value;

use super::{bodies_of, event, payload};
use crate::event::{Event, EventFields, EventType};
use crate::format::Format;
use crate::job::JobState::{self, Created, Pending, Queued, Running};
use crate::job::Outcome;

fn cdevent(event: &Event) -> Option<CDEvent> {
    let message = Format::CdEvents.message(&payload(event)).unwrap()?;
    assert_eq!(message.content_type, "application/cloudevents+json");
    let cloudevent: Value = serde_json::from_str(&message.body).unwrap();
    let cdevent: CDEvent = serde_json::from_value(cloudevent["data"].clone()).unwrap();
    assert_eq!(cloudevent["specversion"], "1.0");
    assert_eq!(cloudevent["type"], cdevent.ty());
    assert_eq!(cloudevent["id"], cdevent.id().to_string());
    assert_eq!(cloudevent["source"], cdevent.source().to_string());
    Some(cdevent)
}

#[test]
fn the_sdk_of_cdevents_accepts_every_event() {
    for text in ["", "disk full", "\u{0}\"\\<@everyone>"] {
        for kind in EventType::ALL {
            let cdevent = cdevent(&event(kind, text));
            let is_expected = matches!(
                kind,
                EventType::Watching | EventType::StateChanged | EventType::Ended(_)
            );
            assert_eq!(cdevent.is_some(), is_expected, "{kind:?}");
        }
    }
}

#[test]
fn a_job_is_queued_started_and_finished_once_each() {
    let changed = |before: JobState, state: JobState| Event {
        fields: EventFields {
            state: Some(state),
            previous_state: Some(before),
            ..EventFields::default()
        },
        ..event(EventType::StateChanged, "")
    };
    let watching = |state| Event {
        fields: EventFields {
            state: Some(state),
            ..EventFields::default()
        },
        ..event(EventType::Watching, "")
    };
    let life = [
        (watching(Created), Some("queued")),
        (changed(Created, Pending), None),
        (changed(Pending, Queued), None),
        (changed(Queued, Running), Some("started")),
        (event(EventType::Progressed, ""), None),
        (
            event(EventType::Ended(Outcome::Failed), "disk full"),
            Some("finished"),
        ),
        (watching(Running), Some("started")),
        (watching(JobState::Completed), None),
        (changed(Running, Queued), Some("queued")),
        (changed(Running, JobState::Unknown(12)), None),
    ];
    for (event, predicate) in life {
        let kind = cdevent(&event).map(|cdevent| cdevent.ty().to_owned());
        let found = kind.as_deref().and_then(|kind| kind.split('.').nth(3));
        assert_eq!(found, predicate, "{event:?}");
        let is_taskrun = |kind: &str| kind.contains("taskrun.");
        assert!(kind.as_deref().is_none_or(is_taskrun), "{kind:?}");
    }
}

#[test]
fn a_finished_task_has_an_outcome_and_its_error() {
    let event = event(EventType::Ended(Outcome::Failed), "disk full");
    let message = Format::CdEvents.message(&payload(&event)).unwrap().unwrap();
    let body: Value = serde_json::from_str(&message.body).unwrap();
    let subject = &body["data"]["subject"];
    assert_eq!(subject["id"], "diff/1234");
    assert_eq!(subject["content"]["outcome"], "failure");
    assert_eq!(subject["content"]["errors"], "disk full");
    assert_eq!(body["data"]["customData"]["labels"]["build"], "disk full");
}

fn spans(event: &Event) -> Vec<Span> {
    let message = Format::Otlp.message(&payload(event)).unwrap().unwrap();
    assert_eq!(message.content_type, "application/json");
    let request: ExportTraceServiceRequest = serde_json::from_str(&message.body).unwrap();
    let [resource] = &request.resource_spans[..] else {
        panic!("{request:?}");
    };
    assert_eq!(resource.schema_url, SCHEMA_URL);
    let [scope] = &resource.scope_spans[..] else {
        panic!("{request:?}");
    };
    scope.spans.clone()
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == name);
    let value = found.and_then(|pair| pair.value.clone()?.value);
    match value {
        Some(any_value::Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

#[test]
fn an_ended_job_is_a_span_with_children_for_queued_and_running() {
    let failed = event(EventType::Ended(Outcome::Failed), "disk full");
    let spans = spans(&failed);
    let [job, queued, running] = &spans[..] else {
        panic!("{spans:?}");
    };
    let ended = 1_800_000_000_123_000_000 - 500_000_000;
    let started = ended - 60_000_000_000;
    let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
    assert_eq!(times(job), (started - 5_000_000_000, ended));
    assert_eq!(times(queued), (started - 5_000_000_000, started));
    assert_eq!(times(running), (started, ended));

    let names = [job, queued, running].map(|span| span.name.as_str());
    assert_eq!(names, ["RUN diff", "queued", "running"]);
    assert_eq!((job.kind, queued.kind, running.kind), (2, 1, 1));
    assert!(job.parent_span_id.is_empty());
    for child in [queued, running] {
        assert_eq!(child.parent_span_id, job.span_id);
    }
    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| &*span.span_id).collect();
    assert_eq!(ids.len(), 3);
    for span in &spans {
        assert_eq!(
            (span.trace_id.as_slice(), span.span_id.len()),
            (&b"0123456789abcdef"[..], 8)
        );
    }
    for (name, value) in [
        (semconv::CICD_PIPELINE_NAME, "diff"),
        (semconv::CICD_PIPELINE_RUN_ID, "diff/1234"),
        (semconv::CICD_PIPELINE_RESULT, "failure"),
        (semconv::CICD_PIPELINE_ACTION_NAME, "RUN"),
        (semconv::ERROR_TYPE, "failed"),
    ] {
        assert_eq!(attribute(job, name), value, "{name}");
    }
    assert_eq!(
        attribute(queued, semconv::CICD_PIPELINE_RUN_STATE),
        "pending"
    );
    assert_eq!(
        attribute(running, semconv::CICD_PIPELINE_RUN_STATE),
        "executing"
    );
    let status = job.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "disk full"));
}

#[test]
fn in_a_traced_pipeline_the_job_is_a_child_of_the_step() {
    let mut event = event(EventType::Ended(Outcome::Completed), "");
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    event.fields.origin.trace = context.parse().ok();
    let spans = spans(&event);
    assert_eq!(
        spans[0].parent_span_id,
        0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()
    );
    assert_eq!(spans[1].parent_span_id, spans[0].span_id);
    let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == trace && span.flags == 1)
    );
}

#[test]
fn a_repeated_attempt_sends_the_same_spans_and_another_watch_others() {
    let first = event(EventType::Ended(Outcome::Completed), "");
    assert_eq!(spans(&first), spans(&first.clone()));
    let mut second = first.clone();
    second.id.watch.0[15] ^= 0x80;
    let ids = |event: &Event| {
        spans(event)
            .iter()
            .map(|span| span.span_id.clone())
            .collect()
    };
    let (first, second): (BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>) = (ids(&first), ids(&second));
    assert!(first.is_disjoint(&second));
    let mut zero = event(EventType::Ended(Outcome::Completed), "");
    zero.id.watch.0[8..].copy_from_slice(&1_u64.to_be_bytes());
    assert!(spans(&zero).iter().all(|span| span.span_id != [0; 8]));
}

#[test]
fn without_the_servers_times_the_span_begins_with_the_first_poll() {
    let mut event = event(EventType::Ended(Outcome::GaveUp), "");
    event.fields.queued_ms = None;
    event.fields.run_ms = None;
    event.fields.detection_delay_ms = None;
    let spans = spans(&event);
    assert_eq!(spans.len(), 1);
    let took = spans[0].end_time_unix_nano - spans[0].start_time_unix_nano;
    assert_eq!(took, 90_000_000_000);
}

#[test]
fn the_results_are_those_of_the_conventions() {
    let known = [
        "success",
        "failure",
        "error",
        "timeout",
        "cancellation",
        "skip",
    ];
    for (kind, body) in bodies_of("otlp", "x") {
        let attributes = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"];
        let result = attributes.as_array().unwrap().iter();
        let mut result = result.filter(|pair| pair["key"] == "cicd.pipeline.result");
        let result = result.next().unwrap()["value"]["stringValue"]
            .as_str()
            .unwrap();
        assert!(known.contains(&result), "{kind:?}: {result}");
    }
    assert_eq!(bodies_of("otlp", "x").len(), 9, "one per outcome");
}
