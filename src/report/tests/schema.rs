//! Validates records against the published schema.

use serde_json::{Value, json};

use super::samples::every_event;
use crate::report;
use forgewatch_core::event::{Event, RECORD_FIELDS};

fn published() -> Value {
    serde_json::from_str(include_str!("../../../config/schema/event.json")).unwrap()
}

/// The published schema is open to more fields; our own records have none.
fn schema() -> Value {
    let mut schema = published();
    schema["additionalProperties"] = false.into();
    schema
}

fn validator() -> jsonschema::Validator {
    let schema = schema();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

fn records() -> Vec<Value> {
    let line = |event: &Event| report::sanitize::json_line(&event.record());
    let parse = |event| serde_json::from_str(&line(event)).unwrap();
    let mut records: Vec<Value> = every_event().iter().map(parse).collect();
    // As `forgewatch events` prints them.
    records[0]["offset"] = 4711.into();
    records
}

#[test]
fn the_published_schema_accepts_fields_that_others_add() {
    let validator = jsonschema::validator_for(&published()).unwrap();
    for mut record in records() {
        record["kubernetes"] = json!({"pod": "forgewatch-0"});
        record["@version"] = json!("1");
        assert!(validator.is_valid(&record), "{record:#}");
    }
}

#[test]
fn the_schema_is_valid() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
}

#[test]
fn a_record_of_every_type_matches_the_schema() {
    let validator = validator();
    for record in records() {
        let errors: Vec<String> = validator
            .iter_errors(&record)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{record:#}\n{errors:#?}");
    }
}

#[test]
fn the_schema_knows_every_field_and_no_other() {
    let schema = schema();
    let known = schema["properties"].as_object().unwrap();
    let records = records();
    for field in known.keys() {
        assert!(
            records.iter().any(|r| r.get(field).is_some()),
            "no record has {field}"
        );
    }
}

#[test]
fn the_fields_of_templates_are_those_of_the_schema() {
    let schema = schema();
    let mut known: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(|k| &**k)
        .collect();
    // Of the list of events, not of an event.
    known.retain(|field| *field != "offset");
    let mut fields = RECORD_FIELDS.to_vec();
    known.sort_unstable();
    fields.sort_unstable();
    assert_eq!(fields, known);
}

#[test]
fn the_schema_rejects_unknown_and_misplaced_fields() {
    let validator = validator();
    let records = records();
    let of = |kind: &str| {
        records
            .iter()
            .find(|r| r["event_type"] == kind)
            .unwrap()
            .clone()
    };
    let with = |kind, field: &str, value: Value| {
        let mut record = of(kind);
        record[field] = value;
        record
    };
    for (kind, field, value) in [
        ("job.progressed", "surprise", json!(1)),
        ("job.progressed", "progress", json!(40.5)),
        ("job.progressed", "progress", json!(null)),
        ("job.progressed", "reason", json!("fail_fast")),
        ("job.progressed", "files_added", json!(1)),
        ("job.progressed", "job_id", json!("1234")),
        ("job.progressed", "eta", json!("2026-01-02T03:04:05.000Z")),
        ("job.progressed", "timestamp", json!("2026-01-02T03:04:05Z")),
        ("job.progressed", "event_type", json!("job.exploded")),
        ("job.completed", "next_poll_ms", json!(1)),
        ("watch.started", "job", json!("diff/1")),
        ("watch.started", "completed", json!(1)),
    ] {
        let record = with(kind, field, value);
        assert!(
            !validator.is_valid(&record),
            "{kind} with {field}: {record:#}"
        );
    }
    for field in ["job", "event_id", "message"] {
        let mut record = of("job.completed");
        record.as_object_mut().unwrap().remove(field);
        assert!(
            !validator.is_valid(&record),
            "job.completed without {field}"
        );
    }
}
