//! Reports and annotations of `wait`, whose jobs a daemon watches.

use std::fs;

use super::{cases, parsers};
use crate::daemon::DaemonFixture;
use crate::fixture::{CliOutput, job};

const REPORT: [&str; 2] = ["--report", "junit=r.xml"];

fn fixture() -> DaemonFixture {
    let failing = job("diff/2", "ending = 'failed'\nerror = 'disk full'");
    DaemonFixture::new(&(failing + &job("diff/3", "duration = '1h'")), "")
}

fn wait(fixture: &DaemonFixture, args: &[&str]) -> CliOutput {
    let args = [&["wait", "--output", "text"], args].concat();
    let wait = fixture.sim.sandbox.program(&args);
    wait.env("FORGEWATCH_SOCKET", fixture.socket())
        .env("GITHUB_ACTIONS", "true")
        .run()
}

#[test]
fn a_wait_reports_ended_jobs_and_those_that_it_stopped_waiting_for() {
    let fixture = fixture();
    let daemon = fixture.start();
    let args = [
        &REPORT[..],
        &["diff/2", "diff/3", "--add", "--timeout", "3s"],
    ]
    .concat();
    let done = wait(&fixture, &args).expect(124);
    let found = cases(&fixture.sim);
    assert_eq!(found[0], ["diff/2", "failure", "failed", "disk full"]);
    assert_eq!(found[1][..3], ["diff/3", "error", "timed_out"]);
    let commands = parsers::github(&done.stdout);
    let errors = commands.iter().filter(|command| command.name == "error");
    let titles: Vec<_> = errors.map(|error| &*error.properties["title"]).collect();
    assert_eq!(titles, ["diff/2 failed", "diff/3 timed out"]);

    // The job has ended already; the other one is not waited for.
    let args = [&REPORT[..], &["diff/2", "diff/3", "--any"]].concat();
    wait(&fixture, &args).expect(1);
    let found = cases(&fixture.sim);
    assert_eq!(found[0][1], "failure");
    assert_eq!(found[1][1..3], ["skipped", "not_waited_for"]);
    daemon.stop("TERM");
}

#[test]
fn a_wait_with_an_unusable_report_adds_nothing() {
    let fixture = fixture();
    let daemon = fixture.start();
    let done = wait(
        &fixture,
        &["diff/2", "--add", "--report", "junit=no/such/file"],
    )
    .expect(2);
    assert!(done.stderr.contains("no/such/file"), "{}", done.stderr);
    let args = [
        "diff/2", "--add", "--report", "junit=a", "--report", "json=a",
    ];
    wait(&fixture, &args).expect(2);
    let list = fixture
        .client(&["list", "--all", "--json"])
        .expect(0)
        .stdout;
    assert_eq!(list.trim(), "[]");
    assert!(!fs::exists(fixture.path("a")).unwrap());
    daemon.stop("TERM");
}
