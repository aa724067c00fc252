//! Flags given twice, short flags, color.

use crate::fixture::{SimFixture, faulty, job};

#[test]
fn of_a_flag_given_twice_the_last_counts() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let unreachable = ["--base-url", "http://127.0.0.1:9", "--output", "json"];
    let args = [
        "--base-url",
        &fixture.server.base_url(),
        "-o",
        "text",
        "--fail-fast",
        "--fail-fast",
    ];
    let timeouts = ["--timeout", "nonsense", "--timeout", "1h", "diff/1"];
    let args = [
        &["watch", "--until-done", "--account-service-id", "5678"],
        &unreachable[..],
        &args,
        &timeouts,
    ]
    .concat();
    let done = fixture.sandbox.program(&args).run().expect(0);
    assert!(done.stdout.contains("COMPLETED"), "{}", done.stdout);
    // Lists grow.
    let labels = ["-l", "a=1", "--label", "b=2", "diff/1"];
    let done = fixture.watch(&labels).run().expect(0);
    let expected = serde_json::json!({"a": "1", "b": "2"});
    assert_eq!(done.end_of("diff/1")["labels"], expected);
}

#[test]
fn quiet_prints_failures_and_the_final_line() {
    let script = job("diff/1", "") + &job("diff/2", "ending = 'failed'\nerror = 'disk full'");
    let fixture = SimFixture::new(&script);
    for quiet in [&["-q"][..], &["-o", "quiet"], &["-o", "json", "-q"]] {
        let done = fixture
            .watch(&[quiet, &["diff/1", "diff/2"]].concat())
            .run()
            .expect(1);
        let lines: Vec<&str> = done.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{quiet:?}: {}", done.stderr);
        assert!(lines[0].contains("disk full"), "{}", lines[0]);
        assert!(lines[1].contains("1 of 2 completed"), "{}", lines[1]);
        assert_eq!(done.stdout, "");
    }
    // The last one counts here, too.
    let done = fixture
        .watch(&["-q", "-o", "json", "diff/1"])
        .run()
        .expect(0);
    assert_eq!(done.finished()["outcome"], "completed");
}

#[test]
fn the_color_flag_overrides_the_environment() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let has_color = |color: &str, name: &str| {
        let watch = fixture.watch(&["-o", "text", "--color", color, "diff/1"]);
        watch
            .env(name, "1")
            .run()
            .expect(0)
            .stdout
            .contains('\u{1b}')
    };
    assert!(has_color("always", "NO_COLOR"));
    assert!(!has_color("never", "FORCE_COLOR"));
    assert!(has_color("auto", "FORCE_COLOR"));
    assert!(!has_color("auto", "NO_COLOR"));
    let help = |name: &str| {
        let help = fixture.sandbox.program(&["--help"]).env(name, "1");
        help.run().expect(0).stdout.contains('\u{1b}')
    };
    assert!(help("FORCE_COLOR"));
    assert!(!help("NO_COLOR"));
}

#[test]
fn diagnostics_on_a_terminal_are_short_sentences() {
    let script = faulty("diff/1", "1", "status = 429\nretry_after = '1'");
    let fixture = SimFixture::new(&script);
    let watch = fixture
        .watch(&["-o", "auto", "diff/1"])
        .on_terminal(20, 100);
    let done = watch.run().expect(0);
    let lines: Vec<&str> = done.stdout.lines().map(str::trim_end).collect();
    let sentence = "warning: API requested a pause of 1s";
    assert!(
        lines.iter().any(|line| line.contains(sentence)),
        "{}",
        done.stdout
    );
    assert!(!done.stdout.contains("forgewatch::"), "{}", done.stdout);
}

#[test]
fn columns_align_for_long_job_names() {
    let script = job("diff/1", "") + &job("update/1234567890", "");
    let fixture = SimFixture::new(&script);
    let done = fixture
        .watch(&["-o", "text", "diff/1", "update/1234567890"])
        .run()
        .expect(0);
    let columns: Vec<usize> = done
        .stdout
        .lines()
        .filter_map(|line| line.find("COMPLETED"))
        .collect();
    assert_eq!(columns.len(), 2, "{}", done.stdout);
    assert_eq!(columns[0], columns[1], "{}", done.stdout);
}
