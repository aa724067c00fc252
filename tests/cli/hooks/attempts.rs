//! Attempts: when they run, how often, and what follows from a failure.

use serde_json::Value;

use super::{fixture, lines, watch};
use crate::fixture::{SimFixture, job};

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
