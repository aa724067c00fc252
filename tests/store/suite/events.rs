//! Commits: events and what belongs to them, all or nothing.

use forgewatch::store::{Commit, DaemonStore, Store, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryRow};
use forgewatch_core::event::EventId;

use super::{Location, begin};
use crate::samples::{
    Loaded, commit_step, delivery, ended, event, id, job, new_delivery, wall, watch,
};

both! {
    a_new_store_is_empty
    commits_are_loaded_again
    offsets_rise_and_are_never_reused
    a_rejected_commit_stores_nothing
    a_duplicate_event_is_rejected
    events_are_read_in_order_from_any_offset
}

async fn a_new_store_is_empty(location: &impl Location) {
    let (store, state) = location.open();
    assert_eq!(state, Loaded::default());
    assert_eq!(store.events_since(0, 10).await.unwrap(), []);
    assert_eq!(store.offset_before(wall(9)).await.unwrap(), 0);
    assert_eq!(store.newest_watch(job(1)).await.unwrap(), None);
    location.close(store).await;
}

async fn commits_are_loaded_again(location: &impl Location) {
    let (store, _) = location.open();
    commit_step(&store, 1, 1).await.unwrap();
    commit_step(&store, 2, 1).await.unwrap();
    let last = [event(1, 2)];
    let end = Commit {
        watch: Some(ended(1, 2, wall(2))),
        events: &last,
        ..Commit::default()
    };
    store.commit(end).await.unwrap();
    store.save_calibration("{}".to_owned()).await.unwrap();
    location.close(store).await;

    let (store, state) = location.open();
    assert_eq!(state.watches, [watch(2, 1)]);
    assert_eq!(state.calibration.as_deref(), Some("{}"));
    assert_eq!(state.deliveries, [new_delivery(1, 1), new_delivery(2, 1)]);
    assert_eq!(
        store.other_watches(Some(wall(2)), None, 9).await.unwrap(),
        [ended(1, 2, wall(2))]
    );
    assert_eq!(
        store.other_watches(Some(wall(3)), None, 9).await.unwrap(),
        []
    );
    let events = store.events_of(id(1)).await.unwrap();
    for (stored, expected) in events.iter().zip([event(1, 1), event(1, 2)]) {
        let record = serde_json::to_string(&expected.record()).unwrap();
        assert_eq!(stored.record, record);
        assert_eq!((stored.id, stored.wall_ms), (expected.id, expected.wall_ms));
    }
    assert_eq!(events.len(), 2);
    location.close(store).await;
}

async fn offsets_rise_and_are_never_reused(location: &impl Location) {
    let mut last = 0;
    for seq in 1..=4 {
        let (store, _) = location.open();
        commit_step(&store, 1, seq).await.unwrap();
        let newest = store.events_since(last, 9).await.unwrap();
        let ids: Vec<EventId> = newest.iter().map(|e| e.id).collect();
        assert_eq!(ids, [event(1, seq).id]);
        last = newest[0].offset;
        // The event is pruned, but its offset is not reused.
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
        assert_eq!(store.newest_watch(job(1)).await.unwrap(), None);
        assert_eq!(store.offset_before(i64::MAX).await.unwrap(), last);
        location.close(store).await;
    }
}

async fn a_rejected_commit_stores_nothing(location: &impl Location) {
    let (store, _) = location.open();
    commit_step(&store, 1, 1).await.unwrap();
    let before = (
        store.events_since(0, 99).await.unwrap(),
        store.deliveries_of(id(1)).await.unwrap(),
        store.newest_watch(job(1)).await.unwrap(),
    );
    let invalid: [(Vec<DeliveryRow>, Vec<DeliveryChange>); 4] = [
        (vec![new_delivery(9, 9)], Vec::new()),
        // Of an event of an earlier commit.
        (vec![new_delivery(1, 1)], Vec::new()),
        (vec![new_delivery(1, 2), new_delivery(1, 2)], Vec::new()),
        (
            vec![new_delivery(1, 2)],
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
    for (deliveries, changes) in invalid {
        let result = store.commit(Commit {
            watch: Some(watch(1, 2)),
            events: &new,
            deliveries,
            changes: &changes,
        });
        assert!(matches!(result.await, Err(StoreError::Rejected(_))));
    }
    let after = (
        store.events_since(0, 99).await.unwrap(),
        store.deliveries_of(id(1)).await.unwrap(),
        store.newest_watch(job(1)).await.unwrap(),
    );
    assert_eq!(before, after);
    commit_step(&store, 1, 2).await.unwrap();
    location.close(store).await;
}

async fn a_duplicate_event_is_rejected(location: &impl Location) {
    let (store, _) = location.open();
    commit_step(&store, 1, 1).await.unwrap();
    let again = commit_step(&store, 1, 1).await;
    assert!(
        matches!(&again, Err(StoreError::Rejected(e)) if e.contains("already")),
        "{again:?}"
    );
    assert_eq!(store.events_since(0, 99).await.unwrap().len(), 1);
    location.close(store).await;
}

async fn events_are_read_in_order_from_any_offset(location: &impl Location) {
    let (store, _) = location.open();
    for seq in 1..=6 {
        commit_step(&store, u64::from(seq % 2 + 1), seq)
            .await
            .unwrap();
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
    location.close(store).await;
}
