//! Saving and loading of watches.

use super::scenario::Scenario;
use crate::job::Outcome;
use crate::time::Moment;
use crate::verdict::ErrorKind;
use crate::watch::fixtures::{error, limits, suspended};
use crate::watch::{Input, InvalidSavedWatch, Watch, outcome_of};

const DAY_MS: i64 = 86_400_000;

/// The moment `after_ms` later in another process, with the wall clock off by `skew_ms`.
fn later(now: Moment, after_ms: u64, skew_ms: i64) -> Moment {
    Moment {
        up_ms: 5_000_000_000_000 + after_ms,
        wall_ms: now.wall_ms + after_ms.cast_signed() + skew_ms,
    }
}

fn load(text: &str, labels: &str, now: Moment) -> Result<Watch, InvalidSavedWatch> {
    Watch::load(text, labels, 0, now, &limits())
}

fn reload(watch: &Watch, saved_at: Moment, now: Moment) -> Watch {
    load(&watch.save(saved_at, None), "{}", now).unwrap()
}

#[test]
fn the_time_of_the_first_poll_survives_jumps_of_the_wall_clock() {
    let scenario = Scenario::of("diff/9").at(7).step(Input::Due).running(10.0);
    let first_poll_wall_ms = scenario.now.wall_ms;
    let mut watch = scenario.watch;
    for skew in [1, -DAY_MS, DAY_MS] {
        let now = later(scenario.now, 300, skew);
        watch = reload(&watch, now, later(now, 1, 0));
        assert_eq!(watch.first_poll_wall_ms(), Some(first_poll_wall_ms));
    }
}

#[test]
fn a_loaded_watch_waits_for_the_rest_of_its_interval() {
    let scenario = Scenario::of("diff/9").at(0).step(Input::Due).running(10.0);
    let scenario = scenario.at(40).running(30.0);
    let wait = scenario.watch.next_poll_in(scenario.now);
    let now = later(scenario.now, 300, 0);
    let watch = reload(&scenario.watch, scenario.now, now);
    assert_eq!(
        watch.next_poll_in(now) + std::time::Duration::from_millis(300),
        wait
    );
    assert_eq!(
        (watch.id(), watch.job()),
        (scenario.watch.id(), scenario.watch.job())
    );
    assert_eq!(
        (watch.state(), watch.progress()),
        (scenario.watch.state(), Some(30.0))
    );
    assert_eq!(watch.first_poll_at(), Some(now.up_ms - 40_300));
}

#[test]
fn a_clock_jump_never_extends_a_wait_beyond_max_interval() {
    let scenario = Scenario::of("diff/9")
        .at(0)
        .running(10.0)
        .at(40)
        .running(30.0);
    for skew in [
        -400 * DAY_MS,
        -DAY_MS,
        DAY_MS,
        400 * DAY_MS,
        i64::MIN / 4,
        i64::MAX / 4,
    ] {
        let now = later(scenario.now, 0, skew);
        let watch = reload(&scenario.watch, scenario.now, now);
        assert!(
            watch.next_poll_in(now) <= limits().schedule.max_interval,
            "{skew}"
        );
        assert!(watch.first_poll_at() <= Some(now.up_ms), "{skew}");
    }
}

#[test]
fn time_between_save_and_load_does_not_count_as_failing() {
    let scenario = Scenario::of("diff/9").step(Input::Due);
    let scenario = scenario.at(0).error(ErrorKind::Connect).at(10);
    for (after_ms, skew) in [(0, 0), (8 * 3_600_000, 0), (0, 400 * DAY_MS), (0, -DAY_MS)] {
        let now = later(scenario.now, after_ms, skew);
        let watch = reload(&scenario.watch, scenario.now, now);
        let since = watch.streak().unwrap().since;
        assert_eq!(now.up_ms - since, 10_000, "{after_ms} {skew}");
    }
}

#[test]
fn a_suspended_or_refused_watch_polls_at_once_after_loading() {
    let suspended = Scenario::of("diff/9")
        .at(0)
        .running(10.0)
        .at(40)
        .step(suspended());
    let mut refused = Scenario::of("diff/9").with(|limits| limits.refusal_ends = false);
    refused = refused
        .at(0)
        .step(Input::Error(error(ErrorKind::Unauthorized)));
    for scenario in [suspended, refused] {
        assert!(scenario.watch.next_poll_in(scenario.now) > std::time::Duration::from_secs(1));
        let now = later(scenario.now, 10, 0);
        assert!(
            reload(&scenario.watch, scenario.now, now)
                .next_poll_in(now)
                .is_zero()
        );
    }
}

#[test]
fn a_saved_watch_names_its_outcome() {
    let scenario = Scenario::of("diff/9").at(0).running(10.0);
    assert_eq!(outcome_of(&scenario.watch.save(scenario.now, None)), None);
    let ended = scenario.watch.save(scenario.now, Some(Outcome::TimedOut));
    assert_eq!(outcome_of(&ended).as_deref(), Some("timed_out"));
}

#[test]
fn a_truncated_or_invalid_saved_watch_is_rejected() {
    let scenario = Scenario::of("diff/9").at(0).running(10.0);
    let text = scenario.watch.save(scenario.now, None);
    for cut in 0..text.len() {
        assert!(load(&text[..cut], "{}", scenario.now).is_err(), "{cut}");
    }
    for (from, to) in [
        ("diff/9", "diff/0"),
        ("0707", "07"),
        ("\"poll_at\":", "\"poll\":"),
    ] {
        assert!(load(&text.replacen(from, to, 1), "{}", scenario.now).is_err());
    }
    for labels in ["", "{", "[]", "{\"build\":7}"] {
        assert!(load(&text, labels, scenario.now).is_err(), "{labels}");
    }
}
