//! One error never hides another: all of them are reported at once.

use forgewatch::config::{CommandLine, ConfigErrors};

use crate::fixture::{ConfigFixture, command_line};

/// All errors of a daemon's file that begins with a valid account.
fn errors_of(fixture: ConfigFixture, text: &str) -> Vec<String> {
    let text = format!("[api]\naccount_service_id = 1\n{text}");
    let fixture = fixture.with_credentials().file("f.toml", text);
    lines(
        &fixture
            .load_daemon(&command_line(&fixture.path("f.toml")))
            .unwrap_err(),
    )
}

fn lines(errors: &ConfigErrors) -> Vec<String> {
    errors.to_string().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_errors(errors: &[String], expected: &[&str]) {
    let all_match = errors.iter().zip(expected).all(|(l, e)| l.contains(e));
    assert!(
        all_match && errors.len() == expected.len(),
        "{errors:#?}, not {expected:#?}"
    );
}

#[test]
fn every_item_of_a_list_and_every_key_of_a_hook_is_checked() {
    let hook = |more: &str| format!("[[hooks]]\nname = 'x'\n{more}");
    let run = "on = ['job.failed']\nrun = ['/bin/true']\n";
    let webhook = "on = ['job.failed']\nwebhook = 'https://hooks.example.net'\n";
    let signed = format!("{webhook}secret_files = ['key']\n");
    for (text, expected) in [
        (
            hook("on = ['job.faild', 'job.failed', 5, 'job.complet']\nrun = ['/bin/true']\n"),
            &[
                ":5:7: hooks.on: unknown event type \"job.faild\"",
                ":5:34: hooks.on: expected an array of strings",
                ":5:37: hooks.on: unknown event type \"job.complet\"",
            ][..],
        ),
        (
            hook(&format!("{run}kinds = ['dif', 'update', 'x']\n")),
            &["\"version\", found \"dif\"", "\"version\", found \"x\""],
        ),
        (
            hook(&format!(
                "{run}pass_env = ['a b', 'HOME', 'FORGEWATCH_SECRET_KEY']\n"
            )),
            &["invalid variable name \"a b\"", "never passed to a hook"],
        ),
        (
            hook(&format!("{run}env = {{ A = 1, B = 'b', '' = 'c' }}\n")),
            &[
                "A: expected a string in quotes, found an integer",
                "invalid variable name \"\"",
            ],
        ),
        (
            hook(&format!("{webhook}secret_files = ['none', 'key', '']\n")),
            &[
                "none: cannot read the file: No such file",
                "the path is empty",
            ],
        ),
        (
            hook(&format!(
                "{webhook}secret_env = ['UNSET', 'SHORT_KEY', 'QUOTED_KEY', 'a b', 'FORGEWATCH_SECRET_KEY']\n"
            )),
            &[
                "UNSET is not set",
                "SHORT_KEY: no key of at least 24 bytes",
                "QUOTED_KEY: begins with a quote",
                "invalid variable name \"a b\"",
                "FORGEWATCH_SECRET_KEY is never passed to a hook",
            ],
        ),
        (
            hook(&format!("{webhook}secret_env = ['KEY']\n"))
                + &hook(&format!("{run}pass_env = ['KEY']\n")).replace("'x'", "'y'"),
            &["hooks: KEY holds a webhook's key"],
        ),
        (
            hook("on = ['job.failed']\nrun = [1, true]\n"),
            &["found an integer", "found a boolean"],
        ),
        (
            hook(&format!("{signed}env = {{ A = 'a' }}\npass_env = ['A']\n")),
            &["env has no effect", "pass_env has no effect"],
        ),
        (
            hook(&format!("{webhook}pass_env = ['A']\n")),
            &["pass_env has no effect with webhook"],
        ),
        (
            hook(run) + &hook(&format!("{run}retries = 101\n")),
            &["duplicate hook name \"x\"", "hooks.retries: "],
        ),
        (
            hook(&format!("{run}retries = 101\n")) + &hook(run),
            &["hooks.retries: ", "duplicate hook name \"x\""],
        ),
        (
            hook("on = []\nrun = []\n"),
            &["the list is empty", "missing command"],
        ),
    ] {
        let key = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        let fixture = ConfigFixture::new()
            .file("key", key)
            .var("KEY", format!("\u{feff}{key}"))
            .var("SHORT_KEY", "whsec_canary")
            .var("QUOTED_KEY", format!("\"{}\"", key.trim()));
        let errors = errors_of(fixture, &text);
        assert_errors(&errors, expected);
    }
}

#[test]
fn settings_are_compared_with_each_other_despite_other_errors() {
    let crossed = "min_interval = '20m'\nmax_interval = '10m'\n";
    let errors_with = |text: &str| {
        errors_of(
            ConfigFixture::new(),
            &format!("{text}\n[schedule]\n{crossed}"),
        )
    };
    assert_errors(
        &errors_with("timeout = 'x'"),
        &[
            ":3:11: api.timeout: ",
            ":5:16: schedule.min_interval (20m) is longer",
        ],
    );
    // An invalid value cannot be compared.
    let half = "[schedule]\nmin_interval = '20m'\nmax_interval = '10x'\n";
    assert_errors(
        &errors_of(ConfigFixture::new(), half),
        &["schedule.max_interval: "],
    );
    let none = "[schedule\nmax_interval = '1h'\n";
    let fixture = ConfigFixture::new().with_credentials().file("f.toml", none);
    let command_line = CommandLine {
        flags: vec![("--min-interval", "20m".to_owned())],
        ..command_line(&fixture.path("f.toml"))
    };
    let errors = lines(&fixture.load(&command_line).unwrap_err());
    assert_errors(&errors, &["invalid TOML"]);
}

#[test]
fn missing_jobs_credentials_and_account_are_reported_together() {
    let bare = ConfigFixture::new();
    let no_jobs = ["watch", "--until-done", "--config", "/dev/null"];
    let output = bare.run(&no_jobs);
    for missing in [
        "no jobs to watch",
        "no credentials;",
        "api.account_service_id is not set",
    ] {
        assert_eq!(output.matches(missing).count(), 1, "{output}");
    }
    let output = bare.run(&["check", "--config", "/dev/null"]);
    assert_eq!(output.matches("error: ").count(), 2, "{output}");

    let fixture = ConfigFixture::new()
        .file_with_mode("open", "a:canary\n", 0o644)
        .file("f.toml", "[api]\ncredentials_file = 'open'\n")
        .file("bad.toml", "[api]\ncredentials_file = 5\n");
    let output = fixture.run(&["check", "--config", "f.toml"]);
    assert!(
        output.contains("chmod 600") && output.contains("account_service_id"),
        "{output}"
    );
    // The path of the credentials is unknown.
    let output = fixture.run(&["check", "--config", "bad.toml"]);
    assert!(!output.contains("no credentials"), "{output}");
}

#[test]
fn all_errors_of_an_on_event_are_reported() {
    let command_line = CommandLine {
        on_events: vec!["job.faild='".to_owned()],
        ..crate::fixture::with_flags(&[])
    };
    let errors = ConfigFixture::new()
        .with_credentials()
        .load(&command_line)
        .unwrap_err();
    assert_errors(
        &lines(&errors),
        &[
            "--on-event: unknown event type \"job.faild\"",
            "--on-event: unclosed quote in \"'\"",
        ],
    );
}
