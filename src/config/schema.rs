//! The JSON Schema of the configuration file, for editors: generated from the table of keys.

use serde_json::{Map, Value, json};

use super::key::{Key, KeyDefault, Section, ValueKind};
use super::keys::{HOOKS, JOBS, SETTINGS};

/// A sequence such as `1h 30m`.
const DURATION: &str = "^(\\s*[0-9]+\\s*[A-Za-z]+)+\\s*$";
/// A number of bytes with or without a unit.
const SIZE: &str = "^\\s*[0-9]+\\s*([kMGT]B|[KMGT]iB|B)?\\s*$";

/// The schema, draft 2020-12. It cannot express all rules: `forgewatch check` reports the rest.
pub fn schema() -> Value {
    let mut sections: Map<String, Value> = SETTINGS
        .iter()
        .map(|section| (section.name.to_owned(), table(section)))
        .collect();
    let mut hook = table(&HOOKS);
    hook["oneOf"] = json!([
        { "required": ["run"] },
        { "required": ["webhook", "secret_files"] },
    ]);
    for (name, items) in [(JOBS.name, table(&JOBS)), (HOOKS.name, hook)] {
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

fn table<T>(section: &Section<T>) -> Value {
    let keys = section.keys.iter();
    let properties: Map<String, Value> = keys
        .clone()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let mut table = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    // A flag or a variable can set a required key of a plain table.
    if section.is_array {
        let required = keys.filter(|key| key.is_required()).map(|key| key.name);
        table["required"] = required.collect();
    }
    table
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
        ValueKind::Path { .. } | ValueKind::Socket { .. } => {
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
