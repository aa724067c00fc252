//! `forgewatch check --diff`: what a reload changes, without secrets.

use std::fs;

use super::{DaemonFixture, DaemonProcess, hook, listed};
use crate::fixture::{LONG, job};

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[hooks]]\nname = '{name}'\non = ['job.failed']\nwebhook = '{url}'\n{more}\n")
}

#[track_caller]
fn diff(fixture: &DaemonFixture) -> Vec<String> {
    let output = fixture.client(&["check", "--diff"]).expect(0).stdout;
    output.lines().map(str::to_owned).collect()
}

#[test]
fn every_change_is_shown_and_none_is_applied() {
    let script = ["diff/1", "diff/2", "diff/3", "update/4"].map(|name| job(name, LONG));
    let fixture = DaemonFixture::new(&script.concat(), "");
    let program = fixture.script("hook", "exit 0");
    let gone = hook("gone", "'job.failed'", &program, "");
    let before = ["diff/1", "diff/2"].map(listed).concat()
        + &hook(
            "kept",
            "'job.failed'",
            &program,
            "retries = 3\ntimeout = '60s'\nenv = { TOKEN = 'SECRET-1' }",
        )
        + &webhook("chat", "https://chat.test/SECRET-2", "")
        + &gone;
    fixture.configure(&before);
    let mut daemon = fixture.start();
    for name in ["diff/1", "diff/2"] {
        daemon.await_event("job.watching", name);
    }
    fixture.client(&["add", "diff/2", "update/4"]).expect(0);
    assert_eq!(diff(&fixture), ["no changes"]);

    // The same values, written in another way.
    let same = before.replace("timeout = '60s'", "timeout = '1m'");
    fixture.configure(&same);
    assert_eq!(diff(&fixture), ["no changes"]);

    let after = ["diff/2", "diff/3"].map(listed).concat()
        + &hook(
            "kept",
            "'job.failed', 'job.completed'",
            &program,
            "retries = 5\ntimeout = '1m'\nenv = { TOKEN = 'SECRET-3' }",
        )
        + &webhook("chat", "https://chat.test/SECRET-4", "format = 'slack'")
        + &hook("new", "'job.failed'", &program, "");
    fixture.configure(&format!("[state2]\n{after}"));
    let invalid = fixture.client(&["check", "--diff"]).expect(2);
    assert!(invalid.stderr.contains("unknown section"), "{invalid:?}");
    assert_eq!(invalid.stdout, "");

    fixture.configure(&after);
    let text = fs::read_to_string(fixture.path("fw.toml")).unwrap();
    let text = text.replace(
        "max_interval = '200ms'",
        "max_interval = '300ms'\nstalled_after = '1h'",
    );
    fs::write(fixture.path("fw.toml"), text).unwrap();
    let expected = [
        "~ schedule.max_interval: 200ms -> 300ms",
        "~ schedule.stalled_after: 30m -> 1h",
        "+ job diff/3",
        "- job diff/1",
        "~ hook chat: webhook: changed",
        "~ hook chat: format: cloudevents -> slack",
        "- hook gone",
        "~ hook kept: on: [job.failed] -> [job.failed, job.completed]",
        "~ hook kept: retries: 3 -> 5",
        "~ hook kept: env: changed",
        "+ hook new",
    ];
    assert_eq!(diff(&fixture), expected, "diff/2 was in the list before");
    assert_eq!(diff(&fixture), expected, "it is not applied");
    let socket_request = fixture.client(&["check", "--diff"]).expect(0);
    assert!(!format!("{socket_request:?}").contains("SECRET"));
    fixture.client(&["reload"]).expect(0);
    assert_eq!(diff(&fixture), ["no changes"]);
    daemon.stop("TERM");
}

#[test]
fn what_a_reload_cannot_change_is_an_error() {
    let fixture = DaemonFixture::new("", "");
    let daemon = fixture.start();
    let text = fs::read_to_string(fixture.path("fw.toml")).unwrap();
    fs::write(
        fixture.path("fw.toml"),
        format!("instance = 'other'\n{text}"),
    )
    .unwrap();
    let output = fixture.client(&["check", "--diff"]).expect(1);
    assert_eq!(output.stdout, "~ instance: unset -> other\n");
    assert!(output.stderr.contains("needs a restart"), "{output:?}");
    daemon.stop("TERM");
}

#[test]
fn a_diff_needs_the_daemon_and_its_file() {
    let fixture = DaemonFixture::new("", "");
    let none = fixture.client(&["check", "--diff"]).expect(1);
    assert!(none.stderr.contains("no daemon is running"), "{none:?}");
    let daemon = fixture.start();
    let config = fixture.path("fw.toml").display().to_string();
    let same = fixture
        .client(&["check", "--diff", "--config", &config])
        .expect(0);
    assert_eq!(same.stdout, "no changes\n");
    let other = fixture.sim.sandbox.file("other.toml", String::new());
    let other = other.display().to_string();
    let output = fixture
        .client(&["check", "--diff", "--config", &other])
        .expect(1);
    assert!(
        output
            .stderr
            .contains("--diff compares the file of the daemon"),
        "{output:?}"
    );
    daemon.stop("TERM");
}

#[test]
fn new_credentials_are_a_change_without_a_value() {
    let fixture = DaemonFixture::new("", "");
    let file = |pair| fixture.sim.sandbox.file("credentials", pair);
    let path = file("sim:sim\n").display().to_string();
    let text = fs::read_to_string(fixture.path("fw.toml")).unwrap();
    let text = text.replace("[api]\n", &format!("[api]\ncredentials_file = '{path}'\n"));
    fs::write(fixture.path("fw.toml"), text).unwrap();
    let mut command = fixture.command();
    command.env_remove("FORGEWATCH_ACCESS_KEY");
    command.env_remove("FORGEWATCH_SECRET_KEY");
    let daemon = DaemonProcess::spawn(command);
    fixture.await_notice("READY=1");
    file("sim:OTHER-SECRET\n");
    let output = fixture.client(&["check", "--diff"]).expect(0);
    assert_eq!(output.stdout, "~ credentials: changed\n");
    daemon.stop("TERM");
}
