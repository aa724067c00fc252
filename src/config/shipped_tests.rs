//! The files that ship with the program and are generated from the table of keys: the example file, the manual's table
//! and the JSON Schema. The tests compare them with the table; `UPDATE_SHIPPED=1 cargo test` writes them.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::entry_keys::{HOOKS, JOBS};
use super::env::Env;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::hooks::HookDraft;
use super::key::{Key, KeyDefault, Section, ValueKind};
use super::keys::{ROOT, SETTINGS};
use super::layers::Layers;
use super::manual::{accepted, default};
use super::settings::{RunMode, Settings};

/// Whether the file has the section as an array of tables.
fn is_array<T>(section: &Section<T>) -> bool {
    [JOBS.name, HOOKS.name].contains(&section.name)
}

/// The example file: every key at its default. Keys without a default are commented out.
fn example() -> String {
    let mut out = String::from(
        "# The configuration of forgewatch: every key at its default. Keys without a default are commented out and show an\n\
         # example. Durations look like \"90s\", \"5m\" or \"1h 30m\". `forgewatch check` reports all errors.\n",
    );
    out.extend(SETTINGS.iter().map(example_section));
    out + &example_section(&JOBS) + &example_section(&HOOKS)
}

fn example_section<T>(section: &Section<T>) -> String {
    let (name, comment) = (section.name, section.comment);
    let mut out = match (comment, is_array(section)) {
        _ if name.is_empty() => "\n".to_owned(),
        (_, true) => format!("\n# {comment}\n# [[{name}]]\n"),
        ("", false) => format!("\n[{name}]\n"),
        (_, false) => format!("\n# {comment}\n[{name}]\n"),
    };
    for key in section.keys {
        let line = key.example_line();
        let line = match key.default {
            KeyDefault::Value(_) if !is_array(section) => line,
            KeyDefault::Required { .. } => format!("# Required.\n# {line}"),
            _ => format!("# Default: {}.\n# {line}", default(key).replace('`', "")),
        };
        let _ = writeln!(out, "# {}.\n{line}", key.doc);
    }
    out
}

/// The manual's table in Markdown.
fn manual_table() -> String {
    let mut out = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    out.extend(SETTINGS.iter().map(manual_rows));
    out + &manual_rows(&JOBS) + &manual_rows(&HOOKS)
}

fn manual_rows<T>(section: &Section<T>) -> String {
    let row = |key: &Key<T>| {
        let (path, accepted, default) = (section.path(key), accepted(&key.kind), default(key));
        format!("| `{path}` | {accepted} | {default} | {}. |\n", key.doc)
    };
    section.keys.iter().map(row).collect()
}

/// A sequence such as `1h 30m`.
const DURATION: &str = "^(\\s*[0-9]+\\s*[A-Za-z]+)+\\s*$";
/// A number of bytes with or without a unit.
const SIZE: &str = "^\\s*[0-9]+\\s*([kMGT]B|[KMGT]iB|B)?\\s*$";

/// The schema, draft 2020-12. It cannot express all rules: `forgewatch check` reports the rest.
fn schema() -> Value {
    let named = SETTINGS.iter().filter(|section| !section.name.is_empty());
    let mut sections: Map<String, Value> = named
        .map(|section| (section.name.to_owned(), section_schema(section)))
        .collect();
    let root = ROOT.keys.iter();
    sections.extend(root.map(|key| (key.name.to_owned(), property(key))));
    let mut hook = section_schema(&HOOKS);
    hook["oneOf"] = json!([
        { "required": ["run"] },
        { "required": ["webhook"] },
        { "required": ["webhook_file"] },
    ]);
    for (name, items) in [(JOBS.name, section_schema(&JOBS)), (HOOKS.name, hook)] {
        sections.insert(name.to_owned(), json!({ "type": "array", "items": items }));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:forgewatch:config",
        "title": "forgewatch: the configuration file",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    })
}

fn section_schema<T>(section: &Section<T>) -> Value {
    let keys = section.keys.iter();
    let properties: Map<String, Value> = keys
        .clone()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    // A flag or a variable can set a required key of a plain table.
    if is_array(section) {
        let required = keys.filter(|key| key.is_required()).map(|key| key.name);
        schema["required"] = required.collect();
    }
    schema
}

fn property<T>(key: &Key<T>) -> Value {
    let mut property = match key.kind {
        ValueKind::Duration { .. } => json!({ "type": "string", "pattern": DURATION }),
        ValueKind::DurationOrNever { .. } => json!({ "anyOf": [
            { "const": "never" },
            { "type": "string", "pattern": DURATION },
        ] }),
        ValueKind::Count { min, max, .. } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        ValueKind::Rate { min, max, .. } => {
            json!({ "type": "number", "minimum": min, "maximum": max })
        }
        ValueKind::Size { min, max, .. } => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            { "type": "string", "pattern": SIZE },
        ] }),
        ValueKind::Switch { .. } => json!({ "type": "boolean" }),
        ValueKind::Word { words, .. } => json!({ "enum": words }),
        ValueKind::Path { .. } | ValueKind::File { .. } | ValueKind::Socket { .. } => {
            json!({ "type": "string", "minLength": 1 })
        }
        ValueKind::Text { pattern, .. } => json!({ "type": "string", "pattern": pattern }),
        ValueKind::Array { words, .. } => {
            let words = words();
            let items = if words.is_empty() {
                json!({ "type": "string" })
            } else {
                json!({ "enum": words })
            };
            json!({ "type": "array", "items": items, "minItems": 1 })
        }
        ValueKind::Table { .. } => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
    };
    property["description"] = json!(format!("{}.", key.doc.replace('`', "")));
    if let KeyDefault::Value(text) = key.default {
        property["default"] = match key.kind {
            // Numbers and booleans are written as in JSON.
            ValueKind::Count { .. } | ValueKind::Rate { .. } | ValueKind::Switch { .. } => {
                serde_json::from_str(text).unwrap_or_default()
            }
            _ => json!(text),
        };
    }
    property
}

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
        manual_table()
    );
    assert_shipped(PAGE, &generated);
}

#[test]
fn the_shipped_schema_matches_the_table_of_keys() {
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
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
    // The example's programs, keys and tokens do not exist on this machine.
    let names_a_file = |error: &ConfigError| {
        let error = error.to_string();
        error.contains("hooks") || error.contains("http.token_files: /etc/")
    };
    errors.retain(|error| !names_a_file(error));
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
