//! Documentation generated from the table of keys: the man page and the help of flags. `shipped_tests` generates the
//! example file, the manual's table and the JSON Schema.

use std::time::Duration;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::entry_keys::{HOOKS, JOBS};
use super::key::{Key, KeyDefault, Section, ValueKind};
use super::keys::{SETTINGS, SOCKET_VARIABLE};
use super::value;

/// The page `forgewatch.toml(5)`.
pub fn man_page() -> Roff {
    let mut page = Roff::new();
    let title = ["forgewatch.toml", "5", "", "forgewatch", "forgewatch"];
    page.control("TH", title)
        .control("SH", ["NAME"])
        .text([roman("forgewatch.toml - configuration of forgewatch")])
        .control("SH", ["DESCRIPTION"])
        .text([roman(
            "Flags and environment variables override the file. Durations look like \"90s\" or \"1h 30m\". \
             `forgewatch check` reports all errors of a file.",
        )]);
    for section in &SETTINGS {
        add_section(&mut page, section);
    }
    add_section(&mut page, &JOBS);
    add_section(&mut page, &HOOKS);
    let others = "forgewatch(1), forgewatch-watch(1), forgewatch-check(1), forgewatch-events(7), forgewatch-hooks(7)";
    page.control("SH", ["SEE ALSO"]).text([roman(others)]);
    page
}

/// Adds a section with the keys of hooks.
pub fn add_hook_keys(page: &mut Roff) {
    add_section(page, &HOOKS);
}

/// The variables of programs that are not of an event, and their meanings.
pub const OTHER_VARIABLES: [(&str, &str); 3] = [
    (
        SOCKET_VARIABLE,
        "In the daemon: its control socket, so that forgewatch add works in a hook.",
    ),
    ("PATH, HOME, LANG, TZ", "Those of forgewatch, if set."),
    (
        "the variables of env and pass_env",
        "As configured, and those of forgewatch.",
    ),
];

fn add_section<T>(page: &mut Roff, section: &Section<T>) {
    let name = match section.name {
        "" => "TOP LEVEL".to_owned(),
        name => name.to_uppercase(),
    };
    page.control("SH", [name.as_str()]);
    for key in section.keys {
        page.control("TP", [])
            .text([bold(section.path(key))])
            .text([plain(&format!("{}.", key.doc))])
            .control("br", [])
            .text([plain(&format!("Value: {}.", accepted(&key.kind)))])
            .control("br", [])
            .text([plain(&format!("Default: {}.", default(key)))]);
    }
}

/// Removes Markdown's code marks.
fn plain(text: &str) -> Inline {
    roman(text.replace('`', ""))
}

/// A flag that has a key in the file, for the command line's definition.
pub struct FlagHelp {
    /// With its hyphens.
    pub name: &'static str,
    pub value_name: &'static str,
    pub section: &'static str,
    /// The possible values; empty for those of some syntax.
    pub words: &'static [&'static str],
    pub help: String,
}

pub fn flags() -> impl Iterator<Item = FlagHelp> {
    let keys = SETTINGS
        .iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    keys.filter_map(|(section, key)| {
        let (name, value_name) = key.flag?;
        let default = match key.default {
            KeyDefault::Value(text) => format!(" [default: {text}]"),
            KeyDefault::ByMode { one_shot, .. } => {
                format!(" [default: {one_shot} with --until-done]")
            }
            KeyDefault::ByUser { system, user } => {
                format!(" [default: {system}, of an ordinary user {user}; none with --until-done]")
            }
            KeyDefault::Unset { .. } | KeyDefault::Required { .. } => String::new(),
        };
        Some(FlagHelp {
            name,
            value_name,
            section: section.name,
            words: match key.kind {
                ValueKind::Word { words, .. } => words,
                _ => &[],
            },
            help: format!("{}{default}", key.doc),
        })
    })
}

pub(super) fn default<T>(key: &Key<T>) -> String {
    match key.default {
        KeyDefault::Value(_) => format!("`{}`", key.example_in_toml()),
        KeyDefault::ByMode { one_shot, daemon } => {
            format!("{one_shot} with --until-done, else {daemon}")
        }
        KeyDefault::ByUser { user, .. } => {
            format!("`{}`, of an ordinary user {user}", key.example_in_toml())
        }
        KeyDefault::Unset { meaning, .. } => meaning.to_owned(),
        KeyDefault::Required { .. } => "required".to_owned(),
    }
}

pub(super) fn accepted<T>(kind: &ValueKind<T>) -> String {
    let range = |min: Duration, max| format!("{} to {}", value::brief(min), value::brief(max));
    match *kind {
        ValueKind::Duration { min, max, .. } => format!("duration, {}", range(min, max)),
        ValueKind::DurationOrNever { min, max, .. } => {
            format!("duration, {}, or `\"never\"`", range(min, max))
        }
        ValueKind::Count {
            min, max: u64::MAX, ..
        } => format!("whole number, {min} or more"),
        ValueKind::Count { min, max, .. } => format!("whole number, {min} to {max}"),
        ValueKind::Rate { min, max, .. } => format!("number, {min} to {max}"),
        ValueKind::Size { .. } => {
            "bytes, plain or with a unit: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB".to_owned()
        }
        ValueKind::Switch { .. } => "`true` or `false`".to_owned(),
        ValueKind::Word { words, .. } => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word:?}`")).collect();
            words.join(" or ")
        }
        ValueKind::Path { .. } | ValueKind::File { .. } | ValueKind::Socket { .. } => {
            "path, relative to the file's directory".to_owned()
        }
        ValueKind::Text { accepted, .. } | ValueKind::Array { accepted, .. } => accepted.to_owned(),
        ValueKind::Table { .. } => "table of strings".to_owned(),
    }
}
