//! The catalog of the journal, `systemd/forgewatch.catalog`, generated from the manual of the types of events.
//! `UPDATE_SHIPPED=1 cargo test` writes it.

use std::fs;
use std::path::Path;

use forgewatch_core::event::{EventType, TYPE_MANUALS, TypeManual};

fn entry(manual: &TypeManual) -> String {
    let TypeManual {
        name,
        message_id,
        meaning,
        remedy,
    } = manual;
    let kind = EventType::from_name(name).unwrap();
    let subject = if kind.is_about_job() {
        ": @FORGEWATCH_JOB@"
    } else {
        ""
    };
    let [meaning, remedy] = [meaning, remedy].map(|text| textwrap::fill(text, 78));
    format!(
        "-- {message_id}\nSubject: {name}{subject}\nDefined-By: forgewatch\nDocumentation: man:forgewatch-events(7)\n\n\
         {meaning}\n\n{remedy}\n\n"
    )
}

#[test]
fn the_catalog_explains_every_type_of_event() {
    let comment = "# What the events of forgewatch mean, for journalctl --catalog. Generated from the table of types.\n\n";
    let catalog: String = TYPE_MANUALS.iter().map(entry).collect();
    let catalog = comment.to_owned() + &catalog;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/forgewatch.catalog");
    if std::env::var_os("UPDATE_SHIPPED").is_some() {
        fs::write(&path, &catalog).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), catalog);
}

#[test]
fn the_manual_of_events_has_every_message_id() {
    let manual = include_str!("../../../docs/events.md");
    for TypeManual {
        name, message_id, ..
    } in TYPE_MANUALS
    {
        assert!(
            manual.contains(&format!("| `{name}` | `{message_id}` |")),
            "{name} {message_id}"
        );
    }
}
