//! Results of attempts that the store rejects for a while.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stop_ends_even_if_nothing_can_be_committed() {
    let store = FakeStore::default();
    store.0.is_full.set(true);
    let mut dispatcher = with_pending(&[1], rejected(), &store).await;
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 2).await;
    let stopped = tokio::time::timeout(Duration::from_mins(1), dispatcher.stop()).await;
    assert!(stopped.is_ok(), "it retries forever");
    assert!(
        !dispatcher.is_idle(),
        "the attempt is repeated after the next startup"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_on_a_full_disk_is_committed_and_published_once_there_is_space() {
    let store = FakeStore::default();
    store.0.is_full.set(true);
    let mut dispatcher = with_pending(&[1], rejected(), &store).await;
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 3).await;
    assert_eq!(store.committed(), ["1 begin"]);
    assert_eq!(dispatcher.list(1)[0].state, OpenState::Running);
    store.0.is_full.set(false);
    let events = dispatcher.advance().await.unwrap();
    assert_eq!(
        deliveries(&events),
        [format!("{}/h", event(1, "job.failed").id)]
    );
    assert_eq!(
        dispatcher.list(1),
        [],
        "failed deliveries are in the store alone"
    );
    let more = tokio::time::timeout(Duration::from_hours(1), dispatcher.advance()).await;
    assert!(more.is_err(), "published twice: {more:?}");
    assert_eq!(store.committed(), ["1 begin", "1 fail", "hook.failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_delivered_event_does_not_fail_because_the_disk_is_full() {
    let store = FakeStore::default();
    store.0.is_full.set(true);
    let mut dispatcher = with_pending(&[1], AttemptResult::Delivered, &store).await;
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 1).await;
    let fail_all = dispatcher.fail_all("shutdown");
    let events = tokio::time::timeout(Duration::from_mins(1), fail_all).await;
    assert_eq!(events.expect("it retries forever"), []);
    store.0.is_full.set(false);
    assert_eq!(dispatcher.fail_all("shutdown").await, []);
    assert_eq!(store.committed(), ["1 begin"]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_committed_and_published_in_the_order_of_their_numbers() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[], rejected(), &store).await;
    let mut of_other_watch = event(2, "job.failed");
    of_other_watch.id.watch = WatchId([2; 16]);
    commit_events(&dispatcher, &[event(1, "job.failed"), of_other_watch]).await;
    store.0.committed.borrow_mut().clear();
    store.0.rejects_once.set(true);
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(dispatcher.advance().await.unwrap());
    }
    assert_eq!(store.0.rejected.get(), 1);
    assert!(events[0].id.seq < events[1].id.seq, "{events:#?}");
}
