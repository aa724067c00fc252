//! Deliveries that fail without an attempt: their hook was removed, or the process ends.

use super::*;

#[test]
fn pending_deliveries_of_a_removed_hook_fail() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1), hook("other", &["job.*"], 8, 1)]);
    for watch in [1, 2] {
        let event = event_of(watch, 1, "job.failed");
        add_event_for(&["h", "other"], &mut queue, &event, at(0));
    }
    let mut running = begin(&mut queue, 0);
    running.dedup();
    assert_eq!(running, ["1-1#1"]);
    queue.configure(&[hook("other", &["job.*"], 8, 1)]);
    let changes = queue.fail_orphaned();
    assert_eq!(changes.len(), 1, "the running attempt is its last");
    let failed = apply(&mut queue, changes[0].clone()).unwrap();
    assert_eq!(failed.delivery.unwrap().delivery, id(2, 1).to_string());
    let why = failed.error_message.unwrap();
    assert_eq!(why, "the hook is no longer in the configuration");
    assert!(settle(&mut queue, id(1, 1), failure(), 0).is_some());
}

#[test]
fn a_delivery_whose_attempt_could_not_begin_fails_with_its_removed_hook() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    add_event(&mut queue, &event_of(1, 1, "job.failed"), at(0));
    begin(&mut queue, 0);
    queue.configure(&[]);
    assert_eq!(queue.fail_orphaned(), []);
    queue.requeue(&id(1, 1), at(1_000), None);
    let change = queue.fail_orphaned().remove(0);
    assert!(apply(&mut queue, change).is_some());
    assert!(queue.is_idle());
}

#[test]
fn a_failing_delivery_fails_once_and_is_not_attempted() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    add_event(&mut queue, &event_of(1, 1, "job.failed"), at(0));
    queue.configure(&[]);
    assert_eq!(queue.fail_orphaned().len(), 1);
    // The configuration is reloaded twice before the change is committed.
    queue.configure(&[]);
    assert_eq!(queue.fail_orphaned(), []);
    queue.configure(&[hook("h", &["job.*"], 8, 1)]);
    assert_eq!(begin(&mut queue, 1_000), [""; 0]);
}

#[test]
fn a_delivery_that_is_added_after_the_removal_of_its_hook_fails() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    let late = event_of(1, 1, "job.failed");
    queue.configure(&[]);
    assert_eq!(queue.fail_orphaned(), []);
    // Its event was being committed when the hook was removed.
    queue.add(
        &id(1, 1),
        Arc::new(EventPayload::of(&late, "test").unwrap()),
        at(0),
    );
    assert_eq!(queue.fail_orphaned().len(), 1);
}

#[test]
fn a_failure_without_an_attempt_names_the_last_failed_attempt() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    for watch in 1..=4 {
        add_event(&mut queue, &event_of(watch, 1, "job.failed"), at(0));
    }
    begin(&mut queue, 0);
    let failed = DeliveryFailure {
        exit_status: Some(3),
        ..DeliveryFailure::new("exit status 3")
    };
    let attempt = AttemptResult::Failed {
        why: failed,
        not_before: Duration::ZERO,
    };
    settle(&mut queue, id(1, 1), attempt, 0);
    queue.requeue(&id(2, 1), at(0), Some(DeliveryFailure::new("interrupted")));
    queue.requeue(&id(3, 1), at(0), None);
    let changes = queue.fail_all("shutdown");
    let failures: Vec<(String, Option<i32>)> = changes
        .into_iter()
        .map(|change| apply(&mut queue, change).unwrap())
        .map(|f| (f.error_message.unwrap(), f.delivery.unwrap().exit_status))
        .collect();
    let text = str::to_owned;
    assert_eq!(
        failures,
        [
            (text("shutdown; the last attempt: exit status 3"), Some(3)),
            (text("shutdown; the last attempt: interrupted"), None),
            (text("shutdown"), None),
            (text("shutdown"), None),
        ]
    );
    assert!(queue.is_idle());
}

#[test]
fn deliveries_with_a_change_under_way_are_not_failed_again() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    for watch in 1..=3 {
        add_event(&mut queue, &event_of(watch, 1, "job.failed"), at(0));
    }
    begin(&mut queue, 0);
    let settled = |queue: &mut Queue, watch, attempt| {
        queue.settle(id(watch, 1), attempt, at(0), retry::ceiling)
    };
    let arrived = settled(&mut queue, 1, AttemptResult::Delivered);
    let waits = settled(&mut queue, 2, failure());
    let changes = queue.fail_all("shutdown");
    let failed: Vec<&DeliveryId> = changes.iter().map(|s| s.change.id()).collect();
    assert_eq!(failed, [&id(3, 1)]);
    assert_eq!(queue.fail_all("shutdown"), [], "once");
    // Once the retry is applied, the delivery can fail like any other.
    for change in [arrived, waits].into_iter().chain(changes) {
        apply(&mut queue, change);
    }
    assert_eq!(queue.fail_all("shutdown").len(), 1);
}
