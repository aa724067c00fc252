//! The published schemas are open to more fields; tests are not.

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;

fn published(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema");
    let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Closes every object whose properties the schema lists.
pub(crate) fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.contains_key("properties") && map.contains_key("type") {
                map.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// A validator of `config/schema/<name>.json` that allows listed fields only.
pub(crate) fn strict(name: &str) -> Validator {
    let mut schema = published(name);
    assert!(jsonschema::meta::is_valid(&schema), "{name}");
    close(&mut schema);
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&schema).unwrap()
}
