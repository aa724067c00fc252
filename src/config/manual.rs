//! Writes the table of keys down for people: the manual's table and the example file. Tests hold the shipped ones
//! against these.

use std::fmt::Write as _;
use std::time::Duration;

use super::keys::{KEYS, Key, Kind, Preset, SECTIONS};
use super::read;

/// The example file: every key of `[api]` and `[schedule]` at its default, those without one commented out.
pub fn example() -> String {
    let mut out = String::from(
        "# forgewatch's configuration: every key, at its default. A key behind a # has none, and shows an example.\n\
         # Durations are written as in \"90s\", \"5m\" or \"1h 30m\". `forgewatch check` says whether all is well.\n",
    );
    for section in SECTIONS {
        let jobs = section == "jobs";
        let header = if jobs {
            "\n# Jobs to watch when the command line names none; any number of these tables.\n# [[jobs]]\n".to_owned()
        } else {
            format!("\n[{section}]\n")
        };
        out.push_str(&header);
        for key in KEYS.iter().filter(|key| key.section == section) {
            let live = matches!(key.preset, Preset::Value(_));
            let _ = writeln!(out, "# {}", key.doc);
            if let Preset::Unset { meaning, .. } = key.preset {
                let _ = writeln!(out, "# Without it: {meaning}.");
            }
            let mark = if live { "" } else { "# " };
            let _ = writeln!(out, "{mark}{} = {}", key.name, read::in_toml(key));
        }
    }
    out
}

/// The manual's table, in Markdown.
pub fn table() -> String {
    let mut out = String::from("| key | takes | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            key.path(),
            takes(&key.kind),
            default(key),
            key.doc
        );
    }
    out
}

fn default(key: &Key) -> String {
    match key.preset {
        Preset::Value(_) => format!("`{}`", read::in_toml(key)),
        Preset::Unset { meaning, .. } => meaning.to_owned(),
        Preset::Required { .. } => "required".to_owned(),
    }
}

fn takes(kind: &Kind) -> String {
    let span = |min: Duration, max| format!("{} to {}", read::brief(min), read::brief(max));
    match *kind {
        Kind::Duration { min, max, .. } => format!("duration, {}", span(min, max)),
        Kind::DurationOrNever { min, max, .. } => {
            format!("duration, {}, or `\"never\"`", span(min, max))
        }
        Kind::Count {
            min, max: u64::MAX, ..
        } => format!("whole number, {min} or more"),
        Kind::Count { min, max, .. } => format!("whole number, {min} to {max}"),
        Kind::Rate { min, max, .. } => format!("number, {min} to {max}"),
        Kind::Size { .. } => {
            "bytes, plain or with B, kB, MB, GB, TB, KiB, MiB, GiB, TiB".to_owned()
        }
        Kind::Switch { .. } => "`true` or `false`".to_owned(),
        Kind::Word { words, .. } => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word:?}`")).collect();
            words.join(" or ")
        }
        Kind::File { .. } => "path; relative to the file's folder".to_owned(),
        Kind::BaseUrl { .. } => "URL".to_owned(),
        Kind::Job => "`diff/ID` or `update/ID`".to_owned(),
        Kind::Labels => "table of texts".to_owned(),
    }
}
