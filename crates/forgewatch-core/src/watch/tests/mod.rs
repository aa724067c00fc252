//! The state machine's law, as stories.

mod failing;

use std::time::Duration;

use super::tests_support::{EPOCH_S, Story};
use super::{Input, Next};
use crate::job::{JobState, Outcome, Reason};
use crate::limits::JobFailed;
use crate::status::{FileSum, Files, Names, Status};
use crate::verdict::ErrorKind;

fn status(state: JobState, progress: f32) -> Status {
    Status {
        state: Some(state),
        progress: Some(progress),
        ..Status::default()
    }
}

#[test]
fn a_plain_life_is_told_step_by_step_and_ends_once() {
    let story = Story::of("update/7")
        .take(Input::Due)
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
        story.types(),
        [
            "watching",
            "state_changed",
            "progressed",
            "progressed",
            "completed"
        ]
    );
    assert_eq!(
        story.told.iter().map(|e| e.id.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        story.told[3].facts.progress,
        Some(57),
        "one an answer, the highest step"
    );
    let end = &story.last().facts;
    assert_eq!(
        (end.previous_state, end.next_poll_ms),
        (Some(JobState::Running), None)
    );
    assert!(matches!(
        story.next,
        Next::End {
            outcome: Outcome::Completed,
            samples: Some(_)
        }
    ));
}

#[test]
fn a_job_already_over_is_watched_and_ended_in_one_answer() {
    let story = Story::of("diff/7")
        .take(Input::Due)
        .state(JobState::Failed, 30.0);
    assert_eq!(story.types(), ["watching", "failed"]);
}

#[test]
fn the_end_follows_the_order_of_the_facts() {
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
        let story = Story::of("diff/7").take(Input::Due).answer(Status {
            failed,
            state,
            progress: Some(progress),
            ..Status::default()
        });
        let got = match story.next {
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
fn a_counted_failure_needs_two_answers_and_the_flag_alone_is_none() {
    let count = |story: Story| story.with(|l| l.jobfailed = JobFailed::Count);
    let flagged = |progress| Status {
        failed: 2,
        ..status(JobState::Running, progress)
    };
    let story = count(Story::of("diff/7"))
        .take(Input::Due)
        .answer(flagged(10.0))
        .at(5);
    assert_eq!(story.types(), ["watching"]);
    let story = story.state(JobState::Failed, 100.0);
    assert_eq!(story.types(), ["watching", "state_changed", "progressed"]);
    assert_eq!(story.wait(), 1_000, "asked again as soon as allowed");
    let again = story
        .at(6)
        .answer(flagged(10.0))
        .at(8)
        .state(JobState::Failed, 10.0);
    assert!(
        matches!(again.next, Next::Wait { .. }),
        "it ran again in between: counted anew"
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
fn steps_are_told_anew_only_after_the_state_went_backwards() {
    let story = Story::of("update/7")
        .take(Input::Due)
        .running(50.0)
        .at(10)
        .running(30.0)
        .at(20)
        .running(50.0);
    assert_eq!(
        story.types(),
        ["watching"],
        "a wavering progress repeats nothing"
    );
    let story = story
        .at(30)
        .state(JobState::Queued, 0.0)
        .at(40)
        .running(10.0)
        .at(50)
        .running(25.0);
    assert_eq!(
        story.types(),
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
fn an_answer_without_a_state_is_no_change_and_two_unknown_ones_are() {
    let story = Story::of("update/7")
        .take(Input::Due)
        .state(JobState::Unknown(8), 1.0)
        .at(5)
        .answer(Status {
            progress: Some(2.0),
            ..Status::default()
        })
        .at(9)
        .state(JobState::Unknown(9), 2.0);
    assert_eq!(story.types(), ["watching", "state_changed"]);
}

#[test]
fn a_slip_of_the_eta_counts_against_what_was_left_and_adds_up() {
    let eta = |at: i64| Status {
        eta: Some(EPOCH_S + at),
        ..status(JobState::Running, 5.0)
    };
    let story = Story::of("diff/7")
        .take(Input::Due)
        .answer(eta(1000))
        .at(10)
        .answer(eta(1200));
    assert_eq!(
        story.types(),
        ["watching"],
        "200 s are not a quarter of 1000 s"
    );
    let story = story.at(20).answer(eta(1251));
    assert_eq!(story.types(), ["watching", "eta_slipped"]);
    let story = story.at(30).answer(eta(100)).at(40).answer(eta(159));
    assert_eq!(story.types().len(), 2, "under a minute is no slip");
    assert_eq!(story.at(50).answer(eta(161)).types()[2..], ["eta_slipped"]);
}

#[test]
fn a_stall_is_told_once_and_so_is_its_end() {
    let story = Story::of("diff/7")
        .with(|l| l.stalled_after = Duration::from_secs(60))
        .take(Input::Due)
        .running(50.0)
        .at(59)
        .running(50.0)
        .at(60)
        .running(50.0)
        .at(300)
        .running(50.0);
    assert_eq!(story.types(), ["watching", "stalled"]);
    assert_eq!(
        story.at(301).running(51.0).types(),
        ["watching", "stalled", "resumed"]
    );
}

#[test]
fn a_large_answer_is_asked_for_less_often() {
    let large = |at_least| super::Answer {
        status: status(JobState::Running, 5.0),
        server_now_ms: EPOCH_S * 1000,
        at_least: Duration::from_secs(at_least),
    };
    for (at_least, want) in [(100, 100_000), (9_000, 600_000)] {
        let story = Story::of("diff/7").take(Input::Due);
        assert_eq!(
            story
                .take(Input::Answered(Box::new(large(at_least))))
                .wait(),
            want
        );
    }
}

#[test]
fn names_are_asked_for_until_there_was_an_answer_and_told_from_then_on() {
    let asks = |story: &Story| matches!(story.next, Next::Poll { diff_info: true });
    let story = Story::of("diff/7").take(Input::Due);
    assert!(asks(&story));
    let story = story.fails(ErrorKind::Timeout).at(100).take(Input::Due);
    assert!(asks(&story));
    let names = Names {
        game: Some("Quake".to_owned()),
        ..Names::default()
    };
    let story = story.answer(Status {
        names,
        ..status(JobState::Running, 1.0)
    });
    let story = story.at(500).take(Input::Due);
    assert!(!asks(&story));
    let story = story.state(JobState::Completed, 100.0);
    assert_eq!(
        story.last().about.as_ref().unwrap().names.game.as_deref(),
        Some("Quake")
    );
    assert!(
        !asks(&Story::of("update/7").take(Input::Due)),
        "an update has none"
    );
}

#[test]
fn a_finished_diff_tells_its_files_its_error_and_how_late_it_was_seen() {
    let files = Files {
        added: FileSum { count: 3, bytes: 9 },
        ..Files::default()
    };
    let story = Story::of("diff/7").take(Input::Due).at(60).answer(Status {
        files: Some(files),
        updated: Some(EPOCH_S + 58),
        error: Some("no".to_owned()),
        ..status(JobState::Running, 100.0)
    });
    let facts = &story.last().facts;
    assert_eq!(
        (facts.files, facts.detection_delay_ms),
        (Some(files), Some(2_000))
    );
    assert_eq!(
        facts.state,
        Some(JobState::Completed),
        "the end's own, though the server's lags"
    );
    assert_eq!(facts.error.as_deref(), Some("no"));
}

#[test]
fn a_stopped_watch_tells_where_it_stood() {
    for (outcome, name) in [
        (Outcome::TimedOut, "timed_out"),
        (Outcome::Removed, "removed"),
        (Outcome::Abandoned(Reason::FailFast), "abandoned"),
    ] {
        let story = Story::of("diff/7")
            .take(Input::Due)
            .running(42.7)
            .at(9)
            .take(Input::Stop(outcome));
        assert_eq!(story.types(), ["watching", name]);
        let facts = &story.last().facts;
        assert_eq!(
            (facts.state, facts.progress),
            (Some(JobState::Running), Some(42))
        );
        assert!(
            matches!(story.next, Next::End { samples: None, .. }),
            "it teaches nothing"
        );
    }
}
