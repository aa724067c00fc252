//! Watches, events and commits to store.

use std::path::{Path, PathBuf};

use forgewatch::hooks::payload::EventPayload;
use forgewatch::store::{
    AddedBy, Archive, Commit, OpenError, SavedWatch, Sqlite, Store, StoreError,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use forgewatch_core::job::JobRef;

pub(crate) fn id(n: u64) -> WatchId {
    let mut bytes = [0xa5; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    WatchId(bytes)
}

pub(crate) fn job(n: u64) -> JobRef {
    format!("diff/{n}").parse().unwrap()
}

/// The watch number `n`, of job number `n`; its row says how far it is.
pub(crate) fn watch(n: u64, seq: u32) -> SavedWatch {
    SavedWatch {
        id: id(n),
        job: job(n),
        row: format!("{{\"seq\":{seq},\"more\":\"{}\"}}", "x".repeat(300)),
        ended_wall_ms: None,
        added_by: AddedBy {
            file: true,
            socket: false,
        },
    }
}

pub(crate) fn ended(n: u64, seq: u32, at: i64) -> SavedWatch {
    SavedWatch {
        ended_wall_ms: Some(at),
        ..watch(n, seq)
    }
}

pub(crate) fn event(n: u64, seq: u32) -> Event {
    Event {
        id: EventId { watch: id(n), seq },
        kind: EventType::StateChanged,
        wall_ms: wall(seq),
        job: Some(job(n)),
        about: None,
        facts: EventFields::default(),
    }
}

/// When the event number `seq` of any watch was seen.
pub(crate) fn wall(seq: u32) -> i64 {
    1_800_000_000_000 + i64::from(seq) * 1000
}

/// The delivery of that event to the hook "next-step".
pub(crate) fn delivery(n: u64, seq: u32) -> DeliveryId {
    DeliveryId {
        event: event(n, seq).id,
        hook: "next-step".into(),
    }
}

/// The same, as it is taken in.
pub(crate) fn wanted(n: u64, seq: u32) -> DeliveryRow {
    let body = EventPayload::of(&event(n, seq), "test")
        .unwrap()
        .body()
        .to_owned();
    DeliveryRow::new(delivery(n, seq), body)
}

/// A step as the engine makes it: the watch as it is now, an event, a delivery of it.
pub(crate) async fn step(store: &impl Store, n: u64, seq: u32) -> Result<(), StoreError> {
    store
        .commit(Commit {
            watch: Some(watch(n, seq)),
            events: &[event(n, seq)],
            deliveries: vec![wanted(n, seq)],
            ..Commit::default()
        })
        .await
}

/// A closed file with so many watches of three steps each, polls, an accepted list and calibrations.
pub(crate) async fn filled(path: &Path, watches: u64) {
    let (store, _) = Sqlite::open(path).unwrap();
    for n in 1..=watches {
        for seq in 1..=3 {
            step(&store, n, seq).await.unwrap();
        }
        store.record_poll(forgewatch::store::PollSample {
            watch: id(n),
            row: watch(n, 3).row,
            poll: "{\"progress\":40}".to_owned(),
        });
    }
    let config_jobs = (1..=watches).map(|n| forgewatch::store::ConfigJob {
        job: job(n),
        labels: "{\"build\":\"7\"}".to_owned(),
    });
    let accept = forgewatch::store::JobListUpdate {
        jobs: Some(config_jobs.collect()),
        ..Default::default()
    };
    store.accept(accept).await.unwrap();
    store
        .save_calibrations("{\"lives\":3}".to_owned())
        .await
        .unwrap();
    store.close().await;
}

/// All that can be read, to hold against what was written.
pub(crate) async fn contents(path: &Path) -> Result<String, OpenError> {
    let (store, loaded) = Sqlite::open(path)?;
    let mut all = vec![format!("{loaded:#?}")];
    for watch in &loaded.watches {
        all.push(format!(
            "{:?} {:?} {:?} {:?}",
            store.events_of(watch.id).await,
            store.deliveries_of(watch.id).await,
            store.polls(watch.id).await,
            store.newest_of(watch.job).await,
        ));
    }
    all.push(format!("{:?}", store.events_since(0, usize::MAX).await));
    store.close().await;
    Ok(all.concat())
}

pub(crate) fn state_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state.db")
}
