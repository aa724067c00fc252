//! The end of a one-shot and of a daemon, with attempts under way.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_result_that_is_being_committed_survives_fail_all() {
    let store = FakeStore::default();
    let permits = Rc::new(Semaphore::new(0));
    *store.0.permits.borrow_mut() = Some(Rc::clone(&permits));
    let mut dispatcher = with_pending(&[1, 2], AttemptResult::Delivered, &store).await;
    advance_until(&mut dispatcher, || store.0.waiting.get() == 1).await;
    permits.add_permits(2);
    let events = dispatcher.fail_all("shutdown").await;
    assert_eq!(
        deliveries(&events),
        [format!("{}/h", event(2, "job.failed").id)]
    );
    assert_eq!(
        store.committed(),
        ["1 begin", "1 deliver", "2 fail", "hook.failed"]
    );
    assert!(dispatcher.is_idle());
}

#[tokio::test]
async fn events_committed_after_fail_all_are_delivered() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[], AttemptResult::Delivered, &store).await;
    assert_eq!(dispatcher.fail_all("shutdown").await, []);
    commit_events(&dispatcher, &[event(1, "job.failed")]).await;
    advance_until(&mut dispatcher, || store.committed().len() == 3).await;
    assert_eq!(store.committed(), ["job.failed", "1 begin", "1 deliver"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_while_draining_is_repeated_after_the_next_startup() {
    let failed = AttemptResult::Failed {
        why: DeliveryFailure::new("connection refused"),
        not_before: Duration::ZERO,
    };
    for (result, expected) in [
        (failed, vec!["1 begin"]),
        (AttemptResult::Delivered, vec!["1 begin", "1 deliver"]),
        (rejected(), vec!["1 begin", "1 fail", "hook.failed"]),
    ] {
        let store = FakeStore::default();
        let mut dispatcher =
            dispatcher_with(FixedExecutor(Duration::from_secs(3), result), store.clone());
        commit_events(&dispatcher, &[event(1, "job.failed")]).await;
        store.0.committed.borrow_mut().clear();
        advance_until(&mut dispatcher, || !store.committed().is_empty()).await;
        dispatcher.drain();
        while !dispatcher.is_drained() {
            tokio::select! {
                events = dispatcher.advance() => drop(events.unwrap()),
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
        assert_eq!(store.committed(), expected);
    }
}
