//! Each rule by itself; `giving_up` has those of deliveries that there is no attempt at any more, `properties` all of them
//! at once, on anything that can happen.

mod giving_up;
mod properties;

use std::time::Duration;

use super::*;
use crate::hooks::tests_support::{event, hook};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobKind;
use forgewatch_core::retry;

/// The longest wait there is, every time.
struct Slow;

impl Rng for Slow {
    fn roll(&mut self) -> f64 {
        1.0
    }
}

fn at(up_ms: u64) -> Moment {
    Moment {
        up_ms,
        wall_ms: 1_767_323_045_678 + up_ms as i64,
    }
}

fn told(watch: u8, seq: u32, kind: &str) -> Event {
    let mut event = event(seq, kind);
    event.id.watch = WatchId([watch; 16]);
    event
}

fn failure() -> Attempt {
    failure_for(Duration::ZERO)
}

fn failure_for(not_before: Duration) -> Attempt {
    Attempt::Failed {
        why: DeliveryFailure::new("exit status 1"),
        not_before,
    }
}

fn offer(queue: &mut Queue, event: &Event, now: Moment) {
    let told = Arc::new(EventPayload::of(event, "test").unwrap());
    for id in queue.wanted(event) {
        queue.add(&id, Arc::clone(&told), now);
    }
}

/// Puts a change into force. Returns what is told of it.
fn apply(queue: &mut Queue, change: &DeliveryChange) -> Option<(FailedDelivery, String)> {
    let given_up = queue.gives_up(change);
    queue.apply(change);
    given_up
}

/// Begins all that can, as `watch-seq#attempt`.
fn begin(queue: &mut Queue, now: u64) -> Vec<String> {
    std::iter::from_fn(|| queue.begin(at(now)))
        .map(|change| match change {
            DeliveryChange::Begin { id, attempt } => {
                format!("{}-{}#{attempt}", id.event.watch.0[0], id.event.seq)
            }
            other => panic!("{other:?}"),
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
    attempt: Attempt,
    now: u64,
) -> Option<(FailedDelivery, String)> {
    let change = queue.settle(id, attempt, at(now), retry::ceiling, &mut Slow);
    apply(queue, &change)
}

#[test]
fn a_hook_gets_the_types_and_kinds_it_wants() {
    let all = |on: &[&str]| Queue::new(&[hook("h", on, 0, 1)]);
    let wants = |queue: &Queue, kind| !queue.wanted(&told(1, 1, kind)).is_empty();
    assert!(wants(&all(&["job.failed"]), "job.failed"));
    assert!(!wants(&all(&["job.failed"]), "job.progressed"));
    assert!(wants(&all(&["hook.failed", "job.*"]), "job.progressed"));
    assert!(!wants(&all(&["job.*"]), "hook.failed"));
    let mut updates = hook("h", &["job.*", "hook.failed"], 0, 1);
    updates.kinds = Some(vec![JobKind::Update]);
    assert!(!wants(&Queue::new(&[updates.clone()]), "job.failed"));
    assert!(
        !wants(&Queue::new(&[updates]), "hook.failed"),
        "it has no kind"
    );
}

#[test]
fn the_head_is_tried_again_before_the_next_of_its_queue() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    for seq in [1, 2] {
        offer(&mut queue, &told(1, seq, "job.progressed"), at(0));
    }
    offer(&mut queue, &told(2, 1, "job.progressed"), at(0));
    assert_eq!(
        begin(&mut queue, 0),
        ["1-1#1", "2-1#1"],
        "one of a queue at a time"
    );
    settle(&mut queue, id(1, 1), failure(), 0);
    assert_eq!(begin(&mut queue, 999), [""; 0], "not before a second");
    assert_eq!(queue.wake(), Some(1_000));
    assert_eq!(begin(&mut queue, 1_000), ["1-1#2"]);
    settle(&mut queue, id(1, 1), Attempt::Delivered, 1_000);
    assert_eq!(begin(&mut queue, 1_000), ["1-2#1"]);
}

#[test]
fn a_waiting_retry_holds_no_place_and_the_oldest_due_goes_first() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    for watch in [1, 2, 3] {
        offer(
            &mut queue,
            &told(watch, 1, "job.failed"),
            at(u64::from(watch)),
        );
    }
    assert_eq!(begin(&mut queue, 10), ["1-1#1"]);
    settle(&mut queue, id(1, 1), failure(), 10);
    assert_eq!(begin(&mut queue, 10), ["2-1#1"]);
    settle(&mut queue, id(2, 1), Attempt::Delivered, 5_000);
    assert_eq!(
        begin(&mut queue, 5_000),
        ["3-1#1"],
        "due since 3, the retry since 1010"
    );
    settle(&mut queue, id(3, 1), Attempt::Delivered, 5_000);
    assert_eq!(begin(&mut queue, 5_000), ["1-1#2"]);
}

#[test]
fn waits_double_to_five_minutes_and_retry_after_is_a_floor_of_an_hour_at_most() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 100, 1)]);
    offer(&mut queue, &told(1, 1, "job.failed"), at(0));
    let mut now = 0;
    let mut wait = |attempt| {
        begin(&mut queue, now);
        settle(&mut queue, id(1, 1), attempt, now);
        let before = std::mem::replace(&mut now, queue.wake().unwrap());
        (now - before) / 1_000
    };
    let curve: Vec<u64> = (0..11).map(|_| wait(failure())).collect();
    assert_eq!(curve, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(wait(failure_for(Duration::from_mins(10))), 600);
    assert_eq!(
        wait(failure_for(Duration::from_secs(1))),
        300,
        "a floor, no ceiling"
    );
    assert_eq!(wait(failure_for(Duration::from_hours(9))), 3_600);
}

#[test]
fn after_its_retries_a_delivery_is_given_up_and_forgotten_and_the_next_goes() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 2, 1)]);
    for seq in [1, 2] {
        offer(&mut queue, &told(1, seq, "job.progressed"), at(0));
    }
    for attempt in 1..=2 {
        assert_eq!(begin(&mut queue, 10_000 * attempt).len(), 1);
        assert_eq!(
            settle(&mut queue, id(1, 1), failure(), 10_000 * attempt),
            None
        );
    }
    begin(&mut queue, 30_000);
    let gave_up = settle(&mut queue, id(1, 1), failure(), 30_000).unwrap();
    assert_eq!(
        (gave_up.0.attempt, gave_up.1.as_str()),
        (3, "exit status 1")
    );
    assert_eq!(queue.find(&id(1, 1), at(30_000)), None);
    assert_eq!(queue.waiting(), 1);
    assert_eq!(begin(&mut queue, 30_000), ["1-2#1"]);

    // Somebody asks for it.
    let again = EventPayload::of(&told(1, 1, "job.progressed"), "test").unwrap();
    queue.add(&id(1, 1), Arc::new(again), at(31_000));
    assert_eq!(begin(&mut queue, 31_000), [""; 0], "its queue is busy");
    settle(&mut queue, id(1, 2), Attempt::Delivered, 31_000);
    assert_eq!(begin(&mut queue, 31_000), ["1-1#1"]);
    let refused = Attempt::Refused(DeliveryFailure::new("HTTP 410"));
    assert!(
        settle(&mut queue, id(1, 1), refused, 31_000).is_some(),
        "at once"
    );
    assert!(queue.is_idle() && queue.list(at(31_000)).next().is_none());
}

#[test]
fn what_could_not_be_recorded_was_no_attempt() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 0, 1)]);
    offer(&mut queue, &told(1, 1, "job.failed"), at(0));
    begin(&mut queue, 0);
    queue.put_back(&id(1, 1), at(1_000), None);
    assert_eq!(begin(&mut queue, 999), [""; 0]);
    assert_eq!(begin(&mut queue, 1_000), ["1-1#1"]);
}

#[test]
fn what_was_stored_goes_on_where_it_was() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    let now = at(5_000);
    let mut load = |watch, attempts, standing, hook: &str| {
        let row = DeliveryRow {
            id: DeliveryId {
                hook: Arc::from(hook),
                ..id(watch, 1)
            },
            body: {
                let told = EventPayload::of(&told(watch, 1, "job.failed"), "test").unwrap();
                told.body().to_owned()
            },
            attempts,
            standing,
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
    assert_eq!(queue.leaving().len(), 1, "the one whose hook has gone");
    assert_eq!(begin(&mut queue, 5_000), ["1-1#4"]);
    assert_eq!(begin(&mut queue, 7_000), ["2-1#2"]);
    assert_eq!(begin(&mut queue, 3_604_999), [""; 0]);
    assert_eq!(
        begin(&mut queue, 3_605_000),
        ["3-1#2"],
        "no wait is longer than an hour"
    );
    // Those that were given up, or done, are the store's alone.
    for watch in [4, 6] {
        assert_eq!(queue.find(&id(watch, 1), now), None);
    }
}
