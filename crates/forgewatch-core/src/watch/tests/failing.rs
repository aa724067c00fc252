//! Stories of asking that fails.

use std::time::Duration;

use crate::event::EventType;
use crate::job::Outcome;
use crate::verdict::{ErrorKind, PollError};
use crate::watch::tests_support::{Story, error};
use crate::watch::{Input, Next};

#[test]
fn asking_that_fails_is_told_on_time_though_no_request_falls_there() {
    let story = Story::of("diff/7")
        .take(Input::Due)
        .running(1.0)
        .at(10)
        .take(Input::Due);
    let mut story = story.fails(ErrorKind::Connect);
    let mut waited = 10_000;
    while story.types() == ["watching"] {
        waited += story.wait();
        story.now.up_ms = 1_000 + waited;
        story = story.take(Input::Due);
        if let Next::Poll { .. } = story.next {
            story = story.fails(ErrorKind::Connect);
        }
    }
    assert_eq!(story.types(), ["watching", "unreachable"]);
    assert_eq!(
        waited, 130_000,
        "unreachable_after, counted from the first failure"
    );
    assert_eq!(story.last().facts.error_kind, Some(ErrorKind::Connect));
    let back = story.at(140).running(2.0);
    assert_eq!(back.types(), ["watching", "unreachable", "reachable"]);
}

#[test]
fn a_watch_that_is_due_asks_first_however_long_asking_has_failed() {
    let story = Story::of("diff/7").take(Input::Due);
    let story = story.fails(ErrorKind::Connect).at(1_000).take(Input::Due);
    assert!(matches!(story.next, Next::Poll { .. }), "{:?}", story.next);
    assert_eq!(story.types(), Vec::<&str>::new());
    assert_eq!(story.running(0.0).types(), ["watching"]);
}

#[test]
fn a_step_that_is_taken_back_keeps_what_the_server_asked_for() {
    let story = Story::of("diff/7").take(Input::Due);
    let before = story.watch.clone();
    let lost = story.take(Input::Failed(PollError {
        retry_after: Some(Duration::from_mins(5)),
        ..error(ErrorKind::RateLimited)
    }));
    let (mut late, mut early) = (before.clone(), before);
    assert_eq!(late.take_back(&lost.watch, 2_000_000), 2_000_000);
    assert_eq!(early.take_back(&lost.watch, 2_000), 301_000);
    assert_eq!(early.not_before(), 301_000);
}

#[test]
fn a_one_shot_gives_up_in_the_end_and_a_daemon_never_does() {
    let fail = |story: Story| {
        let story = story.fails(ErrorKind::BadResponse).at(600).take(Input::Due);
        story.fails(ErrorKind::BadResponse)
    };
    let story = fail(Story::of("diff/7").take(Input::Due));
    assert_eq!(story.types(), ["gave_up"]);
    let daemon = Story::of("diff/7")
        .with(|l| l.give_up_after = None)
        .take(Input::Due);
    assert_eq!(fail(daemon).types(), ["unreachable"]);
}

#[test]
fn a_watch_that_is_held_back_while_the_api_is_down_fails_like_one_that_asks() {
    let story = Story::of("diff/7").take(Input::Held(ErrorKind::Server));
    assert_eq!(story.wait(), 120_000);
    let story = story.at(120).take(Input::Due);
    assert_eq!(
        (story.types(), story.watch.requests()),
        (vec!["unreachable"], 0)
    );
}

#[test]
fn a_watch_that_is_held_back_still_tells_what_its_own_last_request_met() {
    let story = Story::of("diff/7")
        .take(Input::Due)
        .fails(ErrorKind::Connect)
        .at(60)
        .take(Input::Held(ErrorKind::Server))
        .at(700)
        .take(Input::Held(ErrorKind::Server));
    let end = story.told.last().unwrap();
    assert_eq!(end.kind, EventType::Ended(Outcome::GaveUp));
    assert_eq!(end.facts.error_kind, Some(ErrorKind::Connect));
}

#[test]
fn a_missing_job_ends_when_its_grace_does() {
    let mut story = Story::of("diff/7").take(Input::Due);
    let mut waited = 0;
    for _ in 0..100 {
        story = story.fails(ErrorKind::NotFound);
        let Next::Wait { .. } = story.next else { break };
        waited += story.wait();
        story.now.up_ms = 1_000 + waited;
        story = story.take(Input::Due);
    }
    assert_eq!(story.types(), ["not_found"]);
    assert!((60_000..61_001).contains(&waited), "{waited} ms");
}

#[test]
fn a_job_that_appears_within_its_grace_is_watched() {
    let story = Story::of("diff/7")
        .take(Input::Due)
        .fails(ErrorKind::NotFound)
        .at(59)
        .running(0.0)
        .at(120)
        .fails(ErrorKind::NotFound)
        .at(121)
        .fails(ErrorKind::NotFound);
    assert_eq!(
        story.types(),
        ["watching"],
        "an answer in between starts the grace anew"
    );
    let gone = story.at(122).fails(ErrorKind::Gone);
    assert_eq!(gone.types(), ["watching", "not_found"]);
}

#[test]
fn forbidden_waits_for_what_the_other_jobs_hear() {
    let mut story = Story::of("diff/7").take(Input::Due);
    story.alone = false;
    let mut story = story
        .fails(ErrorKind::Forbidden)
        .at(2)
        .fails(ErrorKind::Forbidden);
    assert!(story.types().is_empty());
    story.alone = true;
    assert_eq!(story.at(4).fails(ErrorKind::Forbidden).types(), ["refused"]);
}

#[test]
fn retry_after_is_a_floor_even_above_the_longest_interval() {
    let told = PollError {
        retry_after: Some(Duration::from_secs(3000)),
        ..error(ErrorKind::RateLimited)
    };
    let story = Story::of("diff/7").with(|l| {
        l.give_up_after = None;
        l.unreachable_after = Duration::from_secs(9000);
    });
    assert_eq!(
        story.take(Input::Due).take(Input::Failed(told)).wait(),
        3_000_000
    );
}

#[test]
fn what_is_wrong_with_asking_is_told_where_a_watch_runs_out_of_time_and_not_where_it_is_taken_out()
{
    for kind in [ErrorKind::Connect, ErrorKind::NotFound] {
        let end = |outcome| {
            let story = Story::of("diff/7").take(Input::Due).fails(kind);
            let story = story.take(Input::Stop(outcome));
            let facts = story.last().facts.clone();
            (
                facts.error.is_some(),
                facts.error_kind,
                facts.http_status.is_some(),
            )
        };
        let (error, error_kind, _) = end(Outcome::TimedOut);
        assert_eq!((error, error_kind), (true, Some(kind)));
        assert_eq!(end(Outcome::Removed), (false, None, false));
    }
}
