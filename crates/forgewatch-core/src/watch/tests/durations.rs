//! How long jobs run: by their own times, and beside earlier ones.

use super::scenario::Scenario;
use super::status;
use crate::event::EventType;
use crate::job::{JobKind, JobState};
use crate::schedule::Unusual;
use crate::status::Status;
use crate::watch::fixtures::EPOCH_S;
use crate::watch::{Input, Next};

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
