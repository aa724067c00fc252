//! Templates: what is an error at load, and what a body has.

use serde_json::Value;

use super::{event, payload};
use crate::delivery::EventPayload;
use crate::event::{EventType, RECORD_FIELDS};
use crate::format::{Format, Template, TemplateError};
use crate::job::Outcome;

fn samples() -> Vec<EventPayload> {
    let kinds = [EventType::Ended(Outcome::Failed), EventType::WatchStarted];
    kinds
        .map(|kind| payload(&event(kind, "disk \"full\"")))
        .into()
}

fn rendered(source: &str) -> Value {
    let template = Template::new(source.to_owned(), &samples()).unwrap();
    let message = Format::Template(template.into()).message(&samples()[0]);
    serde_json::from_str(&message.unwrap().unwrap().body).unwrap()
}

fn error(source: &str) -> TemplateError {
    Template::new(source.to_owned(), &samples()).unwrap_err()
}

#[test]
fn values_are_json_and_missing_ones_null() {
    let body = rendered(
        r#"{"a": {{ job }}, "b": {{ progress }}, "c": {{ reason }}, "d": {{ labels.build }}, "e": {{ labels.none }},
            "f": {{ error_message | upper }}, "g": {% if progress > 40 %}1{% else %}2{% endif %}, "h": {{ test }}}"#,
    );
    let expected = serde_json::json!({
        "a": "diff/1234", "b": 45, "c": null, "d": "disk \"full\"", "e": null, "f": "DISK \"FULL\"", "g": 1, "h": false,
    });
    assert_eq!(body, expected);
}

#[test]
fn text_is_inert_unless_it_is_raw() {
    let hostile = payload(&event(
        EventType::Ended(Outcome::Failed),
        "<@everyone> https://evil.example",
    ));
    let source = "[{{ error_message }}, {{ raw.error_message }}, {{ raw.labels.build }}]";
    let template = Template::new(source.to_owned(), &samples()).unwrap();
    let message = Format::Template(template.into()).message(&hostile).unwrap();
    let body: Vec<String> = serde_json::from_str(&message.unwrap().body).unwrap();
    assert!(!body[0].contains("@everyone") && !body[0].contains("://"));
    assert_eq!(body[1], "<@everyone> https://evil.example");
    assert_eq!(body[2], body[1]);
}

#[test]
fn what_does_not_parse_or_fit_is_an_error_with_its_line() {
    for (source, line, what) in [
        ("{\n{% if x %}", Some(2), "unexpected end of input"),
        ("{\"a\":\n {{ message }", Some(2), "unexpected"),
        (
            "{\"a\":\n\n {{ error_mesage }}}",
            Some(3),
            "unknown field \"error_mesage\"; did you mean error_message?",
        ),
        (
            "{{ raw.progres }}",
            Some(1),
            "unknown field \"progres\"; did you mean progress?",
        ),
        (
            "{{ wholly_other }}",
            Some(1),
            "unknown field \"wholly_other\"; use the fields of the log record",
        ),
        (
            "{\"a\":\n{{ message | shout }}}",
            Some(2),
            "filter shout is unknown",
        ),
        ("{{ message | safe }}", Some(1), "filter safe is unknown"),
        ("{\"a\": \"{{ message }}\"}", None, "the body is not JSON"),
        ("text {{ message }}", None, "the body is not JSON"),
        ("", None, "the body is not JSON"),
        ("{{ job.kind }}", Some(1), "undefined value"),
        ("{% include 'x' %}", Some(1), "include"),
    ] {
        let error = error(source);
        assert_eq!(error.line, line, "{source}: {error}");
        assert!(error.what.contains(what), "{source}: {error}");
    }
}

#[test]
fn every_field_of_the_record_is_known() {
    let parts: Vec<String> = RECORD_FIELDS
        .iter()
        .map(|name| format!("{{{{ {name} }}}}"))
        .collect();
    let body = rendered(&format!("[{}]", parts.join(",")));
    assert_eq!(body.as_array().unwrap().len(), RECORD_FIELDS.len());
}
