//! `wait`: pipelines that wait for jobs through the daemon.

use std::env;
use std::fs;

use serde_json::Value;

use super::{DaemonFixture, listed};
use crate::fixture::{CliOutput, CliProcess, LONG, job};

const FAILS: &str = "ending = 'failed'\nerror = 'disk full'";

fn labeled(job: &str, build: u32) -> String {
    format!("{}labels = {{ build = '{build}' }}\n", listed(job))
}

/// The types of the events of these jobs, and the exit status.
fn ends(output: &CliOutput) -> (i32, Vec<String>) {
    let events = output.events();
    let ends = events.iter().filter(|event| {
        let kind = event["event_type"].as_str().unwrap();
        ["completed", "failed", "removed"]
            .iter()
            .any(|end| kind == format!("job.{end}"))
    });
    let end = |event: &Value| {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        format!("{} {}", text("event_type"), text("job"))
    };
    let mut ends: Vec<String> = ends.map(end).collect();
    ends.sort();
    (output.status, ends)
}

/// Starts a wait that prints JSON, and returns once it follows its jobs.
fn start_wait(fixture: &DaemonFixture, args: &[&str]) -> CliProcess {
    let log = [&["wait", "--output", "json"], args].concat();
    fixture.start_client(&log)
}

fn wait(fixture: &DaemonFixture, args: &[&str]) -> CliOutput {
    start_wait(fixture, args).wait()
}

#[test]
fn a_wait_ends_with_its_jobs_and_makes_no_request() {
    let script = job("update/77", "duration = '2s'") + &job("diff/5", FAILS) + &job("diff/9", LONG);
    let jobs = labeled("update/77", 1) + &labeled("diff/5", 1) + &listed("diff/9");
    let fixture = DaemonFixture::new(&script, &jobs);
    let daemon = fixture.start();
    let both = wait(&fixture, &["update/77", "--diff", "5"]);
    let failed = ["job.completed update/77", "job.failed diff/5"];
    let failed = (1, failed.map(str::to_owned).to_vec());
    assert_eq!(ends(&both), failed);
    let finished = both.finished();
    assert_eq!(finished["outcome"], "failed", "{finished}");
    assert!(finished["instance"].is_string(), "{finished}");
    assert_eq!(
        (&finished["jobs"], &finished["completed"]),
        (&2.into(), &1.into())
    );
    let end = both.end_of("update/77");
    let requests = fixture.sim.requests_for("update/77").len();
    assert_eq!(end["requests"], requests, "{end}");

    // They ended meanwhile: a later wait says the same with the same records.
    let again = wait(&fixture, &["--label", "build=1"]);
    assert_eq!(ends(&again), failed);
    assert_eq!(again.end_of("update/77"), end);
    let succeeded = wait(&fixture, &["update/77"]);
    assert_eq!(succeeded.status, 0);
    daemon.stop("TERM");
}

#[test]
fn jobs_that_the_daemon_does_not_know_are_a_usage_error_unless_added() {
    let fixture = DaemonFixture::new(&(job("diff/5", "") + &job("diff/6", "")), "");
    let daemon = fixture.start();
    let output = wait(&fixture, &["diff/5", "diff/6"]).expect(2);
    assert!(
        output.stderr.contains("diff/5, diff/6; add with --add"),
        "{output:?}"
    );
    assert!(output.stdout.is_empty(), "{output:?}");
    let output = wait(&fixture, &["-l", "build=7"]).expect(2);
    assert!(
        output
            .stderr
            .contains("no watched job has the labels build=7"),
        "{output:?}"
    );
    let output = wait(&fixture, &[]).expect(2);
    assert!(output.stderr.contains("no jobs to wait for"), "{output:?}");

    let added = wait(&fixture, &["diff/5", "--add", "--label", "build=7"]).expect(0);
    assert_eq!(added.end_of("diff/5")["labels"]["build"], "7");
    let selected = wait(&fixture, &["-l", "build=7"]).expect(0);
    assert_eq!(ends(&selected).1, ["job.completed diff/5"]);
    daemon.stop("TERM");
}

#[test]
fn any_and_fail_fast_end_early_and_a_timeout_leaves_the_jobs_alone() {
    let script = job("diff/1", "") + &job("diff/2", FAILS) + &job("diff/3", LONG);
    let jobs: String = ["diff/1", "diff/2", "diff/3"].map(listed).concat();
    let fixture = DaemonFixture::new(&script, &jobs);
    let daemon = fixture.start();
    let any = wait(&fixture, &["diff/1", "diff/3", "--any"]).expect(0);
    assert_eq!(ends(&any).1, ["job.completed diff/1"]);
    let fail_fast = wait(&fixture, &["diff/2", "diff/3", "--fail-fast"]).expect(1);
    assert_eq!(ends(&fail_fast).1, ["job.failed diff/2"]);
    let late = wait(&fixture, &["diff/1", "diff/3", "--timeout", "1s"]).expect(124);
    assert_eq!(late.finished()["outcome"], "timed_out");
    let list = fixture.client(&["list", "--json"]).expect(0).stdout;
    assert!(list.contains("diff/3"), "{list}");
    daemon.stop("TERM");
}

#[test]
fn a_removed_job_and_a_signal_end_the_wait() {
    let script = job("diff/1", LONG) + &job("diff/2", LONG);
    let fixture = DaemonFixture::new(&script, &(listed("diff/1") + &listed("diff/2")));
    let mut daemon = fixture.start();
    daemon.await_event("job.watching", "diff/1");
    let removed = start_wait(&fixture, &["diff/1"]);
    let interrupted = start_wait(&fixture, &["diff/2"]);
    // Both count while they are connected.
    fixture.client(&["remove", "diff/1"]).expect(0);
    let removed = removed.wait();
    assert_eq!(ends(&removed), (1, vec!["job.removed diff/1".to_owned()]));
    assert_eq!(removed.finished()["outcome"], "removed");
    // Removed before: the same.
    assert_eq!(ends(&wait(&fixture, &["diff/1"])), ends(&removed));
    interrupted.signal("TERM");
    assert_eq!(interrupted.wait().finished()["outcome"], "interrupted");
    daemon.stop("TERM");
}

#[test]
fn without_a_daemon_a_wait_gives_up_or_times_out() {
    let fixture = DaemonFixture::new(&job("diff/1", ""), "");
    let late = wait(&fixture, &["diff/1", "--timeout", "300ms"]).expect(124);
    assert_eq!(late.finished()["outcome"], "timed_out");
    let output = wait(&fixture, &["diff/1", "--give-up-after", "300ms"]).expect(6);
    let finished = output.finished();
    assert_eq!(finished["outcome"], "gave_up");
    let message = finished["message"].as_str().unwrap();
    assert!(message.starts_with("daemon not reached, in "), "{message}");
    let warnings: Vec<Value> = output.lines();
    assert!(
        warnings.iter().any(|line| line["message"]
            .as_str()
            .unwrap()
            .contains("no daemon is running")),
        "{output:?}"
    );
}

/// `WAIT_KILLS` sets how often the daemon is killed; five waits reconnect each time.
#[test]
fn waits_survive_kills_reloads_and_a_new_start_of_the_daemon() {
    let kills = env::var("WAIT_KILLS").map_or(50, |text| text.parse().unwrap());
    let jobs: Vec<String> = (1..=5).map(|id| format!("diff/{id}")).collect();
    let script: String = jobs
        .iter()
        .map(|name| job(name, "duration = '1h'"))
        .collect();
    let fixture = DaemonFixture::new(
        &script,
        &jobs.iter().map(|name| listed(name)).collect::<String>(),
    );
    let mut daemon = fixture.start();
    for name in &jobs {
        daemon.await_event("job.watching", name);
    }
    let waits: Vec<CliProcess> = jobs
        .iter()
        .map(|name| start_wait(&fixture, &[name]))
        .collect();
    for kill in 0..kills {
        match kill % 3 {
            0 => drop(daemon.stop("KILL")),
            1 => drop(daemon.stop("TERM")),
            // A reload does not concern a wait.
            _ => {
                fixture.client(&["reload"]).expect(0);
                drop(daemon.stop("KILL"));
            }
        }
        daemon = fixture.start();
    }
    // One ends while the daemon runs, the others while no wait is connected.
    fixture.client(&["remove", "diff/1"]).expect(0);
    for wait in waits.iter().skip(1) {
        wait.signal("STOP");
    }
    for name in &jobs[1..] {
        fixture.client(&["remove", name]).expect(0);
    }
    daemon.stop("KILL");
    let daemon = fixture.start();
    for wait in waits.iter().skip(1) {
        wait.signal("CONT");
    }
    for (wait, name) in waits.into_iter().zip(&jobs) {
        let output = wait.wait();
        assert_eq!(ends(&output), (1, vec![format!("job.removed {name}")]));
        let ids: Vec<Value> = output
            .events()
            .iter()
            .map(|event| event["event_id"].clone())
            .collect();
        let mut unique: Vec<String> = ids.iter().map(ToString::to_string).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "an event came twice: {output:?}");
    }
    daemon.stop("TERM");
}

/// A wait of diff/1 whose output can be read while it runs.
fn wait_into_file(fixture: &DaemonFixture) -> (CliProcess, impl Fn() -> String) {
    let printed = fixture.path("printed");
    let args = ["wait", "--output", "json", "diff/1"];
    let wait = (fixture.sim.sandbox.program(&args))
        .env("FORGEWATCH_SOCKET", fixture.socket())
        .stdout(fs::File::create(&printed).unwrap())
        .start();
    (wait, move || fs::read_to_string(&printed).unwrap())
}

#[test]
fn events_of_the_time_without_a_connection_are_printed_later() {
    let fixture = DaemonFixture::new(&job("diff/1", "duration = '6s'"), &listed("diff/1"));
    let daemon = fixture.start();
    let (wait, printed) = wait_into_file(&fixture);
    while !printed().contains("\"event_type\":\"job.") {
        std::thread::yield_now();
    }
    wait.signal("STOP");
    daemon.stop("KILL");
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/1");
    wait.signal("CONT");
    wait.wait().expect(0);
    let printed = printed();
    let records = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let numbers: Vec<u64> = records
        .filter(|record: &Value| record["job"] == "diff/1" && record["seq"].is_u64())
        .map(|record| record["seq"].as_u64().unwrap())
        .collect();
    let first = numbers[0];
    let expected: Vec<u64> = (first..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "{printed}");
    assert!(numbers.len() > 2, "{printed}");
    daemon.stop("TERM");
}

#[test]
fn a_job_that_the_state_lost_counts_as_removed() {
    let fixture = DaemonFixture::new(&job("diff/1", LONG), "");
    let daemon = fixture.start();
    fixture.client(&["add", "diff/1"]).expect(0);
    let (wait, printed) = wait_into_file(&fixture);
    while !printed().contains("watch.started") {
        std::thread::yield_now();
    }
    daemon.stop("KILL");
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(fixture.path(file));
    }
    let daemon = fixture.start();
    wait.wait().expect(1);
    let printed = printed();
    assert!(printed.contains("diff/1 has ended (removed)"), "{printed}");
    assert!(printed.contains("\"outcome\":\"removed\""), "{printed}");
    daemon.stop("TERM");
}
