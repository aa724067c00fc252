//! Scenarios with failed polls.

use std::time::Duration;

use super::scenario::Scenario;
use crate::event::EventType;
use crate::job::Outcome;
use crate::verdict::{ErrorKind, PollError};
use crate::watch::fixtures::{error, suspended};
use crate::watch::{Input, Next};

#[test]
fn unreachable_is_emitted_on_time_even_without_a_poll_at_that_time() {
    let scenario = Scenario::of("diff/7")
        .step(Input::Due)
        .running(1.0)
        .at(10)
        .step(Input::Due);
    let mut scenario = scenario.error(ErrorKind::Connect);
    let mut waited = 10_000;
    while scenario.types() == ["watching"] {
        waited += scenario.wait();
        scenario.now.up_ms = 1_000 + waited;
        scenario = scenario.step(Input::Due);
        if let Next::Poll { .. } = scenario.next {
            scenario = scenario.error(ErrorKind::Connect);
        }
    }
    assert_eq!(scenario.types(), ["watching", "unreachable"]);
    assert_eq!(waited, 130_000, "unreachable_after, from the first failure");
    assert_eq!(scenario.last().fields.error_kind, Some(ErrorKind::Connect));
    let back = scenario.at(140).running(2.0);
    assert_eq!(back.types(), ["watching", "unreachable", "reachable"]);
}

#[test]
fn a_due_watch_polls_first_however_long_polls_have_failed() {
    let scenario = Scenario::of("diff/7").step(Input::Due);
    let scenario = scenario
        .error(ErrorKind::Connect)
        .at(1_000)
        .step(Input::Due);
    assert!(
        matches!(scenario.next, Next::Poll { .. }),
        "{:?}",
        scenario.next
    );
    assert_eq!(scenario.types(), Vec::<&str>::new());
    assert_eq!(scenario.running(0.0).types(), ["watching"]);
}

#[test]
fn a_rolled_back_step_keeps_its_retry_after() {
    let lost = Scenario::of("diff/7")
        .step(Input::Due)
        .step(Input::Error(PollError {
            retry_after: Some(Duration::from_mins(5)),
            ..error(ErrorKind::RateLimited)
        }));
    let not_before = lost.watch.not_before();
    for (retry_at, until) in [(2_000_000, 2_000_000), (2_000, 301_000)] {
        let scenario = Scenario::of("diff/7")
            .step(Input::Due)
            .step(Input::CommitFailed {
                retry_at,
                not_before,
            });
        assert_eq!(scenario.now.up_ms + scenario.wait(), until);
        assert_eq!(scenario.watch.not_before(), 301_000);
    }
}

#[test]
fn a_one_shot_gives_up_after_a_while_and_a_daemon_does_not() {
    let fail = |scenario: Scenario| {
        let scenario = scenario
            .error(ErrorKind::BadResponse)
            .at(600)
            .step(Input::Due);
        scenario.error(ErrorKind::BadResponse)
    };
    let scenario = fail(Scenario::of("diff/7").step(Input::Due));
    assert_eq!(scenario.types(), ["gave_up"]);
    let daemon = Scenario::of("diff/7")
        .with(|l| l.give_up_after = None)
        .step(Input::Due);
    assert_eq!(fail(daemon).types(), ["unreachable"]);
}

#[test]
fn a_suspended_watch_becomes_unreachable_without_polls() {
    let scenario = Scenario::of("diff/7").step(suspended());
    assert_eq!(scenario.wait(), 120_000);
    let scenario = scenario.at(120).step(Input::Due);
    assert_eq!(
        (scenario.types(), scenario.watch.requests()),
        (vec!["unreachable"], 0)
    );
}

#[test]
fn a_suspended_watch_keeps_the_error_of_its_own_last_poll() {
    let scenario = Scenario::of("diff/7")
        .step(Input::Due)
        .error(ErrorKind::Connect)
        .at(60)
        .step(suspended())
        .at(700)
        .step(suspended());
    let end = scenario.events.last().unwrap();
    assert_eq!(end.kind, EventType::Ended(Outcome::GaveUp));
    assert_eq!(end.fields.error_kind, Some(ErrorKind::Connect));
}

#[test]
fn a_missing_job_ends_with_its_grace() {
    let mut scenario = Scenario::of("diff/7").step(Input::Due);
    let mut waited = 0;
    for _ in 0..100 {
        scenario = scenario.error(ErrorKind::NotFound);
        let Next::Wait { .. } = scenario.next else {
            break;
        };
        waited += scenario.wait();
        scenario.now.up_ms = 1_000 + waited;
        scenario = scenario.step(Input::Due);
    }
    assert_eq!(scenario.types(), ["not_found"]);
    assert!((60_000..61_001).contains(&waited), "{waited} ms");
}

#[test]
fn a_job_that_appears_within_its_grace_is_watched() {
    let scenario = Scenario::of("diff/7")
        .step(Input::Due)
        .error(ErrorKind::NotFound)
        .at(59)
        .running(0.0)
        .at(120)
        .error(ErrorKind::NotFound)
        .at(121)
        .error(ErrorKind::NotFound);
    assert_eq!(
        scenario.types(),
        ["watching"],
        "a status in between restarts the grace"
    );
    let gone = scenario.at(122).error(ErrorKind::Gone);
    assert_eq!(gone.types(), ["watching", "not_found"]);
}

#[test]
fn forbidden_ends_a_watch_only_if_no_other_job_has_a_status() {
    let mut scenario = Scenario::of("diff/7").step(Input::Due);
    scenario.refusal_is_global = false;
    let mut scenario = scenario
        .error(ErrorKind::Forbidden)
        .at(2)
        .error(ErrorKind::Forbidden);
    assert!(scenario.types().is_empty());
    scenario.refusal_is_global = true;
    assert_eq!(
        scenario.at(4).error(ErrorKind::Forbidden).types(),
        ["refused"]
    );
}

#[test]
fn retry_after_applies_even_above_max_interval() {
    let events = PollError {
        retry_after: Some(Duration::from_secs(3000)),
        ..error(ErrorKind::RateLimited)
    };
    let scenario = Scenario::of("diff/7").with(|l| {
        l.give_up_after = None;
        l.unreachable_after = Duration::from_secs(9000);
    });
    assert_eq!(
        scenario.step(Input::Due).step(Input::Error(events)).wait(),
        3_000_000
    );
}

#[test]
fn a_timeout_reports_the_current_error_and_a_removal_does_not() {
    for kind in [ErrorKind::Connect, ErrorKind::NotFound] {
        let end = |outcome| {
            let scenario = Scenario::of("diff/7").step(Input::Due).error(kind);
            let scenario = scenario.step(Input::Stop(outcome));
            let fields = scenario.last().fields.clone();
            (
                fields.error_message.is_some(),
                fields.error_kind,
                fields.http_status.is_some(),
            )
        };
        let (error, error_kind, _) = end(Outcome::TimedOut);
        assert_eq!((error, error_kind), (true, Some(kind)));
        assert_eq!(end(Outcome::Removed), (false, None, false));
    }
}

#[test]
fn during_a_pause_everything_is_due_at_its_time_without_a_poll() {
    let limited = PollError {
        retry_after: Some(Duration::from_secs(900)),
        ..error(ErrorKind::RateLimited)
    };
    let of = || {
        let scenario = Scenario::of("diff/7").with(|l| l.stalled_after = Duration::from_secs(300));
        scenario.step(Input::Due).running(1.0)
    };
    let own = of().at(10).step(Input::Error(limited.clone()));
    let shared = of().at(600);
    let until = shared.now.up_ms + 900_000;
    let shared = shared.step(Input::Suspended {
        error: limited,
        until: Some(until),
    });
    for (mut scenario, from, expected) in [
        (
            own,
            10,
            [("unreachable", 130), ("stalled", 300), ("gave_up", 610)],
        ),
        (
            shared,
            600,
            [("stalled", 600), ("unreachable", 720), ("gave_up", 1200)],
        ),
    ] {
        let mut events = Vec::new();
        let (mut at, requests) = (from, scenario.watch.requests());
        while !matches!(scenario.next, Next::End { .. }) {
            at += scenario.wait() / 1000;
            scenario = scenario.at(at).step(Input::Deadline);
            events.push((*scenario.types().last().unwrap(), at));
        }
        assert_eq!(events, expected);
        assert_eq!(scenario.watch.requests(), requests);
    }
}

#[test]
fn without_an_error_a_stall_waits_for_the_status() {
    let scenario = Scenario::of("diff/7").with(|l| l.stalled_after = Duration::from_secs(1));
    let scenario = scenario.step(Input::Due).running(1.0);
    let Next::Wait { until, deadline } = scenario.next else {
        panic!("{:?}", scenario.next)
    };
    assert!(until <= deadline && deadline < u64::MAX);
}

#[test]
fn a_poll_in_flight_is_canceled_by_the_end_of_the_time_for_failures() {
    let scenario = Scenario::of("diff/7").step(Input::Due);
    let scenario = scenario.error(ErrorKind::Connect).at(5).step(Input::Due);
    let Next::Poll { deadline, .. } = scenario.next else {
        panic!("{:?}", scenario.next)
    };
    assert_eq!(deadline, 601_000);
    let ended = scenario.at(600).step(Input::Deadline);
    assert_eq!(ended.types(), ["unreachable", "gave_up"][1..]);
}

#[test]
fn a_refusal_after_a_status_is_polled_again_for_a_minute() {
    let mut scenario = Scenario::of("diff/7").step(Input::Due).running(1.0);
    let mut waited = 0;
    while !matches!(scenario.next, Next::End { .. }) {
        scenario = scenario.error(ErrorKind::Unauthorized);
        if let Next::Wait { .. } = scenario.next {
            waited += scenario.wait();
            scenario.now.up_ms = 1_000 + waited;
            scenario = scenario.step(Input::Due);
        }
    }
    assert_eq!(scenario.types(), ["watching", "refused"]);
    assert!((60_000..62_000).contains(&waited), "{waited} ms");
}
