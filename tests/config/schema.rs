//! The JSON Schema of the configuration file accepts what forgewatch accepts, and rejects common mistakes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;

fn validator() -> Validator {
    let schema = include_str!("../../config/schema/config.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
}

/// The errors of a TOML file, each with its place in the file.
fn errors(validator: &Validator, text: &str) -> Vec<String> {
    let file: Value = toml::from_str(text).unwrap();
    let errors = validator.iter_errors(&file);
    errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

#[test]
fn shipped_configurations_are_valid() {
    let validator = validator();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in [
        "forgewatch.toml",
        "examples/chain.toml",
        "examples/hooks.toml",
    ] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(errors(&validator, &text), [""; 0], "{name}");
        let uncommented: String = text
            .lines()
            .filter(|line| !line.starts_with("# webhook") && !line.starts_with("# secret_"))
            .map(|line| match line.strip_prefix("# ") {
                Some(code) if code.starts_with("[[") || code.contains(" = ") => code,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        if name == "forgewatch.toml" {
            assert_eq!(errors(&validator, &uncommented), [""; 0], "{name}");
        }
    }
}

#[test]
fn invalid_files_are_rejected_at_the_place_of_the_error() {
    let validator = validator();
    let hook = "[[hooks]]\nname = 'x'\non = ['job.failed']\n";
    let run = "run = ['/bin/true']\n";
    for (text, place) in [
        ("[shedule]\n".to_owned(), ""),
        ("[http]\nlisten = 9464\n".to_owned(), "/http/listen"),
        ("[http]\nlisten = 'localhost'\n".to_owned(), "/http/listen"),
        ("[api]\nconect_timeout = '5s'\n".to_owned(), "/api"),
        ("[api]\ntimeout = 30\n".to_owned(), "/api/timeout"),
        ("[api]\ntimeout = '30'\n".to_owned(), "/api/timeout"),
        (
            "[api]\nbase_url = 'localhost'\n".to_owned(),
            "/api/base_url",
        ),
        (
            "[api]\nmax_in_flight = 0\n".to_owned(),
            "/api/max_in_flight",
        ),
        (
            "[api]\nmax_requests_per_second = 1e9\n".to_owned(),
            "/api/max_requests_per_second",
        ),
        ("[api]\nmax_body = '1 gig'\n".to_owned(), "/api/max_body"),
        ("[api]\ndiff_info = 'yes'\n".to_owned(), "/api/diff_info"),
        (
            "[schedule]\npolicy = 'fast'\n".to_owned(),
            "/schedule/policy",
        ),
        (
            "[schedule]\ngive_up_after = 'nevr'\n".to_owned(),
            "/schedule/give_up_after",
        ),
        ("[control]\ngroup = 'a:b'\n".to_owned(), "/control/group"),
        ("[jobs]\n".to_owned(), "/jobs"),
        ("[[jobs]]\nlabels = {}\n".to_owned(), "/jobs/0"),
        ("[[jobs]]\njob = 'diff/0'\n".to_owned(), "/jobs/0/job"),
        (
            "[[jobs]]\njob = 'diff/1'\nlabels = { a = 1 }\n".to_owned(),
            "/jobs/0/labels/a",
        ),
        (hook.to_owned(), "/hooks/0"),
        (
            format!("{hook}{run}webhook = 'https://x.example'\nsecret_files = ['x']\n"),
            "/hooks/0",
        ),
        (
            format!("{hook}webhook = 'https://x.example'\nwebhook_file = 'x'\n"),
            "/hooks/0",
        ),
        (format!("{hook}{run}retries = 101\n"), "/hooks/0/retries"),
        (hook.replace("failed", "faild") + run, "/hooks/0/on/0"),
        (hook.replace("'job.failed'", "") + run, "/hooks/0/on"),
    ] {
        let errors = errors(&validator, &text);
        let matches = errors.iter().any(|e| e.starts_with(&format!("{place}: ")));
        assert!(matches, "{text}{errors:?}");
    }
}

/// Each field of the published schemas by its path, with its schema but without those of the fields in it.
fn fields(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    for (key, part) in schema.as_object().into_iter().flatten() {
        match (key.as_str(), part) {
            ("properties", Value::Object(properties)) => {
                for (name, field) in properties {
                    let path = format!("{path}/{name}");
                    let mut own = field.clone();
                    if let Value::Object(own) = &mut own {
                        own.retain(|key, _| !["properties", "items"].contains(&key.as_str()));
                    }
                    found.insert(path.clone(), own);
                    fields(field, &path, found);
                }
            }
            ("items", part) => fields(part, &format!("{path}/[]"), found),
            ("$defs", Value::Object(parts)) => {
                for (name, part) in parts {
                    fields(part, &format!("{path}/${name}"), found);
                }
            }
            _ => {}
        }
    }
}

/// `UPDATE_SHIPPED=1` adds new fields to the list. What is in it changes by hand only.
#[test]
fn published_fields_keep_their_meaning() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = root.join("tests/config/published_fields.json");
    let mut found = BTreeMap::new();
    for name in [
        "event",
        "diagnostic",
        "cloudevent",
        "list",
        "show",
        "hooks",
        "status",
        "report",
    ] {
        let text = fs::read_to_string(root.join(format!("config/schema/{name}.json"))).unwrap();
        fields(&serde_json::from_str(&text).unwrap(), name, &mut found);
    }
    let text = fs::read_to_string(&list).unwrap_or_else(|_| "{}".to_owned());
    let mut published: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    if std::env::var_os("UPDATE_SHIPPED").is_some() {
        for (path, field) in &found {
            published
                .entry(path.clone())
                .or_insert_with(|| field.clone());
        }
        let text = serde_json::to_string_pretty(&published).unwrap();
        fs::write(&list, text + "\n").unwrap();
    }
    for (path, field) in &published {
        assert_eq!(found.get(path), Some(field), "{path}");
    }
    let new: Vec<&String> = found
        .keys()
        .filter(|path| !published.contains_key(*path))
        .collect();
    assert!(
        new.is_empty(),
        "not yet published: {new:?}; add them with UPDATE_SHIPPED=1"
    );
}
