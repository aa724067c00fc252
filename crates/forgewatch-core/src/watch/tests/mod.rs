//! Scenarios of the state machine.

mod durations;
mod endings;
mod errors;
mod persist;
pub(super) mod scenario;

use std::time::Duration;

use super::fixtures::EPOCH_S;
use super::{Input, Next};
use crate::job::{JobState, Outcome};
use crate::status::{DiffNames, Status};
use crate::verdict::ErrorKind;
use scenario::Scenario;

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
