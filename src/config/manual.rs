//! Writes the table of keys down for people: a man page for `forgewatch man`, the manual's table and the example
//! file. Tests hold the shipped ones against these.

use std::fmt::Write as _;
use std::time::Duration;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::keys::{self, Key, KeyDefault, SECTIONS, ValueKind};
use super::value;

/// The example file: every key at its default, those without one commented out.
pub fn example() -> String {
    let mut out = String::from(
        "# forgewatch's configuration: every key, at its default. A key behind a # has none, and shows an example.\n\
         # Durations are written as in \"90s\", \"5m\" or \"1h 30m\". `forgewatch check` says whether all is well.\n",
    );
    for section in SECTIONS {
        let header = match section {
            "jobs" => {
                "# Jobs to watch when the command line names none; any number of these tables.\n# [[jobs]]".to_owned()
            }
            "hooks" => "# What to do when something is told; any number of these tables.\n# [[hooks]]".to_owned(),
            "state" | "control" => {
                format!("# The daemon's: watch --until-done never uses this section.\n[{section}]")
            }
            _ => format!("[{section}]"),
        };
        let _ = writeln!(out, "\n{header}");
        for key in keys::all().filter(|key| key.section == section) {
            let live = matches!(key.preset, KeyDefault::Value(_));
            let _ = writeln!(out, "# {}", key.doc);
            let _ = match key.preset {
                KeyDefault::Value(_) => Ok(()),
                KeyDefault::Unset { meaning, .. } => writeln!(out, "# Without it: {meaning}."),
                KeyDefault::Required { .. } => writeln!(out, "# Required."),
            };
            let mark = if live { "" } else { "# " };
            let _ = writeln!(out, "{mark}{} = {}", key.name, value::in_toml(key));
        }
    }
    out
}

/// The page `forgewatch.toml(5)`.
pub fn man_page() -> Roff {
    let mut page = Roff::new();
    let title = ["forgewatch.toml", "5", "", "forgewatch", "forgewatch"];
    page.control("TH", title)
        .control("SH", ["NAME"])
        .text([roman("forgewatch.toml - the configuration of forgewatch")])
        .control("SH", ["DESCRIPTION"])
        .text([roman(
            "What a flag or a variable says goes before the file. Durations are written as in \"90s\" or \"1h 30m\". \
             `forgewatch check` tells all that is wrong with a file.",
        )]);
    for section in SECTIONS {
        page.control("SH", [section.to_uppercase().as_str()]);
        for key in keys::all().filter(|key| key.section == section) {
            page.control("TP", [])
                .text([bold(key.path())])
                .text([plain(key.doc)])
                .control("br", [])
                .text([plain(&format!("Takes: {}.", takes(&key.kind)))])
                .control("br", [])
                .text([plain(&format!("Default: {}.", default(key)))]);
        }
    }
    page
}

/// Markdown's marks of code mean nothing in a man page.
fn plain(text: &str) -> Inline {
    roman(text.replace('`', ""))
}

/// The manual's table, in Markdown.
pub fn table() -> String {
    let mut out = String::from("| key | takes | default | meaning |\n|---|---|---|---|\n");
    for key in keys::all() {
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
        KeyDefault::Value(_) => format!("`{}`", value::in_toml(key)),
        KeyDefault::Unset { meaning, .. } => meaning.to_owned(),
        KeyDefault::Required { .. } => "required".to_owned(),
    }
}

fn takes(kind: &ValueKind) -> String {
    let span = |min: Duration, max| format!("{} to {}", value::brief(min), value::brief(max));
    match *kind {
        ValueKind::Duration { min, max, .. } => format!("duration, {}", span(min, max)),
        ValueKind::DurationOrNever { min, max, .. } => {
            format!("duration, {}, or `\"never\"`", span(min, max))
        }
        ValueKind::Count {
            min, max: u64::MAX, ..
        } => format!("whole number, {min} or more"),
        ValueKind::Count { min, max, .. } => format!("whole number, {min} to {max}"),
        ValueKind::Rate { min, max, .. } => format!("number, {min} to {max}"),
        ValueKind::Size { .. } => {
            "bytes, plain or with B, kB, MB, GB, TB, KiB, MiB, GiB, TiB".to_owned()
        }
        ValueKind::Switch { .. } => "`true` or `false`".to_owned(),
        ValueKind::Word { words, .. } => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word:?}`")).collect();
            words.join(" or ")
        }
        ValueKind::File { .. } | ValueKind::Socket { .. } => {
            "path; relative to the file's folder".to_owned()
        }
        ValueKind::Group { .. } => "name of a group".to_owned(),
        ValueKind::BaseUrl { .. } => "URL".to_owned(),
        ValueKind::Job => "`diff/ID` or `update/ID`".to_owned(),
        ValueKind::Labels => "table of texts".to_owned(),
        ValueKind::OfHook { takes } => takes.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::env::Env;
    use super::super::error::ConfigError;
    use super::super::file::ConfigFile;
    use super::super::layers::{RunMode, Values};
    use super::super::validate::{self, Scope};
    use super::*;

    /// Holds a shipped file against what it should be; with `UPDATE_SHIPPED` set, writes it.
    fn assert_shipped(path: &str, wanted: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_SHIPPED").is_some() {
            std::fs::write(&path, wanted).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == wanted,
            "{} differs from the table of keys; UPDATE_SHIPPED=1 cargo test writes it anew",
            path.display()
        );
    }

    #[test]
    fn the_shipped_file_is_the_example() {
        assert_shipped("config/forgewatch.toml", &example());
    }

    #[test]
    fn the_manual_lists_every_key() {
        const PAGE: &str = "docs/configuration.md";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once("<!-- keys:").unwrap();
        let (mark, _) = rest.split_once("-->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end of keys -->").unwrap();
        let wanted = format!(
            "{before}<!-- keys:{mark}-->\n{}<!-- end of keys -->{after}",
            table()
        );
        assert_shipped(PAGE, &wanted);
    }

    /// What reading `text` makes of the defaults.
    fn draft(text: &str) -> Values {
        let mut errors = Vec::new();
        let mut draft = Values::with_defaults(RunMode::Daemon, &mut errors);
        let source = ConfigFile {
            path: "forgewatch.toml".into(),
            named: true,
            owner: 0,
            text: text.to_owned(),
        };
        validate::file(
            &source,
            Scope::Whole,
            &Env::default(),
            &mut draft,
            &mut errors,
        );
        let of_this_machine = |error: &ConfigError| error.to_string().contains("hooks");
        errors.retain(|error| !of_this_machine(error));
        assert_eq!(errors, []);
        draft
    }

    #[test]
    fn the_example_changes_no_default() {
        let settings = |text| format!("{:?}", draft(text).into_settings(Vec::new(), Vec::new()));
        assert_eq!(settings(&example()), settings(""));
    }

    #[test]
    fn every_commented_key_of_the_example_can_be_taken_in() {
        let live: String = example()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(code) if code.starts_with("[[") || code.contains(" = ") => code,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let draft = draft(&live);
        assert_eq!(draft.account_service_id, 5678);
        assert!(draft.credentials_file.is_some() && draft.ca_file.is_some());
    }
}
