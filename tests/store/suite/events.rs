//! What is committed: events and what goes with them, all or nothing.

use forgewatch::store::{Archive, Commit, Loaded, Store, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryRow};
use forgewatch_core::event::EventId;

use super::{Home, begin};
use crate::samples::{delivery, ended, event, id, job, step, wall, wanted, watch};

both! {
    a_new_store_is_empty
    what_was_committed_is_there_again
    offsets_rise_and_are_never_used_twice
    a_commit_that_is_refused_leaves_nothing
    an_event_is_told_once
    events_are_read_in_order_from_any_place
}

async fn a_new_store_is_empty(home: &impl Home) {
    let (store, loaded) = home.open();
    assert_eq!(loaded, Loaded::default());
    assert_eq!(store.events_since(0, 10).await.unwrap(), []);
    assert_eq!(store.offset_before(wall(9)).await.unwrap(), 0);
    assert_eq!(store.newest_of(job(1)).await.unwrap(), None);
    home.close(store).await;
}

async fn what_was_committed_is_there_again(home: &impl Home) {
    let (store, _) = home.open();
    step(&store, 1, 1).await.unwrap();
    step(&store, 2, 1).await.unwrap();
    let last = [event(1, 2)];
    let end = Commit {
        watch: Some(ended(1, 2, wall(2))),
        events: &last,
        ..Commit::default()
    };
    store.commit(end).await.unwrap();
    store.save_calibrations("{}".to_owned()).await.unwrap();
    home.close(store).await;

    let (store, loaded) = home.open();
    assert_eq!(loaded.watches, [watch(2, 1)]);
    assert_eq!(loaded.calibrations.as_deref(), Some("{}"));
    assert_eq!(loaded.deliveries, [wanted(1, 1), wanted(2, 1)]);
    assert_eq!(
        store.ended_since(wall(2)).await.unwrap(),
        [ended(1, 2, wall(2))]
    );
    assert_eq!(store.ended_since(wall(3)).await.unwrap(), []);
    let told = store.events_of(id(1)).await.unwrap();
    for (told, made) in told.iter().zip([event(1, 1), event(1, 2)]) {
        assert_eq!(told.record, serde_json::to_string(&made.record()).unwrap());
        assert_eq!((told.id, told.wall_ms), (made.id, made.wall_ms));
    }
    assert_eq!(told.len(), 2);
    home.close(store).await;
}

async fn offsets_rise_and_are_never_used_twice(home: &impl Home) {
    let mut last = 0;
    for seq in 1..=4 {
        let (store, _) = home.open();
        step(&store, 1, seq).await.unwrap();
        let newest = store.events_since(last, 9).await.unwrap();
        let told: Vec<EventId> = newest.iter().map(|e| e.id).collect();
        assert_eq!(told, [event(1, seq).id]);
        last = newest[0].offset;
        // Forgotten again, and yet its number is not given to the next.
        begin(&store, 1, seq, 1).await.unwrap();
        let done = Commit {
            watch: Some(ended(1, seq, wall(seq))),
            changes: &[DeliveryChange::Deliver {
                id: delivery(1, seq),
            }],
            ..Commit::default()
        };
        store.commit(done).await.unwrap();
        while store.prune(i64::MAX).await.unwrap() > 0 {}
        assert_eq!(store.newest_of(job(1)).await.unwrap(), None);
        home.close(store).await;
    }
}

async fn a_commit_that_is_refused_leaves_nothing(home: &impl Home) {
    let (store, _) = home.open();
    step(&store, 1, 1).await.unwrap();
    let before = (
        store.events_since(0, 99).await.unwrap(),
        store.deliveries_of(id(1)).await.unwrap(),
        store.newest_of(job(1)).await.unwrap(),
    );
    let refused: [(Vec<DeliveryRow>, Vec<DeliveryChange>); 4] = [
        (vec![wanted(9, 9)], Vec::new()),
        // Of an event that is there, but was committed before.
        (vec![wanted(1, 1)], Vec::new()),
        (vec![wanted(1, 2), wanted(1, 2)], Vec::new()),
        (
            vec![wanted(1, 2)],
            vec![
                DeliveryChange::Begin {
                    id: delivery(1, 1),
                    attempt: 1,
                },
                DeliveryChange::Begin {
                    id: delivery(77, 1),
                    attempt: 1,
                },
            ],
        ),
    ];
    let new = [event(1, 2)];
    for (deliveries, changes) in refused {
        let refused = store.commit(Commit {
            watch: Some(watch(1, 2)),
            events: &new,
            deliveries,
            changes: &changes,
        });
        assert!(matches!(refused.await, Err(StoreError::Refused(_))));
    }
    let after = (
        store.events_since(0, 99).await.unwrap(),
        store.deliveries_of(id(1)).await.unwrap(),
        store.newest_of(job(1)).await.unwrap(),
    );
    assert_eq!(before, after);
    step(&store, 1, 2).await.unwrap();
    home.close(store).await;
}

async fn an_event_is_told_once(home: &impl Home) {
    let (store, _) = home.open();
    step(&store, 1, 1).await.unwrap();
    let again = step(&store, 1, 1).await;
    assert!(
        matches!(&again, Err(StoreError::Refused(e)) if e.contains("already")),
        "{again:?}"
    );
    assert_eq!(store.events_since(0, 99).await.unwrap().len(), 1);
    home.close(store).await;
}

async fn events_are_read_in_order_from_any_place(home: &impl Home) {
    let (store, _) = home.open();
    for seq in 1..=6 {
        step(&store, u64::from(seq % 2 + 1), seq).await.unwrap();
    }
    let all = store.events_since(0, 99).await.unwrap();
    assert!(all.is_sorted_by(|a, b| a.offset < b.offset && a.wall_ms < b.wall_ms));
    assert_eq!(all.len(), 6);
    for cut in 0..6 {
        let rest = store.events_since(all[cut].offset, 2).await.unwrap();
        assert_eq!(rest, all[cut + 1..][..2.min(5 - cut)]);
        let before = store.offset_before(all[cut].wall_ms).await.unwrap();
        assert_eq!(store.events_since(before, 1).await.unwrap(), all[cut..=cut]);
    }
    assert_eq!(store.events_since(u64::MAX, 9).await.unwrap(), []);
    home.close(store).await;
}
