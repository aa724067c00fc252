//! The rate of commits to the state file, sequential and concurrent, and the time to open a full one:
//! `cargo bench --bench store`, on the disk of the temporary folder.

use std::time::Instant;

use forgewatch::store::{AddedBy, Commit, DaemonStore, Handover, SavedWatch, SqliteStore, Store};
use forgewatch_core::delivery::EventPayload;
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use forgewatch_core::job::JobRef;
use futures_util::stream::{self, StreamExt, TryStreamExt};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const JOBS: u64 = 10_000;

async fn commit(store: &SqliteStore, n: u64, seq: u32) -> Outcome<()> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    let (watch, job) = (WatchId(id), format!("diff/{n}").parse::<JobRef>()?);
    let event = Event {
        id: EventId { watch, seq },
        kind: EventType::Progressed,
        wall_ms: 1_800_000_000_000,
        job: Some(job),
        meta: None,
        fields: EventFields::default(),
    };
    let delivery = DeliveryId {
        event: event.id,
        hook: "next-step".into(),
    };
    let body = EventPayload::of(&event, "bench")?.body().to_owned();
    let commit = Commit {
        watch: Some(SavedWatch {
            id: watch,
            job,
            seq,
            labels: "{}".to_owned(),
            snapshot: "x".repeat(400),
            ended_wall_ms: None,
            added_by: AddedBy::default(),
        }),
        events: &[event],
        deliveries: vec![DeliveryRow::new(delivery, body)],
        changes: &[],
    };
    store.commit(commit).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state.db");
    let (store, _) = SqliteStore::open(&path)?;
    let sequential = Instant::now();
    for seq in 1..=1000 {
        commit(&store, 1, seq).await?;
    }
    let per_second = |count: u64, since: Instant| count as f64 / since.elapsed().as_secs_f64();
    println!(
        "sequential:     {:.0} commits/s",
        per_second(1000, sequential)
    );
    let concurrent = Instant::now();
    for seq in 1001..=1003 {
        stream::iter(1..=JOBS)
            .map(|n| commit(&store, n, seq))
            .buffer_unordered(256)
            .try_for_each(async |()| Ok(()))
            .await?;
    }
    println!(
        "256 concurrent: {:.0} commits/s",
        per_second(3 * JOBS, concurrent)
    );
    store.close().await;
    let start = Instant::now();
    let (store, _) = SqliteStore::open(&path)?;
    let Handover::Gained(loaded) = store.next_handover().await? else {
        return Err("nothing is handed over".into());
    };
    let bytes = std::fs::metadata(&path)?.len() >> 20;
    println!(
        "opening with {} jobs and {} deliveries, {bytes} MiB: {:?}",
        loaded.watches.len(),
        loaded.deliveries.len(),
        start.elapsed()
    );
    store.close().await;
    Ok(())
}
