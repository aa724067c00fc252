//! What holds for every store.

use forgewatch::core::delivery::{Change, Failure, Row, Standing};
use forgewatch::core::event::EventId;
use forgewatch::core::time::Moment;
use forgewatch::store::{
    Accept, AcceptedJob, AddedBy, Archive, Commit, Loaded, Model, Note, POLLS_KEPT, SavedWatch,
    Sqlite, Store, StoreError,
};

use crate::samples::{delivery, ended, event, id, job, state_in, step, wall, wanted, watch};

/// Where a store lives on between two openings.
trait Home {
    type Store: Archive;
    fn open(&self) -> (Self::Store, Loaded);
    async fn close(&self, store: Self::Store);
}

impl Home for Model {
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
        mod model {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Model::default()).await;
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
    what_is_not_done_is_loaded_as_it_stands
    a_note_keeps_row_and_poll_of_a_watch_that_runs
    the_newest_polls_are_kept
    the_newest_watch_of_a_job_is_found
    the_list_and_its_watches_are_taken_over_together
    who_asked_for_a_watch_is_changed_by_itself_and_by_no_step
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
            changes: &[Change::Deliver {
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
    let refused: [(Vec<Row>, Vec<Change>); 4] = [
        (vec![wanted(9, 9)], Vec::new()),
        // Of an event that is there, but was committed before.
        (vec![wanted(1, 1)], Vec::new()),
        (vec![wanted(1, 2), wanted(1, 2)], Vec::new()),
        (
            vec![wanted(1, 2)],
            vec![
                Change::Begin {
                    id: delivery(1, 1),
                    attempt: 1,
                },
                Change::Begin {
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

async fn change(store: &impl Store, change: Change) -> Result<(), StoreError> {
    let commit = Commit {
        changes: &[change],
        ..Commit::default()
    };
    store.commit(commit).await
}

async fn begin(store: &impl Store, n: u64, seq: u32, attempt: u32) -> Result<(), StoreError> {
    let id = delivery(n, seq);
    change(store, Change::Begin { id, attempt }).await
}

fn failure() -> Failure {
    Failure {
        error: "exit status 1".to_owned(),
        exit_status: Some(1),
    }
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
    let accept = |jobs: &[u64], begin: &[u64]| Accept {
        jobs: Some(jobs.iter().map(|&n| listed(n)).collect()),
        begin: begin.iter().map(|&n| watch(n, 0)).collect(),
        ..Accept::default()
    };
    store.accept(accept(&[1, 2], &[1, 2])).await.unwrap();
    store.accept(accept(&[3, 2], &[3])).await.unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.accepted, [listed(3), listed(2)]);
    assert_eq!(loaded.watches, [watch(1, 0), watch(2, 0), watch(3, 0)]);
    home.close(store).await;
}

async fn who_asked_for_a_watch_is_changed_by_itself_and_by_no_step(home: &impl Home) {
    let (store, _) = home.open();
    let both = AddedBy {
        file: true,
        socket: true,
    };
    let accept = Accept {
        begin: vec![watch(1, 0)],
        added_by: vec![(id(1), both), (id(9), both)],
        ..Accept::default()
    };
    store.accept(accept).await.unwrap();
    step(&store, 1, 1).await.unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    let kept = SavedWatch {
        added_by: both,
        ..watch(1, 1)
    };
    assert_eq!(loaded.watches, [kept]);
    assert_eq!(loaded.accepted, []);
    home.close(store).await;
}

async fn pruning_forgets_what_nobody_needs(home: &impl Home) {
    let (store, _) = home.open();
    // 1 is listed, 2 still has a delivery, 3 runs, 4 ended late, 5 is nobody's.
    for n in 1..=5 {
        step(&store, n, 1).await.unwrap();
        begin(&store, n, 1, 1).await.unwrap();
        let id = delivery(n, 1);
        let what = if n == 2 {
            let why = failure();
            Change::GiveUp { id, why }
        } else {
            Change::Deliver { id }
        };
        let ended_wall_ms = (n != 3).then_some(if n == 4 { 100 } else { 50 });
        let commit = Commit {
            watch: Some(SavedWatch {
                ended_wall_ms,
                ..watch(n, 1)
            }),
            changes: &[what],
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
    let accept = Accept {
        jobs: Some(vec![listed(1)]),
        ..Accept::default()
    };
    store.accept(accept).await.unwrap();

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
