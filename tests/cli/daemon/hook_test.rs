//! `hooks test`, through a daemon and without one; and what `check` says of hooks that never delivered anything.

use serde_json::Value;

use super::{DaemonFixture, hook, listed};
use crate::fixture::{CliOutput, TIMEOUT, job};
use crate::receiver::{WebhookReceiver, receive, response, response_with};

fn chat(receiver: &WebhookReceiver, more: &str) -> String {
    format!(
        "[[hooks]]\nname = 'chat'\non = ['job.failed', 'job.stalled']\nwebhook = '{}'\n{more}\n",
        receiver.url
    )
}

fn report(done: &CliOutput) -> Value {
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn the_daemon_sends_a_marked_event_and_shows_what_came_back() {
    let receiver = receive(vec![
        response_with("200 OK", "ok"),
        response_with("403 Forbidden", "no_service at /canary-path \u{1b}[2J"),
    ]);
    let fixture = DaemonFixture::new("", "");
    fixture.configure(&chat(
        &receiver,
        "labels = { stage = 'live' }\nkinds = ['update']",
    ));
    let daemon = fixture.start();
    let done = fixture
        .client(&["hooks", "test", "chat", "--json"])
        .expect(0);
    let report = report(&done);
    assert_eq!(report["delivered"], true);
    assert_eq!(report["event_type"], "job.failed");
    assert_eq!(
        (&report["job"], &report["http_status"]),
        (&"update/1234".into(), &200.into())
    );
    assert_eq!(report["response"], "ok");
    assert!(report["elapsed_ms"].is_u64());
    let request = receiver.requests.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(report["sent"], request.body.as_str());
    let event: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(event["data"]["test"], true);
    assert_eq!(event["data"]["labels"]["stage"], "live");

    let args = [
        "hooks",
        "test",
        "chat",
        "--type",
        "job.stalled",
        "--job",
        "diff/7",
    ];
    let done = fixture.client(&args).expect(1);
    assert!(
        done.stderr
            .contains("not delivered: HTTP 403; response: no_service"),
        "{done:?}"
    );
    for part in [
        "event:     job.stalled of diff/7",
        "status:    HTTP 403",
        "response:  no_service",
        "delivered: no",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert!(!format!("{done:?}").contains("canary") && !done.stdout.contains('\u{1b}'));
    // One attempt, nothing stored, no event.
    assert_eq!(receiver.requests.try_iter().count(), 1);
    assert_eq!(
        fixture
            .client(&["hooks", "list", "--json"])
            .expect(0)
            .stdout
            .trim(),
        "[]"
    );
    let (_, printed) = daemon.stop("TERM");
    assert!(
        !printed
            .iter()
            .any(|line| line["event_type"] == "hook.failed")
    );
}

#[test]
fn a_program_shows_exit_status_and_output_and_knows_that_it_is_a_test() {
    let fixture = DaemonFixture::new("", "");
    let script = fixture.script(
        "h",
        "echo \"test=$FORGEWATCH_TEST $FORGEWATCH_EVENT_TYPE $FORGEWATCH_JOB\"; echo oops >&2; exit 3",
    );
    fixture.configure(&hook("next", "'job.*'", &script, ""));
    let daemon = fixture.start();
    let done = fixture
        .client(&["hooks", "test", "next", "--json"])
        .expect(1);
    let report = report(&done);
    assert_eq!(
        (&report["exit_status"], &report["delivered"]),
        (&3.into(), &false.into())
    );
    assert_eq!(report["output"], "test=true job.completed diff/1234\noops");
    let sent: Value = serde_json::from_str(report["sent"].as_str().unwrap()).unwrap();
    assert_eq!(sent["data"]["test"], true);
    let done = fixture.client(&["hooks", "test", "next"]).expect(1);
    assert!(done.stdout.contains("status:    exit status 3"), "{done:?}");
    assert!(
        done.stderr.contains("not delivered: exit status 3"),
        "{done:?}"
    );
    daemon.stop("TERM");
}

#[test]
fn without_a_daemon_the_command_makes_the_attempt_itself() {
    let receiver = receive(vec![
        response_with("200 OK", "no_text"),
        response("204 No Content", ""),
    ]);
    let fixture = DaemonFixture::new("", "");
    fixture.configure(&chat(&receiver, "format = 'slack'"));
    let config = fixture.path("fw.toml").display().to_string();
    let test = |more: &[&str]| {
        let args = [&["hooks", "test", "chat", "--config", &config], more].concat();
        fixture.sim.sandbox.program(&args).run()
    };
    let done = test(&[]).expect(1);
    assert!(done.stderr.contains("no daemon is running"), "{done:?}");
    assert!(
        done.stderr.contains(
            "not delivered: HTTP 200, but the response says otherwise; response: no_text"
        ),
        "{done:?}"
    );
    let done = test(&["--type", "job.unreachable"]).expect(0);
    assert!(
        done.stdout.contains("[test] diff/1234 cannot be polled"),
        "{done:?}"
    );
    // Named, so it has to be there.
    let none = fixture.path("none.sock").display().to_string();
    test(&["--socket", &none]).expect(1);
    assert_eq!(receiver.requests.try_iter().count(), 2);
}

#[test]
fn unknown_names_and_types_are_errors_and_a_type_without_a_body_sends_nothing() {
    let receiver = receive(vec![response("204 No Content", "")]);
    let fixture = DaemonFixture::new("", "");
    fixture.configure(&chat(&receiver, "format = 'otlp'").replace(", 'job.stalled'", ""));
    let daemon = fixture.start();
    let said = |args: &[&str], status| {
        fixture
            .client(&[&["hooks", "test"], args].concat())
            .expect(status)
    };
    let unknown = said(&["chatt"], 1).stderr;
    assert!(
        unknown.contains("no hook \"chatt\" in the configuration; did you mean chat?"),
        "{unknown}"
    );
    assert!(said(&["x"], 1).stderr.contains("use one of chat"));
    assert!(
        said(&["chat", "--type", "job.faild"], 2)
            .stderr
            .contains("did you mean job.failed?")
    );
    assert!(
        said(&["chat", "--type", "job.*"], 2)
            .stderr
            .contains("expected one type")
    );
    let nothing = said(&["chat", "--type", "job.stalled"], 0).stdout;
    assert!(
        nothing.contains("sent:      nothing; the format has no body for this event"),
        "{nothing}"
    );
    assert_eq!(receiver.requests.try_iter().count(), 0);
    daemon.stop("TERM");
}

#[test]
fn check_names_the_hooks_that_never_delivered_anything_while_the_daemon_runs() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let config = fixture.path("fw.toml").display().to_string();
    let check = || {
        fixture
            .client(&["check", "--config", &config])
            .expect(0)
            .stdout
    };
    let hooks = hook("good", "'job.completed'", "/bin/true", "")
        + &hook("late", "'job.failed'", "/bin/true", "");
    fixture.configure(&(listed("diff/1") + &hooks));
    assert!(!check().contains("not delivered"), "there is no state file");
    let mut daemon = fixture.start();
    daemon.await_line("delivery", |line| line["message"] == "delivered");
    // The result is stored by then.
    daemon.stop("TERM");
    let daemon = fixture.start();
    let text = check();
    assert!(
        text.contains(
            "not delivered: late; nothing yet, by the state file; try: forgewatch hooks test late"
        ),
        "{text}"
    );
    daemon.stop("TERM");
    let daemon = fixture.start();
    daemon.stop("TERM");
}
