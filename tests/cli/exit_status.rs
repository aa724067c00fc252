//! The exit status of `watch --until-done`, and the `outcome` of `watch.finished`.

use std::io::{Read, Write};

use serde_json::json;

use crate::fixture::{CliOutput, Sandbox, SimFixture, faulty, job};

const GIVE_UP: [&str; 2] = ["--give-up-after", "1s"];
const NO_GRACE: [&str; 2] = ["--not-found-grace", "50ms"];
const JOB_TIMEOUT: [&str; 2] = ["--job-timeout", "2s"];

/// A job with a given end, the flags to reach it, and the exit status.
struct Case {
    script: fn(&str) -> String,
    flags: &'static [&'static str],
    event: &'static str,
    status: i32,
    outcome: &'static str,
    /// The field of `watch.finished` that counts it.
    counted: &'static str,
}

/// In the order of precedence of the statuses.
const CASES: [Case; 7] = [
    Case {
        script: |name| faulty(name, "1-", "status = 401"),
        flags: &[],
        event: "job.refused",
        status: 4,
        outcome: "refused",
        counted: "other",
    },
    Case {
        script: |name| faulty(name, "1-", "status = 500"),
        flags: &GIVE_UP,
        event: "job.gave_up",
        status: 6,
        outcome: "gave_up",
        counted: "other",
    },
    Case {
        script: |name| job(name, "duration = '1h'"),
        flags: &JOB_TIMEOUT,
        event: "job.timed_out",
        status: 124,
        outcome: "timed_out",
        counted: "other",
    },
    Case {
        script: |name| job(name, "ending = 'failed'"),
        flags: &[],
        event: "job.failed",
        status: 1,
        outcome: "failed",
        counted: "failed",
    },
    Case {
        script: |_| String::new(),
        flags: &NO_GRACE,
        event: "job.not_found",
        status: 5,
        outcome: "not_found",
        counted: "other",
    },
    Case {
        script: |name| job(name, "ending = 'squashed'"),
        flags: &[],
        event: "job.squashed",
        status: 3,
        outcome: "squashed",
        counted: "squashed",
    },
    Case {
        script: |name| job(name, ""),
        flags: &[],
        event: "job.completed",
        status: 0,
        outcome: "completed",
        counted: "completed",
    },
];

/// Runs both cases in one watch: the first as diff/1, the second as update/2.
fn run_both(first: &Case, second: &Case) -> CliOutput {
    let fixture = SimFixture::new(&((first.script)("diff/1") + &(second.script)("update/2")));
    let mut flags = first.flags.to_vec();
    flags.extend(second.flags.iter().filter(|f| !first.flags.contains(f)));
    flags.extend(["update/2", "diff/1"]);
    fixture.watch(&flags).run()
}

#[test]
fn every_end_of_a_job_has_an_event_an_exit_status_and_a_count() {
    for case in &CASES {
        let fixture = SimFixture::new(&(case.script)("diff/1"));
        let done = fixture.watch(&[case.flags, &["diff/1"]].concat()).run();
        let done = done.expect(case.status);
        assert_eq!(done.end_of("diff/1")["event_type"], case.event);
        let finished = done.finished();
        let mut counts = json!({"completed": 0, "failed": 0, "squashed": 0, "other": 0});
        counts[case.counted] = json!(1);
        for (field, count) in counts.as_object().unwrap() {
            assert_eq!(&finished[field], count, "{field} of {finished}");
        }
        assert_eq!(finished["outcome"], case.outcome);
        assert_eq!(finished["jobs"], 1);
    }
}

#[test]
fn the_end_with_the_higher_precedence_determines_the_exit_status() {
    for pair in CASES.windows(2) {
        let [first, second] = pair else {
            unreachable!()
        };
        let done = run_both(first, second).expect(first.status);
        assert_eq!(done.end_of("diff/1")["event_type"], first.event);
        assert_eq!(done.end_of("update/2")["event_type"], second.event);
        assert_eq!(done.finished()["outcome"], first.outcome);
    }
}

#[test]
fn jobfailed_or_progress_alone_can_end_a_job() {
    let script =
        job("diff/1", "ending = 'jobfailed_only'") + &job("diff/2", "ending = 'progress_only'");
    let done = SimFixture::new(&script)
        .watch(&["diff/1", "diff/2"])
        .run()
        .expect(1);
    assert_eq!(done.end_of("diff/1")["event_type"], "job.failed");
    assert_eq!(done.end_of("diff/1")["state"], "failed");
    assert_eq!(done.end_of("diff/2")["event_type"], "job.completed");
    assert_eq!(done.end_of("diff/2")["progress"], 100);
}

#[test]
fn wrong_credentials_are_refused_after_two_polls() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let watch = fixture
        .watch(&["diff/1"])
        .env("FORGEWATCH_SECRET_KEY", "not-sim");
    let end = watch.run().expect(4).end_of("diff/1");
    assert_eq!(end["event_type"], "job.refused");
    assert_eq!(
        (&end["error_kind"], &end["http_status"]),
        (&json!("refused"), &json!(401))
    );
    assert_eq!(fixture.requests_for("diff/1").len(), 2);
}

#[test]
fn an_account_without_access_to_the_job_is_refused_after_two_polls() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    let watch = fixture.watch(&["--account-service-id", "1", "diff/1"]);
    let end = watch.run().expect(4).end_of("diff/1");
    assert_eq!(
        (&end["event_type"], &end["http_status"]),
        (&json!("job.refused"), &json!(403))
    );
    assert_eq!(fixture.requests_for("diff/1").len(), 2);
}

#[test]
fn a_403_for_one_job_does_not_end_it_while_another_job_has_a_status() {
    let script = faulty("diff/1", "1-3", "status = 403") + &job("diff/2", "duration = '400ms'");
    let done = SimFixture::new(&script)
        .watch(&["diff/1", "diff/2"])
        .run()
        .expect(0);
    assert_eq!(done.end_of("diff/1")["event_type"], "job.completed");
}

#[test]
fn a_410_ends_a_job_as_not_found_at_once() {
    let fixture = SimFixture::new(&faulty("diff/1", "1-", "status = 410"));
    let end = fixture.watch(&["diff/1"]).run().expect(5).end_of("diff/1");
    assert_eq!(
        (&end["event_type"], &end["http_status"]),
        (&json!("job.not_found"), &json!(410))
    );
    assert_eq!(fixture.requests_for("diff/1").len(), 1);
}

#[test]
fn a_mistyped_id_is_not_found_after_not_found_grace_and_the_right_one_completes() {
    let fixture = SimFixture::new(&job("diff/1234", ""));
    let done = fixture
        .watch(&["--not-found-grace", "300ms", "diff/1243", "diff/1234"])
        .run()
        .expect(5);
    let end = done.end_of("diff/1243");
    assert_eq!(end["event_type"], "job.not_found");
    assert_eq!(done.end_of("diff/1234")["event_type"], "job.completed");
    assert!(fixture.requests_for("diff/1243").len() >= 2);
    // The grace begins with the first response by our clock.
    assert!(end["elapsed_ms"].as_u64() >= Some(300), "{end}");
}

#[test]
fn a_job_that_appears_within_not_found_grace_is_watched() {
    let fixture = SimFixture::new(&job("diff/1", "appears_after = '200ms'"));
    let done = fixture.watch(&["diff/1"]).run().expect(0);
    assert_eq!(done.end_of("diff/1")["event_type"], "job.completed");
    assert!(fixture.requests_for("diff/1")[0].served.contains("404"));
}

#[test]
fn squashed_jobs_count_as_squashed_as_says() {
    let script = job("diff/1", "ending = 'squashed'") + &job("diff/2", "");
    for (flag, status, outcome) in [("success", 0, "completed"), ("failure", 1, "failed")] {
        let watch = SimFixture::new(&script)
            .watch(&["--squashed-as", flag, "diff/1", "diff/2"])
            .run();
        let done = watch.expect(status);
        assert_eq!(done.end_of("diff/1")["event_type"], "job.squashed");
        let finished = done.finished();
        assert_eq!(
            (&finished["outcome"], &finished["squashed"]),
            (&json!(outcome), &json!(1))
        );
    }
}

#[test]
fn a_retried_job_ends_or_continues_by_the_meaning_of_jobfailed() {
    let setback = "{ at = '300ms', for = '100ms', state = 'queued', progress = 5, jobfailed = 2 }";
    let script = job(
        "diff/1",
        &format!("duration = '1s'\nsetbacks = [{setback}]"),
    );
    for (meaning, status) in [("flag", 1), ("count", 0)] {
        SimFixture::new(&script)
            .watch(&["--jobfailed", meaning, "diff/1"])
            .run()
            .expect(status);
    }
}

#[test]
fn the_exponential_policy_detects_the_end() {
    let fixture = SimFixture::new(&job("diff/1", ""));
    fixture
        .watch(&["--policy", "exponential", "diff/1"])
        .run()
        .expect(0);
}

#[test]
fn the_timeout_ends_every_running_job() {
    let script =
        job("diff/1", "duration = '1h'") + &job("diff/2", "") + &job("diff/3", "duration = '1h'");
    let fixture = SimFixture::new(&script);
    let done = fixture
        .watch(&["--timeout", "1500ms", "diff/1", "diff/2", "diff/3"])
        .run()
        .expect(124);
    for (name, event) in [
        ("diff/1", "timed_out"),
        ("diff/2", "completed"),
        ("diff/3", "timed_out"),
    ] {
        assert_eq!(done.end_of(name)["event_type"], format!("job.{event}"));
    }
    let finished = done.finished();
    assert_eq!(
        (&finished["other"], &finished["completed"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn the_timeout_ends_a_watch_without_any_response() {
    let fixture = SimFixture::new(&faulty("diff/1", "1-", "delay = '1h'"));
    let done = fixture
        .watch(&["--timeout", "300ms", "diff/1"])
        .run()
        .expect(124);
    assert_eq!(done.end_of("diff/1")["event_type"], "job.timed_out");
}

#[test]
fn fail_fast_abandons_the_other_jobs() {
    let script = job("diff/1", "ending = 'failed'") + &job("diff/2", "duration = '1h'");
    let done = SimFixture::new(&script)
        .watch(&["--fail-fast", "diff/1", "diff/2"])
        .run()
        .expect(1);
    let abandoned = done.end_of("diff/2");
    assert_eq!(
        (&abandoned["event_type"], &abandoned["reason"]),
        (&json!("job.abandoned"), &json!("fail_fast"))
    );
    assert_eq!(done.finished()["other"], 1);
}

#[test]
fn fail_fast_ignores_a_squashed_job_unless_it_counts_as_failure() {
    let script = job("diff/1", "ending = 'squashed'") + &job("diff/2", "duration = '600ms'");
    let watch = |more: &[&str]| {
        let flags = [&["--fail-fast", "diff/1", "diff/2"], more].concat();
        SimFixture::new(&script).watch(&flags).run()
    };
    assert_eq!(
        watch(&[]).expect(3).end_of("diff/2")["event_type"],
        "job.completed"
    );
    let abandoned = watch(&["--squashed-as", "failure"])
        .expect(1)
        .end_of("diff/2");
    assert_eq!(abandoned["event_type"], "job.abandoned");
}

#[test]
fn a_signal_ends_the_watch_and_takes_precedence_over_a_failed_job() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let script = job("diff/1", "duration = '1h'") + &job("diff/2", "ending = 'failed'");
        let fixture = SimFixture::new(&script);
        let watch = fixture.watch(&["diff/1", "diff/2"]).start();
        fixture.await_requests("diff/1", 2);
        watch.signal(signal);
        let done = watch.wait().expect(status);
        let abandoned = done.end_of("diff/1");
        assert_eq!(
            (&abandoned["event_type"], &abandoned["reason"]),
            (&json!("job.abandoned"), &json!("interrupted"))
        );
        assert_eq!(done.finished()["outcome"], "interrupted");
    }
}

#[test]
fn a_signal_ends_a_watch_whose_request_gets_no_response() {
    let fixture = SimFixture::new(&faulty("diff/1", "1-", "delay = '1h'"));
    let watch = fixture.watch(&["diff/1"]).start();
    fixture.await_requests("diff/1", 1);
    watch.signal("TERM");
    let abandoned = watch.wait().expect(143).end_of("diff/1");
    assert_eq!(abandoned["event_type"], "job.abandoned");
}

#[test]
fn a_second_signal_ends_a_watch_whose_reader_does_not_read() {
    let fixture = SimFixture::new(&job("diff/1", "duration = '1h'"));
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // This fills the pipe, so that the program's first line blocks.
    writer.write_all(&vec![b'\n'; 65536]).unwrap();
    let watch = fixture.watch(&["diff/1"]).stdout(writer).start();
    fixture.await_requests("diff/1", 1);
    watch.signal("INT");
    watch.signal("INT");
    watch.wait().expect(130);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
}

#[test]
fn an_invalid_command_line_is_exit_status_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["watch", "--until-done", "diff/0"][..],
        &["watch", "--unknown"],
        &["unknown"],
        &[],
    ] {
        let done = sandbox.program(args).run().expect(2);
        assert_eq!(done.stdout, "");
    }
}
