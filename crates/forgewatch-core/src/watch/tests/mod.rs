//! Scenarios of the state machine.

mod errors;
mod persist;

use std::time::Duration;

use super::fixtures::{EPOCH_S, Scenario};
use super::{Input, Next};
use crate::event::EventType;
use crate::job::{JobKind, JobState, Outcome, Reason};
use crate::limits::JobFailed;
use crate::schedule::Unusual;
use crate::status::{DiffFiles, DiffNames, FileSum, Status};
use crate::verdict::ErrorKind;

fn status(state: JobState, progress: f32) -> Status {
    Status {
        state: Some(state),
        progress: Some(progress),
        ..Status::default()
    }
}

#[test]
fn a_job_is_reported_step_by_step_and_ends_once() {
    let scenario = Scenario::of("update/7")
        .step(Input::Due)
        .state(JobState::Queued, 0.0)
        .at(10)
        .running(12.0)
        .at(20)
        .running(15.0)
        .at(30)
        .running(57.0)
        .at(40)
        .state(JobState::Completed, 100.0);
    assert_eq!(
        scenario.types(),
        [
            "watching",
            "state_changed",
            "progressed",
            "progressed",
            "completed"
        ]
    );
    assert_eq!(
        scenario.events.iter().map(|e| e.id.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        scenario.events[3].fields.progress,
        Some(57),
        "one event per poll, for the highest step"
    );
    let end = &scenario.last().fields;
    assert_eq!(
        (end.previous_state, end.next_poll_ms),
        (Some(JobState::Running), None)
    );
    assert!(matches!(
        scenario.next,
        Next::End {
            outcome: Outcome::Completed,
            calibration_update: Some(_)
        }
    ));
}

#[test]
fn a_job_that_has_already_ended_is_watched_and_ended_by_one_poll() {
    let scenario = Scenario::of("diff/7")
        .step(Input::Due)
        .state(JobState::Failed, 30.0);
    assert_eq!(scenario.types(), ["watching", "failed"]);
}

#[test]
fn the_outcome_is_failure_before_completion_before_squashing() {
    use JobState::{Completed, Failed, Queued, Running, Squashed};
    let cases = [
        (1, Some(Running), 40.0, Some(Outcome::Failed)),
        (1, Some(Completed), 100.0, Some(Outcome::Failed)),
        (0, Some(Failed), 100.0, Some(Outcome::Failed)),
        (0, Some(Running), 100.0, Some(Outcome::Completed)),
        (0, Some(Completed), 97.0, Some(Outcome::Completed)),
        (0, Some(Squashed), 100.0, Some(Outcome::Completed)),
        (0, Some(Squashed), 40.0, Some(Outcome::Squashed)),
        (0, None, 100.0, Some(Outcome::Completed)),
        (0, Some(JobState::Unknown(9)), 99.9, None),
        (0, Some(Queued), 0.0, None),
    ];
    for (failed, state, progress, want) in cases {
        let scenario = Scenario::of("diff/7").step(Input::Due).status(Status {
            failed,
            state,
            progress: Some(progress),
            ..Status::default()
        });
        let got = match scenario.next {
            Next::End { outcome, .. } => Some(outcome),
            _ => None,
        };
        assert_eq!(
            got, want,
            "jobfailed {failed}, state {state:?}, progress {progress}"
        );
    }
}

#[test]
fn a_counted_failure_in_an_error_of_the_request_is_that_error() {
    let rejected = |state| Status {
        failed: 1,
        rejected: true,
        error: Some("locked".to_owned()),
        ..status(state, 100.0)
    };
    let scenario = Scenario::of("diff/7")
        .with(|l| l.jobfailed = JobFailed::Count)
        .step(Input::Due)
        .running(60.0)
        .at(5)
        .status(rejected(JobState::Running));
    assert_eq!(scenario.types(), ["watching"]);
    assert_eq!(scenario.watch.progress(), Some(60.0));
    let end = scenario.at(130).status(rejected(JobState::Running));
    assert_eq!(end.types(), ["watching", "unreachable"]);
    let error = &end.last().fields;
    assert_eq!(error.error_kind, Some(ErrorKind::Api));
    assert_eq!(error.error_message.as_deref(), Some("locked"));
    let end = end
        .at(140)
        .status(rejected(JobState::Failed))
        .at(142)
        .status(rejected(JobState::Failed));
    assert_eq!(end.last().kind.as_str(), "job.failed");
}

#[test]
fn a_counted_failure_needs_two_polls_and_a_failed_state() {
    let count = |scenario: Scenario| scenario.with(|l| l.jobfailed = JobFailed::Count);
    let flagged = |progress| Status {
        failed: 2,
        ..status(JobState::Running, progress)
    };
    let scenario = count(Scenario::of("diff/7"))
        .step(Input::Due)
        .status(flagged(10.0))
        .at(5);
    assert_eq!(scenario.types(), ["watching"]);
    let scenario = scenario.state(JobState::Failed, 100.0);
    assert_eq!(
        scenario.types(),
        ["watching", "state_changed", "progressed"]
    );
    assert_eq!(scenario.wait(), 1_000, "polled again after min_interval");
    let again = scenario
        .at(6)
        .status(flagged(10.0))
        .at(8)
        .state(JobState::Failed, 10.0);
    assert!(
        matches!(again.next, Next::Wait { .. }),
        "it ran in between: the count starts again"
    );
    let end = again.at(9).state(JobState::Failed, 10.0);
    assert!(matches!(
        end.next,
        Next::End {
            outcome: Outcome::Failed,
            ..
        }
    ));
}

#[test]
fn steps_are_reported_again_only_after_the_state_went_backwards() {
    let scenario = Scenario::of("update/7")
        .step(Input::Due)
        .running(50.0)
        .at(10)
        .running(30.0)
        .at(20)
        .running(50.0);
    assert_eq!(
        scenario.types(),
        ["watching"],
        "falling progress repeats no event"
    );
    let scenario = scenario
        .at(30)
        .state(JobState::Queued, 0.0)
        .at(40)
        .running(10.0)
        .at(50)
        .running(25.0);
    assert_eq!(
        scenario.types(),
        [
            "watching",
            "state_changed",
            "state_changed",
            "progressed",
            "progressed"
        ]
    );
}

#[test]
fn a_status_without_a_state_is_not_a_change_but_another_unknown_state_is() {
    let scenario = Scenario::of("update/7")
        .step(Input::Due)
        .state(JobState::Unknown(8), 1.0)
        .at(5)
        .status(Status {
            progress: Some(2.0),
            ..Status::default()
        })
        .at(9)
        .state(JobState::Unknown(9), 2.0);
    assert_eq!(scenario.types(), ["watching", "state_changed"]);
}

#[test]
fn delays_of_the_eta_add_up_and_are_compared_with_the_time_left() {
    let eta = |at: i64| Status {
        eta: Some(EPOCH_S + at),
        ..status(JobState::Running, 5.0)
    };
    let scenario = Scenario::of("diff/7")
        .step(Input::Due)
        .status(eta(1000))
        .at(10)
        .status(eta(1200));
    assert_eq!(
        scenario.types(),
        ["watching"],
        "200 s are less than a quarter of 1000 s"
    );
    let scenario = scenario.at(20).status(eta(1251));
    assert_eq!(scenario.types(), ["watching", "eta_slipped"]);
    let scenario = scenario.at(30).status(eta(100)).at(40).status(eta(159));
    assert_eq!(
        scenario.types().len(),
        2,
        "less than a minute is not reported"
    );
    assert_eq!(
        scenario.at(50).status(eta(161)).types()[2..],
        ["eta_slipped"]
    );
}

#[test]
fn a_stall_and_its_end_are_reported_once() {
    let scenario = Scenario::of("diff/7")
        .with(|l| l.stalled_after = Duration::from_secs(60))
        .step(Input::Due)
        .running(50.0)
        .at(59)
        .running(50.0)
        .at(60)
        .running(50.0)
        .at(300)
        .running(50.0);
    assert_eq!(scenario.types(), ["watching", "stalled"]);
    assert_eq!(
        scenario.at(301).running(51.0).types(),
        ["watching", "stalled", "resumed"]
    );
}

#[test]
fn a_job_with_large_responses_is_polled_less_often() {
    let large = |min_wait| super::FreshStatus {
        status: status(JobState::Running, 5.0),
        server_now_ms: EPOCH_S * 1000,
        min_wait: Duration::from_secs(min_wait),
    };
    for (min_wait, want) in [(100, 100_000), (9_000, 600_000)] {
        let scenario = Scenario::of("diff/7").step(Input::Due);
        assert_eq!(
            scenario
                .step(Input::Status(Box::new(large(min_wait))))
                .wait(),
            want
        );
    }
}

#[test]
fn names_are_requested_until_a_status_arrives_and_reported_from_then_on() {
    let requests_names = |scenario: &Scenario| {
        matches!(
            scenario.next,
            Next::Poll {
                diff_info: true,
                ..
            }
        )
    };
    let scenario = Scenario::of("diff/7").step(Input::Due);
    assert!(requests_names(&scenario));
    let scenario = scenario.error(ErrorKind::Timeout).at(100).step(Input::Due);
    assert!(requests_names(&scenario));
    let names = DiffNames {
        game: Some("Quake".to_owned()),
        ..DiffNames::default()
    };
    let scenario = scenario.status(Status {
        names,
        ..status(JobState::Running, 1.0)
    });
    let scenario = scenario.at(500).step(Input::Due);
    assert!(!requests_names(&scenario));
    let scenario = scenario.state(JobState::Completed, 100.0);
    assert_eq!(
        scenario.last().meta.as_ref().unwrap().names.game.as_deref(),
        Some("Quake")
    );
    assert!(
        !requests_names(&Scenario::of("update/7").step(Input::Due)),
        "an update has no names"
    );
}

#[test]
fn a_completed_diff_reports_files_error_and_detection_delay() {
    let files = DiffFiles {
        added: FileSum { count: 3, bytes: 9 },
        ..DiffFiles::default()
    };
    let scenario = Scenario::of("diff/7")
        .step(Input::Due)
        .at(60)
        .status(Status {
            files: Some(files),
            updated: Some(EPOCH_S + 58),
            error: Some("no".to_owned()),
            ..status(JobState::Running, 100.0)
        });
    let fields = &scenario.last().fields;
    assert_eq!(
        (fields.files, fields.detection_delay_ms),
        (Some(files), Some(2_000))
    );
    assert_eq!(
        fields.state,
        Some(JobState::Completed),
        "the state of the outcome, although the server's lags"
    );
    assert_eq!(fields.error_message.as_deref(), Some("no"));
}

#[test]
fn an_ended_job_reports_how_long_it_was_queued_and_ran_by_the_servers_times() {
    let spans = |created: Option<i64>, start: Option<i64>, updated: Option<i64>| {
        let at = |seconds: i64| EPOCH_S + seconds;
        let scenario = Scenario::of("diff/7")
            .step(Input::Due)
            .at(60)
            .status(Status {
                created: created.map(at),
                start: start.map(at),
                updated: updated.map(at),
                ..status(JobState::Completed, 100.0)
            });
        let fields = &scenario.last().fields;
        (fields.queued_ms, fields.run_ms)
    };
    let all = spans(Some(-30), Some(5), Some(58));
    assert_eq!(all, (Some(35_000), Some(53_000)));
    assert_eq!(spans(None, Some(5), Some(58)), (None, Some(53_000)));
    assert_eq!(spans(Some(0), None, Some(58)), (None, None));
    assert_eq!(
        spans(Some(9), Some(5), Some(4)),
        (None, None),
        "times in the wrong order mean nothing"
    );
}

#[test]
fn a_stopped_watch_reports_the_last_state() {
    for (outcome, name) in [
        (Outcome::TimedOut, "timed_out"),
        (Outcome::Removed, "removed"),
        (Outcome::Abandoned(Reason::FailFast), "abandoned"),
    ] {
        let scenario = Scenario::of("diff/7")
            .step(Input::Due)
            .running(42.7)
            .at(9)
            .step(Input::Stop(outcome));
        assert_eq!(scenario.types(), ["watching", name]);
        let fields = &scenario.last().fields;
        assert_eq!(
            (fields.state, fields.progress),
            (Some(JobState::Running), Some(42))
        );
        assert!(
            matches!(
                scenario.next,
                Next::End {
                    calibration_update: None,
                    ..
                }
            ),
            "no samples"
        );
    }
}

#[test]
fn a_job_is_slow_once_it_runs_longer_than_its_like() {
    let mut scenario = Scenario::of("update/7");
    for _ in 0..8 {
        let earlier = Scenario::of("update/6").step(Input::Due).running(1.0);
        let ended = earlier.at(100).state(JobState::Completed, 100.0);
        let Next::End {
            calibration_update: Some(update),
            ..
        } = ended.next
        else {
            panic!("{:?}", ended.next);
        };
        scenario.calibration.update(JobKind::Update, None, &update);
    }
    let running = scenario
        .step(Input::Due)
        .running(1.0)
        .at(59)
        .running(2.0)
        .at(130)
        .running(3.0)
        .at(140)
        .running(4.0);
    let slow = running.events.iter().filter(|e| e.kind == EventType::Slow);
    let slow: Vec<_> = slow.map(|e| (e.fields.run_ms, e.fields.usual_ms)).collect();
    // Of the time between the last two polls of the earlier jobs, half counts.
    assert_eq!(slow, [(Some(130_000), Some(50_000))]);
    let end = running.at(150).state(JobState::Completed, 100.0);
    assert_eq!(end.last().fields.unusual, Some(Unusual::Slow));
    assert_eq!(end.last().fields.usual_ms, Some(50_000));
}

#[test]
fn only_a_job_that_completed_teaches_how_long_jobs_take() {
    for (state, teaches) in [
        (JobState::Completed, true),
        (JobState::Failed, false),
        (JobState::Squashed, false),
    ] {
        let running = Scenario::of("update/7").step(Input::Due).running(1.0);
        let Next::End {
            calibration_update: Some(update),
            ..
        } = running.at(100).state(state, 50.0).next
        else {
            panic!("{state:?} is an end");
        };
        assert_eq!(update.duration().is_some(), teaches, "{state:?}");
    }
}
