//! The command line: help, flags, errors, completions and man pages.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use forgewatch::config::CommandLine;
use forgewatch::config::settings::{OutputFormat, SquashedAs};
use forgewatch_core::delivery::EVENT_VARIABLES;
use forgewatch_core::event::{EventType, RECORD_FIELDS};
use forgewatch_core::limits::JobFailed;
use forgewatch_core::schedule::Policy;

use crate::fixture::{ConfigFixture, jobs, with_flags};
use crate::skip::skip;

#[test]
fn every_command_has_its_help() {
    let fixture = ConfigFixture::new();
    insta::assert_snapshot!("help", fixture.run(&["--help"]));
    for command in [
        "watch",
        "demo",
        "simulate",
        "check",
        "add",
        "remove",
        "wait",
        "list",
        "show",
        "status",
        "events",
        "reload",
        "hooks",
        "completions",
        "man",
    ] {
        insta::assert_snapshot!(format!("help-{command}"), fixture.run(&[command, "--help"]));
    }
    for command in ["list", "retry", "test"] {
        let help = fixture.run(&["hooks", command, "--help"]);
        insta::assert_snapshot!(format!("help-hooks-{command}"), help);
    }
}

#[test]
fn help_shows_no_value_of_the_environment() {
    let fixture = ConfigFixture::new()
        .with_credentials()
        .var("FORGEWATCH_BASE_URL", "https://canary.example");
    assert!(!fixture.run(&["watch", "--help"]).contains("canary"));
}

#[test]
fn every_flag_reaches_its_setting() {
    let loaded = ConfigFixture::new()
        .load(&CommandLine {
            timeout: Some("2h".to_owned()),
            job_timeout: Some("30m".to_owned()),
            fail_fast: true,
            heartbeat: Some("never".to_owned()),
            squashed_as: Some(SquashedAs::Success),
            output: Some(OutputFormat::Json),
            ..with_flags(&[
                ("--base-url", "http://[::1]:81"),
                ("--credentials-file", "c"),
                ("--jobfailed", "count"),
                ("--policy", "exponential"),
                ("--request-cost", "2s"),
                ("--min-interval", "20ms"),
                ("--max-interval", "40ms"),
                ("--not-found-grace", "0s"),
                ("--give-up-after", "never"),
            ])
        })
        .unwrap();
    let (limits, one_shot) = (&loaded.settings.limits, &loaded.one_shot);
    assert_eq!(loaded.settings.api.base_url.as_str(), "http://[::1]:81/");
    assert_eq!(
        loaded.settings.credentials_file.as_deref(),
        Some(Path::new("c"))
    );
    assert_eq!(limits.jobfailed, JobFailed::Count);
    assert_eq!(limits.schedule.policy, Policy::Exponential);
    assert_eq!(limits.schedule.request_cost, Duration::from_secs(2));
    assert_eq!(limits.schedule.min_interval, Duration::from_millis(20));
    assert_eq!(limits.schedule.max_interval, Duration::from_millis(40));
    assert_eq!(limits.not_found_grace, Duration::ZERO);
    assert_eq!(limits.give_up_after, None);
    assert!(limits.refusal_ends);
    assert_eq!(one_shot.timeout, Some(Duration::from_hours(2)));
    assert_eq!(one_shot.job_timeout, Some(Duration::from_mins(30)));
    assert!(one_shot.fail_fast);
    assert_eq!(one_shot.heartbeat, None);
    assert_eq!(one_shot.squashed_as, Some(SquashedAs::Success));
    assert_eq!(loaded.output, OutputFormat::Json);
}

#[test]
fn a_one_shot_gives_up_after_ten_minutes_by_default() {
    let loaded = ConfigFixture::new().load(&with_flags(&[])).unwrap();
    let give_up_after = loaded.settings.limits.give_up_after;
    assert_eq!(give_up_after, Some(Duration::from_mins(10)));
    assert_eq!(loaded.one_shot.heartbeat, Some(Duration::from_mins(1)));
    assert_eq!(loaded.source.as_deref(), Some(Path::new("/dev/null")));
}

#[test]
fn invalid_flags_and_variables_are_reported_together_by_name() {
    let fixture = ConfigFixture::new()
        .var("FORGEWATCH_CONFIG", "/dev/null")
        .var("FORGEWATCH_BASE_URL", "http://user:canary@host")
        .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "0")
        .var("FORGEWATCH_OUTPUT", "xml");
    let output = fixture.run(&[
        "watch",
        "--until-done",
        "diff/x",
        "job",
        "--diff=1,,2",
        "--update=-1",
        "--label=build",
        "--label==x",
        "--request-cost=0s",
        "--min-interval=20 parsecs",
        "--give-up-after=",
        "--timeout=0s",
        "--job-timeout=soon",
        "--heartbeat=2y",
    ]);
    insta::assert_snapshot!("bad_flags", output);
}

#[test]
fn contradicting_intervals_are_rejected() {
    let error = ConfigFixture::new()
        .with_credentials()
        .load(&with_flags(&[("--max-interval", "500ms")]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "--max-interval: schedule.min_interval (1s) is longer than schedule.max_interval (500ms); shorten the first \
         or lengthen the second"
    );
}

#[test]
fn usage_errors_are_reported_before_any_file_is_read() {
    let fixture = ConfigFixture::new();
    let mut output = String::new();
    for args in [
        &["watch", "--timeout", "5m", "diff/1"][..],
        &["watch", "--until-done", "--policy", "fast"],
        &["simulate", "--speed", "nan"],
        &["completions", "dos"],
        &[],
    ] {
        output += &fixture.run(args);
    }
    insta::assert_snapshot!("usage_errors", output);
}

#[test]
fn without_jobs_the_error_says_how_to_name_some() {
    let fixture = ConfigFixture::new()
        .with_credentials()
        .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "5")
        .file("f.toml", "");
    let output = fixture.run(&["watch", "--until-done", "--config", "f.toml"]);
    insta::assert_snapshot!("no_jobs", output);
    let empty = [
        "watch",
        "--until-done",
        "--config",
        "f.toml",
        "--jobs-file",
        "-",
    ];
    assert_eq!(fixture.run_with_input(&empty, "# none\n\n"), output);
}

#[test]
fn a_job_named_twice_is_one_job_at_its_first_place() {
    let fixture =
        ConfigFixture::new().file("list", "update/7 # again\n\n  # nothing\ndiff/9\r\ndiff/2");
    let loaded = fixture
        .load(&CommandLine {
            jobs: vec![
                "diff/2".to_owned(),
                "diff/1".to_owned(),
                "diff/2".to_owned(),
            ],
            diffs: vec!["3, 1".to_owned(), "4".to_owned()],
            updates: vec!["7".to_owned()],
            jobs_file: Some(fixture.path("list")),
            labels: vec!["a=1".to_owned(), "b=x=y".to_owned(), "a=2".to_owned()],
            ..with_flags(&[])
        })
        .unwrap();
    let with_labels = |job| format!("{job} {}", r#"{"a": "2", "b": "x=y"}"#);
    let expected = ["diff/2", "diff/1", "diff/3", "diff/4", "update/7", "diff/9"].map(with_labels);
    assert_eq!(jobs(&loaded), expected);
}

#[test]
fn an_invalid_line_of_a_list_is_reported_with_file_and_line() {
    let fixture = ConfigFixture::new()
        .var("FORGEWATCH_ACCOUNT_SERVICE_ID", "5")
        .file("list", "diff/1\n\n \tdiff/two # no\nupdate\n");
    let watch = [
        "watch",
        "--until-done",
        "--config",
        "/dev/null",
        "--jobs-file",
    ];
    let mut output = String::new();
    for file in ["list", "none"] {
        output += &fixture.run(&[&watch[..], &[file]].concat());
    }
    output += &fixture.run_with_input(&[&watch[..], &["-"]].concat(), "x/1\n");
    insta::assert_snapshot!("bad_lists", output);
}

#[test]
fn check_prints_a_summary() {
    let fixture = ConfigFixture::new()
        .file(
            "f.toml",
            "[api]\naccount_service_id = 1\ncredentials_file = 'keys'\n[[jobs]]\njob = 'diff/1'\n\
             [[hooks]]\nname = 'x'\non = ['job.*']\nrun = ['/bin/true']\n[control]\ngroup = 'root'\n",
        )
        .file("keys", "access:canary\n");
    insta::assert_snapshot!("check", fixture.run(&["check", "--config", "f.toml"]));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let fixture = ConfigFixture::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = fixture.run(&["completions", shell]);
        assert!(output.starts_with("exit status 0\n"), "{output}");
        assert!(output.contains("_FORGEWATCH_COMPLETE"), "{shell}: {output}");
    }
}

#[test]
fn every_command_and_the_file_have_a_man_page() {
    let fixture = ConfigFixture::new();
    assert_eq!(fixture.run(&["man", "new/man"]), "exit status 0\n");
    let mut pages: Vec<String> = fs::read_dir(fixture.path("new/man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert_eq!(
        pages,
        [
            "forgewatch-add.1",
            "forgewatch-check.1",
            "forgewatch-completions.1",
            "forgewatch-demo.1",
            "forgewatch-events.1",
            "forgewatch-events.7",
            "forgewatch-hooks-discard.1",
            "forgewatch-hooks-list.1",
            "forgewatch-hooks-retry.1",
            "forgewatch-hooks-test.1",
            "forgewatch-hooks.1",
            "forgewatch-hooks.7",
            "forgewatch-list.1",
            "forgewatch-man.1",
            "forgewatch-reload.1",
            "forgewatch-remove.1",
            "forgewatch-show.1",
            "forgewatch-simulate.1",
            "forgewatch-state-check.1",
            "forgewatch-state-recover.1",
            "forgewatch-state.1",
            "forgewatch-status.1",
            "forgewatch-wait.1",
            "forgewatch-watch.1",
            "forgewatch.1",
            "forgewatch.toml.5",
        ]
    );
    let page = fs::read_to_string(fixture.path("new/man/forgewatch-watch.1")).unwrap();
    let sections = [
        "OPTIONS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ];
    let place = |section: &&str| page.find(&format!("\n.SH {section}\n")).unwrap();
    assert!(sections.iter().map(place).is_sorted(), "{page}");
    assert!(
        page.contains("Exit status with \\-\\-until\\-done"),
        "{page}"
    );

    check_topics(&fixture);

    let fixture = fixture.file("file", "");
    let output = fixture.run(&["man", "file"]);
    assert!(
        output.starts_with("exit status 1\nerror: file: "),
        "{output}"
    );
}

/// The pages of section 7 explain every type, field and variable, and all pages are valid.
fn check_topics(fixture: &ConfigFixture) {
    let read = |name: &str| fs::read_to_string(fixture.path(&format!("new/man/{name}"))).unwrap();
    let entry = |name: &str| format!("\n.TP\n\\fB{}\\fR\n", name.replace('-', "\\-"));
    let (events, hooks) = (read("forgewatch-events.7"), read("forgewatch-hooks.7"));
    let types = EventType::ALL.map(EventType::as_str);
    let variables = EVENT_VARIABLES.map(|(name, _)| name);
    let of_events = types.into_iter().chain(RECORD_FIELDS);
    for (page, name) in of_events
        .map(|name| (&events, name))
        .chain(variables.map(|name| (&hooks, name)))
        .chain(
            [
                "FORGEWATCH_LABEL_<NAME>",
                "TRACEPARENT",
                "FORGEWATCH_SOCKET",
                "hooks.webhook_file",
            ]
            .map(|name| (&hooks, name)),
        )
    {
        let entry = page.split_once(&entry(name));
        let has_meaning = entry.is_some_and(|(_, after)| !after.starts_with('.'));
        assert!(has_meaning, "{name}: {page}");
    }
    for (page, others) in [
        ("forgewatch-watch.1", ["events(7)", "hooks(7)"]),
        ("forgewatch.toml.5", ["events(7)", "hooks(7)"]),
        ("forgewatch-events.7", ["events(1)", "hooks(7)"]),
        ("forgewatch-hooks.7", ["hooks(1)", "events(7)"]),
    ] {
        let text = read(page).replace("\\-", "-");
        let (_, see_also) = text.split_once(".SH \"SEE ALSO\"").unwrap();
        for other in others {
            assert!(
                see_also.contains(&format!("forgewatch-{other}")),
                "{page}: {see_also}"
            );
        }
    }
    let pages = fs::read_dir(fixture.path("new/man")).unwrap();
    let pages: Vec<_> = pages.map(|entry| entry.unwrap().path()).collect();
    match Command::new("mandoc")
        .args(["-T", "lint", "-W", "error"])
        .args(&pages)
        .output()
    {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => skip("mandoc is not installed"),
    }
}
