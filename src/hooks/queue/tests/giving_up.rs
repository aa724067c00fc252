//! Deliveries that there is no attempt at any more: their hook has gone, or all is over.

use super::*;

#[test]
fn the_deliveries_of_a_hook_that_has_gone_are_given_up() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1), hook("other", &["job.*"], 8, 1)]);
    for watch in [1, 2] {
        offer(&mut queue, &told(watch, 1, "job.failed"), at(0));
    }
    let mut running = begin(&mut queue, 0);
    running.dedup();
    assert_eq!(running, ["1-1#1"]);
    queue.configure(&[hook("other", &["job.*"], 8, 1)]);
    let changes = queue.leaving();
    assert_eq!(changes.len(), 1, "the one under way has this attempt left");
    let (gave_up, why) = apply(&mut queue, &changes[0]).unwrap();
    assert_eq!(gave_up.delivery, id(2, 1).to_string());
    assert_eq!(why, "the hook is no longer in the configuration");
    assert!(settle(&mut queue, id(1, 1), failure(), 0).is_some());
}

#[test]
fn an_attempt_that_could_not_begin_is_the_end_where_its_hook_has_gone() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    offer(&mut queue, &told(1, 1, "job.failed"), at(0));
    begin(&mut queue, 0);
    queue.configure(&[]);
    assert_eq!(queue.leaving(), []);
    queue.put_back(&id(1, 1), at(1_000), None);
    let change = queue.leaving().remove(0);
    assert!(apply(&mut queue, &change).is_some());
    assert!(queue.is_idle());
}

#[test]
fn what_is_being_given_up_is_not_given_up_again_nor_tried() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    offer(&mut queue, &told(1, 1, "job.failed"), at(0));
    queue.configure(&[]);
    assert_eq!(queue.leaving().len(), 1);
    // Before that is on record, the file is read again, twice.
    queue.configure(&[]);
    assert_eq!(queue.leaving(), []);
    queue.configure(&[hook("h", &["job.*"], 8, 1)]);
    assert_eq!(begin(&mut queue, 1_000), [""; 0]);
}

#[test]
fn a_delivery_that_arrives_after_its_hook_has_gone_is_given_up() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 1)]);
    let late = told(1, 1, "job.failed");
    queue.configure(&[]);
    assert_eq!(queue.leaving(), []);
    // Its event was being committed when the hook left.
    queue.add(
        &id(1, 1),
        Arc::new(EventPayload::of(&late, "test").unwrap()),
        at(0),
    );
    assert_eq!(queue.leaving().len(), 1);
}

#[test]
fn what_is_given_up_without_an_attempt_tells_of_the_last_one() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    for watch in 1..=4 {
        offer(&mut queue, &told(watch, 1, "job.failed"), at(0));
    }
    begin(&mut queue, 0);
    let failed = DeliveryFailure {
        exit_status: Some(3),
        ..DeliveryFailure::new("exit status 3")
    };
    let attempt = Attempt::Failed {
        why: failed,
        not_before: Duration::ZERO,
    };
    settle(&mut queue, id(1, 1), attempt, 0);
    queue.put_back(&id(2, 1), at(0), Some(DeliveryFailure::new("interrupted")));
    queue.put_back(&id(3, 1), at(0), None);
    let changes = queue.give_up_all("it is over");
    let told: Vec<(String, Option<i32>)> = changes
        .iter()
        .map(|change| apply(&mut queue, change).unwrap())
        .map(|(given_up, why)| (why, given_up.exit_status))
        .collect();
    let text = str::to_owned;
    assert_eq!(
        told,
        [
            (text("it is over; the last attempt: exit status 3"), Some(3)),
            (text("it is over; the last attempt: interrupted"), None),
            (text("it is over"), None),
            (text("it is over"), None),
        ]
    );
    assert!(queue.is_idle());
}

#[test]
fn what_is_settled_is_left_alone_when_all_is_given_up() {
    let mut queue = Queue::new(&[hook("h", &["job.*"], 8, 4)]);
    for watch in 1..=3 {
        offer(&mut queue, &told(watch, 1, "job.failed"), at(0));
    }
    begin(&mut queue, 0);
    let settled = |queue: &mut Queue, watch, attempt| {
        queue.settle(id(watch, 1), attempt, at(0), retry::ceiling, &mut Slow)
    };
    let arrived = settled(&mut queue, 1, Attempt::Delivered);
    let waits = settled(&mut queue, 2, failure());
    let changes = queue.give_up_all("it is over");
    let given_up: Vec<&DeliveryId> = changes.iter().map(DeliveryChange::id).collect();
    assert_eq!(given_up, [&id(3, 1)]);
    assert_eq!(queue.give_up_all("it is over"), [], "once");
    // Once it is in force that one waits on, it is as any other.
    for change in [arrived, waits].iter().chain(&changes) {
        apply(&mut queue, change);
    }
    assert_eq!(queue.give_up_all("it is over").len(), 1);
}
