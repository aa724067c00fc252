//! Hooks that are rejected or ignored before the first request.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::{fixture, watch};
use crate::fixture::{Sandbox, SimFixture, job};

#[test]
fn a_script_that_cannot_be_started_is_an_error_at_the_start_and_in_check() {
    for (script, why) in [
        ("#!/bin/sh\r\nexit 0\r\n", "CRLF"),
        ("\u{feff}#!/bin/sh\nexit 0\n", "byte order mark"),
        ("exit 0\n", "has no interpreter"),
        ("#!/no/such/shell -e\nexit 0\n", "/no/such/shell"),
        ("#!/usr/bin/env no-such-program\n", "no-such-program"),
    ] {
        let (fixture, hook) = fixture("");
        fs::write(&hook, script).unwrap();
        let done = watch(&fixture, &[&format!("job.completed={hook}")]).expect(2);
        assert!(done.stderr.contains(why), "{script:?}: {}", done.stderr);
        assert_eq!(fixture.requests_for("update/77").len(), 0);
        let config = format!(
            "[api]\naccount_service_id = 1\n[[hooks]]\nname = 'a'\non = ['job.failed']\nrun = ['{hook}']\n"
        );
        let config = fixture.sandbox.file("fw.toml", config);
        let check = ["check", "--config", config.to_str().unwrap()];
        let check = fixture.sandbox.program(&check).env("PATH", "/usr/bin:/bin");
        let done = check.run().expect(2);
        assert!(done.stderr.contains(why), "{script:?}: {}", done.stderr);
    }
}

#[test]
fn the_hooks_example_passes_check_once_its_files_exist() {
    let sandbox = Sandbox::new();
    let config = sandbox.file(
        "hooks.toml",
        include_str!("../../../config/examples/hooks.toml"),
    );
    let check = || {
        sandbox
            .program(&["check", "--config", config.to_str().unwrap()])
            .run()
    };
    let said = check().expect(2).stderr;
    assert!(
        said.contains("create-diff") && said.contains("chat.url"),
        "{said}"
    );
    let program = sandbox.file("create-diff", "#!/bin/sh\n");
    fs::set_permissions(program, Permissions::from_mode(0o700)).unwrap();
    sandbox.file("chat.url", "https://hooks.slack.example/services/T0/B0/x\n");
    check().expect(0);
}

#[test]
fn hooks_of_a_default_configuration_file_are_ignored() {
    let fixture = SimFixture::new(&job("update/77", ""));
    let file = "[[hooks]]\nname = 'h'\non = ['job.*']\nrun = ['/usr/bin/touch', 'ran']\n";
    fixture
        .sandbox
        .file("config/forgewatch/forgewatch.toml", file);
    fixture
        .watch(&["update/77"])
        .without_env("FORGEWATCH_CONFIG")
        .run()
        .expect(0);
    assert!(!fixture.sandbox.path("ran").exists());
}

#[test]
fn all_errors_in_hooks_are_reported_before_the_first_request() {
    let fixture = SimFixture::new(&job("update/77", ""));
    fixture.sandbox.file("plain", "");
    let open = fixture.sandbox.file("open", "#!/bin/sh\n");
    fs::set_permissions(open, Permissions::from_mode(0o777)).unwrap();
    let config = fixture.sandbox.file(
        "f.toml",
        r#"[api]
account_service_id = 5678
[[hooks]]
name = "a b"
on = ["job.complete"]
run = ["./plain"]
[[hooks]]
name = "x"
on = ["job.*"]
run = ["./open"]
retries = 101
max_running = 0
timeout = "1ms"
kinds = ["deff"]
env = { FORGEWATCH_JOB = "1" }
pass_env = ["FORGEWATCH_SECRET_KEY"]
[[hooks]]
name = "x"
on = ["job.*"]
webhook = "http://hooks.example.net/canary"
[[hooks]]
webhok = "canary"
[[hooks]]
name = "y"
on = []
run = []
webhook = "https://hooks.example.net/canary"
secret_files = ["none"]
"#,
    );
    let config = config.to_str().unwrap();
    let done = fixture
        .sandbox
        .program(&["check", "--config", config])
        .run()
        .expect(2);
    let said = done.stderr.replace(config.trim_end_matches("f.toml"), "");
    insta::assert_snapshot!(said);
    let again = fixture
        .watch(&["update/77", "--config", config])
        .run()
        .expect(2);
    assert_eq!(again.stderr, done.stderr);
    assert_eq!(fixture.requests_for("update/77").len(), 0);
}

#[test]
fn an_invalid_on_event_is_a_usage_error_with_a_hint() {
    let fixture = SimFixture::new(&job("update/77", ""));
    let done = watch(
        &fixture,
        &[
            "job.failed",
            "job.faild=true",
            "job.failed=echo 'x",
            "job.failed=no-such-program",
            "job.failed=",
        ],
    )
    .expect(2);
    insta::assert_snapshot!(done.stderr);
}
