//! The rules of the circuit breaker, with the waits of the retry schedule replaced by whole seconds.

use super::*;
use crate::watch::fixtures::error;

const WAIT: Duration = Duration::from_secs(1);

fn observe(
    breaker: &mut CircuitBreaker,
    now: u64,
    slot: u32,
    kind: Option<ErrorKind>,
) -> Transition {
    observe_with(breaker, now, slot, 100, 0, kind.map(error).as_ref())
}

fn observe_with(
    breaker: &mut CircuitBreaker,
    now: u64,
    slot: u32,
    watched: usize,
    in_flight: usize,
    error: Option<&PollError>,
) -> Transition {
    let result = error.map_or(Ok(()), Err);
    breaker.observe(
        now,
        PollOutcome {
            refusal_opens: true,
            slot,
            result,
            watched,
            in_flight,
        },
        |n| WAIT * u32::from(n),
    )
}

#[test]
fn three_jobs_failing_together_open_the_breaker() {
    let mut breaker = CircuitBreaker::default();
    let down = Some(ErrorKind::Connect);
    assert_eq!(observe(&mut breaker, 0, 1, down), Transition::None);
    assert_eq!(
        observe(&mut breaker, 10, 1, down),
        Transition::None,
        "the same job counts once"
    );
    assert_eq!(observe(&mut breaker, 20, 2, down), Transition::None);
    assert_eq!(observe(&mut breaker, 30, 3, down), Transition::Down);
    let error = breaker.last_error().unwrap();
    assert_eq!(error.kind, ErrorKind::Connect);
    assert_eq!(
        breaker.admit(30),
        Admission::Down {
            probe_at: Some(1030)
        }
    );
}

#[test]
fn failures_far_apart_or_among_successes_or_of_few_jobs_do_not_open_it() {
    let down = Some(ErrorKind::Server);
    let mut apart = CircuitBreaker::default();
    let mut among = CircuitBreaker::default();
    let mut few = CircuitBreaker::default();
    for slot in 1..=3 {
        let at = u64::from(slot) * 2_600;
        assert_eq!(observe(&mut apart, at, slot, down), Transition::None);
        observe(&mut among, u64::from(slot), 9, None);
        assert_eq!(
            observe(&mut among, u64::from(slot), slot, down),
            Transition::None
        );
        assert_eq!(
            observe_with(&mut few, 1, slot, 100, 4, down.map(error).as_ref()),
            Transition::None
        );
    }
}

#[test]
fn errors_of_single_jobs_do_not_open_it() {
    let mut breaker = CircuitBreaker::default();
    for slot in 0..50 {
        for kind in [ErrorKind::NotFound, ErrorKind::BadResponse, ErrorKind::Api] {
            assert_eq!(observe(&mut breaker, 1, slot, Some(kind)), Transition::None);
        }
    }
    assert_eq!(breaker.admit(1), Admission::Allowed);
}

#[test]
fn of_two_jobs_both_must_fail() {
    let mut breaker = CircuitBreaker::default();
    let failed = error(ErrorKind::Server);
    for at in 0..9 {
        assert_eq!(
            observe_with(&mut breaker, at, 1, 2, 0, Some(&failed)),
            Transition::None
        );
    }
    assert_eq!(
        observe_with(&mut breaker, 9, 2, 2, 0, Some(&failed)),
        Transition::Down
    );
}

#[test]
fn a_single_job_opens_it_with_three_failures_in_a_row_however_slow() {
    let mut breaker = CircuitBreaker::default();
    let failed = error(ErrorKind::Timeout);
    for (at, transition) in [
        (0, Transition::None),
        (30_000, Transition::None),
        (90_000, Transition::Down),
    ] {
        assert_eq!(
            observe_with(&mut breaker, at, 1, 1, 0, Some(&failed)),
            transition
        );
    }
}

#[test]
fn a_single_refused_job_opens_it_at_once() {
    let refused = error(ErrorKind::Unauthorized);
    let transition = observe_with(&mut CircuitBreaker::default(), 0, 1, 1, 0, Some(&refused));
    assert_eq!(transition, Transition::Down);
}

#[test]
fn a_failed_probe_delays_the_next_and_a_successful_one_closes_the_breaker() {
    let mut breaker = CircuitBreaker::default();
    for slot in 1..=3 {
        observe(&mut breaker, 0, slot, Some(ErrorKind::Server));
    }
    let kind = ErrorKind::Server;
    breaker.start_probe(1);
    assert_eq!(breaker.admit(2_000), Admission::Down { probe_at: None });
    assert_eq!(
        observe(&mut breaker, 2_000, 1, Some(kind)),
        Transition::None
    );
    assert_eq!(
        breaker.admit(2_000),
        Admission::Down {
            probe_at: Some(4_000)
        }
    );
    breaker.start_probe(1);
    assert_eq!(
        observe(&mut breaker, 4_000, 1, Some(ErrorKind::NotFound)),
        Transition::Up
    );
    assert_eq!(breaker.admit(4_000), Admission::Allowed);
}

#[test]
fn too_many_requests_pauses_all_jobs_for_a_minute_at_most() {
    for (retry_after_s, until) in [(Some(7), 7_000), (Some(3600), 60_000), (None, 1_000)] {
        let mut breaker = CircuitBreaker::default();
        let retry_after = retry_after_s.map(Duration::from_secs);
        let limited = PollError {
            retry_after,
            ..error(ErrorKind::RateLimited)
        };
        assert_eq!(
            observe_with(&mut breaker, 0, 1, 9, 0, Some(&limited)),
            Transition::Paused {
                until,
                again: false
            }
        );
        assert_eq!(breaker.admit(until - 1), Admission::PausedUntil(until));
        assert_eq!(breaker.admit(until), Admission::Allowed);
    }
    let mut breaker = CircuitBreaker::default();
    assert_eq!(
        observe(&mut breaker, 0, 1, Some(ErrorKind::Server)),
        Transition::None,
        "503 without Retry-After"
    );
}
