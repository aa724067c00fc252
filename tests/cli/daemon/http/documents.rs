//! The `OpenAPI` document and the page on the API, compared with the daemon.

use std::env;
use std::path::Path;
use std::process::Command;

use forgewatch_core::event::type_patterns;
use serde_json::{Map, Value, json};

use super::{HttpFixture, TOKEN};
use crate::daemon::hook;
use crate::fixture::job;
use crate::hook_supervisor::skip::skip;
use crate::strict_schema::close;

const DOCUMENT: &str = include_str!("../../../../config/schema/openapi.json");
const PAGE: &str = include_str!("../../../../docs/http-api.md");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

#[track_caller]
fn validate(name: &str, value: &Value) {
    let mut schema = document();
    close(&mut schema["components"]);
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{name}"),
        "components": schema["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{value:#}");
}

#[test]
fn responses_are_as_the_openapi_document_says() {
    let script = job("diff/1", "duration = '1h'") + &job("diff/2", "ending = 'failed'");
    let fixture = HttpFixture::new(&script, "");
    let hook_script = fixture.daemon.script("hook", "exit 1");
    fixture.configure(
        "token_files = ['token']",
        &(hook("chat", "'job.failed'", &hook_script, "retries = 0")
            + "[[jobs]]\njob = 'diff/1'\nlabels = { a = 'b' }\n[[jobs]]\njob = 'diff/2'\n"),
    );
    let mut daemon = fixture.start();
    daemon.await_event("hook.failed", "");
    daemon.await_event("job.watching", "diff/1");
    fixture.send("POST", "/api/v1/reload", "").expect(204);
    for (target, name) in [
        ("/-/healthy", "Health"),
        ("/-/ready", "Readiness"),
        ("/api/v1/status", "Status"),
        ("/api/v1/jobs?all=true", "JobPage"),
        ("/api/v1/jobs?all=true&limit=1", "JobPage"),
        ("/api/v1/jobs/diff/1", "JobDetails"),
        ("/api/v1/jobs/diff/2", "JobDetails"),
        ("/api/v1/deliveries", "DeliveryList"),
    ] {
        validate(name, &fixture.get(target).expect(200).json());
    }
    for target in [
        "/nowhere",
        "/api/v1/jobs?x",
        "/api/v1/events?since=99999",
        "/api/v1/jobs/diff/9",
    ] {
        validate("Problem", &fixture.get(target).json());
    }
    let body = r#"{"jobs":["diff/1","diff/2","diff/3"]}"#;
    let added = fixture
        .send("POST", "/api/v1/jobs", body)
        .expect(200)
        .json();
    validate("Added", &added);
    let discarded = fixture
        .send("POST", "/api/v1/deliveries/discard", "")
        .expect(200);
    validate("Discarded", &discarded.json());
}

#[test]
fn the_document_has_every_path_and_method() {
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let served = fixture.get("/api/v1/openapi.json").expect(200);
    assert_eq!(served.body, DOCUMENT);
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let listed = fixture.get("/nowhere").expect(404).json();
    let mut listed: Vec<&str> = listed["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    let mut documented: Vec<&String> = paths.keys().collect();
    listed.sort_unstable();
    documented.sort_unstable();
    assert_eq!(documented, listed);
    for (path, item) in paths {
        let methods = |item: &Map<String, Value>| {
            let methods = item.keys().filter(|key| *key != "parameters");
            methods.cloned().collect::<Vec<String>>()
        };
        let target = path.replace("{kind}", "diff").replace("{id}", "1");
        let response = fixture.send("PUT", &target, "").expect(405);
        let allowed = response.header("allow").unwrap();
        let allowed: Vec<&str> = allowed
            .split(", ")
            .filter(|method| *method != "head")
            .collect();
        let mut documented = methods(item.as_object().unwrap());
        documented.sort_by_key(|method| allowed.iter().position(|a| a == method));
        assert_eq!(documented, allowed, "{path}");
    }
}

#[test]
fn the_document_has_every_type_of_event() {
    let document = document();
    let parameters = document["paths"]["/api/v1/events"]["get"]["parameters"].as_array();
    let mut parameters = parameters.unwrap().iter();
    let types = parameters.find(|parameter| parameter["name"] == "type");
    let expected: Vec<&str> = type_patterns().collect();
    assert_eq!(types.unwrap()["schema"]["items"]["enum"], json!(expected));
}

#[test]
fn the_document_says_what_needs_a_token() {
    let fixture = HttpFixture::new("", "allow_remote = true");
    let _daemon = fixture.start();
    for (path, item) in document()["paths"].as_object().unwrap() {
        let operations = item.as_object().unwrap().iter();
        for (method, operation) in operations.filter(|(key, _)| *key != "parameters") {
            let target = path.replace("{kind}", "diff").replace("{id}", "1");
            let response = fixture.request(&method.to_uppercase(), &target, "", "");
            let security = match (response.status, &**method) {
                (200, _) => json!([]),
                // With `allow_remote` only.
                (401, "get") => json!([{}, { "token": [] }]),
                _ => json!([{ "token": [] }]),
            };
            assert_eq!(operation["security"], security, "{method} {path}");
            let documented = operation["responses"].get("401").is_some();
            assert_eq!(documented, response.status == 401, "{method} {path}");
        }
    }
}

/// The commands of the page, with the address and the token of this daemon.
#[test]
fn the_commands_of_the_page_work() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("the commands of docs/http-api.md: curl is not installed");
    }
    let fixture = HttpFixture::new(&job("diff/1234", ""), "");
    let _daemon = fixture.start();
    let body = r#"{"jobs":["diff/1234"]}"#;
    fixture.send("POST", "/api/v1/jobs", body).expect(200);
    let (_, rest) = PAGE.split_once("```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    let commands = commands.replace("\\\n", "");
    assert!(commands.lines().count() >= 7, "{commands}");
    for line in commands.lines() {
        let token = fixture.daemon.path("token").display().to_string();
        let command = line
            .replace("127.0.0.1:9464", &format!("127.0.0.1:{}", fixture.port))
            .replace("/etc/forgewatch/http.token", &token)
            // The job has ended, so that there is nothing to remove.
            .replacen("curl ", "curl --write-out '%{http_code}' ", 1);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let status = &text[text.len().saturating_sub(3)..];
        let expected = if line.contains("DELETE") {
            &["204", "404"][..]
        } else {
            &["200", "204"]
        };
        assert!(expected.contains(&status), "{command}: {text}");
        assert!(!text.contains(TOKEN), "{text}");
    }
}

/// Examples of the paths that stream or wait end at once, and an offset that was never reached is no error of the daemon.
const SCHEMATHESIS: &str = r#"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 416]

[[operations]]
include-operation-id = "stream_events"
parameters = { "query.follow" = "false" }

[[operations]]
include-operation-id = "show_job"
parameters = { "query.wait" = "10ms" }
"#;

/// `.ci/run` installs schemathesis; `SCHEMATHESIS_EXAMPLES` is the number of examples for each operation.
#[test]
fn schemathesis_finds_no_failure() {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis/bin/schemathesis");
    if !program.exists() {
        let program = program.display();
        return skip(&format!(
            "schemathesis against the HTTP API: {program} is not installed"
        ));
    }
    let examples = env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "5".to_owned());
    let fixture = HttpFixture::new("", "");
    let _daemon = fixture.start();
    let config = fixture
        .daemon
        .sim
        .sandbox
        .file("schemathesis.toml", SCHEMATHESIS);
    let document = fixture.daemon.sim.sandbox.file("openapi.json", DOCUMENT);
    let output = Command::new(program)
        .current_dir(fixture.daemon.path(""))
        .arg("--config-file")
        .arg(config)
        .arg("run")
        .arg(document)
        .args(["--url", &format!("http://127.0.0.1:{}", fixture.port)])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            &examples,
        ])
        // A removed job is still shown, with its outcome.
        .args([
            "--exclude-checks",
            "use_after_free,ensure_resource_availability",
        ])
        .args(["--continue-on-failure", "--no-color"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fixture.get("/-/ready").expect(200);
}
