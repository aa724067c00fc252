//! How a watch ends, and what its last event reports.

use super::scenario::Scenario;
use super::status;
use crate::job::{JobState, Outcome, Reason};
use crate::limits::JobFailed;
use crate::status::{DiffFiles, FileSum, Status};
use crate::verdict::ErrorKind;
use crate::watch::fixtures::EPOCH_S;
use crate::watch::{Input, Next};

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
