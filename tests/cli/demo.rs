//! The first thing a newcomer runs.

use std::thread;

use crate::place::{Done, Place};

/// Runs the demo with nothing but what every machine has.
fn demo(output: &str) -> Done {
    let place = Place::new();
    let demo = place.program(&["demo", "--output", output]);
    let demo = ["ACCESS_KEY", "SECRET_KEY", "CONFIG"]
        .iter()
        .fold(demo, |demo, name| {
            demo.without_env(&format!("FORGEWATCH_{name}"))
        });
    let done = demo.run();
    assert!(
        !place.path("cache").exists(),
        "a simulator teaches nothing about a real server"
    );
    done
}

#[test]
fn the_demo_goes_as_scripted_in_every_form_of_output() {
    let text = thread::spawn(|| demo("text"));
    let quiet = thread::spawn(|| demo("quiet"));
    let done = demo("json").expect(0);
    for (job, end) in [
        ("update/77", "job.completed"),
        ("update/78", "job.completed"),
        ("diff/1234", "job.completed"),
        ("diff/1235", "job.failed"),
        ("diff/1236", "job.completed"),
        ("diff/1237", "job.squashed"),
    ] {
        assert_eq!(done.end_of(job)["event_type"], end);
    }
    assert_eq!(done.end_of("diff/1236")["files_modified"], 20_000);
    assert_eq!(done.finished()["outcome"], "failed", "one fails on purpose");
    assert_eq!(done.stderr, "");

    let text = text.join().unwrap().expect(0);
    assert_eq!(
        text.stdout.matches("COMPLETED").count(),
        4,
        "{}",
        text.stdout
    );
    assert_eq!(text.stdout.matches("FAILED").count(), 1, "{}", text.stdout);
    assert_eq!(
        text.stdout.matches("SQUASHED").count(),
        1,
        "{}",
        text.stdout
    );
    assert_eq!(quiet.join().unwrap().expect(0).stdout, "");
}

#[test]
fn an_interrupted_demo_says_so() {
    let place = Place::new();
    let program = place.program(&["demo", "--output", "json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let demo = program.stdout(writer).start();
    // The first line is printed when signals are caught already.
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(reader), &mut line).unwrap();
    demo.signal("INT");
    demo.wait().expect(130);
}

#[test]
fn a_bad_form_of_output_is_a_usage_error() {
    let place = Place::new();
    place.program(&["demo", "--output", "xml"]).run().expect(2);
    let done = place
        .program(&["demo"])
        .env("FORGEWATCH_OUTPUT", "xml")
        .run()
        .expect(2);
    assert!(done.stderr.contains("FORGEWATCH_OUTPUT"), "{}", done.stderr);
}
