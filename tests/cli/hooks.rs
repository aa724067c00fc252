//! Hooks that run programs, from the start of a watch to its exit status.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::fixture::{CliOutput, Sandbox, SimFixture, TIMEOUT, job};
use crate::receiver::{receive, response};

/// A simulated API with one quick job, and the path of a hook script.
fn fixture(script: &str) -> (SimFixture, String) {
    let fixture = SimFixture::new(&job("update/77", ""));
    let path = fixture
        .sandbox
        .file("hook", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (fixture, path)
}

fn watch(fixture: &SimFixture, on_events: &[&str]) -> CliOutput {
    let mut args = vec!["update/77"];
    for on_event in on_events {
        args.extend(["--on-event", on_event]);
    }
    fixture.watch(&args).env("PATH", "/usr/bin:/bin").run()
}

fn lines(fixture: &SimFixture, name: &str) -> Vec<String> {
    let text = fs::read_to_string(fixture.sandbox.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

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
fn the_instance_names_the_sender_in_records_and_payloads() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for (config, name) in [("", host.trim()), ("instance = 'build01'\n", "build01")] {
        let (fixture, hook) = fixture("cat >> events");
        let config = fixture.sandbox.file("fw.toml", config);
        let config = config.to_str().unwrap();
        let on = format!("job.*={hook}");
        let args = ["--config", config, "update/77", "--on-event", &on];
        let done = fixture.watch(&args).env("PATH", "/usr/bin:/bin").run();
        for event in done.expect(0).events() {
            assert_eq!(event["instance"], name, "{event}");
        }
        let sent = fs::read_to_string(fixture.sandbox.path("events")).unwrap();
        let sent = serde_json::Deserializer::from_str(&sent).into_iter::<Value>();
        let sources: Vec<Value> = sent.map(|event| event.unwrap()["source"].clone()).collect();
        assert!(sources.len() >= 2, "{sources:?}");
        assert!(
            sources
                .iter()
                .all(|s| *s == format!("urn:forgewatch:{name}"))
        );
    }
    let (fixture, _) = fixture("");
    let config = fixture.sandbox.file("fw.toml", "instance = 'build 01'\n");
    let args = ["--config", config.to_str().unwrap(), "update/77"];
    let done = fixture.watch(&args).run().expect(2);
    assert!(done.stderr.contains("fw.toml:1:12"), "{}", done.stderr);
}

#[test]
fn a_hook_gets_the_event_and_exactly_the_documented_environment() {
    let (fixture, hook) =
        fixture("env -0 > env; cat > event; printf '%s|' \"$@\" > args; pwd > pwd");
    let done = fixture
        .watch(&[
            "update/77",
            "--on-event",
            &format!("job.completed={hook} 'a  b' $HOME \"$(touch x)\" ; '*'"),
        ])
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("STRANGER", "1")
        .run()
        .expect(0);
    let end = done.end_of("update/77");
    let env = fs::read_to_string(fixture.sandbox.path("env")).unwrap();
    let pairs = env
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').unwrap());
    // The shell adds these.
    let mut env: BTreeMap<&str, &str> = pairs.collect();
    for of_shell in ["PWD", "OLDPWD", "SHLVL", "_"] {
        env.remove(of_shell);
    }
    let home = fixture.sandbox.path("home");
    let expected = [
        ("FORGEWATCH_EVENT_ID", end["event_id"].as_str().unwrap()),
        ("FORGEWATCH_EVENT_TYPE", "job.completed"),
        ("FORGEWATCH_JOB", "update/77"),
        ("FORGEWATCH_JOB_KIND", "update"),
        ("FORGEWATCH_JOB_ID", "77"),
        ("FORGEWATCH_STATE", "completed"),
        ("FORGEWATCH_PROGRESS", "100"),
        ("FORGEWATCH_ERROR", ""),
        ("FORGEWATCH_ATTEMPT", "1"),
        ("FORGEWATCH_TEST", ""),
        ("PATH", "/usr/bin:/bin"),
        ("TZ", "UTC"),
        ("HOME", home.to_str().unwrap()),
    ];
    assert_eq!(env, BTreeMap::from(expected));

    let event: Value = serde_json::from_str(&lines(&fixture, "event").join("\n")).unwrap();
    assert_eq!(event["id"], end["event_id"]);
    assert_eq!(event["type"], "io.forgewatch.job.completed.v1");
    assert_eq!(event["data"]["elapsed_ms"], end["elapsed_ms"]);
    assert_eq!(lines(&fixture, "args"), ["a  b|$HOME|$(touch x)|;|*|"]);
    assert!(!fixture.sandbox.path("x").exists());
    let here = fs::canonicalize(fixture.sandbox.path(".")).unwrap();
    assert_eq!(lines(&fixture, "pwd"), [here.to_str().unwrap()]);
}

#[test]
fn labels_and_the_trace_reach_records_and_hooks() {
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let context = format!("00-{trace}-{span}-01");
    let receiver = receive(vec![response("204 No Content", "")]);
    let (fixture, hook) =
        fixture("echo \"$FORGEWATCH_LABEL_APP_NAME $FORGEWATCH_LABEL_BUILD $TRACEPARENT\" > env");
    let config = format!(
        "[[hooks]]\nname = 'w'\non = ['job.completed']\nwebhook = '{}'\n",
        receiver.url
    );
    let config = fixture.sandbox.file("fw.toml", config);
    let on = format!("job.completed={hook}");
    let watch = |context: &str| {
        let config = config.to_str().unwrap();
        let args = ["update/77", "--on-event", &on, "--config", config];
        let labels = ["-l", "app/name=$(touch x)", "-l", "build=8812"];
        let watch = fixture.watch(&[&args[..], &labels].concat());
        let watch = watch.env("PATH", "/usr/bin:/bin");
        watch.env("TRACEPARENT", context).run().expect(0)
    };
    for event in watch(&context).events() {
        assert_eq!(event["trace_id"], trace, "{event}");
        assert_eq!(event["span_id"], span, "{event}");
        assert_eq!(event["trace_flags"], "01", "{event}");
    }
    assert_eq!(
        lines(&fixture, "env"),
        [format!("$(touch x) 8812 {context}")]
    );
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(request.header("traceparent"), context);

    let done = watch("00-4bf9-1-01");
    assert!(
        done.events()
            .iter()
            .all(|event| event["trace_id"].is_null())
    );
    let ignored =
        |line: &Value| line["level"] == "WARN" && line["message"] == "TRACEPARENT ignored";
    assert!(done.lines().iter().any(ignored), "{}", done.stdout);
    assert_eq!(lines(&fixture, "env"), ["$(touch x) 8812 "]);
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(request.header("traceparent"), "");
}

#[test]
fn a_hook_runs_on_watch_finished() {
    let (fixture, hook) = fixture("echo $FORGEWATCH_EVENT_TYPE >> received");
    watch(&fixture, &[&format!("watch.finished={hook}")]).expect(0);
    assert_eq!(lines(&fixture, "received"), ["watch.finished"]);
}

#[test]
fn a_failed_attempt_is_repeated_before_the_next_event_of_the_job() {
    let (fixture, hook) = fixture(
        "echo \"$FORGEWATCH_EVENT_TYPE $FORGEWATCH_ATTEMPT\" >> tries\n\
         case $FORGEWATCH_EVENT_TYPE in job.watching) [ $FORGEWATCH_ATTEMPT -gt 2 ];; esac",
    );
    watch(&fixture, &[&format!("job.*={hook}")]).expect(0);
    let tries = lines(&fixture, "tries");
    assert_eq!(
        tries[..3],
        ["job.watching 1", "job.watching 2", "job.watching 3"]
    );
    assert_eq!(tries.last().unwrap(), "job.completed 1");
}

#[test]
fn a_failed_delivery_reaches_other_hooks_and_gives_exit_status_7() {
    let (fixture, hook) = fixture("cat >> received");
    let config = fixture.sandbox.file(
        "f.toml",
        format!(
            "[[hooks]]\nname = 'bad'\non = ['job.completed']\nrun = ['/bin/sh', '-c', 'echo why >&2; exit 9']\nretries = 0\n\
             [[hooks]]\nname = 'good'\non = ['hook.failed']\nrun = ['{hook}']\n\
             [[hooks]]\nname = 'bad-too'\non = ['hook.failed']\nrun = ['/bin/false']\nretries = 0\n"
        ),
    );
    let done = fixture
        .watch(&["update/77", "--config", config.to_str().unwrap()])
        .run()
        .expect(7);
    assert_eq!(done.finished()["outcome"], "hook_failed");
    let mut failed = done.events();
    failed.retain(|event| event["event_type"] == "hook.failed");
    assert_eq!(
        failed.len(),
        2,
        "a failed delivery of hook.failed is published once and delivered to no hook"
    );
    assert_eq!(failed[0]["hook"], "bad");
    assert_eq!(failed[0]["attempt"], 1);
    assert_eq!(failed[0]["exit_status"], 9);
    let event_id = done.end_of("update/77")["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(failed[0]["delivery"], format!("{event_id}/bad"));
    let received: Value = serde_json::from_str(&lines(&fixture, "received").join("\n")).unwrap();
    assert_eq!(received["data"]["hook"], "bad");
    let printed = done
        .lines()
        .into_iter()
        .find(|line| line["output"] == "why");
    let printed = printed.unwrap();
    assert_eq!(printed["event_id"], event_id.as_str());
    assert_eq!(printed["stream"], "stderr");
    assert_eq!(done.stderr, "", "hook output is part of the record stream");
}

#[test]
fn a_hook_whose_program_disappears_fails_by_name_and_stops_nothing() {
    let (fixture, hook) = fixture("rm \"$0\"");
    let config = fixture.sandbox.file(
        "f.toml",
        format!("[[hooks]]\nname = 'h'\non = ['job.*']\nrun = ['{hook}']\nretries = 0\n"),
    );
    let done = fixture
        .watch(&["update/77", "--config", config.to_str().unwrap()])
        .env("PATH", "/usr/bin:/bin")
        .run()
        .expect(7);
    assert_eq!(done.finished()["completed"], 1);
    let mut failed = done.events();
    failed.retain(|event| event["event_type"] == "hook.failed");
    assert_eq!(failed.len(), done.events_of("update/77").len() - 1);
    let error = failed[0]["error_message"].as_str().unwrap();
    assert!(error.starts_with(&format!("cannot start {hook}: No such file")));
}

#[test]
fn text_output_reports_waiting_for_hooks_and_neutralizes_their_output() {
    let (fixture, hook) = fixture("sleep 0.5; printf '\\n::error::forged\\n\\033[2J'; exit 1");
    let config = fixture.sandbox.file(
        "f.toml",
        format!("[[hooks]]\nname = 'h'\non = ['job.completed']\nrun = ['{hook}']\nretries = 0\n"),
    );
    let args = [
        "update/77",
        "--config",
        config.to_str().unwrap(),
        "--heartbeat",
        "50ms",
    ];
    let done = fixture
        .watch(&args)
        .env("PATH", "/usr/bin:/bin")
        .env("FORGEWATCH_OUTPUT", "text")
        .run()
        .expect(7);
    assert!(
        done.stdout
            .contains("every job has ended; waiting for hooks"),
        "{done:?}"
    );
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(
        said.contains("forged") && !said.contains('\u{1b}'),
        "{done:?}"
    );
    assert!(
        !said.lines().any(|line| line.trim_start().starts_with("::")),
        "{done:?}"
    );
}

#[test]
fn the_hooks_example_passes_check_once_its_files_exist() {
    let sandbox = Sandbox::new();
    let config = sandbox.file(
        "hooks.toml",
        include_str!("../../config/examples/hooks.toml"),
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
fn at_most_max_running_attempts_run_at_once_and_kinds_filters_jobs() {
    let jobs: Vec<String> = (1..=6).map(|n| format!("update/{n}")).collect();
    let script: String = jobs.iter().map(|name| job(name, "")).collect();
    let fixture = SimFixture::new(&(script + &job("diff/9", "")));
    let hook = "mkdir run.$$; ls -d run.* | wc -l >> counts; sleep 0.2; rmdir run.$$";
    let config = fixture.sandbox.file(
        "f.toml",
        format!(
            "[[hooks]]\nname = 'h'\non = ['job.completed']\nkinds = ['update']\nmax_running = 2\n\
             run = ['/bin/sh', '-c', '{hook}']\npass_env = ['PATH']\n"
        ),
    );
    let mut args = vec!["--config", config.to_str().unwrap(), "diff/9"];
    args.extend(jobs.iter().map(String::as_str));
    fixture
        .watch(&args)
        .env("PATH", "/usr/bin:/bin")
        .run()
        .expect(0);
    let counts = lines(&fixture, "counts");
    assert_eq!(counts.len(), 6);
    assert!(counts.iter().all(|n| n == "1" || n == "2"), "{counts:?}");
}

#[test]
fn a_second_signal_does_not_wait_for_hooks() {
    let (fixture, hook) = fixture("echo $$ > started; sleep 3600");
    let on_event = format!("job.completed={hook}");
    let run = fixture
        .watch(&["update/77", "--on-event", &on_event])
        .env("PATH", "/usr/bin:/bin")
        .start();
    let end = std::time::Instant::now() + crate::fixture::TIMEOUT;
    while lines(&fixture, "started").is_empty() {
        assert!(std::time::Instant::now() < end, "the hook did not start");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    run.signal("INT");
    std::thread::sleep(std::time::Duration::from_millis(100));
    run.signal("INT");
    let done = run.wait().expect(130);
    assert_eq!(done.end_of("update/77")["event_type"], "job.completed");
}

#[test]
fn a_hook_never_sees_the_credentials() {
    let (fixture, hook) =
        fixture("env > env; tr '\\0' ' ' < /proc/$PPID/environ > above; cat > event");
    watch(&fixture, &[&format!("job.completed={hook}")]).expect(0);
    for file in ["env", "above", "event"] {
        let text = lines(&fixture, file).join("\n");
        assert!(!text.is_empty(), "{file}");
        assert!(
            !text.contains("SECRET_KEY") && !text.contains("ACCESS_KEY"),
            "{file}: {text}"
        );
    }
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
