//! The life of a delivery.

use forgewatch::core::delivery::{Change, Failure, Row, Standing};
use forgewatch::core::time::Moment;
use forgewatch::store::{Archive, StoreError};

use super::{Home, begin, change, failure};
use crate::samples::{delivery, event, step, wanted};

both! {
    a_delivery_lives_by_its_rules
    what_is_not_done_is_loaded_as_it_stands
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
        Change::Deliver { id: id() },
        Change::Wait {
            id: id(),
            until,
            why: Failure::new("exit status 1"),
        },
        Change::GiveUp {
            id: id(),
            why: failure(),
        },
        Change::Retry { id: id() },
        Change::Discard { id: id() },
    ];
    let refused = async |changes: &[&Change], why: &str| {
        for &late in changes {
            let result = change(&store, late.clone()).await;
            assert!(
                matches!(&result, Err(StoreError::Refused(e)) if e.contains(why)),
                "{late:?}: {result:?}"
            );
        }
    };
    let is = async |attempts, standing| {
        let row = Row {
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
    is(1, Standing::Waiting { due_ms: 0 }).await;
    refused(&[&retry, &discard], "waits").await;
    change(&store, wait.clone()).await.unwrap();
    is(1, Standing::Waiting { due_ms: 42 }).await;
    begin(&store, 1, 1, 2).await.unwrap();
    change(&store, give_up.clone()).await.unwrap();
    is(2, Standing::GivenUp(failure())).await;
    refused(&[&deliver, &wait, &give_up], "was given up").await;
    assert!(begin(&store, 1, 1, 3).await.is_err());
    change(&store, retry.clone()).await.unwrap();
    is(0, Standing::Waiting { due_ms: 0 }).await;
    begin(&store, 1, 1, 1).await.unwrap();
    change(&store, deliver.clone()).await.unwrap();
    is(1, Standing::Delivered).await;
    refused(
        &[&deliver, &wait, &give_up, &retry, &discard],
        "was delivered",
    )
    .await;
    home.close(store).await;
    assert_eq!(home.open().1.deliveries, []);
}

async fn what_is_not_done_is_loaded_as_it_stands(home: &impl Home) {
    let (store, _) = home.open();
    for n in 1..=4 {
        step(&store, n, 1).await.unwrap();
    }
    // The first is cut off within its attempt, the second given up, the third discarded; the fourth never tried.
    begin(&store, 1, 1, 1).await.unwrap();
    for n in [2, 3] {
        let (id, why) = (delivery(n, 1), failure());
        change(&store, Change::GiveUp { id, why }).await.unwrap();
    }
    let id = delivery(3, 1);
    change(&store, Change::Discard { id }).await.unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    let cut_off = Row {
        attempts: 1,
        ..wanted(1, 1)
    };
    let given_up = Row {
        standing: Standing::GivenUp(failure()),
        ..wanted(2, 1)
    };
    assert_eq!(loaded.deliveries, [cut_off, given_up, wanted(4, 1)]);
    begin(&store, 1, 1, 2).await.unwrap();
    home.close(store).await;
}
