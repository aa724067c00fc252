//! What holds whatever the server sends and whenever it sends it.

use std::time::Duration;

use proptest::prelude::*;

use super::tests_support::{EPOCH_S, SeededRng, Story, error, limits};
use super::{Answer, Input, Next, Watch};
use crate::event::{Event, EventType};
use crate::job::JobState;
use crate::limits::{JobFailed, Limits};
use crate::status::Status;
use crate::verdict::ErrorKind;

/// Any number that a server might think is a time.
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
        // Ends are rare, so that stories get long.
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
            let at_least = Duration::from_secs(secs);
            Input::Answered(Box::new(Answer { status, server_now_ms, at_least }))
        }),
        3 => (prop::sample::select(kinds.to_vec()), prop::option::of(0..3600_u64)).prop_map(|(kind, secs)| {
            let mut error = error(kind);
            error.retry_after = secs.map(Duration::from_secs);
            Input::Failed(error)
        }),
        1 => Just(Input::Held(Server)),
        2 => Just(Input::Due),
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

/// A story of these inputs, each so many seconds after the one before, up to its end. `check` sees the wait after
/// each, and what it answered.
fn tell(
    limits: &Limits,
    inputs: &[(u64, Input)],
    mut check: impl FnMut(&Story, &Input),
) -> Vec<Event> {
    let mut story = Story::of("diff/7")
        .with(|l| *l = limits.clone())
        .take(Input::Due);
    let mut at = 0;
    for (after, input) in inputs {
        at += after;
        story = story.at(at).take(input.clone());
        check(&story, input);
        if let Next::End { .. } = story.next {
            break;
        }
    }
    story.told
}

fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    prop::collection::vec((0..400_u64, input()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn there_is_exactly_one_end_and_nothing_after_it(limits in bounds(), inputs in inputs()) {
        let mut ended = false;
        let told = tell(&limits, &inputs, |story, _| ended = matches!(story.next, Next::End { .. }));
        let ends: Vec<usize> = told
            .iter()
            .enumerate()
            .filter(|(_, e)| matches!(e.kind, EventType::Ended(_)))
            .map(|(at, _)| at)
            .collect();
        prop_assert_eq!(ends, if ended { vec![told.len() - 1] } else { vec![] });
    }

    #[test]
    fn events_are_counted_from_one_and_begin_with_watching(limits in bounds(), inputs in inputs()) {
        let told = tell(&limits, &inputs, |_, _| ());
        for (event, seq) in told.iter().zip(1..) {
            prop_assert_eq!(event.id.seq, seq);
        }
        let of_answers = |e: &&Event| {
            use EventType::{EtaSlipped, Progressed, Resumed, Stalled, StateChanged, Watching};
            matches!(e.kind, Watching | StateChanged | Progressed | EtaSlipped | Stalled | Resumed)
        };
        let kinds: Vec<EventType> = told.iter().filter(of_answers).map(|e| e.kind).collect();
        let watching = kinds.iter().filter(|&&k| k == EventType::Watching).count();
        prop_assert!(kinds.is_empty() || (kinds[0] == EventType::Watching && watching == 1), "{:?}", kinds);
    }

    #[test]
    fn what_is_written_down_is_read_back_whole(limits in bounds(), inputs in inputs()) {
        let mut broken = None;
        tell(&limits, &inputs, |story, _| {
            let text = story.watch.save(story.now, None);
            let mut read = Watch::load(&text, story.now, &limits).unwrap();
            // The one thing that is not taken on trust.
            if read.next_poll(story.now) > limits.schedule.max_interval {
                broken = Some(format!("{:?}", read.next_poll(story.now)));
            }
            read.poll_at = story.watch.poll_at;
            let again = read.save(story.now, None);
            if again != text {
                broken = Some(format!("{text}\n{again}"));
            }
        });
        prop_assert_eq!(broken, None);
    }

    #[test]
    fn what_begins_and_what_ends_take_turns(limits in bounds(), inputs in inputs()) {
        let told = tell(&limits, &inputs, |_, _| ());
        for (begins, ends) in [
            (EventType::Unreachable, EventType::Reachable),
            (EventType::Stalled, EventType::Resumed),
        ] {
            let turns = told.iter().map(|e| e.kind).filter(|&k| k == begins || k == ends);
            prop_assert!(turns.enumerate().all(|(at, k)| (k == begins) == (at % 2 == 0)));
        }
    }

    #[test]
    fn waits_stay_within_the_bounds_whatever_the_server_sends(limits in bounds(), inputs in inputs()) {
        let (min, max) = (limits.schedule.min_interval, limits.schedule.max_interval);
        let mut broken = None;
        tell(&limits, &inputs, |story, input| {
            let Next::Wait { .. } = story.next else { return };
            let next = story.watch.next_poll(story.now);
            let floor = match input {
                Input::Answered(_) => Duration::ZERO,
                Input::Failed(error) if !limits.refusal_ends && error.kind.as_str() == "refused" => {
                    Duration::from_secs(300)
                }
                Input::Failed(error) => error.retry_after.unwrap_or_default(),
                _ => return,
            };
            if next < min.max(floor) || next > max.max(floor) {
                broken.get_or_insert((next, input.clone()));
            }
        });
        prop_assert!(broken.is_none(), "{:?} not in {:?} to {:?}", broken, min, max);
    }

    #[test]
    fn the_same_story_is_told_the_same_way(limits in bounds(), inputs in inputs()) {
        prop_assert_eq!(tell(&limits, &inputs, |_, _| ()), tell(&limits, &inputs, |_, _| ()));
    }

    #[test]
    fn a_roll_of_the_dice_is_never_one(seed in any::<u64>()) {
        use super::Rng;
        let mut rng = SeededRng(seed);
        prop_assert!((0..100).all(|_| (0.0..1.0).contains(&rng.roll())));
    }
}
