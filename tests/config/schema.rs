//! The JSON Schema of the configuration file accepts what forgewatch accepts, and rejects common mistakes.

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
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
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
