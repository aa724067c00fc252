//! `--report`: written as a whole or not at all.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use super::{JOBS, cases, fixture, watch};
use crate::fixture::{SimFixture, job};

const ALL: [&str; 6] = [
    "--report",
    "junit=r.xml",
    "--report",
    "json=r.json",
    "--report",
    "markdown=r.md",
];

fn report(fixture: &SimFixture, name: &str) -> String {
    fs::read_to_string(fixture.sandbox.path(name)).unwrap()
}

#[test]
fn every_format_has_one_entry_per_job() {
    let fixture = fixture();
    watch(&fixture, &ALL).run().expect(1);
    let cases = cases(&fixture);
    assert_eq!(
        cases[0],
        ["diff/2", "failure", "failed", "disk <full>: 99%, 2"]
    );
    assert_eq!(cases[1][..2], ["update/1", "passed"]);
    assert_eq!(cases[2][..3], ["version/3", "skipped", "squashed"]);
    let json: Value = serde_json::from_str(&report(&fixture, "r.json")).unwrap();
    assert_eq!(
        (&json["outcome"], &json["exit_status"]),
        (&"failed".into(), &1.into())
    );
    let jobs = json["jobs"].as_array().unwrap();
    let outcomes: Vec<_> = jobs
        .iter()
        .map(|job| (&job["job"], &job["outcome"]))
        .collect();
    let expected = [
        ("diff/2", "failed"),
        ("update/1", "completed"),
        ("version/3", "squashed"),
    ];
    assert_eq!(outcomes.len(), 3);
    for ((job, outcome), (name, word)) in outcomes.into_iter().zip(expected) {
        assert_eq!((job, outcome), (&name.into(), &word.into()));
    }
    assert_eq!(jobs[0]["error_message"], "disk <full>: 99%, 2");
    let schema = include_str!("../../../config/schema/report.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::validate(&schema, &json).unwrap();
    let markdown = report(&fixture, "r.md");
    assert!(
        markdown.contains("| ` disk <full>: 99%, 2 ` |"),
        "{markdown}"
    );
}

#[test]
fn squashed_jobs_count_as_the_flag_says() {
    for (value, status, element) in [("success", 1, "passed"), ("failure", 1, "failure")] {
        let fixture = fixture();
        let args = [&ALL[..2], &["--squashed-as", value]].concat();
        watch(&fixture, &args).run().expect(status);
        assert_eq!(cases(&fixture)[2][1], element);
    }
}

#[test]
fn a_report_is_written_after_a_timeout_and_a_signal() {
    let script = job("diff/1", "") + &job("diff/2", "duration = '1h'");
    for (status, kind) in [(124, "timed_out"), (143, "abandoned")] {
        let fixture = SimFixture::new(&script);
        let limit = if status == 124 { "2s" } else { "1h" };
        let args = [&ALL[..], &["diff/1", "diff/2", "--timeout", limit]].concat();
        let run = fixture.watch(&args).start();
        if status == 143 {
            fixture.await_requests("diff/2", 2);
            run.signal("TERM");
        }
        run.wait().expect(status);
        let cases = cases(&fixture);
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[1][..3], ["diff/2", "error", kind]);
        let json: Value = serde_json::from_str(&report(&fixture, "r.json")).unwrap();
        assert_eq!(json["exit_status"], status);
    }
}

#[test]
fn a_run_that_is_killed_leaves_no_report_not_even_an_old_one() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    for name in ["r.xml", "r.json", "r.md"] {
        fixture.sandbox.file(name, "old");
    }
    let run = fixture.watch(&[&ALL[..], &["diff/1"]].concat()).start();
    fixture.await_requests("diff/1", 1);
    run.signal("KILL");
    drop(run);
    let folder = fs::read_dir(fixture.sandbox.path("")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names
        .filter(|name| name.contains("r.") || name.starts_with(".forgewatch"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_report_that_cannot_be_written_is_a_usage_error_before_the_first_request() {
    let fixture = fixture();
    fs::create_dir(fixture.sandbox.path("folder")).unwrap();
    symlink("nowhere", fixture.sandbox.path("dangling")).unwrap();
    symlink("r.xml", fixture.sandbox.path("link")).unwrap();
    fixture.sandbox.file("r.xml", "old");
    for (reports, expected) in [
        (&["junit=no/such/r.xml"][..], "no/such/r.xml"),
        (&["junit=folder"], "directory"),
        (&["json=r.json/"], "directory"),
        (&["json=/dev/null"], "not a regular file"),
        (&["json=dangling"], "dangling"),
        (&["json=/proc/forgewatch"], "/proc/forgewatch"),
        (&["json="], "the path is empty"),
        (&["r.xml"], "FORMAT=FILE"),
        (&["xml=r.xml"], "unknown report format"),
        (&["junit=a", "json=a"], "two reports to one file"),
        (&["junit=a", "junit=folder/../a"], "two reports to one file"),
        (&["junit=r.xml", "markdown=link"], "two reports to one file"),
    ] {
        let reports: Vec<&str> = reports
            .iter()
            .flat_map(|report| ["--report", report])
            .collect();
        let done = watch(&fixture, &reports).run().expect(2);
        assert!(
            done.stderr.contains(expected),
            "{reports:?}: {}",
            done.stderr
        );
    }
    assert_eq!(fixture.server.log().len(), 0);
    assert_eq!(report(&fixture, "r.xml"), "old");
}

#[test]
fn a_symbolic_link_stays_and_its_file_is_replaced() {
    let fixture = fixture();
    let real = fixture.sandbox.file("real.xml", "old");
    symlink(&real, fixture.sandbox.path("r.xml")).unwrap();
    watch(&fixture, &ALL[..2]).run().expect(1);
    assert!(fixture.sandbox.path("r.xml").is_symlink());
    assert_eq!(cases(&fixture).len(), JOBS.len());
}
