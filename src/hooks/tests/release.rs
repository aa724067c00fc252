//! Deliveries that another process makes from now on.

use super::*;

/// Advances until nothing of a released delivery is under way.
async fn finish_release(
    dispatcher: &mut Dispatcher<FakeStore, SystemClock, FixedExecutor>,
) -> Vec<Event> {
    let mut events = Vec::new();
    while dispatcher.is_releasing() {
        events.extend(dispatcher.advance().await.unwrap());
    }
    events
}

async fn assert_silent(dispatcher: &mut Dispatcher<FakeStore, SystemClock, FixedExecutor>) {
    let more = tokio::time::timeout(Duration::from_hours(3), dispatcher.advance()).await;
    assert!(more.is_err(), "{more:?}");
    assert!(dispatcher.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_lost_delivery_takes_all_of_its_watch_with_it() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[1, 2, 3], AttemptResult::Delivered, &store).await;
    store.0.is_lost.set(true);
    assert_eq!(dispatcher.advance().await.unwrap(), []);
    assert_silent(&mut dispatcher).await;
    assert_eq!(
        store.committed(),
        [""; 0],
        "an attempt without its beginning"
    );
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_after_the_loss_is_dropped() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[1, 2], rejected(), &store).await;
    let permits = Rc::new(Semaphore::new(0));
    *store.0.permits.borrow_mut() = Some(Rc::clone(&permits));
    advance_until(&mut dispatcher, || store.0.waiting.get() == 1).await;
    store.0.is_lost.set(true);
    permits.add_permits(1);
    assert_eq!(dispatcher.advance().await.unwrap(), []);
    assert_silent(&mut dispatcher).await;
    assert_eq!(store.committed(), ["1 begin"]);
}

#[tokio::test(start_paused = true)]
async fn a_release_kills_attempts_at_once_and_leaves_other_deliveries() {
    let store = FakeStore::default();
    let executor = FixedExecutor(Duration::from_hours(1), rejected());
    let mut dispatcher = dispatcher_with(executor, store.clone());
    commit_events(&dispatcher, &[event(1, "job.failed")]).await;
    advance_until(&mut dispatcher, || store.committed().len() == 2).await;
    commit_events(&dispatcher, &[event(2, "job.failed")]).await;
    dispatcher.release(|_, job| job.is_none());
    assert_eq!(dispatcher.open_count(), 2);
    dispatcher.release(|_, job| job == event(1, "job.failed").job);
    assert!(!dispatcher.is_releasing());
    assert_eq!(
        dispatcher.advance().await.unwrap(),
        [],
        "the attempt is over"
    );
    assert_silent(&mut dispatcher).await;
    assert_eq!(store.committed(), ["job.failed", "1 begin", "job.failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_commit_is_in_flight_is_published() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[1, 2], rejected(), &store).await;
    let permits = Rc::new(Semaphore::new(0));
    *store.0.permits.borrow_mut() = Some(Rc::clone(&permits));
    advance_until(&mut dispatcher, || store.0.waiting.get() == 1).await;
    dispatcher.release(|_, _| true);
    assert_eq!(dispatcher.open_count(), 0);
    assert!(dispatcher.is_releasing());
    permits.add_permits(1);
    let events = finish_release(&mut dispatcher).await;
    let failed = format!("{}/h", event(1, "job.failed").id);
    assert_eq!(deliveries(&events), [failed]);
    assert_eq!(store.committed(), ["1 begin", "1 fail", "hook.failed"]);
    assert_silent(&mut dispatcher).await;
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_is_committed_after_the_release_starts_no_attempt() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[1], AttemptResult::Delivered, &store).await;
    let permits = Rc::new(Semaphore::new(0));
    *store.0.permits.borrow_mut() = Some(Rc::clone(&permits));
    store.0.holds_begin.set(true);
    advance_until(&mut dispatcher, || store.0.waiting.get() == 1).await;
    dispatcher.release(|_, _| true);
    permits.add_permits(1);
    assert_eq!(finish_release(&mut dispatcher).await, []);
    assert_silent(&mut dispatcher).await;
    assert_eq!(store.committed(), ["1 begin"]);
}
