//! Bad input is status 2, one message that names it, and not one request; good input is taken as it is meant.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::place::{Done, Program, Stage, job};

/// Two jobs that complete at once.
fn stage() -> Stage {
    Stage::new(&(job("diff/1", "") + &job("update/2", "")))
}

/// Runs it: status 2, a message with all of `says`, no request.
#[track_caller]
fn expect_refused(stage: &Stage, program: Program, says: &[&str]) {
    let done = program.run().expect(2);
    assert_eq!(done.stdout, "", "an error is for standard error");
    assert!(done.stderr.starts_with("error: "), "{}", done.stderr);
    for what in says {
        assert!(done.stderr.contains(what), "{what:?} in {}", done.stderr);
    }
    assert!(stage.server.log().is_empty(), "{:?}", stage.server.log());
}

/// The jobs of a watch, as its events name them.
fn watched(done: &Done) -> Vec<String> {
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
fn a_job_that_is_none_is_named_and_nothing_is_asked() {
    let stage = stage();
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
        // The good one beside it is not asked about either.
        expect_refused(
            &stage,
            stage.watch(&["diff/1", "--", bad]),
            &[bad, "is not a job"],
        );
    }
    for (flag, bad) in [("--diff", "1,x"), ("--diff", "0"), ("--update", "1,,2")] {
        expect_refused(&stage, stage.watch(&[flag, bad]), &[flag]);
    }
}

#[test]
fn a_bad_flag_is_named_and_nothing_is_asked() {
    let stage = stage();
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
        expect_refused(&stage, stage.watch(&[&flag_and_value, "diff/1"]), &[flag]);
    }
}

#[test]
fn a_base_in_clear_text_to_another_machine_is_refused() {
    let stage = stage();
    for base in [
        "http://clanforge.example",
        "http://192.0.2.1",
        "ftp://x",
        "x",
        "http://localhost.example",
    ] {
        expect_refused(
            &stage,
            stage.place.watch_at(base, &["diff/1"]),
            &["--base-url"],
        );
    }
}

#[test]
fn a_bad_variable_is_named_and_nothing_is_asked() {
    let stage = stage();
    for (name, bad) in [
        ("FORGEWATCH_ACCOUNT_SERVICE_ID", "x"),
        ("FORGEWATCH_OUTPUT", "xml"),
        ("FORGEWATCH_LOG", "forgewatch=loud"),
        ("FORGEWATCH_BASE_URL", "http://clanforge.example"),
    ] {
        expect_refused(&stage, stage.watch(&["diff/1"]).env(name, bad), &[name]);
    }
}

#[test]
fn a_bad_file_is_named_with_line_and_column_and_all_its_errors() {
    let stage = stage();
    let text = "[api]\ntimeuot = '3s'\nmax_in_flight = 0\n[schedule]\nmin_interval = 5\n";
    let config = stage.place.file("f.toml", text);
    let watch = stage.watch(&["--config", config.to_str().unwrap(), "diff/1"]);
    expect_refused(
        &stage,
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
    let later = stage
        .place
        .file("later.toml", "[http]\nlisten = '127.0.0.1:1'\n");
    let watch = stage.watch(&["--config", later.to_str().unwrap(), "diff/1"]);
    expect_refused(&stage, watch, &["http", "not yet"]);
    let watch = stage.watch(&["--config", "/nowhere/f.toml", "diff/1"]);
    expect_refused(&stage, watch, &["/nowhere/f.toml"]);
}

#[test]
fn no_jobs_at_all_is_an_error() {
    let stage = stage();
    expect_refused(&stage, stage.watch(&[]), &["no jobs"]);
    let empty = stage.place.file("list", "# nothing\n\n");
    expect_refused(
        &stage,
        stage.watch(&["--jobs-file", empty.to_str().unwrap()]),
        &["no jobs"],
    );
}

#[test]
fn missing_credentials_are_an_error_that_says_where_they_go() {
    let stage = stage();
    let none = stage
        .watch(&["diff/1"])
        .without_env("FORGEWATCH_ACCESS_KEY");
    let says = ["FORGEWATCH_ACCESS_KEY", "FORGEWATCH_SECRET_KEY"];
    let neither = stage
        .watch(&["diff/1"])
        .without_env(says[0])
        .without_env(says[1]);
    expect_refused(&stage, neither, &[says[0], says[1], "--credentials-file"]);
    expect_refused(&stage, none, &says);
}

#[test]
fn a_credentials_file_is_taken_when_its_owner_alone_can_read_it() {
    let stage = stage();
    let file = stage.place.file("keys", "sim:sim\n");
    let watch = || {
        let args = ["--credentials-file", file.to_str().unwrap(), "diff/1"];
        let watch = stage.watch(&args).without_env("FORGEWATCH_ACCESS_KEY");
        watch.without_env("FORGEWATCH_SECRET_KEY")
    };
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        expect_refused(&stage, watch(), &["keys", "chmod 600"]);
    }
    fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    watch().run().expect(0);
}

#[test]
fn the_systemd_credential_is_taken_where_nothing_else_is() {
    let stage = stage();
    stage.place.file("creds/clanforge", "sim:sim\n");
    let watch = stage
        .watch(&["diff/1"])
        .without_env("FORGEWATCH_ACCESS_KEY");
    let watch = watch.without_env("FORGEWATCH_SECRET_KEY");
    watch
        .env("CREDENTIALS_DIRECTORY", stage.place.path("creds"))
        .run()
        .expect(0);
}

#[test]
fn a_job_named_in_five_ways_is_watched_once() {
    let stage = Stage::new(&job("diff/1", "duration = '300ms'"));
    let list = stage.place.file("list", "diff/1\ndiff/1 # again\n");
    let list = list.to_str().unwrap();
    let done = stage
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
    // Two watches would both have asked before the first answer.
    assert_eq!(
        json!(stage.hits("diff/1").len()),
        done.end_of("diff/1")["requests"]
    );
}

#[test]
fn a_list_of_jobs_comes_through_standard_input() {
    let stage = stage();
    let list = "# of build 8812\ndiff/1   # the diff\n\n  update/2\r\n";
    let done = stage
        .watch(&["--jobs-file", "-"])
        .input(list)
        .run()
        .expect(0);
    assert_eq!(watched(&done), ["diff/1", "update/2"]);
    let bad = self::stage();
    expect_refused(
        &bad,
        bad.watch(&["--jobs-file", "-"]).input("diff/1\ndiff/x\n"),
        &["2", "diff/x"],
    );
}

#[test]
fn a_file_found_by_default_gives_api_and_schedule_and_no_jobs() {
    let stage = stage();
    let text = format!(
        "[api]\nbase_url = '{}'\naccount_service_id = 5678\n[schedule]\nmin_interval = '20ms'\n\
         max_interval = '200ms'\n[[jobs]]\njob = 'update/2'\n[[hooks]]\nname = 'x'\nrun = ['touch', 'hooked']\n",
        stage.server.base_url()
    );
    stage.place.file("config/forgewatch/forgewatch.toml", text);
    let watch = |args: &[&str]| {
        let watch = stage
            .place
            .program(&[&["watch", "--until-done"], args].concat());
        watch
            .without_env("FORGEWATCH_CONFIG")
            .env("FORGEWATCH_OUTPUT", "json")
    };
    expect_refused(&stage, watch(&[]), &["no jobs"]);
    let done = watch(&["diff/1"]).run().expect(0);
    assert_eq!(watched(&done), ["diff/1"]);
    assert!(!stage.place.path("hooked").exists());
}

#[test]
fn a_named_files_jobs_are_watched_unless_the_command_line_has_its_own() {
    let stage = stage();
    let text = "[[jobs]]\njob = 'update/2'\nlabels = { build = '8812' }\n";
    let config = stage.place.file("f.toml", text);
    let config = config.to_str().unwrap();
    let done = stage.watch(&["--config", config]).run().expect(0);
    assert_eq!(watched(&done), ["update/2"]);
    assert_eq!(done.end_of("update/2")["labels"], json!({"build": "8812"}));
    let done = stage.watch(&["--config", config, "diff/1"]).run().expect(0);
    assert_eq!(watched(&done), ["diff/1"]);
    assert_eq!(done.end_of("diff/1").get("labels"), None);
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let stage = stage();
    let config = stage
        .place
        .file("f.toml", "[api]\naccount_service_id = 1\n");
    let config = ["--config", config.to_str().unwrap(), "diff/1"];
    // The simulator knows 5678 alone; the file says 1, which is refused.
    stage.watch(&config).run().expect(0);
    stage
        .watch(&config)
        .without_env("FORGEWATCH_ACCOUNT_SERVICE_ID")
        .run()
        .expect(4);
    let flag = [&["--account-service-id", "5678"], &config[..]].concat();
    stage
        .watch(&flag)
        .env("FORGEWATCH_ACCOUNT_SERVICE_ID", "2")
        .run()
        .expect(0);
}

#[test]
fn check_asks_nothing_and_check_online_asks_once() {
    let stage = stage();
    let check = |text: &str, more: &[&str]| {
        let text = format!("[api]\nbase_url = '{}'\n{text}", stage.server.base_url());
        let config = stage.place.file("f.toml", text);
        stage
            .place
            .program(&[&["check", "--config", config.to_str().unwrap()], more].concat())
    };
    let good = "account_service_id = 5678\n[[jobs]]\njob = 'diff/1'\n";
    let done = check(good, &[]).run().expect(0);
    assert!(done.stdout.contains("f.toml"), "{}", done.stdout);
    expect_refused(
        &stage,
        check("account_service_id = 0\n", &["--online"]),
        &["account_service_id"],
    );
    let keyless = check(good, &["--online"]).without_env("FORGEWATCH_SECRET_KEY");
    expect_refused(&stage, keyless, &["FORGEWATCH_SECRET_KEY"]);

    check(good, &["--online"]).run().expect(0);
    assert_eq!(stage.server.log().len(), 1);
    check("account_service_id = 5678\n", &["--online"])
        .run()
        .expect(0);
    assert_eq!(stage.server.log().len(), 2);
    let done = check(good, &["--online"])
        .env("FORGEWATCH_SECRET_KEY", "wrong")
        .run()
        .expect(1);
    assert!(
        done.stderr
            .contains("does not take these credentials (HTTP 401"),
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
    // Without a job of one's own a 403 may only mean that the job asked for is somebody else's.
    let done = check("account_service_id = 1\n", &["--online"])
        .run()
        .expect(0);
    assert!(done.stdout.contains("[[jobs]]"), "{}", done.stdout);
}
