//! Each rule by itself; `fail_without_attempt` is about failures without an attempt, `properties` tests all rules together.

mod fail_without_attempt;
mod properties;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fixtures::{event, hook};
use super::*;
use crate::event::{Event, EventFields, EventId, JobMeta, WatchId};
use crate::job::JobKind;
use crate::retry;
use crate::time::Moment;

fn at(up_ms: u64) -> Moment {
    Moment {
        up_ms,
        wall_ms: 1_767_323_045_678 + up_ms as i64,
    }
}

fn event_of(watch: u8, seq: u32, kind: &str) -> Event {
    let mut event = event(seq, kind);
    event.id.watch = WatchId([watch; 16]);
    event
}

fn failure() -> AttemptResult {
    failure_for(Duration::ZERO)
}

fn failure_for(not_before: Duration) -> AttemptResult {
    AttemptResult::Failed {
        why: DeliveryFailure::new("exit status 1"),
        not_before,
    }
}

/// Adds the delivery of an event to the hook `h`.
fn add_event(queue: &mut Queue, event: &Event, now: Moment) {
    add_event_for(&["h"], queue, event, now);
}

fn add_event_for(hooks: &[&str], queue: &mut Queue, event: &Event, now: Moment) {
    let payload = Arc::new(EventPayload::of(event, "test").unwrap());
    for &hook in hooks {
        let id = DeliveryId {
            event: event.id,
            hook: hook.into(),
        };
        queue.add(&id, Arc::clone(&payload), now);
    }
}

/// Applies a change. Returns the fields of the `hook.failed` that it causes.
fn apply(queue: &mut Queue, settlement: Settlement) -> Option<EventFields> {
    queue.apply(&settlement.change);
    settlement.hook_failed.map(|fields| *fields)
}

/// Begins all possible attempts, as `watch-seq#attempt`.
fn begin(queue: &mut Queue, now: u64) -> Vec<String> {
    std::iter::from_fn(|| queue.begin(at(now)))
        .map(|Attempt { id, number, .. }| {
            format!("{}-{}#{number}", id.event.watch.0[0], id.event.seq)
        })
        .collect()
}

fn id(watch: u8, seq: u32) -> DeliveryId {
    DeliveryId {
        event: EventId {
            watch: WatchId([watch; 16]),
            seq,
        },
        hook: Arc::from("h"),
    }
}

fn settle(
    queue: &mut Queue,
    id: DeliveryId,
    result: AttemptResult,
    now: u64,
) -> Option<EventFields> {
    let settlement = queue.settle(id, result, at(now), retry::ceiling);
    apply(queue, settlement)
}

#[test]
fn a_hook_receives_its_event_types_job_kinds_and_labels() {
    let receives = |rules: &HookRules, kind| {
        let mut routes = Routes::default();
        routes.configure(vec![rules.clone()]);
        !routes.deliveries(&event_of(1, 1, kind)).is_empty()
    };
    let on = |types: &[&str]| hook("h", types, 0, 1);
    assert!(receives(&on(&["job.failed"]), "job.failed"));
    assert!(!receives(&on(&["job.failed"]), "job.progressed"));
    assert!(receives(&on(&["hook.failed", "job.*"]), "job.progressed"));
    assert!(!receives(&on(&["job.*"]), "hook.failed"));
    let mut updates = hook("h", &["job.*", "hook.failed"], 0, 1);
    updates.kinds = Some(vec![JobKind::Update]);
    assert!(!receives(&updates, "job.failed"));
    assert!(!receives(&updates, "hook.failed"), "it has no job kind");

    let labels = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let mut live = hook("h", &["job.*", "hook.failed"], 0, 1);
    live.labels = labels(&[("stage", "live"), ("build", "7")]);
    for (has, is_received) in [
        (&[("build", "7"), ("stage", "live"), ("x", "y")][..], true),
        (&[("build", "7"), ("stage", "test")], false),
        (&[("stage", "live")], false),
        (&[], false),
    ] {
        let event = Event {
            meta: JobMeta::of_labels(labels(has)),
            ..event_of(1, 1, "job.failed")
        };
        let mut routes = Routes::default();
        routes.configure(vec![live.clone()]);
        assert_eq!(
            !routes.deliveries(&event).is_empty(),
            is_received,
            "{has:?}"
        );
    }
    assert!(!receives(&live, "hook.failed"), "it has no labels");
}

#[test]
fn hook_failed_is_not_delivered_for_its_own_deliveries_or_once_suppressed() {
    let mut routes = Routes::default();
    routes.configure(vec![hook("h", &["hook.failed"], 0, 1)]);
    let failed = |payload: &str| {
        let mut queue = Queue::new(&[hook("bad", &[payload], 0, 1)]);
        let payload = Arc::new(EventPayload::of(&event(1, payload), "test").unwrap());
        let id = DeliveryId {
            event: payload.id(),
            hook: "bad".into(),
        };
        queue.add(&id, payload, at(0));
        let settlement = queue.fail_all("shutdown").remove(0);
        let fields = apply(&mut queue, settlement).unwrap();
        Event {
            fields,
            ..event(2, "hook.failed")
        }
    };
    assert_eq!(routes.deliveries(&failed("job.failed")).len(), 1);
    assert_eq!(routes.deliveries(&failed("hook.failed")), []);
    routes.suppress_failure_events();
    assert_eq!(routes.deliveries(&failed("job.failed")), []);
}

#[test]
fn the_head_of_a_lane_is_retried_before_the_next_delivery() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    for seq in [1, 2] {
        add_event(&mut queue, &event_of(1, seq, "job.progressed"), at(0));
    }
    add_event(&mut queue, &event_of(2, 1, "job.progressed"), at(0));
    assert_eq!(
        begin(&mut queue, 0),
        ["1-1#1", "2-1#1"],
        "one of a lane at a time"
    );
    settle(&mut queue, id(1, 1), failure(), 0);
    assert_eq!(begin(&mut queue, 999), [""; 0], "not before one second");
    assert_eq!(queue.next_due(), Some(1_000));
    assert_eq!(begin(&mut queue, 1_000), ["1-1#2"]);
    settle(&mut queue, id(1, 1), AttemptResult::Delivered, 1_000);
    assert_eq!(begin(&mut queue, 1_000), ["1-2#1"]);
}

#[test]
fn a_pending_retry_takes_no_running_place_and_the_oldest_due_goes_first() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    for watch in [1, 2, 3] {
        add_event(
            &mut queue,
            &event_of(watch, 1, "job.failed"),
            at(u64::from(watch)),
        );
    }
    assert_eq!(begin(&mut queue, 10), ["1-1#1"]);
    settle(&mut queue, id(1, 1), failure(), 10);
    assert_eq!(begin(&mut queue, 10), ["2-1#1"]);
    settle(&mut queue, id(2, 1), AttemptResult::Delivered, 5_000);
    assert_eq!(
        begin(&mut queue, 5_000),
        ["3-1#1"],
        "due since 3, the retry since 1010"
    );
    settle(&mut queue, id(3, 1), AttemptResult::Delivered, 5_000);
    assert_eq!(begin(&mut queue, 5_000), ["1-1#2"]);
}

#[test]
fn delays_double_to_five_minutes_and_retry_after_is_a_minimum_of_up_to_an_hour() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 100, 1)]);
    add_event(&mut queue, &event_of(1, 1, "job.failed"), at(0));
    let mut now = 0;
    let mut wait = |attempt| {
        begin(&mut queue, now);
        settle(&mut queue, id(1, 1), attempt, now);
        let before = std::mem::replace(&mut now, queue.next_due().unwrap());
        (now - before) / 1_000
    };
    let curve: Vec<u64> = (0..11).map(|_| wait(failure())).collect();
    assert_eq!(curve, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(wait(failure_for(Duration::from_mins(10))), 600);
    assert_eq!(
        wait(failure_for(Duration::from_secs(1))),
        300,
        "a minimum, not a maximum"
    );
    assert_eq!(wait(failure_for(Duration::from_hours(9))), 3_600);
}

#[test]
fn a_delivery_fails_after_its_retries_and_the_next_begins() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 2, 1)]);
    for seq in [1, 2] {
        add_event(&mut queue, &event_of(1, seq, "job.progressed"), at(0));
    }
    for attempt in 1..=2 {
        assert_eq!(begin(&mut queue, 10_000 * attempt).len(), 1);
        assert_eq!(
            settle(&mut queue, id(1, 1), failure(), 10_000 * attempt),
            None
        );
    }
    begin(&mut queue, 30_000);
    let failed = settle(&mut queue, id(1, 1), failure(), 30_000).unwrap();
    assert_eq!(failed.delivery.unwrap().attempt, 3);
    assert_eq!(failed.error_message.unwrap(), "exit status 1");
    assert_eq!(queue.find(&id(1, 1), at(30_000)), None);
    assert_eq!(queue.open_count(), 1);
    assert_eq!(begin(&mut queue, 30_000), ["1-2#1"]);

    // `hooks retry` adds it again.
    let again = EventPayload::of(&event_of(1, 1, "job.progressed"), "test").unwrap();
    queue.add(&id(1, 1), Arc::new(again), at(31_000));
    assert_eq!(begin(&mut queue, 31_000), [""; 0], "its lane is busy");
    settle(&mut queue, id(1, 2), AttemptResult::Delivered, 31_000);
    assert_eq!(begin(&mut queue, 31_000), ["1-1#1"]);
    let rejected = AttemptResult::Rejected(DeliveryFailure::new("HTTP 410"));
    assert!(
        settle(&mut queue, id(1, 1), rejected, 31_000).is_some(),
        "without a retry"
    );
    assert!(queue.is_idle() && queue.list(at(31_000)).next().is_none());
}

#[test]
fn an_attempt_whose_beginning_was_not_committed_is_not_counted() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 0, 1)]);
    add_event(&mut queue, &event_of(1, 1, "job.failed"), at(0));
    begin(&mut queue, 0);
    queue.requeue(&id(1, 1), at(1_000), None);
    assert_eq!(begin(&mut queue, 999), [""; 0]);
    assert_eq!(begin(&mut queue, 1_000), ["1-1#1"]);
}

#[test]
fn loaded_deliveries_continue_where_they_were() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    let now = at(5_000);
    let mut load = |watch, attempts: u32, state, hook: &str| {
        let row = DeliveryRow {
            id: DeliveryId {
                hook: Arc::from(hook),
                ..id(watch, 1)
            },
            body: {
                let payload = EventPayload::of(&event_of(watch, 1, "job.failed"), "test").unwrap();
                payload.body().to_owned()
            },
            attempts,
            failures: attempts,
            state,
        };
        queue.load(row, now).unwrap();
    };
    let due = |ms: i64| DeliveryState::Pending {
        due_ms: now.wall_ms.saturating_add(ms),
    };
    load(1, 3, due(-1_000), "h");
    load(2, 1, due(2_000), "h");
    load(3, 1, due(i64::MAX), "h");
    load(4, 9, DeliveryState::Failed(DeliveryFailure::new("x")), "h");
    load(5, 0, due(0), "gone");
    load(6, 1, DeliveryState::Delivered, "h");
    assert_eq!(queue.fail_orphaned().len(), 1, "the one of a removed hook");
    assert_eq!(begin(&mut queue, 5_000), ["1-1#4"]);
    assert_eq!(begin(&mut queue, 7_000), ["2-1#2"]);
    assert_eq!(begin(&mut queue, 3_604_999), [""; 0]);
    assert_eq!(
        begin(&mut queue, 3_605_000),
        ["3-1#2"],
        "no delay is longer than an hour"
    );
    // Failed and delivered ones are in the store alone.
    for watch in [4, 6] {
        assert_eq!(queue.find(&id(watch, 1), now), None);
    }
}
