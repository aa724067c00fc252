//! `forgewatch simulate`, and a watch of it from another process, as its greeting says.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::place::{Place, job};

#[test]
fn a_watch_of_the_simulator_goes_as_scripted_and_a_signal_is_its_end() {
    let place = Place::new();
    let script = place.file(
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
    let program = place.program(&[&args[..], &[script.to_str().unwrap()]].concat());
    let (reader, writer) = std::io::pipe().unwrap();
    let simulator = program.stdout(writer).start();
    let mut greeting = String::new();
    BufReader::new(reader).read_line(&mut greeting).unwrap();
    let base = greeting.split_whitespace().last().unwrap();

    place.watch_at(base, &["diff/1"]).run().expect(3);
    // Its reader has gone by now, which is nothing to it.
    simulator.signal("INT");
    simulator.wait().expect(0);
}

#[test]
fn a_script_that_is_none_is_a_usage_error_with_its_place() {
    let place = Place::new();
    let script = place.file("s.toml", "[[jobs]]\njob = 'diff/0'\nduration = '1s'\n");
    let script = script.to_str().unwrap();
    let done = place
        .program(&["simulate", "--script", script])
        .run()
        .expect(2);
    assert!(done.stderr.contains("s.toml:2:7"), "{}", done.stderr);
    let done = place
        .program(&["simulate", "--script", "/nowhere/s.toml"])
        .run()
        .expect(2);
    assert!(done.stderr.contains("/nowhere/s.toml"), "{}", done.stderr);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new();
    let done = place.program(&["simulate", "--listen", &address]).run();
    assert_eq!(
        (done.status, done.stderr.contains(&address)),
        (1, true),
        "{done:?}"
    );
}
