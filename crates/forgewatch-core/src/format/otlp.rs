//! The trace of an ended job, for an OpenTelemetry collector: OTLP/HTTP in JSON, <https://opentelemetry.io/docs/specs/otlp/>,
//! with the semantic conventions for CI/CD spans, <https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/>.
//!
//! One span is the job, a pipeline run; its children are the time in the queue and the time of running. Their ids come from
//! the id of the watch, so that a repeated attempt sends the same spans. In a traced pipeline the job is a child of the span
//! that started forgewatch, else a trace of its own.

use serde_json::{Value, json};

use super::inert::{Markup, inert};
use super::{Envelope, Message};
use crate::event::origin::hex;
use crate::event::{Event, EventType, WatchId};
use crate::job::{JobRef, Outcome};
use crate::verdict::ErrorKind;

/// The version of the semantic conventions.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";
/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`; OTLP in JSON has numbers for enums.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// `STATUS_CODE_OK` and `STATUS_CODE_ERROR`.
const OK: u8 = 1;
const ERROR: u8 = 2;
/// In UTF-16 code units.
const TEXT: usize = 4000;

/// A job has a span once it has ended.
pub(super) fn has_type(kind: EventType) -> bool {
    matches!(kind, EventType::Ended(_))
}

pub(super) fn message(envelope: &Envelope) -> Option<Message> {
    let event = &envelope.record.event;
    let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) else {
        return None;
    };
    let times = Times::of(event);
    let mut spans = vec![job_span(event, job, outcome, &times)];
    if let (Some(queued), Some(started)) = (times.queued, times.started) {
        spans.push(phase_span(event, 2, "queued", "pending", queued, started));
    }
    if let Some(started) = times.started {
        spans.push(phase_span(
            event,
            3,
            "running",
            "executing",
            started,
            times.ended,
        ));
    }
    let instance = event.fields.origin.instance.as_deref();
    let resource = [
        Some(text("service.name", "forgewatch")),
        Some(text("service.version", env!("CARGO_PKG_VERSION"))),
        instance.map(|name| text("service.instance.id", name)),
    ];
    Some(Message::json(&json!({
        "resourceSpans": [{
            "resource": {"attributes": resource.into_iter().flatten().collect::<Vec<_>>()},
            "scopeSpans": [{
                "scope": {"name": "forgewatch", "version": env!("CARGO_PKG_VERSION")},
                "spans": spans,
                "schemaUrl": SCHEMA,
            }],
            "schemaUrl": SCHEMA,
        }],
    })))
}

/// Unix milliseconds, by the local clock.
struct Times {
    /// None without the server's times.
    queued: Option<i64>,
    started: Option<i64>,
    /// The beginning of the whole.
    first: i64,
    ended: i64,
}

impl Times {
    fn of(event: &Event) -> Self {
        let fields = &event.fields;
        let before = |at: i64, ms: u64| at.saturating_sub_unsigned(ms).max(0);
        let ended = before(event.wall_ms, fields.detection_delay_ms.unwrap_or(0));
        let started = fields.run_ms.map(|ms| before(ended, ms));
        let queued = (started.zip(fields.queued_ms)).map(|(started, ms)| before(started, ms));
        // Without them, the first poll is the earliest that is known.
        let watched = before(event.wall_ms, fields.elapsed_ms.unwrap_or(0)).min(ended);
        Self {
            queued,
            started,
            first: queued.or(started).unwrap_or(watched),
            ended,
        }
    }
}

fn job_span(event: &Event, job: JobRef, outcome: Outcome, times: &Times) -> Value {
    let (fields, meta) = (&event.fields, event.meta.as_deref());
    let result = result(outcome);
    let names = meta.map(|meta| &meta.names);
    let name = |name: &'static str, value: Option<&String>| {
        value.map(|value| text(name, &inert(value, Markup::Plain, TEXT)))
    };
    let known = [
        Some(text("cicd.pipeline.name", job.kind.as_str())),
        Some(text("cicd.pipeline.run.id", &job.to_string())),
        Some(text("cicd.pipeline.action.name", "RUN")),
        Some(text("cicd.pipeline.result", result)),
        (status(outcome) == ERROR).then(|| text("error.type", error_type(event, outcome))),
        Some(text("forgewatch.watch", &event.id.watch.to_string())),
        Some(text("forgewatch.outcome", outcome.as_str())),
        name("forgewatch.game", names.and_then(|n| n.game.as_ref())),
        name("forgewatch.image", names.and_then(|n| n.image.as_ref())),
        name("forgewatch.machine", names.and_then(|n| n.machine.as_ref())),
        (fields.test).then(|| json!({"key": "forgewatch.test", "value": {"boolValue": true}})),
    ];
    let labels = meta.into_iter().flat_map(|meta| &meta.labels);
    let labels = labels.map(|(label, value)| text(&format!("forgewatch.label.{label}"), value));
    let attributes: Vec<Value> = known.into_iter().flatten().chain(labels).collect();
    let mut span = span(event, 1, SERVER, times.first, times.ended);
    span["name"] = format!("RUN {}", job.kind.as_str()).into();
    if let Some(trace) = event.fields.origin.trace {
        span["parentSpanId"] = hex(&trace.span_id).into();
    }
    span["attributes"] = attributes.into();
    span["status"] = match (status(outcome), &fields.error_message) {
        (code, Some(error)) if code == ERROR => {
            json!({"code": code, "message": inert(error, Markup::Plain, TEXT)})
        }
        (code, _) => json!({"code": code}),
    };
    span
}

fn phase_span(event: &Event, id: u64, name: &str, state: &str, from: i64, to: i64) -> Value {
    let mut span = span(event, id, INTERNAL, from, to);
    span["name"] = name.into();
    span["parentSpanId"] = span_id(event.id.watch, 1).into();
    span["attributes"] = json!([text("cicd.pipeline.run.state", state)]);
    span
}

fn span(event: &Event, id: u64, kind: u8, from: i64, to: i64) -> Value {
    let trace = event.fields.origin.trace;
    // OTLP in JSON has 64-bit numbers as text.
    let nanoseconds = |ms: i64| (i128::from(ms) * 1_000_000).to_string();
    json!({
        "traceId": trace.map_or_else(|| event.id.watch.to_string(), |trace| hex(&trace.trace_id)),
        "flags": trace.map_or(0, |trace| trace.trace_flags[0]),
        "spanId": span_id(event.id.watch, id),
        "kind": kind,
        "startTimeUnixNano": nanoseconds(from),
        "endTimeUnixNano": nanoseconds(to),
    })
}

/// The id of one of the watch's spans, never 0, which is no id.
fn span_id(watch: WatchId, number: u64) -> String {
    let low = u128::from_be_bytes(watch.0) as u64;
    let id = match low ^ number {
        0 => u64::MAX,
        id => id,
    };
    format!("{id:016x}")
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// `cicd.pipeline.result`.
fn result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "success",
        Outcome::Failed => "failure",
        Outcome::Squashed => "skip",
        Outcome::TimedOut => "timeout",
        Outcome::Removed | Outcome::Abandoned(_) => "cancellation",
        Outcome::NotFound | Outcome::Refused | Outcome::GaveUp => "error",
    }
}

fn status(outcome: Outcome) -> u8 {
    match result(outcome) {
        "failure" | "timeout" | "error" => ERROR,
        _ => OK,
    }
}

/// The class of the error: that of polling, or the outcome.
fn error_type(event: &Event, outcome: Outcome) -> &'static str {
    let polling = event.fields.error_kind.map(ErrorKind::as_str);
    polling.unwrap_or(outcome.as_str())
}
