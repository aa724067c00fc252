//! One mistake never hides another: whoever mends all that is told is done.

use forgewatch::config::{CommandLine, ConfigErrors};

use crate::place::{Place, given};

/// All that is said of a file of the daemon's, besides its account.
fn told(place: Place, text: &str) -> Vec<String> {
    let text = format!("[api]\naccount_service_id = 1\n{text}");
    let place = place.with_credentials().file("f.toml", text);
    lines(
        &place
            .load_daemon(&given(&place.path("f.toml")))
            .unwrap_err(),
    )
}

fn lines(errors: &ConfigErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_told(told: &[String], expected: &[&str]) {
    let met = told.iter().zip(expected).all(|(l, e)| l.contains(e));
    assert!(
        met && told.len() == expected.len(),
        "{told:#?}, not {expected:#?}"
    );
}

#[test]
fn every_item_of_a_list_and_every_key_of_a_hook_is_told() {
    let hook = |more: &str| format!("[[hooks]]\nname = 'x'\n{more}");
    let run = "on = ['job.failed']\nrun = ['/bin/true']\n";
    let webhook = "on = ['job.failed']\nwebhook = 'https://hooks.example.net'\n";
    let signed = format!("{webhook}secret_files = ['key']\n");
    for (text, expected) in [
        (
            hook("on = ['job.faild', 'job.failed', 5, 'job.complet']\nrun = ['/bin/true']\n"),
            &[
                ":5:7: hooks.on: \"job.faild\"",
                ":5:34: hooks.on: a whole number",
                ":5:37: hooks.on: \"job.complet\"",
            ][..],
        ),
        (
            hook(&format!("{run}kinds = ['dif', 'update', 'x']\n")),
            &["\"dif\" is neither", "\"x\" is neither"],
        ),
        (
            hook(&format!(
                "{run}pass_env = ['a b', 'HOME', 'FORGEWATCH_SECRET_KEY']\n"
            )),
            &["\"a b\" is no name", "never handed to a hook"],
        ),
        (
            hook(&format!("{run}env = {{ A = 1, B = 'b', '' = 'c' }}\n")),
            &["A: a whole number", "\"\" is no name"],
        ),
        (
            hook(&format!("{webhook}secret_files = ['none', 'key', '']\n")),
            &["none cannot be read", "the path is empty"],
        ),
        (
            hook("on = ['job.failed']\nrun = [1, true]\n"),
            &["a whole number is not", "true or false is not"],
        ),
        (
            hook(&format!("{signed}env = {{ A = 'a' }}\npass_env = ['A']\n")),
            &["env means nothing", "pass_env means nothing"],
        ),
        (
            hook(&format!("{webhook}pass_env = ['A']\n")),
            &["pass_env means nothing", "needs secret_files"],
        ),
        (
            hook(run) + &hook(&format!("{run}retries = 101\n")),
            &["there is another hook \"x\"", "hooks.retries: "],
        ),
        (
            hook(&format!("{run}retries = 101\n")) + &hook(run),
            &["hooks.retries: ", "there is another hook \"x\""],
        ),
        (
            hook("on = []\nrun = []\n"),
            &["the list is empty", "there is no command"],
        ),
    ] {
        let key = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        let told = told(Place::new().file("key", key), &text);
        assert_told(&told, expected);
    }
}

#[test]
fn settings_are_held_against_each_other_whatever_else_is_wrong() {
    let crossed = "min_interval = '20m'\nmax_interval = '10m'\n";
    let told_of = |text: &str| told(Place::new(), &format!("{text}\n[schedule]\n{crossed}"));
    assert_told(
        &told_of("timeout = 'x'"),
        &[
            ":3:11: api.timeout: ",
            ":5:16: schedule.min_interval (20m) is longer",
        ],
    );
    // What a key that is wrong was to be, nobody knows.
    let half = "[schedule]\nmin_interval = '20m'\nmax_interval = '10x'\n";
    assert_told(&told(Place::new(), half), &["schedule.max_interval: "]);
    let none = "[schedule\nmax_interval = '1h'\n";
    let place = Place::new().with_credentials().file("f.toml", none);
    let given = CommandLine {
        flags: vec![("--min-interval", "20m".to_owned())],
        ..given(&place.path("f.toml"))
    };
    let told = lines(&place.load(&given).unwrap_err());
    assert_told(&told, &["not TOML"]);
}

#[test]
fn jobs_credentials_and_account_that_are_missing_are_told_together() {
    let bare = Place::new();
    let no_jobs = ["watch", "--until-done", "--config", "/dev/null"];
    let said = bare.run(&no_jobs);
    for missing in [
        "no jobs to watch",
        "no credentials;",
        "api.account_service_id is not set",
    ] {
        assert_eq!(said.matches(missing).count(), 1, "{said}");
    }
    let said = bare.run(&["check", "--config", "/dev/null"]);
    assert_eq!(said.matches("error: ").count(), 2, "{said}");

    let place = Place::new()
        .file_with_mode("open", "a:canary\n", 0o644)
        .file("f.toml", "[api]\ncredentials_file = 'open'\n")
        .file("bad.toml", "[api]\ncredentials_file = 5\n");
    let said = place.run(&["check", "--config", "f.toml"]);
    assert!(
        said.contains("chmod 600") && said.contains("account_service_id"),
        "{said}"
    );
    // Where the credentials were to be, nobody knows.
    let said = place.run(&["check", "--config", "bad.toml"]);
    assert!(!said.contains("no credentials"), "{said}");
}

#[test]
fn all_that_is_wrong_with_an_on_event_is_told() {
    let given = CommandLine {
        on_events: vec!["job.faild='".to_owned()],
        ..crate::place::with_flags(&[])
    };
    let errors = Place::new().with_credentials().load(&given).unwrap_err();
    assert_told(
        &lines(&errors),
        &["--on-event: \"job.faild\"", "--on-event: \"'\": a quote"],
    );
}
