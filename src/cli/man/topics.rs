//! The pages `forgewatch-events(7)` and `forgewatch-hooks(7)`, made from the tables of the program: types of events, fields of
//! the published schema, variables and keys of hooks.

use clap_mangen::roff::{Roff, bold, roman};
use serde_json::Value;

use crate::config::manual;
use forgewatch_core::delivery::{EVENT_VARIABLES, OPTIONAL_VARIABLES};
use forgewatch_core::event::{ALL_JOB_EVENTS, RECORD_FIELDS, TYPE_MANUALS};

/// The meaning of each field.
const SCHEMA: &str = include_str!("../../../config/schema/event.json");

/// The pages that are not of a command, for the references of the others.
pub(super) const OTHER_PAGES: [&str; 3] = [
    "forgewatch.toml(5)",
    "forgewatch-events(7)",
    "forgewatch-hooks(7)",
];

pub(super) fn events() -> Roff {
    let mut page = page("forgewatch-events", "events and log records of forgewatch");
    paragraph(
        &mut page,
        "DESCRIPTION",
        "Every transition of a job makes exactly one event. With --output json, forgewatch-watch(1) and forgewatch-wait(1) print \
         each as a JSON object in a line of its own; forgewatch-events(1) prints those that a daemon has recorded; hooks receive \
         them. Lines without an event_type are diagnostics: they have timestamp, level, target, message and fields of their own.",
    );
    page.control("SH", ["TYPES"]);
    for manual in &TYPE_MANUALS {
        entry(&mut page, manual.name, manual.meaning);
        page.control("IP", []).text([roman(manual.remedy)]);
    }
    entry(
        &mut page,
        ALL_JOB_EVENTS,
        "In filters and hooks: all types whose name begins with job.",
    );
    page.control("SH", ["FIELDS"]).text([roman(
        "A field without a value is absent, never null. Behind the meaning are the types that have the field.",
    )]);
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    for field in RECORD_FIELDS {
        let meaning = schema["properties"][field]["description"].as_str();
        entry(&mut page, field, meaning.unwrap_or_default());
    }
    paragraph(
        &mut page,
        "JOURNAL",
        "With --output journal, and in a service of systemd, each event is an entry of the journal with the fields MESSAGE_ID, \
         FORGEWATCH_JOB, FORGEWATCH_EVENT_TYPE, FORGEWATCH_LABEL_<NAME> and FORGEWATCH_RECORD, the JSON object. journalctl -x \
         explains each type.",
    );
    see_also(
        &mut page,
        "forgewatch(1), forgewatch-watch(1), forgewatch-wait(1), forgewatch-events(1), forgewatch-hooks(7), journalctl(1)",
    );
    page
}

pub(super) fn hooks() -> Roff {
    let mut page = page(
        "forgewatch-hooks",
        "programs and webhooks that receive events of forgewatch",
    );
    paragraph(
        &mut page,
        "DESCRIPTION",
        "A hook is a program that is run, or a webhook that gets a POST request, for each event of the types it names. Hooks are \
         [[hooks]] of forgewatch.toml(5), or --on-event TYPE=COMMAND of forgewatch-watch(1). A delivery is one event for one hook. \
         It is made at least once, in the order of the events of a watch, and repeated after a failure.",
    );
    paragraph(
        &mut page,
        "STANDARD INPUT",
        "A program reads the event as a CloudEvents 1.0 object in JSON; its data has the fields of forgewatch-events(7).",
    );
    page.control("SH", ["ENVIRONMENT"]).text([roman(
        "The environment of a program has only these variables. Those of the event are always set, except labels and the trace; \
         one without a value is empty.",
    )]);
    let of_events = EVENT_VARIABLES.into_iter().chain(OPTIONAL_VARIABLES);
    for (name, meaning) in of_events.chain(manual::OTHER_VARIABLES) {
        entry(&mut page, name, meaning);
    }
    paragraph(
        &mut page,
        "EXIT STATUS",
        "0 means that the event was delivered. After any other status, after a signal and after the time limit, the attempt is \
         repeated up to the configured number of retries; then the delivery has failed, and hook.failed is emitted.",
    );
    paragraph(
        &mut page,
        "WEBHOOKS",
        "A status of 2xx means that the event was delivered, unless the body of the response says otherwise. The key format \
         chooses the body of the request. It is signed after Standard Webhooks, with the id of the event in webhook-id.",
    );
    manual::add_hook_keys(&mut page);
    paragraph(
        &mut page,
        "EXAMPLES",
        "forgewatch watch --until-done update/77 --on-event job.completed=./create-diff",
    );
    see_also(
        &mut page,
        "forgewatch(1), forgewatch-watch(1), forgewatch-hooks(1), forgewatch.toml(5), forgewatch-events(7)",
    );
    page
}

fn page(name: &str, what: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [name, "7", "", "forgewatch", "forgewatch"])
        .control("SH", ["NAME"])
        .text([roman(format!("{name} - {what}"))]);
    page
}

fn paragraph(page: &mut Roff, title: &str, text: &str) {
    page.control("SH", [title]).text([roman(text)]);
}

fn entry(page: &mut Roff, name: &str, meaning: &str) {
    page.control("TP", [])
        .text([bold(name)])
        .text([roman(meaning)]);
}

fn see_also(page: &mut Roff, pages: &str) {
    paragraph(page, "SEE ALSO", pages);
}
