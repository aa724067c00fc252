//! `forgewatch demo`, from start to end.

use std::thread;

use crate::fixture::{CliOutput, Sandbox};

/// Runs the demo without credentials and configuration.
fn demo(output: &str) -> CliOutput {
    let sandbox = Sandbox::new();
    let demo = sandbox.program(&["demo", "--output", output]);
    // A job fails on purpose, which is no problem of a build.
    let demo = demo.env("GITHUB_ACTIONS", "true");
    let demo = ["ACCESS_KEY", "SECRET_KEY", "CONFIG"]
        .iter()
        .fold(demo, |demo, name| {
            demo.without_env(&format!("FORGEWATCH_{name}"))
        });
    let done = demo.run();
    assert!(
        !sandbox.path("cache").exists(),
        "calibrations of a simulator must not be saved"
    );
    done
}

#[test]
fn the_demo_follows_its_script_in_every_output_format() {
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
        ("version/5", "job.completed"),
    ] {
        assert_eq!(done.end_of(job)["event_type"], end);
    }
    assert_eq!(done.end_of("diff/1236")["files_modified"], 20_000);
    assert_eq!(
        done.finished()["outcome"],
        "failed",
        "one job fails on purpose"
    );
    assert_eq!(done.stderr, "");

    let text = text.join().unwrap().expect(0);
    assert_eq!(
        text.stdout.matches("COMPLETED").count(),
        5,
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
    assert!(!text.stdout.contains("::error"), "{}", text.stdout);
    assert_eq!(quiet.join().unwrap().expect(0).stdout, "");
}

#[test]
fn an_interrupted_demo_exits_with_130() {
    let sandbox = Sandbox::new();
    let program = sandbox.program(&["demo", "--output", "json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let demo = program.stdout(writer).start();
    // By the first line, the signal handlers are installed.
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(reader), &mut line).unwrap();
    demo.signal("INT");
    demo.wait().expect(130);
}

#[test]
fn an_invalid_output_format_is_a_usage_error() {
    let sandbox = Sandbox::new();
    sandbox
        .program(&["demo", "--output", "xml"])
        .run()
        .expect(2);
    let done = sandbox
        .program(&["demo"])
        .env("FORGEWATCH_OUTPUT", "xml")
        .run()
        .expect(2);
    assert!(done.stderr.contains("FORGEWATCH_OUTPUT"), "{}", done.stderr);
}
