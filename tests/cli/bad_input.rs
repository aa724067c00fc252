//! Invalid input: exit status 2, a message that names it, no request. Valid input in all its spellings.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::{Value, json};

use crate::fixture::{CliCommand, CliOutput, SimFixture, job};

fn fixture() -> SimFixture {
    SimFixture::new(&(job("diff/1", "") + &job("update/2", "")))
}

/// Expects exit status 2, an error that contains all of `parts`, and no request.
#[track_caller]
fn expect_usage_error(fixture: &SimFixture, program: CliCommand, parts: &[&str]) {
    let done = program.run().expect(2);
    assert_eq!(done.stdout, "", "an error is for standard error");
    assert!(done.stderr.starts_with("error: "), "{}", done.stderr);
    for what in parts {
        assert!(done.stderr.contains(what), "{what:?} in {}", done.stderr);
    }
    assert!(
        fixture.server.log().is_empty(),
        "{:?}",
        fixture.server.log()
    );
}

/// The jobs in the events.
fn watched(done: &CliOutput) -> Vec<String> {
    let mut jobs: Vec<String> = done
        .events()
        .iter()
        .filter_map(|event| event.get("job").and_then(Value::as_str).map(str::to_owned))
        .collect();
    jobs.sort();
    jobs.dedup();
    jobs
}

#[test]
fn an_invalid_job_is_named_and_no_request_is_made() {
    let fixture = fixture();
    for bad in [
        "diff/0",
        "diff/-1",
        "diff/1.5",
        "diff/18446744073709551616",
        "diff/",
        "diff",
        "1234",
        "image/1",
        "diff/1/2",
        "diff/ 1",
        "diff/0x1",
        "",
    ] {
        // The valid job is not polled either.
        expect_usage_error(
            &fixture,
            fixture.watch(&["diff/1", "--", bad]),
            &[bad, "invalid job"],
        );
    }
    for (flag, bad) in [("--diff", "1,x"), ("--diff", "0"), ("--update", "1,,2")] {
        expect_usage_error(&fixture, fixture.watch(&[flag, bad]), &[flag]);
    }
}

#[test]
fn an_invalid_flag_is_named_and_no_request_is_made() {
    let fixture = fixture();
    for (flag, bad) in [
        ("--min-interval", "soon"),
        ("--max-interval", "-1s"),
        ("--timeout", "0s"),
        ("--job-timeout", "1"),
        ("--heartbeat", "x"),
        ("--give-up-after", "sometimes"),
        ("--not-found-grace", ""),
        ("--request-cost", "0s"),
        ("--account-service-id", "0"),
        ("--label", "=x"),
        ("--policy", "fast"),
        ("--jobfailed", "maybe"),
        ("--output", "xml"),
        ("--squashed-as", "nothing"),
        ("--no-such-flag", "1"),
    ] {
        let flag_and_value = format!("{flag}={bad}");
        expect_usage_error(
            &fixture,
            fixture.watch(&[&flag_and_value, "diff/1"]),
            &[flag],
        );
    }
}

#[test]
fn a_clear_text_base_url_of_another_machine_is_rejected() {
    let fixture = fixture();
    for base in [
        "http://clanforge.example",
        "http://192.0.2.1",
        "ftp://x",
        "x",
        "http://localhost.example",
    ] {
        expect_usage_error(
            &fixture,
            fixture.sandbox.watch_at(base, &["diff/1"]),
            &["--base-url"],
        );
    }
}

#[test]
fn an_invalid_variable_is_named_and_no_request_is_made() {
    let fixture = fixture();
    for (name, bad) in [
        ("FORGEWATCH_ACCOUNT_SERVICE_ID", "x"),
        ("FORGEWATCH_OUTPUT", "xml"),
        ("FORGEWATCH_LOG", "forgewatch=loud"),
        ("FORGEWATCH_BASE_URL", "http://clanforge.example"),
    ] {
        expect_usage_error(&fixture, fixture.watch(&["diff/1"]).env(name, bad), &[name]);
    }
}

#[test]
fn an_invalid_file_is_reported_with_line_column_and_all_errors() {
    let fixture = fixture();
    let text = "[api]\ntimeuot = '3s'\nmax_in_flight = 0\n[schedule]\nmin_interval = 5\n";
    let config = fixture.sandbox.file("f.toml", text);
    let watch = fixture.watch(&["--config", config.to_str().unwrap(), "diff/1"]);
    expect_usage_error(
        &fixture,
        watch,
        &[
            "f.toml:2:1",
            "timeuot",
            "timeout",
            "f.toml:3:",
            "max_in_flight",
            "f.toml:5:",
            "min_interval",
        ],
    );
    let watch = fixture.watch(&["--config", "/nowhere/f.toml", "diff/1"]);
    expect_usage_error(&fixture, watch, &["/nowhere/f.toml"]);
}

#[test]
fn no_jobs_at_all_is_an_error() {
    let fixture = fixture();
    expect_usage_error(&fixture, fixture.watch(&[]), &["no jobs"]);
    let empty = fixture.sandbox.file("list", "# nothing\n\n");
    expect_usage_error(
        &fixture,
        fixture.watch(&["--jobs-file", empty.to_str().unwrap()]),
        &["no jobs"],
    );
}

#[test]
fn the_error_about_missing_credentials_names_their_places() {
    let fixture = fixture();
    let none = fixture
        .watch(&["diff/1"])
        .without_env("FORGEWATCH_ACCESS_KEY");
    let parts = ["FORGEWATCH_ACCESS_KEY", "FORGEWATCH_SECRET_KEY"];
    let neither = fixture
        .watch(&["diff/1"])
        .without_env(parts[0])
        .without_env(parts[1]);
    expect_usage_error(
        &fixture,
        neither,
        &[parts[0], parts[1], "--credentials-file"],
    );
    expect_usage_error(&fixture, none, &parts);
}

#[test]
fn a_credentials_file_must_be_readable_by_its_owner_only() {
    let fixture = fixture();
    let file = fixture.sandbox.file("keys", "sim:sim\n");
    let watch = || {
        let args = ["--credentials-file", file.to_str().unwrap(), "diff/1"];
        let watch = fixture.watch(&args).without_env("FORGEWATCH_ACCESS_KEY");
        watch.without_env("FORGEWATCH_SECRET_KEY")
    };
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        expect_usage_error(&fixture, watch(), &["keys", "chmod 600"]);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o440)).unwrap();
    // As Kubernetes mounts secrets; only root can give files to root.
    let is_root = fs::metadata(&file).unwrap().uid() == 0;
    if is_root {
        chown(&file, None, Some(54321)).unwrap();
    }
    expect_usage_error(&fixture, watch(), &["keys", "chmod 600"]);
    if is_root {
        chown(&file, None, Some(0)).unwrap();
        watch().run().expect(0);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    watch().run().expect(0);
}

#[test]
fn the_systemd_credential_is_the_last_fallback() {
    let fixture = fixture();
    fixture.sandbox.file("creds/clanforge", "sim:sim\n");
    let watch = fixture
        .watch(&["diff/1"])
        .without_env("FORGEWATCH_ACCESS_KEY");
    let watch = watch.without_env("FORGEWATCH_SECRET_KEY");
    watch
        .env("CREDENTIALS_DIRECTORY", fixture.sandbox.path("creds"))
        .run()
        .expect(0);
}

#[test]
fn a_job_given_in_five_ways_is_watched_once() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '300ms'"));
    let list = fixture.sandbox.file("list", "diff/1\ndiff/1 # again\n");
    let list = list.to_str().unwrap();
    let done = fixture
        .watch(&["diff/1", "diff/1", "--diff", "1,1", "--jobs-file", list])
        .run()
        .expect(0);
    assert_eq!(done.finished()["jobs"], 1);
    let ends = done.events_of("diff/1");
    assert_eq!(
        ends.iter()
            .filter(|event| event["event_type"] == "job.completed")
            .count(),
        1
    );
    let first = done.events_of("diff/1")[0]["watch"].clone();
    assert!(ends.iter().all(|event| event["watch"] == first));
    // Two watches would both have polled before the first response.
    assert_eq!(
        json!(fixture.requests_for("diff/1").len()),
        done.end_of("diff/1")["requests"]
    );
}

#[test]
fn jobs_can_be_read_from_standard_input() {
    let fixture = fixture();
    let list = "# of build 8812\ndiff/1   # the diff\n\n  update/2\r\n";
    let done = fixture
        .watch(&["--jobs-file", "-"])
        .input(list)
        .run()
        .expect(0);
    assert_eq!(watched(&done), ["diff/1", "update/2"]);
    let bad = self::fixture();
    expect_usage_error(
        &bad,
        bad.watch(&["--jobs-file", "-"]).input("diff/1\ndiff/x\n"),
        &["2", "diff/x"],
    );
}

#[test]
fn a_default_file_provides_api_and_schedule_only() {
    let fixture = fixture();
    let text = format!(
        "[api]\nbase_url = '{}'\naccount_service_id = 5678\n[schedule]\nmin_interval = '20ms'\n\
         max_interval = '200ms'\n[[jobs]]\njob = 'update/2'\n[[hooks]]\nname = 'x'\nrun = ['touch', 'hooked']\n",
        fixture.server.base_url()
    );
    fixture
        .sandbox
        .file("config/forgewatch/forgewatch.toml", text);
    let watch = |args: &[&str]| {
        let watch = fixture
            .sandbox
            .program(&[&["watch", "--until-done"], args].concat());
        watch
            .without_env("FORGEWATCH_CONFIG")
            .env("FORGEWATCH_OUTPUT", "json")
    };
    expect_usage_error(&fixture, watch(&[]), &["no jobs"]);
    let done = watch(&["diff/1"]).run().expect(0);
    assert_eq!(watched(&done), ["diff/1"]);
    assert!(!fixture.sandbox.path("hooked").exists());
}

#[test]
fn jobs_on_the_command_line_replace_those_of_the_file() {
    let fixture = fixture();
    let text = "[[jobs]]\njob = 'update/2'\nlabels = { build = '8812' }\n";
    let config = fixture.sandbox.file("f.toml", text);
    let config = config.to_str().unwrap();
    let done = fixture.watch(&["--config", config]).run().expect(0);
    assert_eq!(watched(&done), ["update/2"]);
    assert_eq!(done.end_of("update/2")["labels"], json!({"build": "8812"}));
    let done = fixture
        .watch(&["--config", config, "diff/1"])
        .run()
        .expect(0);
    assert_eq!(watched(&done), ["diff/1"]);
    assert_eq!(done.end_of("diff/1").get("labels"), None);
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let fixture = fixture();
    let config = fixture
        .sandbox
        .file("f.toml", "[api]\naccount_service_id = 1\n");
    let config = ["--config", config.to_str().unwrap(), "diff/1"];
    // The simulator accepts 5678 only; the file says 1.
    fixture.watch(&config).run().expect(0);
    fixture
        .watch(&config)
        .without_env("FORGEWATCH_ACCOUNT_SERVICE_ID")
        .run()
        .expect(4);
    let flag = [&["--account-service-id", "5678"], &config[..]].concat();
    fixture
        .watch(&flag)
        .env("FORGEWATCH_ACCOUNT_SERVICE_ID", "2")
        .run()
        .expect(0);
}

#[test]
fn check_makes_no_request_and_check_online_makes_one() {
    let fixture = fixture();
    let check = |text: &str, more: &[&str]| {
        let text = format!("[api]\nbase_url = '{}'\n{text}", fixture.server.base_url());
        let config = fixture.sandbox.file("f.toml", text);
        fixture
            .sandbox
            .program(&[&["check", "--config", config.to_str().unwrap()], more].concat())
    };
    let good = "account_service_id = 5678\n[[jobs]]\njob = 'diff/1'\n";
    let done = check(good, &[]).run().expect(0);
    assert!(done.stdout.contains("f.toml"), "{}", done.stdout);
    expect_usage_error(
        &fixture,
        check("account_service_id = 0\n", &["--online"]),
        &["account_service_id"],
    );
    let keyless = check(good, &["--online"]).without_env("FORGEWATCH_SECRET_KEY");
    expect_usage_error(&fixture, keyless, &["FORGEWATCH_SECRET_KEY"]);

    check(good, &["--online"]).run().expect(0);
    assert_eq!(fixture.server.log().len(), 1);
    check("account_service_id = 5678\n", &["--online"])
        .run()
        .expect(0);
    assert_eq!(fixture.server.log().len(), 2);
    let done = check(good, &["--online"])
        .env("FORGEWATCH_SECRET_KEY", "wrong")
        .run()
        .expect(1);
    assert!(
        done.stderr.contains("rejects these credentials (HTTP 401"),
        "{}",
        done.stderr
    );
    let strange = "account_service_id = 1\n[[jobs]]\njob = 'diff/1'\n";
    let done = check(strange, &["--online"]).run().expect(1);
    assert!(
        done.stderr.contains("account_service_id"),
        "{}",
        done.stderr
    );
    // Without a configured job, a 403 may only mean that the probed job belongs to another account.
    let done = check("account_service_id = 1\n", &["--online"])
        .run()
        .expect(0);
    assert!(done.stdout.contains("[[jobs]]"), "{}", done.stdout);
}
