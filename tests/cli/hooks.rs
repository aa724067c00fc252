//! Hooks that are programs, from a watch's beginning to its exit status.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::place::{Done, Place, Stage, job};

/// A stage with one quick job, and a hook's script.
fn stage(script: &str) -> (Stage, String) {
    let stage = Stage::new(&job("update/77", ""));
    let path = stage.place.file("hook", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (stage, path)
}

fn watch(stage: &Stage, on_events: &[&str]) -> Done {
    let mut args = vec!["update/77"];
    for on_event in on_events {
        args.extend(["--on-event", on_event]);
    }
    stage.watch(&args).env("PATH", "/usr/bin:/bin").run()
}

fn lines(stage: &Stage, name: &str) -> Vec<String> {
    let text = fs::read_to_string(stage.place.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_hook_gets_the_event_and_exactly_the_environment_promised() {
    let (stage, hook) = stage("env -0 > env; cat > event; printf '%s|' \"$@\" > args; pwd > pwd");
    let done = stage
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
    let env = fs::read_to_string(stage.place.path("env")).unwrap();
    let pairs = env
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').unwrap());
    // The shell adds its own.
    let mut env: BTreeMap<&str, &str> = pairs.collect();
    for of_shell in ["PWD", "OLDPWD", "SHLVL", "_"] {
        env.remove(of_shell);
    }
    let home = stage.place.path("home");
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
        ("PATH", "/usr/bin:/bin"),
        ("TZ", "UTC"),
        ("HOME", home.to_str().unwrap()),
    ];
    assert_eq!(env, BTreeMap::from(expected));

    let event: Value = serde_json::from_str(&lines(&stage, "event").join("\n")).unwrap();
    assert_eq!(event["id"], end["event_id"]);
    assert_eq!(event["type"], "io.forgewatch.job.completed.v1");
    assert_eq!(event["data"]["elapsed_ms"], end["elapsed_ms"]);
    assert_eq!(lines(&stage, "args"), ["a  b|$HOME|$(touch x)|;|*|"]);
    assert!(!stage.place.path("x").exists());
    let here = fs::canonicalize(stage.place.path(".")).unwrap();
    assert_eq!(lines(&stage, "pwd"), [here.to_str().unwrap()]);
}

#[test]
fn a_hook_on_the_end_of_all_runs_too() {
    let (stage, hook) = stage("echo $FORGEWATCH_EVENT_TYPE >> told");
    watch(&stage, &[&format!("watch.finished={hook}")]).expect(0);
    assert_eq!(lines(&stage, "told"), ["watch.finished"]);
}

#[test]
fn a_failed_attempt_is_repeated_and_the_next_event_of_the_job_waits_for_it() {
    let (stage, hook) = stage(
        "echo \"$FORGEWATCH_EVENT_TYPE $FORGEWATCH_ATTEMPT\" >> tries\n\
         case $FORGEWATCH_EVENT_TYPE in job.watching) [ $FORGEWATCH_ATTEMPT -gt 2 ];; esac",
    );
    watch(&stage, &[&format!("job.*={hook}")]).expect(0);
    let tries = lines(&stage, "tries");
    assert_eq!(
        tries[..3],
        ["job.watching 1", "job.watching 2", "job.watching 3"]
    );
    assert_eq!(tries.last().unwrap(), "job.completed 1");
}

#[test]
fn a_hook_given_up_is_told_to_other_hooks_and_ends_with_7() {
    let (stage, hook) = stage("cat >> told");
    let config = stage.place.file(
        "f.toml",
        format!(
            "[[hooks]]\nname = 'bad'\non = ['job.completed']\nrun = ['/bin/sh', '-c', 'echo why >&2; exit 9']\nretries = 0\n\
             [[hooks]]\nname = 'good'\non = ['hook.failed']\nrun = ['{hook}']\n\
             [[hooks]]\nname = 'bad-too'\non = ['hook.failed']\nrun = ['/bin/false']\nretries = 0\n"
        ),
    );
    let done = stage
        .watch(&["update/77", "--config", config.to_str().unwrap()])
        .run()
        .expect(7);
    assert_eq!(done.finished()["outcome"], "hook_failed");
    let mut failed = done.events();
    failed.retain(|event| event["event_type"] == "hook.failed");
    assert_eq!(
        failed.len(),
        2,
        "the failure to tell of a failure is told once, to no hook"
    );
    assert_eq!(failed[0]["hook"], "bad");
    assert_eq!(failed[0]["attempt"], 1);
    assert_eq!(failed[0]["exit_status"], 9);
    let event_id = done.end_of("update/77")["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(failed[0]["delivery"], format!("{event_id}/bad"));
    let told: Value = serde_json::from_str(&lines(&stage, "told").join("\n")).unwrap();
    assert_eq!(told["data"]["hook"], "bad");
    let printed = done
        .lines()
        .into_iter()
        .find(|line| line["output"] == "why");
    let printed = printed.unwrap();
    assert_eq!(printed["event_id"], event_id.as_str());
    assert_eq!(printed["stream"], "stderr");
    assert_eq!(
        done.stderr, "",
        "a hook's words are records of the one stream"
    );
}

#[test]
fn a_hook_that_has_gone_since_is_told_by_name_and_stops_nothing() {
    let (stage, hook) = stage("rm \"$0\"");
    let config = stage.place.file(
        "f.toml",
        format!("[[hooks]]\nname = 'h'\non = ['job.*']\nrun = ['{hook}']\nretries = 0\n"),
    );
    let done = stage
        .watch(&["update/77", "--config", config.to_str().unwrap()])
        .env("PATH", "/usr/bin:/bin")
        .run()
        .expect(7);
    assert_eq!(done.finished()["completed"], 1);
    let mut failed = done.events();
    failed.retain(|event| event["event_type"] == "hook.failed");
    assert_eq!(failed.len(), done.events_of("update/77").len() - 1);
    let error = failed[0]["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("{hook} could not be started: No such file")));
}

#[test]
fn while_hooks_are_waited_for_text_says_so_and_their_words_forge_nothing() {
    let (stage, hook) = stage("sleep 0.5; printf '\\n::error::forged\\n\\033[2J'; exit 1");
    let config = stage.place.file(
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
    let done = stage
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
fn the_example_with_hooks_is_in_order_once_its_files_are_there() {
    let place = Place::new();
    let config = place.file(
        "hooks.toml",
        include_str!("../../config/examples/hooks.toml"),
    );
    let check = || {
        place
            .program(&["check", "--config", config.to_str().unwrap()])
            .run()
    };
    let said = check().expect(2).stderr;
    assert!(
        said.contains("create-diff") && said.contains("webhook.secret"),
        "{said}"
    );
    let program = place.file("create-diff", "#!/bin/sh\n");
    fs::set_permissions(program, Permissions::from_mode(0o700)).unwrap();
    let key = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
    place.file("webhook.secret", key);
    check().expect(0);
}

#[test]
fn no_more_than_max_running_run_at_once_and_kinds_are_told_apart() {
    let jobs: Vec<String> = (1..=6).map(|n| format!("update/{n}")).collect();
    let script: String = jobs.iter().map(|name| job(name, "")).collect();
    let stage = Stage::new(&(script + &job("diff/9", "")));
    let hook = "mkdir run.$$; ls -d run.* | wc -l >> counts; sleep 0.2; rmdir run.$$";
    let config = stage.place.file(
        "f.toml",
        format!(
            "[[hooks]]\nname = 'h'\non = ['job.completed']\nkinds = ['update']\nmax_running = 2\n\
             run = ['/bin/sh', '-c', '{hook}']\npass_env = ['PATH']\n"
        ),
    );
    let mut args = vec!["--config", config.to_str().unwrap(), "diff/9"];
    args.extend(jobs.iter().map(String::as_str));
    stage
        .watch(&args)
        .env("PATH", "/usr/bin:/bin")
        .run()
        .expect(0);
    let counts = lines(&stage, "counts");
    assert_eq!(counts.len(), 6);
    assert!(counts.iter().all(|n| n == "1" || n == "2"), "{counts:?}");
}

#[test]
fn a_second_signal_waits_for_no_hook() {
    let (stage, hook) = stage("echo $$ > started; sleep 3600");
    let on_event = format!("job.completed={hook}");
    let run = stage
        .watch(&["update/77", "--on-event", &on_event])
        .env("PATH", "/usr/bin:/bin")
        .start();
    let end = std::time::Instant::now() + crate::place::PATIENCE;
    while lines(&stage, "started").is_empty() {
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
    let (stage, hook) = stage("env > env; tr '\\0' ' ' < /proc/$PPID/environ > above; cat > event");
    watch(&stage, &[&format!("job.completed={hook}")]).expect(0);
    for file in ["env", "above", "event"] {
        let text = lines(&stage, file).join("\n");
        assert!(!text.is_empty(), "{file}");
        assert!(
            !text.contains("SECRET_KEY") && !text.contains("ACCESS_KEY"),
            "{file}: {text}"
        );
    }
}

#[test]
fn a_file_found_by_default_brings_no_hooks() {
    let stage = Stage::new(&job("update/77", ""));
    let file = "[[hooks]]\nname = 'h'\non = ['job.*']\nrun = ['/usr/bin/touch', 'ran']\n";
    stage.place.file("config/forgewatch/forgewatch.toml", file);
    stage
        .watch(&["update/77"])
        .without_env("FORGEWATCH_CONFIG")
        .run()
        .expect(0);
    assert!(!stage.place.path("ran").exists());
}

#[test]
fn what_is_wrong_with_hooks_is_told_all_at_once_before_anything_is_asked() {
    let stage = Stage::new(&job("update/77", ""));
    stage.place.file("plain", "");
    let open = stage.place.file("open", "#!/bin/sh\n");
    fs::set_permissions(open, Permissions::from_mode(0o777)).unwrap();
    let config = stage.place.file(
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
    let done = stage
        .place
        .program(&["check", "--config", config])
        .run()
        .expect(2);
    let said = done.stderr.replace(config.trim_end_matches("f.toml"), "");
    insta::assert_snapshot!(said);
    let again = stage
        .watch(&["update/77", "--config", config])
        .run()
        .expect(2);
    assert_eq!(again.stderr, done.stderr);
    assert_eq!(stage.hits("update/77").len(), 0);
}

#[test]
fn a_bad_on_event_is_a_usage_error_that_says_what_would_do() {
    let stage = Stage::new(&job("update/77", ""));
    let done = watch(
        &stage,
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
