//! What is kept of watches, the list they come from, and how all of it is forgotten.

use forgewatch::store::{
    AddedBy, Archive, Commit, ConfigJob, JobListUpdate, POLLS_KEPT, PollSample, SavedWatch, Store,
};
use forgewatch_core::delivery::DeliveryChange;
use forgewatch_core::event::EventId;

use super::{Home, begin, failure};
use crate::samples::{delivery, ended, event, id, job, step, wall, wanted, watch};

both! {
    a_note_keeps_row_and_poll_of_a_watch_that_runs
    the_newest_polls_are_kept
    the_newest_watch_of_a_job_is_found
    the_list_and_its_watches_are_taken_over_together
    who_asked_for_a_watch_is_changed_by_itself_and_by_no_step
    pruning_forgets_what_nobody_needs
    an_undone_delivery_keeps_its_own_event_and_no_other
}

fn record_poll(n: u64, row: &str, poll: usize) -> PollSample {
    PollSample {
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
        store.record_poll(record_poll(n, "noted", 1));
    }
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.watches[0].row, "noted");
    assert_eq!(store.newest_of(job(2)).await.unwrap(), Some(ended(2, 1, 5)));
    assert_eq!(store.newest_of(job(3)).await.unwrap(), None);
    // What is committed later holds.
    store.record_poll(record_poll(1, "older", 2));
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
            store.record_poll(record_poll(1, "r", round * 50 + poll));
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

fn listed(n: u64) -> ConfigJob {
    ConfigJob {
        job: job(n),
        labels: format!("{{\"n\":\"{n}\"}}"),
    }
}

async fn the_list_and_its_watches_are_taken_over_together(home: &impl Home) {
    let (store, _) = home.open();
    let accept = |jobs: &[u64], begin: &[u64]| JobListUpdate {
        jobs: Some(jobs.iter().map(|&n| listed(n)).collect()),
        begin: begin.iter().map(|&n| watch(n, 0)).collect(),
        ..JobListUpdate::default()
    };
    store.accept(accept(&[1, 2], &[1, 2])).await.unwrap();
    store.accept(accept(&[3, 2], &[3])).await.unwrap();
    home.close(store).await;
    let (store, loaded) = home.open();
    assert_eq!(loaded.config_jobs, [listed(3), listed(2)]);
    assert_eq!(loaded.watches, [watch(1, 0), watch(2, 0), watch(3, 0)]);
    home.close(store).await;
}

async fn who_asked_for_a_watch_is_changed_by_itself_and_by_no_step(home: &impl Home) {
    let (store, _) = home.open();
    let both = AddedBy {
        file: true,
        socket: true,
    };
    let accept = JobListUpdate {
        begin: vec![watch(1, 0)],
        added_by: vec![(id(1), both), (id(9), both)],
        ..JobListUpdate::default()
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
    assert_eq!(loaded.config_jobs, []);
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
            DeliveryChange::GiveUp { id, why }
        } else {
            DeliveryChange::Deliver { id }
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
    let accept = JobListUpdate {
        jobs: Some(vec![listed(1)]),
        ..JobListUpdate::default()
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

async fn an_undone_delivery_keeps_its_own_event_and_no_other(home: &impl Home) {
    let (store, _) = home.open();
    // The watcher's own events, of one process: all under one id that no watch has.
    let own = [event(99, 1), event(99, 2), event(99, 3)];
    let commit = Commit {
        events: &own,
        deliveries: vec![wanted(99, 2)],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    step(&store, 1, 4).await.unwrap();
    while store.prune(wall(9)).await.unwrap() > 0 {}
    let told = store.events_of(id(99)).await.unwrap();
    let told: Vec<EventId> = told.into_iter().map(|e| e.id).collect();
    assert_eq!(told, [event(99, 2).id]);
    assert_eq!(store.deliveries_of(id(99)).await.unwrap(), [wanted(99, 2)]);
    home.close(store).await;
}
