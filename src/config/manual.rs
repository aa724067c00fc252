//! Documentation generated from the table of keys: the man page, the manual's table, the example file and the help of
//! flags. Tests compare the shipped files with these.

use std::fmt::Write as _;
use std::time::Duration;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::key::{Key, KeyDefault, Section, ValueKind};
use super::keys::{HOOKS, JOBS, SETTINGS};
use super::value;

/// A section as the documents show it.
struct SectionDoc {
    name: &'static str,
    /// The header of the example file.
    header: String,
    keys: Vec<KeyDoc>,
}

/// A key as the documents show it.
struct KeyDoc {
    path: String,
    /// A sentence without its full stop.
    doc: &'static str,
    accepted: String,
    default: String,
    /// A line of the example file.
    line: String,
}

fn sections() -> impl Iterator<Item = SectionDoc> {
    let settings = SETTINGS.iter().map(section_doc);
    settings.chain([section_doc(&JOBS), section_doc(&HOOKS)])
}

fn section_doc<T>(section: &Section<T>) -> SectionDoc {
    let name = section.name;
    let header = match (section.comment, section.is_array) {
        (comment, true) => format!("# {comment}\n# [[{name}]]"),
        ("", false) => format!("[{name}]"),
        (comment, false) => format!("# {comment}\n[{name}]"),
    };
    let key_doc = |key: &Key<T>| {
        let default = default(key);
        let line = match key.default {
            KeyDefault::Value(_) if !section.is_array => key.example_line(),
            KeyDefault::Required { .. } => format!("# Required.\n# {}", key.example_line()),
            _ => format!(
                "# Default: {}.\n# {}",
                default.replace('`', ""),
                key.example_line()
            ),
        };
        KeyDoc {
            path: section.path(key),
            doc: key.doc,
            accepted: accepted(&key.kind),
            default,
            line,
        }
    };
    SectionDoc {
        name,
        header,
        keys: section.keys.iter().map(key_doc).collect(),
    }
}

/// The example file: every key at its default. Keys without a default are commented out.
pub fn example() -> String {
    let mut out = String::from(
        "# The configuration of forgewatch: every key at its default. Keys without a default are commented out and show an\n\
         # example. Durations look like \"90s\", \"5m\" or \"1h 30m\". `forgewatch check` reports all errors.\n",
    );
    for section in sections() {
        let _ = writeln!(out, "\n{}", section.header);
        for key in section.keys {
            let _ = writeln!(out, "# {}.\n{}", key.doc, key.line);
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
    for section in sections() {
        page.control("SH", [section.name.to_uppercase().as_str()]);
        for key in section.keys {
            page.control("TP", [])
                .text([bold(key.path)])
                .text([plain(&format!("{}.", key.doc))])
                .control("br", [])
                .text([plain(&format!("Value: {}.", key.accepted))])
                .control("br", [])
                .text([plain(&format!("Default: {}.", key.default))]);
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
    for key in sections().flat_map(|section| section.keys) {
        let (path, doc) = (key.path, key.doc);
        let _ = writeln!(
            out,
            "| `{path}` | {} | {} | {doc}. |",
            key.accepted, key.default
        );
    }
    out
}

/// A flag that has a key in the file, for the command line's definition.
pub struct FlagHelp {
    /// With its hyphens.
    pub name: &'static str,
    pub value_name: &'static str,
    /// The key's section.
    pub section: &'static str,
    /// The possible values; empty for those of some syntax.
    pub words: &'static [&'static str],
    pub help: String,
}

/// The flags of the table of keys, in its order.
pub fn flags() -> impl Iterator<Item = FlagHelp> {
    let keys = SETTINGS
        .iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    keys.filter_map(|(section, key)| {
        let (name, value_name) = key.flag?;
        let default = match key.default {
            KeyDefault::Value(text) if section.is_for_daemon => {
                format!(" [default: {text}, none with --until-done]")
            }
            KeyDefault::Value(text) => format!(" [default: {text}]"),
            KeyDefault::ByMode { one_shot, .. } => {
                format!(" [default: {one_shot} with --until-done]")
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

fn default<T>(key: &Key<T>) -> String {
    match key.default {
        KeyDefault::Value(_) => format!("`{}`", key.example_in_toml()),
        KeyDefault::ByMode { one_shot, daemon } => {
            format!("{one_shot} with --until-done, else {daemon}")
        }
        KeyDefault::Unset { meaning, .. } => meaning.to_owned(),
        KeyDefault::Required { .. } => "required".to_owned(),
    }
}

fn accepted<T>(kind: &ValueKind<T>) -> String {
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
        ValueKind::Path { .. } | ValueKind::Socket { .. } => {
            "path, relative to the file's directory".to_owned()
        }
        ValueKind::Text { accepted, .. } | ValueKind::Array { accepted, .. } => accepted.to_owned(),
        ValueKind::Table { .. } => "table of strings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::env::Env;
    use super::super::error::ConfigError;
    use super::super::file::ConfigFile;
    use super::super::hooks::HookDraft;
    use super::super::layers::Layers;
    use super::super::schema;
    use super::super::settings::{RunMode, Settings};
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

    #[test]
    fn the_shipped_schema_matches_the_table_of_keys() {
        let schema = serde_json::to_string_pretty(&schema::schema()).unwrap() + "\n";
        assert_shipped("config/schema/config.json", &schema);
    }

    /// The defaults with `text` as the file.
    fn load(text: &str) -> Settings {
        let mut errors = Vec::new();
        let mut layers = Layers::with_defaults(RunMode::Daemon).unwrap();
        let file = ConfigFile {
            path: "forgewatch.toml".into(),
            named: true,
            owner: 0,
            text: text.to_owned(),
        };
        layers.apply_file(&file, &Env::default(), &mut errors);
        // The example's programs and keys do not exist on this machine.
        let is_about_hooks = |error: &ConfigError| error.to_string().contains("hooks");
        errors.retain(|error| !is_about_hooks(error));
        assert_eq!(errors, []);
        layers.settings
    }

    #[test]
    fn the_example_changes_no_default() {
        let settings = |text| format!("{:?}", load(text));
        assert_eq!(settings(&example()), settings(""));
    }

    #[test]
    fn every_setting_has_a_key() {
        let settings = load("");
        let own = format!(
            "{:?}{:?}{:?}",
            settings.limits, settings.state, settings.control
        );
        let api = format!("{:?}", settings.api);
        for unset in [" 0ns", " 0.0", " 0,", "\"\""] {
            assert!(!own.contains(unset), "{unset} in {own}");
        }
        // The account has no default, and a URL's parts can be empty.
        for unset in [" 0ns", " 0.0", "max_in_flight: 0,", "max_body: 0"] {
            assert!(!api.contains(unset), "{unset} in {api}");
        }
    }

    #[test]
    fn the_defaults_of_hooks_are_valid() {
        let mut hook = HookDraft::default();
        assert_eq!(HOOKS.set_defaults(&mut hook, RunMode::Daemon), Ok(()));
        assert_eq!((hook.retries, hook.max_running), (8, 4));
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
        let settings = load(&uncommented);
        assert_eq!(settings.api.account_service_id, 5678);
        assert!(settings.credentials_file.is_some() && settings.api.ca_file.is_some());
    }
}
