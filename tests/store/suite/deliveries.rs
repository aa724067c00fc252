//! Changes of deliveries.

use forgewatch::store::{DaemonStore, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure, DeliveryRow, DeliveryState};
use forgewatch_core::time::Moment;

use super::{Location, begin, change, failure};
use crate::samples::{commit_step, delivery, event, new_delivery};

both! {
    changes_of_a_delivery_follow_its_rules
    pending_deliveries_are_loaded_with_their_state
    the_newest_failed_deliveries_are_listed_and_all_are_counted
}

async fn changes_of_a_delivery_follow_its_rules(location: &impl Location) {
    let (store, _) = location.open();
    commit_step(&store, 1, 1).await.unwrap();
    let id = || delivery(1, 1);
    let until = Moment {
        up_ms: 7,
        wall_ms: 42,
    };
    let [deliver, wait, fail, retry, discard] = [
        DeliveryChange::Deliver { id: id() },
        DeliveryChange::Reschedule {
            id: id(),
            until,
            why: DeliveryFailure::new("exit status 1"),
        },
        DeliveryChange::Fail {
            id: id(),
            why: failure(),
        },
        DeliveryChange::Retry { id: id() },
        DeliveryChange::Discard { id: id() },
    ];
    let reject = async |changes: &[&DeliveryChange], message: &str| {
        for &invalid in changes {
            let result = change(&store, invalid.clone()).await;
            assert!(
                matches!(&result, Err(StoreError::Rejected(e)) if e.contains(message)),
                "{invalid:?}: {result:?}"
            );
        }
    };
    let expect = async |(attempts, failures), state| {
        let row = DeliveryRow {
            attempts,
            failures,
            state,
            ..new_delivery(1, 1)
        };
        assert_eq!(
            store.deliveries_of(event(1, 1).id.watch).await,
            Ok(vec![row])
        );
    };
    reject(&[&deliver, &wait, &retry, &discard], "has no attempt yet").await;
    begin(&store, 1, 1, 1).await.unwrap();
    expect((1, 0), DeliveryState::Pending { due_ms: 0 }).await;
    reject(&[&retry, &discard], "is pending").await;
    change(&store, wait.clone()).await.unwrap();
    expect((1, 1), DeliveryState::Pending { due_ms: 42 }).await;
    begin(&store, 1, 1, 2).await.unwrap();
    change(&store, fail.clone()).await.unwrap();
    expect((2, 1), DeliveryState::Failed(failure())).await;
    reject(&[&deliver, &wait, &fail], "has failed").await;
    assert!(begin(&store, 1, 1, 3).await.is_err());
    change(&store, retry.clone()).await.unwrap();
    expect((0, 0), DeliveryState::Pending { due_ms: 0 }).await;
    begin(&store, 1, 1, 1).await.unwrap();
    change(&store, deliver.clone()).await.unwrap();
    expect((1, 0), DeliveryState::Delivered).await;
    reject(&[&deliver, &wait, &fail, &retry, &discard], "was delivered").await;
    location.close(store).await;
    assert_eq!(location.open().1.deliveries, []);
}

async fn pending_deliveries_are_loaded_with_their_state(location: &impl Location) {
    let (store, _) = location.open();
    for n in 1..=4 {
        commit_step(&store, n, 1).await.unwrap();
    }
    // The first is interrupted during its attempt, the second has failed, the third is discarded, the fourth is new.
    begin(&store, 1, 1, 1).await.unwrap();
    for n in [2, 3] {
        let (id, why) = (delivery(n, 1), failure());
        change(&store, DeliveryChange::Fail { id, why })
            .await
            .unwrap();
    }
    let id = delivery(3, 1);
    change(&store, DeliveryChange::Discard { id })
        .await
        .unwrap();
    location.close(store).await;
    let (store, state) = location.open();
    let interrupted = DeliveryRow {
        attempts: 1,
        ..new_delivery(1, 1)
    };
    let failed = DeliveryRow {
        state: DeliveryState::Failed(failure()),
        ..new_delivery(2, 1)
    };
    assert_eq!(state.deliveries, [interrupted, new_delivery(4, 1)]);
    assert_eq!(store.delivery(delivery(2, 1)).await, Ok(Some(failed)));
    assert_eq!(store.delivery(delivery(2, 2)).await, Ok(None));
    begin(&store, 1, 1, 2).await.unwrap();
    location.close(store).await;
}

async fn the_newest_failed_deliveries_are_listed_and_all_are_counted(location: &impl Location) {
    let (store, _) = location.open();
    assert_eq!(store.failed_deliveries(3).await, Ok((Vec::new(), 0)));
    for n in 1..=6 {
        commit_step(&store, n, 1).await.unwrap();
    }
    // Not in the order of their creation; the third one is pending.
    for n in [6, 2, 1, 5, 4] {
        let (id, why) = (delivery(n, 1), failure());
        change(&store, DeliveryChange::Fail { id, why })
            .await
            .unwrap();
    }
    let failed = |n| DeliveryRow {
        state: DeliveryState::Failed(failure()),
        ..new_delivery(n, 1)
    };
    let newest = [4, 5, 6].map(failed).to_vec();
    assert_eq!(store.failed_deliveries(3).await, Ok((newest, 5)));
    let all = [1, 2, 4, 5, 6].map(failed).to_vec();
    assert_eq!(store.failed_deliveries(usize::MAX).await, Ok((all, 5)));
    // Retried and discarded deliveries have not failed any more, also after a restart.
    let (retried, discarded) = (delivery(6, 1), delivery(1, 1));
    change(&store, DeliveryChange::Retry { id: retried })
        .await
        .unwrap();
    change(&store, DeliveryChange::Discard { id: discarded })
        .await
        .unwrap();
    location.close(store).await;
    let (store, state) = location.open();
    assert_eq!(state.deliveries, [new_delivery(3, 1), new_delivery(6, 1)]);
    let left = [2, 4, 5].map(failed).to_vec();
    assert_eq!(store.failed_deliveries(3).await, Ok((left, 3)));
    assert_eq!(store.failed_deliveries(0).await, Ok((Vec::new(), 3)));
    location.close(store).await;
}
