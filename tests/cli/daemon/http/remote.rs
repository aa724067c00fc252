//! The commands of clients through the API.

use serde_json::Value;

use super::{HttpFixture, TOKEN};
use crate::daemon::hook;
use crate::fixture::{CliCommand, CliOutput, LONG, job};

impl HttpFixture {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn remote_command(&self, args: &[&str]) -> CliCommand {
        self.daemon
            .sim
            .sandbox
            .program(args)
            .env("FORGEWATCH_SERVER", self.url())
            .env("FORGEWATCH_TOKEN_FILE", self.daemon.path("token"))
    }

    /// Runs a client that uses the API.
    fn remote(&self, args: &[&str]) -> CliOutput {
        self.remote_command(args).run()
    }
}

#[test]
fn every_command_works_as_through_the_socket() {
    let script = job("diff/1", LONG) + &job("update/2", "") + &job("diff/3", "");
    let fixture = HttpFixture::new(&script, "allow_remote = true");
    let hook_script = fixture.daemon.script("hook", "exit 1");
    fixture.configure(
        "token_files = ['token']\nallow_remote = true",
        &hook("chat", "'job.completed'", &hook_script, "retries = 0"),
    );
    let mut daemon = fixture.start();
    let added = fixture.remote(&["add", "diff/1", "update/2", "diff/3", "-l", "a=b c&d=%"]);
    assert_eq!(
        added.expect(0).stdout,
        "watching diff/1\nwatching update/2\nwatching diff/3\n"
    );
    for job in ["update/2", "diff/3"] {
        daemon.await_event("job.completed", job);
        daemon.await_event("hook.failed", "");
    }
    let again = fixture
        .remote(&["add", "diff/1", "update/2"])
        .expect(0)
        .stdout;
    assert!(again.contains("already watching diff/1"), "{again}");
    assert!(
        again.contains("update/2 has already ended (completed)"),
        "{again}"
    );

    for args in [
        &["events"][..],
        &[
            "events", "--since", "1", "--type", "job.*", "--job", "diff/1",
        ],
        &["events", "--since", "1h", "-l", "a=b c&d=%"],
        &[
            "list",
            "--all",
            "--state",
            "completed",
            "--sort",
            "name",
            "--json",
        ],
        &["list", "-l", "a=none"],
        &["show", "update/2", "--json"],
        &["show", "diff/7"],
        &["hooks", "list", "--json"],
        &["hooks", "retry", "nothing"],
        &["events", "--since", "99999"],
    ] {
        let (remote, local) = (fixture.remote(args), fixture.daemon.client(args));
        assert_eq!(format!("{remote:?}"), format!("{local:?}"), "{args:?}");
    }

    let list: Value =
        serde_json::from_str(&fixture.remote(&["hooks", "list", "--json"]).stdout).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    fixture.remote(&["hooks", "retry", id]).expect(0);
    daemon.await_event("hook.failed", "");
    fixture.remote(&["hooks", "discard", id]).expect(0);
    let rest = fixture.remote(&["hooks", "discard", "--all"]).expect(0);
    assert_eq!(rest.stdout, "discarded 1 delivery\n");

    let removed = fixture.remote(&["remove", "diff/1", "diff/7"]).expect(1);
    assert_eq!(removed.stdout, "removed diff/1\n");
    assert!(
        removed.stderr.contains("diff/7 is not watched"),
        "{removed:?}"
    );
    fixture.remote(&["reload"]).expect(0);
    let status = fixture.remote(&["status"]).expect(0).stdout;
    assert!(status.contains(" ago, applied"), "{status}");
    let socket_only = fixture.remote(&["hooks", "test", "chat"]).expect(1);
    assert!(
        socket_only
            .stderr
            .contains("through the daemon's socket only"),
        "{socket_only:?}"
    );
    let follow = fixture.remote_command(&["events", "--follow"]).start();
    daemon.stop("TERM");
    let follow = follow.wait();
    assert!(follow.status == 1, "{follow:?}");
}

#[test]
fn a_wait_goes_on_when_the_daemon_restarts() {
    let fixture = HttpFixture::new(&job("diff/1", "duration = '3s'"), "allow_remote = true");
    let mut daemon = fixture.start();
    let args = ["wait", "--add", "diff/1", "--output", "json"];
    let wait = fixture.remote_command(&args).start();
    daemon.await_event("job.watching", "diff/1");
    daemon.stop("KILL");
    let daemon = fixture.start();
    daemon.stop("TERM");
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/1");
    let output = wait.wait().expect(0);
    let ends: Vec<Value> = output.events_of("diff/1");
    let ends = ends
        .iter()
        .filter(|event| event["event_type"] == "job.completed");
    assert_eq!(ends.count(), 1, "{output:?}");
    assert_eq!(output.finished()["outcome"], "completed");
}

#[test]
fn errors_of_the_connection_say_what_to_do() {
    let fixture = HttpFixture::new("", "allow_remote = true");
    fixture.token_file("wrong", &"0".repeat(32));
    fixture.token_file("short", "abc");
    let url = fixture.url();
    let run = |args: &[&str]| fixture.daemon.sim.sandbox.program(args).run();
    let token = fixture.daemon.path("token").display().to_string();
    let unreachable = fixture.remote(&["list"]).expect(1);
    let expected =
        format!("cannot reach a daemon at {url}/ (from FORGEWATCH_SERVER): could not connect");
    assert!(unreachable.stderr.contains(&expected), "{unreachable:?}");
    let give_up = ["wait", "diff/1", "--give-up-after", "300ms"];
    fixture.remote(&give_up).expect(6);

    let _daemon = fixture.start();
    for (token_file, status, expected) in [
        ("wrong", 1, "the daemon rejects the token: HTTP 401"),
        ("short", 2, "shorter than 32 characters"),
        ("nowhere", 2, "cannot read the file"),
    ] {
        let path = fixture.daemon.path(token_file).display().to_string();
        let list = run(&["list", "--server", &url, "--token-file", &path]).expect(status);
        assert!(list.stderr.contains(expected), "{list:?}");
        assert!(
            !list.stderr.contains("000000") && !list.stderr.contains(TOKEN),
            "{list:?}"
        );
    }
    let wait = run(&["wait", "diff/1", "--server", &url]).expect(1);
    assert!(wait.stderr.contains("rejects the token"), "{wait:?}");
    let wait = fixture.remote(&["wait", "diff/1"]).expect(2);
    assert!(wait.stderr.contains("does not know diff/1"), "{wait:?}");
    let api = fixture.daemon.sim.server.base_url();
    let other = run(&["list", "--server", &api, "--token-file", &token]).expect(1);
    assert!(
        other.stderr.contains("not the HTTP API of forgewatch"),
        "{other:?}"
    );

    for (args, expected) in [
        (
            &["--server", "http://build01:9464"][..],
            "http would send the token in clear text",
        ),
        (&["--server", "https://token@build01"], "use --token-file"),
        (&["--server", "build01"], "invalid URL"),
        (
            &["--server", "https://build01?a"],
            "cannot contain a ?query",
        ),
        (&["--token-file", &token], "a socket needs no token"),
        (&["--server", &url, "--socket", "/x"], "cannot be used with"),
    ] {
        let output = run(&[&["list"], args].concat()).expect(2);
        assert!(output.stderr.contains(expected), "{output:?}");
    }
    let both = fixture
        .remote_command(&["list"])
        .env("FORGEWATCH_SOCKET", "/x")
        .run()
        .expect(2);
    assert!(
        both.stderr.contains("FORGEWATCH_SOCKET is set too"),
        "{both:?}"
    );
}
