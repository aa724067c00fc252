//! Documentation generated from the table of keys: the man page, the manual's table and the example file. Tests compare
//! the shipped files with these.

use std::fmt::Write as _;
use std::time::Duration;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::keys::{self, Key, KeyDefault, SECTIONS, ValueKind};
use super::value;

/// The example file: every key at its default. Keys without a default are commented out.
pub fn example() -> String {
    let mut out = String::from(
        "# The configuration of forgewatch: every key at its default. Keys without a default are commented out and show an\n\
         # example. Durations look like \"90s\", \"5m\" or \"1h 30m\". `forgewatch check` reports all errors.\n",
    );
    for section in SECTIONS {
        let header = match section {
            "jobs" => {
                "# Jobs to watch if the command line names none; repeat the table for each.\n# [[jobs]]".to_owned()
            }
            "hooks" => "# Programs and webhooks that receive events; repeat the table for each.\n# [[hooks]]".to_owned(),
            "state" | "control" => {
                format!("# Used only by the daemon, never by watch --until-done.\n[{section}]")
            }
            _ => format!("[{section}]"),
        };
        let _ = writeln!(out, "\n{header}");
        for key in keys::all().filter(|key| key.section == section) {
            let has_value = matches!(key.default, KeyDefault::Value(_));
            let _ = writeln!(out, "# {}", key.doc);
            let _ = match key.default {
                KeyDefault::Value(_) => Ok(()),
                KeyDefault::Unset { meaning, .. } => writeln!(out, "# Default: {meaning}."),
                KeyDefault::Required { .. } => writeln!(out, "# Required."),
            };
            let mark = if has_value { "" } else { "# " };
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
        .text([roman("forgewatch.toml - configuration of forgewatch")])
        .control("SH", ["DESCRIPTION"])
        .text([roman(
            "Flags and environment variables override the file. Durations look like \"90s\" or \"1h 30m\". \
             `forgewatch check` reports all errors of a file.",
        )]);
    for section in SECTIONS {
        page.control("SH", [section.to_uppercase().as_str()]);
        for key in keys::all().filter(|key| key.section == section) {
            page.control("TP", [])
                .text([bold(key.path())])
                .text([plain(key.doc)])
                .control("br", [])
                .text([plain(&format!("Value: {}.", accepted(&key.kind)))])
                .control("br", [])
                .text([plain(&format!("Default: {}.", default(key)))]);
        }
    }
    page
}

/// Removes Markdown's code marks.
fn plain(text: &str) -> Inline {
    roman(text.replace('`', ""))
}

/// The manual's table in Markdown.
pub fn table() -> String {
    let mut out = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys::all() {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            key.path(),
            accepted(&key.kind),
            default(key),
            key.doc
        );
    }
    out
}

fn default(key: &Key) -> String {
    match key.default {
        KeyDefault::Value(_) => format!("`{}`", value::in_toml(key)),
        KeyDefault::Unset { meaning, .. } => meaning.to_owned(),
        KeyDefault::Required { .. } => "required".to_owned(),
    }
}

fn accepted(kind: &ValueKind) -> String {
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
        ValueKind::File { .. } | ValueKind::Socket { .. } => {
            "path, relative to the file's directory".to_owned()
        }
        ValueKind::Group { .. } => "group name".to_owned(),
        ValueKind::BaseUrl { .. } => "URL".to_owned(),
        ValueKind::Job => "`diff/ID` or `update/ID`".to_owned(),
        ValueKind::Labels => "table of strings".to_owned(),
        ValueKind::OfHook { accepted } => accepted.to_owned(),
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

    /// Compares a shipped file with its generated text; with `UPDATE_SHIPPED` set, writes it.
    fn assert_shipped(path: &str, generated: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_SHIPPED").is_some() {
            std::fs::write(&path, generated).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == generated,
            "{} differs from the table of keys; run UPDATE_SHIPPED=1 cargo test to write it",
            path.display()
        );
    }

    #[test]
    fn the_shipped_example_matches_the_table_of_keys() {
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
        let generated = format!(
            "{before}<!-- keys:{mark}-->\n{}<!-- end of keys -->{after}",
            table()
        );
        assert_shipped(PAGE, &generated);
    }

    /// The defaults with `text` as the file.
    fn load(text: &str) -> Values {
        let mut errors = Vec::new();
        let mut values = Values::with_defaults(RunMode::Daemon, &mut errors);
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
            &mut values,
            &mut errors,
        );
        // The example's programs and keys do not exist on this machine.
        let is_about_hooks = |error: &ConfigError| error.to_string().contains("hooks");
        errors.retain(|error| !is_about_hooks(error));
        assert_eq!(errors, []);
        values
    }

    #[test]
    fn the_example_changes_no_default() {
        let settings = |text| format!("{:?}", load(text).into_settings(Vec::new(), Vec::new()));
        assert_eq!(settings(&example()), settings(""));
    }

    #[test]
    fn every_commented_key_of_the_example_is_valid() {
        let uncommented: String = example()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(code) if code.starts_with("[[") || code.contains(" = ") => code,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let values = load(&uncommented);
        assert_eq!(values.account_service_id, 5678);
        assert!(values.credentials_file.is_some() && values.ca_file.is_some());
    }
}
