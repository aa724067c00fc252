//! Errors of the client commands: wrong arguments, no daemon, invalid responses.

use std::fs;

use forgewatch::control::protocol::{Request, RequestErrorKind, Response};

use crate::fixture::{TestDaemon, fake_daemon, frame, program};
use crate::samples::deliveries;

#[test]
fn reload_prints_every_configuration_error() {
    let daemon = TestDaemon::responding(|_| Response::Error {
        kind: RequestErrorKind::Invalid,
        messages: vec![
            "/etc/f.toml:3:1: api.timeout: expected a duration such as \"30s\"".to_owned(),
            "/etc/f.toml:9:1: \x1b[2J is not a key".to_owned(),
        ],
    });
    insta::assert_snapshot!(daemon.run(&["reload"]).shown(&daemon), @r#"
        error: /etc/f.toml:3:1: api.timeout: expected a duration such as "30s"
        error: /etc/f.toml:9:1: \x1b[2J is not a key
        [1]
        "#);
}

#[test]
fn a_missing_daemon_is_reported_with_its_socket_and_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    fs::write(
        &file,
        "[control]\nsocket = '/nowhere/file.sock'\n[api]\nbroken = true\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let list = |args: &[&str], variable: &str| {
        let args = [&["list", "--config", file][..], args].concat();
        let program = program(folder.path(), &args).env("FORGEWATCH_SOCKET", variable);
        let done = program.run().expect(1);
        assert!(done.stdout.is_empty());
        done.stderr.replace(file, "f.toml")
    };
    let output = [
        list(
            &["--socket", "/nowhere/flag.sock"],
            "/nowhere/variable.sock",
        ),
        list(&[], "/nowhere/variable.sock"),
        list(&[], ""),
    ];
    insta::assert_snapshot!(output.join("\n"), @r"
        error: no daemon is running at /nowhere/flag.sock (from --socket): No such file or directory (os error 2); start one with `forgewatch watch`, or name its socket with --socket, $FORGEWATCH_SOCKET or control.socket in the configuration file

        error: no daemon is running at /nowhere/variable.sock (from FORGEWATCH_SOCKET): No such file or directory (os error 2); start one with `forgewatch watch`, or name its socket with --socket, $FORGEWATCH_SOCKET or control.socket in the configuration file

        error: no daemon is running at /nowhere/file.sock (control.socket of f.toml): No such file or directory (os error 2); start one with `forgewatch watch`, or name its socket with --socket, $FORGEWATCH_SOCKET or control.socket in the configuration file
        ");
}

#[test]
fn a_stale_socket_is_reported_as_a_missing_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let done = program(folder.path(), &["reload", "--socket", "s"])
        .run()
        .expect(1);
    assert!(
        done.stderr.contains("no daemon is running at s"),
        "{done:?}"
    );
}

#[test]
fn an_invalid_response_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, (says, why)) in [
        ("", "was lost"),
        ("\"done\"", "was lost"),
        ("SSH-2.0-x\r\n", "invalid response"),
        ("\"finished\"\n", "invalid response"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = name.to_string();
        let fake_daemon = fake_daemon(&folder.path().join(&name), vec![says.to_owned()]);
        let reload = program(folder.path(), &["reload", "--socket", &name]).run();
        let done = reload.expect(1);
        assert!(done.stderr.contains(why), "{done:?}");
        assert_eq!(fake_daemon.join().unwrap(), [frame(&Request::Reload)]);
    }
}

#[test]
fn usage_errors_are_reported_without_a_request() {
    let daemon = TestDaemon::accepting();
    let output: Vec<String> = [
        &["add"][..],
        &["add", "diff/x", "--update", "0", "--label", "no"],
        &["remove", "1234"],
        &["remove", "diff/1", "--label", "no"],
        &["remove"],
        &["list", "--state", "complete"],
        &["events", "--type", "job.complete"],
        &["show", "diff/0"],
        &["events", "--since", "yesterday"],
        &["hooks"],
    ]
    .iter()
    .map(|args| {
        let done = daemon.run(args).expect(2);
        assert!(done.stdout.is_empty(), "{done:?}");
        done.stderr
            .lines()
            .take_while(|line| !line.is_empty())
            .fold(format!("$ {}", args.join(" ")), |all, line| {
                all + "\n" + line
            })
    })
    .collect();
    insta::assert_snapshot!(output.join("\n"), @r#"
        $ add
        error: no jobs; name some with diff/1234, --diff 1234, --update 77, --image-version 5 or --jobs-file FILE
        $ add diff/x --update 0 --label no
        error: --label: expected NAME=VALUE such as build=8812, found "no"
        error: JOB: invalid job "diff/x": an ID is a whole number from 1 to 18446744073709551615
        error: --update: invalid ID "0": an ID is a whole number from 1 to 18446744073709551615
        $ remove 1234
        error: JOB: invalid job "1234"; did you mean diff/1234, update/1234 or version/1234?
        $ remove diff/1 --label no
        error: --label: expected NAME=VALUE such as build=8812, found "no"
        $ remove
        error: no jobs; name some with diff/1234, --diff 1234, --update 77, --image-version 5 or --jobs-file FILE, or select some with --label NAME=VALUE
        $ list --state complete
        error: invalid value 'complete' for '--state <STATE>'
          [possible values: starting, created, pending, queued, running, unknown, unreachable, completed, failed, squashed, not_found, refused, timed_out, gave_up, removed, abandoned]
        $ events --type job.complete
        error: invalid value 'job.complete' for '--type <TYPE>': unknown event type "job.complete"; did you mean job.completed?
        $ show diff/0
        error: invalid value 'diff/0' for '<JOB>': invalid job ID "0": use a whole number from 1 to 18446744073709551615
        $ events --since yesterday
        error: invalid value 'yesterday' for '--since <TIME|OFFSET>': expected an offset such as 4711, a duration such as 10m, a time such as 2027-01-15T08:00:00Z, or now, found "yesterday"
        $ hooks
        List, retry or discard hook deliveries
        "#);
    assert!(!daemon.has_request());
}

#[test]
fn a_response_to_another_request_is_an_error() {
    let daemon = TestDaemon::responding(|_| deliveries(Vec::new()));
    for args in [
        &["add", "diff/1"][..],
        &["remove", "diff/1"],
        &["list"],
        &["show", "diff/1"],
        &["reload"],
        &["hooks", "retry", "x/y"],
        &["hooks", "discard", "--all"],
    ] {
        let done = daemon.run(args).expect(1);
        assert!(done.stderr.contains("its version may differ"), "{done:?}");
    }
}
