//! What holds for every store.

use forgewatch::core::event::EventId;
use forgewatch::store::{
    AcceptedJob, Archive, Attempt, Change, Commit, DeliveryId, DeliveryState, Loaded, Memory,
    NewDelivery, Note, Outbox, POLLS_KEPT, Sqlite, Store, StoreError,
};

use crate::samples::{ended, event, id, job, state_in, step, wall, watch};

/// Where a store lives on between two openings.
trait Home {
    type Store: Outbox + Archive;
    fn open(&self) -> (Self::Store, Loaded);
    async fn close(&self, store: Self::Store);
}

impl Home for Memory {
    type Store = Self;

    fn open(&self) -> (Self, Loaded) {
        (self.clone(), self.load())
    }

    async fn close(&self, _: Self) {}
}

struct Disk(tempfile::TempDir);

impl Home for Disk {
    type Store = Sqlite;

    fn open(&self) -> (Sqlite, Loaded) {
        Sqlite::open(&state_in(&self.0)).unwrap()
    }

    async fn close(&self, store: Sqlite) {
        store.close().await;
    }
}

macro_rules! both {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Memory::whole()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Disk(tempfile::tempdir().unwrap())).await;
            })*
        }
    };
}

both! {
    a_new_store_is_empty
    what_was_committed_is_there_again
    offsets_rise_and_are_never_used_twice
    a_commit_that_is_refused_leaves_nothing
    an_event_is_told_once
    events_are_read_in_order_from_any_place
    a_delivery_lives_by_its_rules
    an_attempt_that_was_cut_off_is_begun_again
    a_note_keeps_row_and_poll_of_a_watch_that_runs
    the_newest_polls_are_kept
    the_newest_watch_of_a_job_is_found
    the_list_and_its_watches_are_taken_over_together
    pruning_forgets_what_nobody_needs
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
    let waiting: Vec<EventId> = loaded.deliveries.iter().map(|d| d.event).collect();
    assert_eq!(waiting, [event(1, 1).id, event(2, 1).id]);
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
    let mut last = (0, 0);
    for seq in 1..=4 {
        let (store, _) = home.open();
        let numbers = step(&store, 1, seq).await.unwrap();
        assert_eq!(
            (numbers.offsets.end, numbers.deliveries.end),
            (numbers.offsets.start + 1, numbers.deliveries.start + 1)
        );
        assert!((numbers.offsets.start, numbers.deliveries.start) > last);
        assert!(numbers.deliveries.start > last.1);
        last = (numbers.offsets.start, numbers.deliveries.start);
        // Forgotten again, and yet its numbers are not given to the next.
        let done = Commit {
            watch: Some(ended(1, seq, wall(seq))),
            changes: vec![(DeliveryId(last.1), Change::Discard)],
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
        store.open_deliveries().await.unwrap(),
        store.newest_of(job(1)).await.unwrap(),
    );
    let new = [event(1, 2)];
    let stranger = vec![NewDelivery {
        hook: "h".to_owned(),
        event: event(9, 9).id,
    }];
    let unknown = vec![(DeliveryId(77), Change::Discard)];
    for (deliveries, changes) in [(stranger, Vec::new()), (Vec::new(), unknown)] {
        let refused = store.commit(Commit {
            watch: Some(watch(1, 2)),
            events: &new,
            deliveries,
            changes,
        });
        assert!(matches!(refused.await, Err(StoreError::Refused(_))));
    }
    let after = (
        store.events_since(0, 99).await.unwrap(),
        store.open_deliveries().await.unwrap(),
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

async fn change(store: &impl Store, id: DeliveryId, change: Change) -> Result<(), StoreError> {
    let changes = vec![(id, change)];
    let commit = Commit {
        changes,
        ..Commit::default()
    };
    store.commit(commit).await.map(|_| ())
}

async fn a_delivery_lives_by_its_rules(home: &impl Home) {
    let (store, _) = home.open();
    let id = DeliveryId(step(&store, 1, 1).await.unwrap().deliveries.start);
    let state = async || store.deliveries_of(crate::samples::id(1)).await.unwrap()[0].clone();
    let reason = "exit status 1".to_owned();
    assert!(
        change(&store, id, Change::Delivered).await.is_err(),
        "before it ran"
    );
    let record = serde_json::to_string(&event(1, 1).record()).unwrap();
    assert_eq!(
        store.start_attempt(id).await.unwrap(),
        Attempt { number: 1, record }
    );
    assert_eq!(state().await.state, DeliveryState::Running);
    let failed = Change::Failed {
        due_ms: 42,
        reason: reason.clone(),
    };
    change(&store, id, failed).await.unwrap();
    let waiting = state().await;
    assert_eq!(
        (waiting.state, waiting.due_ms),
        (DeliveryState::Waiting, 42)
    );
    assert_eq!(
        (waiting.attempts, waiting.reason),
        (1, Some(reason.clone()))
    );
    assert_eq!(store.start_attempt(id).await.unwrap().number, 2);
    change(&store, id, Change::GaveUp { reason }).await.unwrap();
    assert_eq!(state().await.state, DeliveryState::GivenUp);
    assert!(store.start_attempt(id).await.is_err(), "given up");
    change(&store, id, Change::Retry { now_ms: 43 })
        .await
        .unwrap();
    let retried = state().await;
    assert_eq!(
        (retried.state, retried.attempts, retried.due_ms),
        (DeliveryState::Waiting, 0, 43)
    );
    assert_eq!(store.start_attempt(id).await.unwrap().number, 1);
    change(&store, id, Change::Delivered).await.unwrap();
    assert_eq!(store.open_deliveries().await.unwrap(), []);
    for late in [
        Change::Discard,
        Change::Retry { now_ms: 1 },
        Change::Delivered,
    ] {
        let refused = change(&store, id, late).await;
        assert!(matches!(&refused, Err(StoreError::Refused(e)) if e.contains("is delivered")));
    }
    home.close(store).await;
}

async fn an_attempt_that_was_cut_off_is_begun_again(home: &impl Home) {
    let (store, _) = home.open();
    let id = DeliveryId(step(&store, 1, 1).await.unwrap().deliveries.start);
    store.start_attempt(id).await.unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.deliveries[0].state, DeliveryState::Running);
    assert_eq!(store.start_attempt(id).await.unwrap().number, 2);
    home.close(store).await;
}

fn note(n: u64, row: &str, poll: usize) -> Note {
    Note {
        watch: id(n),
        row: row.to_owned(),
        poll: poll.to_string(),
    }
}

async fn a_note_keeps_row_and_poll_of_a_watch_that_runs(home: &impl Home) {
    let (store, _) = home.open();
    step(&store, 1, 1).await.unwrap();
    let gone = Commit {
        watch: Some(ended(2, 1, 5)),
        ..Commit::default()
    };
    store.commit(gone).await.unwrap();
    for n in 1..=3 {
        store.note(note(n, "noted", 1));
    }
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.watches[0].row, "noted");
    assert_eq!(store.newest_of(job(2)).await.unwrap(), Some(ended(2, 1, 5)));
    assert_eq!(store.newest_of(job(3)).await.unwrap(), None);
    // What is committed later holds.
    store.note(note(1, "older", 2));
    step(&store, 1, 2).await.unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.watches, [watch(1, 2)]);
    assert_eq!(store.polls(id(1)).await.unwrap(), ["1", "2"]);
    home.close(store).await;
}

async fn the_newest_polls_are_kept(home: &impl Home) {
    let (store, _) = home.open();
    step(&store, 1, 1).await.unwrap();
    for round in 0..3 {
        for poll in 0..50 {
            store.note(note(1, "r", round * 50 + poll));
        }
        step(&store, 1, 2 + round as u32).await.unwrap();
    }
    home.close(store).await;
    let (store, _) = home.open();
    let newest: Vec<String> = (150 - POLLS_KEPT..150).map(|n| n.to_string()).collect();
    assert_eq!(store.polls(id(1)).await.unwrap(), newest);
    home.close(store).await;
}

async fn the_newest_watch_of_a_job_is_found(home: &impl Home) {
    let (store, _) = home.open();
    let mut first = ended(1, 1, 5);
    first.id = id(7);
    for watch in [first, watch(1, 1)] {
        let watch = Some(watch);
        let commit = Commit {
            watch,
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }
    assert_eq!(store.newest_of(job(1)).await.unwrap(), Some(watch(1, 1)));
    home.close(store).await;
}

fn listed(n: u64) -> AcceptedJob {
    AcceptedJob {
        job: job(n),
        labels: format!("{{\"n\":\"{n}\"}}"),
    }
}

async fn the_list_and_its_watches_are_taken_over_together(home: &impl Home) {
    let (store, _) = home.open();
    let both = vec![listed(1), listed(2)];
    store
        .set_accepted(both, vec![watch(1, 0), watch(2, 0)])
        .await
        .unwrap();
    store
        .set_accepted(vec![listed(3), listed(2)], vec![watch(3, 0)])
        .await
        .unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.accepted, [listed(3), listed(2)]);
    assert_eq!(loaded.watches, [watch(1, 0), watch(2, 0), watch(3, 0)]);
    home.close(store).await;
}

async fn pruning_forgets_what_nobody_needs(home: &impl Home) {
    let (store, _) = home.open();
    // 1 is listed, 2 still has a delivery, 3 runs, 4 ended late, 5 is nobody's.
    for n in 1..=5 {
        let delivery = DeliveryId(step(&store, n, 1).await.unwrap().deliveries.start);
        store.start_attempt(delivery).await.unwrap();
        let what = if n == 2 {
            Change::GaveUp {
                reason: String::new(),
            }
        } else {
            Change::Delivered
        };
        let ended_wall_ms = (n != 3).then_some(if n == 4 { 100 } else { 50 });
        let commit = Commit {
            watch: Some(forgewatch::store::SavedWatch {
                ended_wall_ms,
                ..watch(n, 1)
            }),
            changes: vec![(delivery, what)],
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }
    // The watcher's own: no watch has it.
    let own = [event(99, 1)];
    let commit = Commit {
        events: &own,
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    step(&store, 3, 2).await.unwrap();
    store
        .set_accepted(vec![listed(1)], Vec::new())
        .await
        .unwrap();

    while store.prune(100).await.unwrap() > 0 {}
    let told = |events: Vec<forgewatch::store::StoredEvent>| -> Vec<EventId> {
        events.into_iter().map(|e| e.id).collect()
    };
    let kept = [
        event(1, 1),
        event(2, 1),
        event(3, 1),
        event(4, 1),
        event(99, 1),
        event(3, 2),
    ];
    let kept: Vec<EventId> = kept.iter().map(|e| e.id).collect();
    assert_eq!(told(store.events_since(0, 99).await.unwrap()), kept);
    assert_eq!(store.newest_of(job(5)).await.unwrap(), None);
    assert_eq!(store.deliveries_of(id(5)).await.unwrap(), []);

    while store.prune(wall(9)).await.unwrap() > 0 {}
    let kept = [event(1, 1), event(2, 1), event(3, 1), event(3, 2)];
    let kept: Vec<EventId> = kept.iter().map(|e| e.id).collect();
    assert_eq!(told(store.events_since(0, 99).await.unwrap()), kept);
    home.close(store).await;
}

#[tokio::test]
async fn the_one_shots_memory_forgets_what_is_delivered() {
    let store = Memory::default();
    let numbers = step(&store, 1, 1).await.unwrap();
    assert_eq!(store.events_since(0, 9).await.unwrap().len(), 1);
    let id = DeliveryId(numbers.deliveries.start);
    store.start_attempt(id).await.unwrap();
    change(&store, id, Change::Delivered).await.unwrap();
    assert_eq!(store.events_since(0, 9).await.unwrap(), []);
    assert_eq!(store.load(), Loaded::default());
}
