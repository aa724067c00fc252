//! The commands where it goes wrong: wrong words, no daemon, or an answer that is none.

use std::fs;

use forgewatch::control::protocol::Answer;

use crate::fixture::{Stage, impostor, program};
use crate::samples::deliveries;

#[test]
fn a_bad_file_is_told_line_by_line_when_it_is_reloaded() {
    let stage = Stage::answering(|_| Answer::Refused {
        errors: vec![
            "/etc/f.toml:3:1: api.timeout: write e.g. \"30s\"".to_owned(),
            "/etc/f.toml:9:1: \x1b[2J is not a key".to_owned(),
        ],
    });
    insta::assert_snapshot!(stage.run(&["reload"]).shown(&stage), @r#"
        error: /etc/f.toml:3:1: api.timeout: write e.g. "30s"
        error: /etc/f.toml:9:1: \x1b[2J is not a key
        [1]
        "#);
}

#[test]
fn without_a_daemon_it_says_where_it_looked_and_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    fs::write(
        &file,
        "[control]\nsocket = '/nowhere/file.sock'\n[api]\nbroken = true\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let ask = |args: &[&str], variable: &str| {
        let args = [&["list", "--config", file][..], args].concat();
        let program = program(folder.path(), &args).env("FORGEWATCH_SOCKET", variable);
        let done = program.run().expect(1);
        assert!(done.stdout.is_empty());
        done.stderr.replace(file, "f.toml")
    };
    let said = [
        ask(
            &["--socket", "/nowhere/flag.sock"],
            "/nowhere/variable.sock",
        ),
        ask(&[], "/nowhere/variable.sock"),
        ask(&[], ""),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
        error: no daemon answers at /nowhere/flag.sock (from --socket): No such file or directory (os error 2); start one with `forgewatch watch`, or say where it listens: --socket, then $FORGEWATCH_SOCKET, then control.socket of the configuration file

        error: no daemon answers at /nowhere/variable.sock (from FORGEWATCH_SOCKET): No such file or directory (os error 2); start one with `forgewatch watch`, or say where it listens: --socket, then $FORGEWATCH_SOCKET, then control.socket of the configuration file

        error: no daemon answers at /nowhere/file.sock (control.socket of f.toml): No such file or directory (os error 2); start one with `forgewatch watch`, or say where it listens: --socket, then $FORGEWATCH_SOCKET, then control.socket of the configuration file
        ");
}

#[test]
fn a_socket_that_nobody_listens_at_is_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let done = program(folder.path(), &["reload", "--socket", "s"])
        .run()
        .expect(1);
    assert!(done.stderr.contains("no daemon answers at s"), "{done:?}");
}

#[test]
fn an_answer_that_is_none_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    for (name, (says, why)) in [
        ("", "was lost"),
        ("\"done\"", "was lost"),
        ("SSH-2.0-x\r\n", "not understood"),
        ("\"finished\"\n", "not understood"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = name.to_string();
        let impostor = impostor(&folder.path().join(&name), vec![says.to_owned()]);
        let reload = program(folder.path(), &["reload", "--socket", &name]).run();
        let done = reload.expect(1);
        assert!(done.stderr.contains(why), "{done:?}");
        assert_eq!(impostor.join().unwrap(), ["\"reload\"\n"]);
    }
}

#[test]
fn usage_errors_are_told_at_once_and_nothing_is_asked() {
    let stage = Stage::obedient();
    let said: Vec<String> = [
        &["add"][..],
        &["add", "diff/x", "--update", "0", "--label", "no"],
        &["remove", "1234"],
        &["remove", "diff/1", "--label", "a=b"],
        &["show", "diff/0"],
        &["events", "--since", "yesterday"],
        &["hooks"],
    ]
    .iter()
    .map(|args| {
        let done = stage.run(args).expect(2);
        assert!(done.stdout.is_empty(), "{done:?}");
        done.stderr
            .lines()
            .take_while(|line| !line.is_empty())
            .fold(format!("$ {}", args.join(" ")), |all, line| {
                all + "\n" + line
            })
    })
    .collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
        $ add
        error: no jobs; name some: diff/1234, --diff 1234, --update 77 or --jobs-file FILE
        $ add diff/x --update 0 --label no
        error: --label: "no" is not NAME=VALUE; write e.g. build=8812
        error: JOB: "diff/x" is not a job; an ID is a whole number from 1 to 18446744073709551615
        error: --update: "0" is not an ID; an ID is a whole number from 1 to 18446744073709551615
        $ remove 1234
        error: JOB: "1234" is not a job; write e.g. diff/1234 or update/77
        $ remove diff/1 --label a=b
        error: unexpected argument '--label' found
        $ show diff/0
        error: invalid value 'diff/0' for '<JOB>': "0" is not a job ID: it is a whole number from 1 to 18446744073709551615
        $ events --since yesterday
        error: invalid value 'yesterday' for '--since <DURATION or OFFSET>': a duration such as 10m or 1h 30m, or an offset such as 4711, would do
        $ hooks
        Look after deliveries to hooks that wait or were given up
        "#);
    assert!(!stage.was_asked());
}

#[test]
fn an_answer_to_something_else_is_no_success() {
    let stage = Stage::answering(|_| deliveries(Vec::new()));
    for args in [
        &["add", "diff/1"][..],
        &["remove", "diff/1"],
        &["list"],
        &["show", "diff/1"],
        &["reload"],
        &["hooks", "retry", "x/y"],
        &["hooks", "discard", "--all"],
    ] {
        let done = stage.run(args).expect(1);
        assert!(done.stderr.contains("another version"), "{done:?}");
    }
}
