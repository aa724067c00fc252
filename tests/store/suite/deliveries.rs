//! The life of a delivery.

use forgewatch::store::{Archive, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryFailure, DeliveryRow, DeliveryState};
use forgewatch_core::time::Moment;

use super::{Home, begin, change, failure};
use crate::samples::{delivery, event, step, wanted};

both! {
    a_delivery_lives_by_its_rules
    what_waits_is_loaded_as_it_stands
    the_newest_of_those_given_up_are_shown_and_all_are_counted
}

async fn a_delivery_lives_by_its_rules(home: &impl Home) {
    let (store, _) = home.open();
    step(&store, 1, 1).await.unwrap();
    let id = || delivery(1, 1);
    let until = Moment {
        up_ms: 7,
        wall_ms: 42,
    };
    let [deliver, wait, give_up, retry, discard] = [
        DeliveryChange::Deliver { id: id() },
        DeliveryChange::Wait {
            id: id(),
            until,
            why: DeliveryFailure::new("exit status 1"),
        },
        DeliveryChange::GiveUp {
            id: id(),
            why: failure(),
        },
        DeliveryChange::Retry { id: id() },
        DeliveryChange::Discard { id: id() },
    ];
    let refused = async |changes: &[&DeliveryChange], why: &str| {
        for &late in changes {
            let result = change(&store, late.clone()).await;
            assert!(
                matches!(&result, Err(StoreError::Refused(e)) if e.contains(why)),
                "{late:?}: {result:?}"
            );
        }
    };
    let is = async |attempts, standing| {
        let row = DeliveryRow {
            attempts,
            standing,
            ..wanted(1, 1)
        };
        assert_eq!(
            store.deliveries_of(event(1, 1).id.watch).await,
            Ok(vec![row])
        );
    };
    refused(&[&deliver, &wait, &retry, &discard], "was never tried").await;
    begin(&store, 1, 1, 1).await.unwrap();
    is(1, DeliveryState::Pending { due_ms: 0 }).await;
    refused(&[&retry, &discard], "waits").await;
    change(&store, wait.clone()).await.unwrap();
    is(1, DeliveryState::Pending { due_ms: 42 }).await;
    begin(&store, 1, 1, 2).await.unwrap();
    change(&store, give_up.clone()).await.unwrap();
    is(2, DeliveryState::Failed(failure())).await;
    refused(&[&deliver, &wait, &give_up], "was given up").await;
    assert!(begin(&store, 1, 1, 3).await.is_err());
    change(&store, retry.clone()).await.unwrap();
    is(0, DeliveryState::Pending { due_ms: 0 }).await;
    begin(&store, 1, 1, 1).await.unwrap();
    change(&store, deliver.clone()).await.unwrap();
    is(1, DeliveryState::Delivered).await;
    refused(
        &[&deliver, &wait, &give_up, &retry, &discard],
        "was delivered",
    )
    .await;
    home.close(store).await;
    assert_eq!(home.open().1.deliveries, []);
}

async fn what_waits_is_loaded_as_it_stands(home: &impl Home) {
    let (store, _) = home.open();
    for n in 1..=4 {
        step(&store, n, 1).await.unwrap();
    }
    // The first is cut off within its attempt, the second given up, the third discarded; the fourth never tried.
    begin(&store, 1, 1, 1).await.unwrap();
    for n in [2, 3] {
        let (id, why) = (delivery(n, 1), failure());
        change(&store, DeliveryChange::GiveUp { id, why })
            .await
            .unwrap();
    }
    let id = delivery(3, 1);
    change(&store, DeliveryChange::Discard { id })
        .await
        .unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    let cut_off = DeliveryRow {
        attempts: 1,
        ..wanted(1, 1)
    };
    let given_up = DeliveryRow {
        standing: DeliveryState::Failed(failure()),
        ..wanted(2, 1)
    };
    assert_eq!(loaded.deliveries, [cut_off, wanted(4, 1)]);
    assert_eq!(store.delivery(delivery(2, 1)).await, Ok(Some(given_up)));
    assert_eq!(store.delivery(delivery(2, 2)).await, Ok(None));
    begin(&store, 1, 1, 2).await.unwrap();
    home.close(store).await;
}

async fn the_newest_of_those_given_up_are_shown_and_all_are_counted(home: &impl Home) {
    let (store, _) = home.open();
    assert_eq!(store.given_up(3).await, Ok((Vec::new(), 0)));
    for n in 1..=6 {
        step(&store, n, 1).await.unwrap();
    }
    // Not in the order in which they were made; the third waits.
    for n in [6, 2, 1, 5, 4] {
        let (id, why) = (delivery(n, 1), failure());
        change(&store, DeliveryChange::GiveUp { id, why })
            .await
            .unwrap();
    }
    let given_up = |n| DeliveryRow {
        standing: DeliveryState::Failed(failure()),
        ..wanted(n, 1)
    };
    let newest = [4, 5, 6].map(given_up).to_vec();
    assert_eq!(store.given_up(3).await, Ok((newest, 5)));
    let all = [1, 2, 4, 5, 6].map(given_up).to_vec();
    assert_eq!(store.given_up(usize::MAX).await, Ok((all, 5)));
    // What is decided is none of them any more, and that lasts.
    let (retried, discarded) = (delivery(6, 1), delivery(1, 1));
    change(&store, DeliveryChange::Retry { id: retried })
        .await
        .unwrap();
    change(&store, DeliveryChange::Discard { id: discarded })
        .await
        .unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.deliveries, [wanted(3, 1), wanted(6, 1)]);
    let left = [2, 4, 5].map(given_up).to_vec();
    assert_eq!(store.given_up(3).await, Ok((left, 3)));
    assert_eq!(store.given_up(0).await, Ok((Vec::new(), 3)));
    home.close(store).await;
}
