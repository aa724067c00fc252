//! Failed deliveries that a client retries or discards.

use super::*;

#[tokio::test(start_paused = true)]
async fn failed_deliveries_are_retried_or_discarded_by_the_state_in_the_store() {
    let mut dispatcher = dispatcher_with(
        FixedExecutor(Duration::ZERO, rejected()),
        InMemoryStore::default(),
    );
    let events: Vec<Event> = (1..=4).map(|seq| event(seq, "job.failed")).collect();
    commit_events(&dispatcher, &events).await;
    while !dispatcher.is_idle() {
        dispatcher.advance().await.unwrap();
    }
    assert_eq!(
        (dispatcher.open_count(), dispatcher.list(9)),
        (0, Vec::new())
    );
    assert_eq!(
        dispatcher.retry(id(2)).await,
        Ok(DeliveryActionResult::Done)
    );
    let listed = dispatcher.find(&id(2)).unwrap();
    assert_eq!(
        (dispatcher.open_count(), listed.attempts),
        (1, 0),
        "as if new"
    );
    assert_eq!(
        dispatcher.retry(id(2)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it is pending"
    );
    assert_eq!(
        dispatcher.discard(id(2)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it is pending"
    );
    assert_eq!(
        dispatcher.discard(id(1)).await,
        Ok(DeliveryActionResult::Done)
    );
    assert_eq!(
        dispatcher.discard(id(1)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it is discarded"
    );
    assert_eq!(
        dispatcher.retry(id(5)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it does not exist"
    );
    let events = dispatcher.advance().await.unwrap();
    assert_eq!(deliveries(&events), [id(2).to_string()]);
    assert_eq!(dispatcher.discard_some().await, Ok(3));
    assert_eq!(dispatcher.discard_some().await, Ok(0));
    let counted = DeliveryCounts {
        failed_total: 5,
        discarded_total: 4,
        ..DeliveryCounts::default()
    };
    assert_eq!(dispatcher.delivery_counts(), counted);
    assert_eq!(dispatcher.measured()["h"].failed.count(), 5);
}

#[tokio::test]
async fn a_failure_that_is_not_yet_applied_cannot_be_retried_or_discarded() {
    let store = InMemoryStore::default();
    let mut dispatcher = dispatcher_with(FixedExecutor(Duration::ZERO, rejected()), store.clone());
    commit_events(&dispatcher, &[event(1, "job.failed")]).await;
    let (id, why) = (id(1), DeliveryFailure::new("HTTP 410"));
    let commit = Commit {
        changes: &[DeliveryChange::Fail {
            id: id.clone(),
            why,
        }],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    assert_eq!(
        dispatcher.retry(id.clone()).await,
        Ok(DeliveryActionResult::NotFailed)
    );
    assert_eq!(
        dispatcher.discard(id).await,
        Ok(DeliveryActionResult::NotFailed)
    );
}
