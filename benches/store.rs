//! How many steps a second the state file takes, alone and together, and how long a start on a full one lasts.
//!
//! `cargo bench --bench store`; on the disk of the temporary folder.

use std::time::Instant;

use forgewatch::hooks::payload::EventPayload;
use forgewatch::store::{AddedBy, Commit, SavedWatch, Sqlite, Store};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use forgewatch_core::job::JobRef;
use futures_util::stream::{self, StreamExt, TryStreamExt};

type Failed = Box<dyn std::error::Error>;

const JOBS: u64 = 10_000;

async fn step(store: &Sqlite, n: u64, seq: u32) -> Result<(), Failed> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    let (watch, job) = (WatchId(id), format!("diff/{n}").parse::<JobRef>()?);
    let event = Event {
        id: EventId { watch, seq },
        kind: EventType::Progressed,
        wall_ms: 1_800_000_000_000,
        job: Some(job),
        about: None,
        facts: EventFields::default(),
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
            row: "x".repeat(400),
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
async fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state.db");
    let (store, _) = Sqlite::open(&path)?;
    let alone = Instant::now();
    for seq in 1..=1000 {
        step(&store, 1, seq).await?;
    }
    let per_second = |count: u64, since: Instant| count as f64 / since.elapsed().as_secs_f64();
    println!(
        "one after the other: {:.0} commits/s",
        per_second(1000, alone)
    );
    let together = Instant::now();
    for seq in 1001..=1003 {
        stream::iter(1..=JOBS)
            .map(|n| step(&store, n, seq))
            .buffer_unordered(256)
            .try_for_each(async |()| Ok(()))
            .await?;
    }
    println!(
        "256 at once:         {:.0} commits/s",
        per_second(3 * JOBS, together)
    );
    store.close().await;
    let start = Instant::now();
    let (store, loaded) = Sqlite::open(&path)?;
    let bytes = std::fs::metadata(&path)?.len() >> 20;
    println!(
        "a start with {} jobs and {} deliveries, {bytes} MiB: {:?}",
        loaded.watches.len(),
        loaded.deliveries.len(),
        start.elapsed()
    );
    store.close().await;
    Ok(())
}
