//! Watches, events and commits to store.

use std::path::{Path, PathBuf};

use forgewatch::store::{
    AddedBy, Commit, ConfigJob, DaemonStore, Gained, Handover, OpenError, SavedWatch, SqliteStore,
    Store, StoreError, StoredState,
};
use forgewatch_core::delivery::EventPayload;
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use forgewatch_core::job::JobRef;
use futures_util::FutureExt;

pub(crate) fn id(n: u64) -> WatchId {
    let mut bytes = [0xa5; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    WatchId(bytes)
}

pub(crate) fn job(n: u64) -> JobRef {
    format!("diff/{n}").parse().unwrap()
}

/// Watch `n` of job `n` after `seq` events.
pub(crate) fn watch(n: u64, seq: u32) -> SavedWatch {
    SavedWatch {
        id: id(n),
        job: job(n),
        seq,
        labels: format!("{{\"watch\":\"{n}\"}}"),
        snapshot: format!("{{\"seq\":{seq},\"more\":\"{}\"}}", "x".repeat(300)),
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
        meta: None,
        fields: EventFields::default(),
    }
}

/// The time of event `seq` of any watch.
pub(crate) fn wall(seq: u32) -> i64 {
    1_800_000_000_000 + i64::from(seq) * 1000
}

/// The delivery of an event to the hook "next-step".
pub(crate) fn delivery(n: u64, seq: u32) -> DeliveryId {
    DeliveryId {
        event: event(n, seq).id,
        hook: "next-step".into(),
    }
}

/// The row of a new delivery.
pub(crate) fn new_delivery(n: u64, seq: u32) -> DeliveryRow {
    let body = EventPayload::of(&event(n, seq), "test")
        .unwrap()
        .body()
        .to_owned();
    DeliveryRow::new(delivery(n, seq), body)
}

/// Commits what the engine commits for a step: the watch, an event, a delivery of it.
pub(crate) async fn commit_step(store: &impl Store, n: u64, seq: u32) -> Result<(), StoreError> {
    store
        .commit(Commit {
            watch: Some(watch(n, seq)),
            events: &[event(n, seq)],
            deliveries: vec![new_delivery(n, seq)],
            ..Commit::default()
        })
        .await
}

/// Creates a file with this many watches of three steps each, polls, configured jobs and a calibration.
pub(crate) async fn create_filled(path: &Path, watches: u64) {
    let (store, _) = SqliteStore::open(path).unwrap();
    for n in 1..=watches {
        for seq in 1..=3 {
            commit_step(&store, n, seq).await.unwrap();
        }
        store.record_poll(forgewatch::store::PollSample {
            watch: id(n),
            snapshot: watch(n, 3).snapshot,
            poll: "{\"progress\":40}".to_owned(),
        });
    }
    let config_jobs = (1..=watches).map(|n| forgewatch::store::ConfigJob {
        job: job(n),
        labels: "{\"build\":\"7\"}".to_owned(),
    });
    let update = forgewatch::store::JobListUpdate {
        config_jobs: Some(config_jobs.collect()),
        ..Default::default()
    };
    store.update_jobs(update).await.unwrap();
    store
        .save_calibration("{\"lives\":3}".to_owned())
        .await
        .unwrap();
    store.close().await;
}

/// What a startup finds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) watches: Vec<SavedWatch>,
    pub(crate) deliveries: Vec<DeliveryRow>,
    pub(crate) config_jobs: Vec<ConfigJob>,
    pub(crate) calibration: Option<String>,
    pub(crate) failed_deliveries: usize,
}

impl Loaded {
    pub(crate) fn new(store: &impl DaemonStore, state: StoredState) -> Self {
        let gained = match store.next_handover().now_or_never().unwrap().unwrap() {
            Handover::Gained(gained) => gained,
            Handover::Lost(_) => Gained::default(),
        };
        assert_eq!(gained.shards.len(), 1);
        assert!(store.next_handover().now_or_never().is_none());
        Self {
            watches: gained.watches,
            deliveries: gained.deliveries,
            config_jobs: state.config_jobs,
            calibration: state.calibration,
            failed_deliveries: state.failed_deliveries,
        }
    }
}

pub(crate) fn open(path: &Path) -> Result<(SqliteStore, Loaded), OpenError> {
    let (store, state) = SqliteStore::open(path)?;
    let loaded = Loaded::new(&store, state);
    Ok((store, loaded))
}

/// Everything that can be read, for comparison with what was written.
pub(crate) async fn contents(path: &Path) -> Result<String, OpenError> {
    let (store, state) = open(path)?;
    let mut all = vec![format!("{state:#?}")];
    for watch in &state.watches {
        all.push(format!(
            "{:?} {:?} {:?} {:?}",
            store.events_of(watch.id).await,
            store.deliveries_of(watch.id).await,
            store.polls_of(watch.id).await,
            store.newest_watch(watch.job).await,
        ));
    }
    all.push(format!("{:?}", store.events_since(0, usize::MAX).await));
    store.close().await;
    Ok(all.concat())
}

pub(crate) fn state_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state.db")
}
