//! What a chat shows of an event: a sentence, the error, and some facts.

use super::Envelope;
use crate::event::{Event, EventType};
use crate::job::Outcome;
use crate::status::FileSum;
use crate::time::rfc3339_ms;

/// More facts are left out; labels come first.
const MAX_FACTS: usize = 8;

/// All texts but the time are untrusted.
pub(super) struct Notice {
    pub(super) title: String,
    pub(super) error: Option<String>,
    pub(super) facts: Vec<(String, String)>,
    pub(super) mood: Mood,
    /// The forgewatch that sends it.
    pub(super) sender: String,
    pub(super) time: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Neutral,
    Warning,
    Bad,
}

impl Notice {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let event = &envelope.record.event;
        let test = if event.fields.test { "[test] " } else { "" };
        let instance = event.fields.origin.instance.as_deref();
        Self {
            title: format!("{test}{}", envelope.record.message),
            error: event.fields.error_message.clone(),
            facts: facts(event),
            mood: mood(event.kind),
            sender: instance.map_or_else(
                || "forgewatch".to_owned(),
                |name| format!("forgewatch on {name}"),
            ),
            time: rfc3339_ms(event.wall_ms),
        }
    }
}

fn mood(kind: EventType) -> Mood {
    match (kind, kind.level()) {
        (EventType::Ended(Outcome::Completed), _) => Mood::Good,
        (_, "ERROR") => Mood::Bad,
        (_, "WARN") => Mood::Warning,
        _ => Mood::Neutral,
    }
}

fn facts(event: &Event) -> Vec<(String, String)> {
    let meta = event.meta.as_deref();
    let labels = meta.into_iter().flat_map(|meta| meta.labels.clone());
    let names = meta.map(|meta| &meta.names);
    let name = |name: Option<&String>| name.cloned();
    let files = event.fields.files.map(|files| {
        let count = |sum: FileSum, what: &str| format!("{} {what}", sum.count);
        [
            count(files.added, "added"),
            count(files.modified, "modified"),
            count(files.removed, "removed"),
        ]
        .join(", ")
    });
    let own = [
        ("state", event.fields.state_name.clone()),
        ("game", names.and_then(|names| name(names.game.as_ref()))),
        ("image", names.and_then(|names| name(names.image.as_ref()))),
        (
            "machine",
            names.and_then(|names| name(names.machine.as_ref())),
        ),
        ("files", files),
    ];
    let own = own.into_iter();
    let own = own.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    labels.chain(own).take(MAX_FACTS).collect()
}
