//! Properties of a watch for any input at any time.

use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::{EPOCH_S, error, limits, suspended};
use super::tests::scenario::Scenario;
use super::{FreshStatus, Input, Next, Watch};
use crate::event::{Event, EventType};
use crate::job::JobState;
use crate::limits::{JobFailed, Limits};
use crate::status::Status;
use crate::verdict::ErrorKind;

/// Any number that a server may send as a time.
fn time() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        Just(None),
        Just(Some(1)),
        Just(Some(253_402_300_799)),
        (-7200..7200_i64).prop_map(|off| Some(EPOCH_S + off)),
        any::<u32>().prop_map(|s| Some(i64::from(s) + 1)),
    ]
}

prop_compose! {
    fn status()(
        state in prop::option::of((0..10_i64).prop_map(JobState::from_id)),
        // Ends are rare, so that scenarios get long.
        progress in prop_oneof![9 => prop::option::of(0.0..99.99_f32), 1 => Just(Some(100.0))],
        failed in prop_oneof![19 => Just(0_u32), 1 => Just(1)],
        eta in time(), start in time(), updated in time(),
    ) -> Status {
        Status { state, progress, failed, eta, start, updated, ..Status::default() }
    }
}

fn input() -> impl Strategy<Value = Input> {
    use ErrorKind::{
        Api, BadResponse, Connect, Forbidden, NotFound, RateLimited, Server, Unauthorized,
    };
    let kinds = [
        Connect,
        Server,
        RateLimited,
        NotFound,
        Unauthorized,
        Forbidden,
        Api,
        BadResponse,
    ];
    prop_oneof![
        6 => (status(), -7_200_000..7_200_000_i64, 0..2_000_u64).prop_map(|(status, skew, secs)| {
            let server_now_ms = EPOCH_S * 1000 + skew;
            let min_wait = Duration::from_secs(secs);
            Input::Status(Box::new(FreshStatus { status, server_now_ms, min_wait }))
        }),
        3 => (prop::sample::select(kinds.to_vec()), prop::option::of(0..3600_u64)).prop_map(|(kind, secs)| {
            let mut error = error(kind);
            error.retry_after = secs.map(Duration::from_secs);
            Input::Error(error)
        }),
        1 => Just(suspended()),
        1 => (0..2_000_000_u64).prop_map(|until| Input::Suspended { error: error(RateLimited), until: Some(until) }),
        1 => Just(Input::Deadline),
        2 => Just(Input::Due),
        1 => Just(Input::Probe),
        1 => Just(Input::PollNow),
        1 => Just(Input::LimitsChanged),
        1 => (0..2_000_000_u64, 0..2_000_000_u64)
            .prop_map(|(retry_at, not_before)| Input::CommitFailed { retry_at, not_before }),
    ]
}

fn bounds() -> impl Strategy<Value = Limits> {
    (
        1..5_000_u64,
        1..700_000_u64,
        any::<bool>(),
        any::<bool>(),
        1..=100_u8,
    )
        .prop_map(|(min, more, count, ends, progress_step)| {
            let mut limits = limits();
            limits.schedule.min_interval = Duration::from_millis(min);
            limits.schedule.max_interval = Duration::from_millis(min + more);
            limits.jobfailed = if count {
                JobFailed::Count
            } else {
                JobFailed::Flag
            };
            limits.refusal_ends = ends;
            limits.progress_step = progress_step;
            limits
        })
}

/// Runs the inputs, each so many seconds after the previous one, until the watch ends. Calls `check` after each.
fn run(
    limits: &Limits,
    inputs: &[(u64, Input)],
    mut check: impl FnMut(&Scenario, &Input),
) -> Vec<Event> {
    let mut scenario = Scenario::of("diff/7")
        .with(|l| *l = limits.clone())
        .step(Input::Due);
    let mut at = 0;
    for (after, input) in inputs {
        at += after;
        scenario = scenario.at(at).step(input.clone());
        check(&scenario, input);
        if let Next::End { .. } = scenario.next {
            break;
        }
    }
    scenario.events
}

fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    prop::collection::vec((0..400_u64, input()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_watch_has_at_most_one_ending_event_and_it_is_the_last(limits in bounds(), inputs in inputs()) {
        let mut ended = false;
        let events = run(&limits, &inputs, |scenario, _| ended = matches!(scenario.next, Next::End { .. }));
        let ends: Vec<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, e)| matches!(e.kind, EventType::Ended(_)))
            .map(|(at, _)| at)
            .collect();
        prop_assert_eq!(ends, if ended { vec![events.len() - 1] } else { vec![] });
    }

    #[test]
    fn events_are_numbered_from_one_and_start_with_watching(limits in bounds(), inputs in inputs()) {
        let events = run(&limits, &inputs, |_, _| ());
        for (event, seq) in events.iter().zip(1..) {
            prop_assert_eq!(event.id.seq, seq);
        }
        let of_statuses = |e: &&Event| {
            use EventType::{EtaSlipped, Progressed, Resumed, Stalled, StateChanged, Watching};
            matches!(e.kind, Watching | StateChanged | Progressed | EtaSlipped | Stalled | Resumed)
        };
        let kinds: Vec<EventType> = events.iter().filter(of_statuses).map(|e| e.kind).collect();
        let watching = kinds.iter().filter(|&&k| k == EventType::Watching).count();
        prop_assert!(kinds.is_empty() || (kinds[0] == EventType::Watching && watching == 1), "{:?}", kinds);
    }

    #[test]
    fn saving_and_loading_keeps_the_watch(limits in bounds(), inputs in inputs()) {
        let mut broken = None;
        run(&limits, &inputs, |scenario, _| {
            let text = scenario.watch.save(scenario.now, None);
            let (labels, seq) = (scenario.watch.save_labels(), scenario.watch.seq());
            let mut read = Watch::load(&text, &labels, seq, scenario.now, &limits).unwrap();
            // The time of the next poll is limited on loading.
            if read.next_poll_in(scenario.now) > limits.schedule.max_interval {
                broken = Some(format!("{:?}", read.next_poll_in(scenario.now)));
            }
            read.poll_at = scenario.watch.poll_at;
            let again = read.save(scenario.now, None);
            if again != text || read.save_labels() != labels || read.seq() != seq {
                broken = Some(format!("{text}\n{again}"));
            }
        });
        prop_assert_eq!(broken, None);
    }

    #[test]
    fn opposite_events_alternate(limits in bounds(), inputs in inputs()) {
        let events = run(&limits, &inputs, |_, _| ());
        for (begins, ends) in [
            (EventType::Unreachable, EventType::Reachable),
            (EventType::Stalled, EventType::Resumed),
        ] {
            let alternating = events.iter().map(|e| e.kind).filter(|&k| k == begins || k == ends);
            prop_assert!(alternating.enumerate().all(|(at, k)| (k == begins) == (at % 2 == 0)));
        }
    }

    #[test]
    fn waits_stay_within_the_limits(limits in bounds(), inputs in inputs()) {
        let (min, max) = (limits.schedule.min_interval, limits.schedule.max_interval);
        let mut broken = None;
        run(&limits, &inputs, |scenario, input| {
            let Next::Wait { .. } = scenario.next else { return };
            let next = scenario.watch.next_poll_in(scenario.now);
            let floor = match input {
                Input::Status(_) => Duration::ZERO,
                Input::Error(error) if !limits.refusal_ends && error.kind.as_str() == "refused" => {
                    Duration::from_secs(300)
                }
                Input::Error(error) => error.retry_after.unwrap_or_default(),
                _ => return,
            };
            if next < min.max(floor) || next > max.max(floor) {
                broken.get_or_insert((next, input.clone()));
            }
        });
        prop_assert!(broken.is_none(), "{:?} not in {:?} to {:?}", broken, min, max);
    }

    #[test]
    fn inputs_about_the_next_poll_change_nothing_else(limits in bounds(), inputs in inputs()) {
        // By text, because a history holds NaN.
        let debug = |watch: &Watch| format!("{watch:?}");
        let mut last: Option<Watch> = None;
        let mut events = 0;
        let mut broken = None;
        run(&limits, &inputs, |scenario, input| {
            let (watch, now) = (&scenario.watch, scenario.now.up_ms);
            let mut expected = last.clone().unwrap_or_else(|| watch.clone());
            let poll_at = match *input {
                Input::PollNow => now,
                Input::LimitsChanged => {
                    let latest = scenario.now.plus(limits.schedule.max_interval).up_ms;
                    expected.poll_at.min(latest.max(watch.not_before()))
                }
                Input::CommitFailed { retry_at, not_before } => {
                    if not_before > expected.not_before() {
                        expected.errors.get_or_insert_default().not_before = not_before;
                    }
                    retry_at.max(not_before)
                }
                _ => {
                    (last, events) = (Some(watch.clone()), scenario.events.len());
                    return;
                }
            };
            expected.poll_at = poll_at;
            let waits = matches!(scenario.next, Next::Wait { until, .. } if until == poll_at);
            if last.is_some() && (debug(&expected) != debug(watch) || scenario.events.len() != events || !waits) {
                broken.get_or_insert((input.clone(), watch.clone()));
            }
            last = Some(watch.clone());
        });
        prop_assert!(broken.is_none(), "{:?}", broken);
    }

    #[test]
    fn nothing_that_needs_no_poll_is_due_after_its_deadline(limits in bounds(), inputs in inputs()) {
        let mut late = None;
        run(&limits, &inputs, |scenario, input| {
            let now = scenario.now.up_ms;
            let Next::Wait { deadline, .. } = scenario.next else { return };
            // At its deadline, the event is emitted; so no deadline is left behind.
            if matches!(input, Input::Deadline) && deadline <= now {
                late.get_or_insert((deadline, now));
            }
            if let Some(streak) = scenario.watch.streak() {
                let failing_for = Duration::from_millis(now - streak.since);
                let gives_up = limits.give_up_after.is_some_and(|limit| failing_for >= limit);
                let committed = !matches!(input, Input::Status(_) | Input::PollNow | Input::LimitsChanged | Input::CommitFailed { .. });
                if committed && (gives_up || (!streak.reported && failing_for >= limits.unreachable_after)) {
                    late.get_or_insert((0, now));
                }
            }
        });
        prop_assert_eq!(late, None);
    }

    #[test]
    fn a_probe_polls_at_any_time(limits in bounds(), inputs in inputs()) {
        run(&limits, &inputs, |scenario, input| {
            if matches!(input, Input::Probe) {
                assert!(matches!(scenario.next, Next::Poll { .. }));
                assert!(scenario.watch.next_poll_in(scenario.now).is_zero());
            }
        });
    }

    #[test]
    fn the_same_inputs_give_the_same_events(limits in bounds(), inputs in inputs()) {
        prop_assert_eq!(run(&limits, &inputs, |_, _| ()), run(&limits, &inputs, |_, _| ()));
    }
}
