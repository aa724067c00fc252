//! `forgewatch simulate`, watched from another process at the address that it prints.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::fixture::{Sandbox, job};

#[test]
fn the_simulator_serves_its_script_until_a_signal() {
    let sandbox = Sandbox::new();
    let script = sandbox.file(
        "s.toml",
        job("diff/1", "duration = '20s'\nending = 'squashed'"),
    );
    let args = [
        "simulate",
        "--listen",
        "127.0.0.1:0",
        "--speed",
        "100",
        "--script",
    ];
    let program = sandbox.program(&[&args[..], &[script.to_str().unwrap()]].concat());
    let (reader, writer) = std::io::pipe().unwrap();
    let simulator = program.stdout(writer).start();
    let mut greeting = String::new();
    BufReader::new(reader).read_line(&mut greeting).unwrap();
    let base = greeting.split_whitespace().last().unwrap();

    sandbox.watch_at(base, &["diff/1"]).run().expect(3);
    // The reader of its output is gone by now, which must not matter.
    simulator.signal("INT");
    simulator.wait().expect(0);
}

#[test]
fn the_printed_command_works_also_if_the_simulator_listens_on_every_address() {
    let sandbox = Sandbox::new();
    for listen in ["0.0.0.0:0", "[::]:0", "127.0.0.1:0"] {
        let (reader, writer) = std::io::pipe().unwrap();
        let args = ["simulate", "--listen", listen, "--speed", "10000"];
        let simulator = sandbox.program(&args).stdout(writer).start();
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        let text: Vec<String> = lines.take_while(|line| !line.contains("Ctrl-C")).collect();
        let text = text.join("\n");
        let (_, base) = text.split_once("--base-url ").unwrap();
        let base = base.split_whitespace().next().unwrap();
        let account = text.split_once("--account-service-id ").unwrap().1;
        let account = account.split_whitespace().next().unwrap();
        // The built-in script has jobs that fail; what matters is that the API is accepted and reached.
        let args = ["--account-service-id", account, "diff/1234"];
        let done = sandbox.watch_at(base, &args).run();
        assert!([0, 1, 3].contains(&done.status), "{listen}: {done:?}");
        simulator.signal("TERM");
        simulator.wait().expect(0);
    }
}

#[test]
fn an_invalid_script_is_a_usage_error_with_its_position() {
    let sandbox = Sandbox::new();
    let script = sandbox.file("s.toml", "[[jobs]]\njob = 'diff/0'\nduration = '1s'\n");
    let script = script.to_str().unwrap();
    let done = sandbox
        .program(&["simulate", "--script", script])
        .run()
        .expect(2);
    assert!(done.stderr.contains("s.toml:2:7"), "{}", done.stderr);
    let done = sandbox
        .program(&["simulate", "--script", "/nowhere/s.toml"])
        .run()
        .expect(2);
    assert!(done.stderr.contains("/nowhere/s.toml"), "{}", done.stderr);
}

#[test]
fn an_address_in_use_is_named_in_the_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sandbox = Sandbox::new();
    let done = sandbox.program(&["simulate", "--listen", &address]).run();
    assert_eq!(
        (done.status, done.stderr.contains(&address)),
        (1, true),
        "{done:?}"
    );
}
