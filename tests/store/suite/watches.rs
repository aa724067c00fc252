//! Watches, polls, the list of configured jobs, and pruning.

use forgewatch::store::{
    AddedBy, Commit, ConfigJob, DaemonStore, JobListUpdate, MAX_POLLS, PollSample, SavedWatch,
    Store,
};
use forgewatch_core::delivery::DeliveryChange;
use forgewatch_core::event::EventId;

use super::{Location, begin, failure};
use crate::samples::{commit_step, delivery, ended, event, id, job, new_delivery, wall, watch};

both! {
    polls_and_snapshots_of_running_watches_are_recorded
    the_newest_polls_are_kept
    the_newest_watch_of_a_job_is_found
    ended_watches_are_read_in_pages_by_id
    the_watches_that_ended_last_come_first
    the_list_and_its_new_watches_are_stored_together
    commits_change_neither_added_by_nor_labels
    pruning_deletes_old_watches_that_nothing_refers_to
    an_open_delivery_keeps_its_own_event_alone
}

fn sample(n: u64, snapshot: &str, poll: usize) -> PollSample {
    PollSample {
        watch: id(n),
        snapshot: snapshot.to_owned(),
        poll: poll.to_string(),
    }
}

async fn polls_and_snapshots_of_running_watches_are_recorded(location: &impl Location) {
    let (store, _) = location.open();
    commit_step(&store, 1, 1).await.unwrap();
    let end = Commit {
        watch: Some(ended(2, 1, 5)),
        ..Commit::default()
    };
    store.commit(end).await.unwrap();
    for n in 1..=3 {
        store.record_poll(sample(n, "polled", 1));
    }
    location.close(store).await;
    let (store, state) = location.open();
    assert_eq!(state.watches[0].snapshot, "polled");
    assert_eq!(
        store.newest_watch(job(2)).await.unwrap(),
        Some(ended(2, 1, 5))
    );
    assert_eq!(store.newest_watch(job(3)).await.unwrap(), None);
    // A later commit overwrites the snapshot of the poll.
    store.record_poll(sample(1, "older", 2));
    commit_step(&store, 1, 2).await.unwrap();
    location.close(store).await;
    let (store, state) = location.open();
    assert_eq!(state.watches, [watch(1, 2)]);
    assert_eq!(store.polls_of(id(1)).await.unwrap(), ["1", "2"]);
    location.close(store).await;
}

async fn the_newest_polls_are_kept(location: &impl Location) {
    let (store, _) = location.open();
    commit_step(&store, 1, 1).await.unwrap();
    for round in 0..3 {
        for poll in 0..50 {
            store.record_poll(sample(1, "r", round * 50 + poll));
        }
        commit_step(&store, 1, 2 + round as u32).await.unwrap();
    }
    location.close(store).await;
    let (store, _) = location.open();
    let newest: Vec<String> = (150 - MAX_POLLS..150).map(|n| n.to_string()).collect();
    assert_eq!(store.polls_of(id(1)).await.unwrap(), newest);
    location.close(store).await;
}

async fn the_newest_watch_of_a_job_is_found(location: &impl Location) {
    let (store, _) = location.open();
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
    assert_eq!(store.newest_watch(job(1)).await.unwrap(), Some(watch(1, 1)));
    location.close(store).await;
}

async fn ended_watches_are_read_in_pages_by_id(location: &impl Location) {
    let (store, _) = location.open();
    let end = async |n: u64, at: i64| {
        let commit = Commit {
            watch: Some(ended(n, 1, at)),
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    };
    // 3 ended too early, 8 runs.
    for (n, at) in [(6, 50), (2, 60), (3, 49), (9, 50), (1, 55), (5, 70)] {
        end(n, at).await;
    }
    commit_step(&store, 8, 1).await.unwrap();
    let page = async |since: i64, after: Option<u64>, limit: usize| -> Vec<u64> {
        let page = store.other_watches(Some(since), after.map(id), limit);
        let page = page.await.unwrap().into_iter();
        page.map(|watch| watch.job.id.get()).collect()
    };
    assert_eq!(page(50, None, 9).await, [1, 2, 5, 6, 9]);
    assert_eq!(page(50, None, 2).await, [1, 2]);
    assert_eq!(page(50, Some(2), 2).await, [5, 6]);
    assert_eq!(page(50, Some(6), 2).await, [9]);
    assert_eq!(page(50, Some(9), 2).await, [0; 0]);
    assert_eq!(page(50, None, 0).await, [0; 0]);
    assert_eq!(page(56, None, usize::MAX).await, [2, 5]);
    assert_eq!(store.other_watches(None, None, 9).await.unwrap(), []);

    // Between two pages 8 ends, and the last watch of the page before is deleted.
    end(8, 40).await;
    end(8, 80).await;
    while store.prune(56).await.unwrap() > 0 {}
    assert_eq!(page(50, Some(6), 2).await, [8]);
    assert_eq!(page(50, Some(1), 2).await, [2, 5]);
    location.close(store).await;
}

async fn the_watches_that_ended_last_come_first(location: &impl Location) {
    let (store, _) = location.open();
    for (n, at) in [(6, 50), (2, 60), (3, 49), (1, 55)] {
        let commit = Commit {
            watch: Some(ended(n, 1, at)),
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }
    commit_step(&store, 8, 1).await.unwrap();
    let last = async |since: i64, limit: usize| -> Vec<u64> {
        let ended = store.last_ended(since, limit).await.unwrap();
        ended.iter().map(|watch| watch.job.id.get()).collect()
    };
    assert_eq!(last(50, 9).await, [2, 1, 6]);
    assert_eq!(last(0, 2).await, [2, 1]);
    location.close(store).await;
}

fn listed(n: u64) -> ConfigJob {
    ConfigJob {
        job: job(n),
        labels: format!("{{\"n\":\"{n}\"}}"),
    }
}

async fn the_list_and_its_new_watches_are_stored_together(location: &impl Location) {
    let (store, _) = location.open();
    let update = |jobs: &[u64], new: &[u64]| JobListUpdate {
        config_jobs: Some(jobs.iter().map(|&n| listed(n)).collect()),
        new_watches: new.iter().map(|&n| watch(n, 0)).collect(),
        ..JobListUpdate::default()
    };
    store.update_jobs(update(&[1, 2], &[1, 2])).await.unwrap();
    store.update_jobs(update(&[3, 2], &[3])).await.unwrap();
    location.close(store).await;
    let (store, state) = location.open();
    assert_eq!(state.config_jobs, [listed(3), listed(2)]);
    assert_eq!(state.watches, [watch(1, 0), watch(2, 0), watch(3, 0)]);
    location.close(store).await;
}

async fn commits_change_neither_added_by_nor_labels(location: &impl Location) {
    let (store, _) = location.open();
    let both = AddedBy {
        file: true,
        socket: true,
    };
    let update = JobListUpdate {
        new_watches: vec![watch(1, 0)],
        added_by: vec![(id(1), both), (id(9), both)],
        ..JobListUpdate::default()
    };
    store.update_jobs(update).await.unwrap();
    let relabeled = SavedWatch {
        labels: "{}".to_owned(),
        ..watch(1, 1)
    };
    let commit = Commit {
        watch: Some(relabeled),
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    store.record_poll(sample(1, &watch(1, 1).snapshot, 1));
    location.close(store).await;
    let (store, state) = location.open();
    let kept = SavedWatch {
        added_by: both,
        ..watch(1, 1)
    };
    assert_eq!(state.watches, [kept]);
    assert_eq!(state.config_jobs, []);
    location.close(store).await;
}

async fn pruning_deletes_old_watches_that_nothing_refers_to(location: &impl Location) {
    let (store, _) = location.open();
    // 1 is listed, 2 has an open delivery, 3 runs, 4 ended late; only 5 can go.
    for n in 1..=5 {
        commit_step(&store, n, 1).await.unwrap();
        begin(&store, n, 1, 1).await.unwrap();
        let id = delivery(n, 1);
        let change = if n == 2 {
            let why = failure();
            DeliveryChange::Fail { id, why }
        } else {
            DeliveryChange::Deliver { id }
        };
        let ended_wall_ms = (n != 3).then_some(if n == 4 { 100 } else { 50 });
        let commit = Commit {
            watch: Some(SavedWatch {
                ended_wall_ms,
                ..watch(n, 1)
            }),
            changes: &[change],
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }
    // An event of forgewatch itself belongs to no watch.
    let own = [event(99, 1)];
    let commit = Commit {
        events: &own,
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    commit_step(&store, 3, 2).await.unwrap();
    let update = JobListUpdate {
        config_jobs: Some(vec![listed(1)]),
        ..JobListUpdate::default()
    };
    store.update_jobs(update).await.unwrap();

    while store.prune(100).await.unwrap() > 0 {}
    let ids = |events: Vec<forgewatch::store::StoredEvent>| -> Vec<EventId> {
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
    assert_eq!(ids(store.events_since(0, 99).await.unwrap()), kept);
    assert_eq!(store.newest_watch(job(5)).await.unwrap(), None);
    assert_eq!(store.deliveries_of(id(5)).await.unwrap(), []);

    while store.prune(wall(9)).await.unwrap() > 0 {}
    let kept = [event(1, 1), event(2, 1), event(3, 1), event(3, 2)];
    let kept: Vec<EventId> = kept.iter().map(|e| e.id).collect();
    assert_eq!(ids(store.events_since(0, 99).await.unwrap()), kept);
    location.close(store).await;
}

async fn an_open_delivery_keeps_its_own_event_alone(location: &impl Location) {
    let (store, _) = location.open();
    // Events of forgewatch itself: those of a process share an id that no watch has.
    let own = [event(99, 1), event(99, 2), event(99, 3)];
    let commit = Commit {
        events: &own,
        deliveries: vec![new_delivery(99, 2)],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    commit_step(&store, 1, 4).await.unwrap();
    while store.prune(wall(9)).await.unwrap() > 0 {}
    let events = store.events_of(id(99)).await.unwrap();
    let ids: Vec<EventId> = events.into_iter().map(|e| e.id).collect();
    assert_eq!(ids, [event(99, 2).id]);
    assert_eq!(
        store.deliveries_of(id(99)).await.unwrap(),
        [new_delivery(99, 2)]
    );
    location.close(store).await;
}
