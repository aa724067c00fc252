//! Durable state. The engine commits every step, and the hooks every change of a delivery, with [`Store::commit`] before
//! it takes effect or becomes visible.
//!
//! [`SqliteStore`] is the daemon's: a commit is on the disk. [`InMemoryStore`] has the same behavior in memory, for
//! simulations; one test suite (`tests/store`) covers both. [`NoStore`] is the one-shot's, whose engine and hooks hold
//! all of its state.
//!
//! A watch is stored with an opaque text that the core writes and reads, an event as its log record, a delivery with the
//! payload of its hook. Wall times are Unix milliseconds.

pub mod calibration;
mod in_memory;
mod sqlite;

use std::collections::BTreeSet;

use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{Event, EventId, WatchId};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::limits::Limits;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::{InvalidSavedWatch, Watch};

pub use forgewatch_core::reconcile::AddedBy;
pub use in_memory::InMemoryStore;
pub use sqlite::{
    OpenError, RecoverError, RecoveredTable, SqliteStore, check, delivered_hooks, recover,
};

/// How many polls are stored per watch: the newest ones.
pub const MAX_POLLS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedWatch {
    pub id: WatchId,
    pub job: JobRef,
    /// The number of its last event; 0 before the first.
    pub seq: u32,
    /// As JSON.
    pub labels: String,
    /// The rest of the watch's state as the core serializes it; opaque to the store.
    pub snapshot: String,
    /// None while it runs.
    pub ended_wall_ms: Option<i64>,
    pub added_by: AddedBy,
}

impl SavedWatch {
    /// A watch as it is saved at this time, with its outcome if it has ended.
    pub fn new(watch: &Watch, outcome: Option<Outcome>, added_by: AddedBy, now: Moment) -> Self {
        Self {
            id: watch.id(),
            job: watch.job(),
            seq: watch.seq(),
            labels: watch.save_labels(),
            snapshot: watch.save(now, outcome),
            ended_wall_ms: outcome.map(|_| now.wall_ms),
            added_by,
        }
    }

    /// # Errors
    /// It is unreadable.
    pub fn load(&self, now: Moment, limits: &Limits) -> Result<Watch, InvalidSavedWatch> {
        Watch::load(&self.snapshot, &self.labels, self.seq, now, limits)
    }
}

/// A transaction: stored as a whole or not at all.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// A watch to insert or update. A stored watch keeps its `labels`, and its `added_by`, which
    /// [`DaemonStore::update_jobs`] changes.
    pub watch: Option<SavedWatch>,
    /// New events, in order.
    pub events: &'a [Event],
    /// The deliveries of those events.
    pub deliveries: Vec<DeliveryRow>,
    /// Changes of stored deliveries.
    pub changes: &'a [DeliveryChange],
}

/// A poll that did not end its watch, with the watch after it. Losing it is harmless.
#[derive(Clone, Debug)]
pub struct PollSample {
    /// The sample of an ended or unknown watch is ignored.
    pub watch: WatchId,
    /// The watch's state after the poll.
    pub snapshot: String,
    /// The poll's record, as JSON.
    pub poll: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place among all events: rises, with gaps, and is never reused.
    pub offset: u64,
    pub id: EventId,
    pub wall_ms: i64,
    /// Its log record, as JSON.
    pub record: String,
}

/// A job of the configuration that was applied last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigJob {
    pub job: JobRef,
    /// As JSON.
    pub labels: String,
}

/// A change of what is watched, by the configuration or a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobListUpdate {
    /// Replaces the list of the configuration's jobs.
    pub config_jobs: Option<Vec<ConfigJob>>,
    pub new_watches: Vec<SavedWatch>,
    /// New values of stored watches.
    pub added_by: Vec<(WatchId, AddedBy)>,
}

/// A part of all jobs. At any time one process serves it: polls its jobs and makes the deliveries of their events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard(pub u16);

/// A change of the shards that this process serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    Gained(Gained),
    Lost(BTreeSet<Shard>),
}

/// Shards that this process serves from now on, with what it continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    pub shards: BTreeSet<Shard>,
    /// The running watches, oldest first.
    pub watches: Vec<SavedWatch>,
    /// Pending deliveries, those of an interrupted attempt included, oldest first.
    pub deliveries: Vec<DeliveryRow>,
}

/// The state that a startup continues from, besides what is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredState {
    /// The jobs of the configuration that was applied last.
    pub config_jobs: Vec<ConfigJob>,
    /// As it was saved.
    pub calibration: Option<String>,
    /// The number of failed ones; [`DaemonStore::failed_deliveries`] reads them.
    pub failed_deliveries: usize,
}

/// What the engine and the hooks need of a store: writing.
#[expect(
    async_fn_in_trait,
    reason = "its users run in a local runtime and need no Send bound"
)]
pub trait Store: 'static {
    /// Whether watches are stored; if not, callers need not serialize them.
    fn is_persistent(&self) -> bool {
        true
    }

    /// Resolves once the commit is durable. After an error, nothing of it was stored.
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError>;

    /// Queues a poll. Polls are written together with later requests, at most once a second, and on close.
    fn record_poll(&self, sample: PollSample);
}

/// Stores nothing: a one-shot's state lives as long as its process, in the engine and the hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl Store for NoStore {
    fn is_persistent(&self) -> bool {
        false
    }

    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_poll(&self, _: PollSample) {}
}

/// What a daemon needs of a store beyond [`Store`]: the shards that it serves, queries, the list of configured jobs,
/// pruning.
#[expect(
    async_fn_in_trait,
    reason = "its users run in a local runtime and need no Send bound"
)]
pub trait DaemonStore: Store + Clone {
    /// The next change of the shards that this process serves; the first has those that it serves from its start.
    /// Pends while nothing changes, or while the store cannot be reached; an error ends the process. Cancel-safe.
    ///
    /// Commits to a shard fail with [`StoreError::Lost`] before this has returned that it was gained, and from its loss
    /// on, even before this has returned that. A store of one process gains everything at once.
    async fn next_handover(&self) -> Result<Handover, StoreError>;

    fn shard_of(&self, _job: JobRef) -> Shard {
        Shard::default()
    }

    /// All deliveries of a watch's events, oldest first.
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError>;

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError>;

    /// The newest `limit` failed deliveries, oldest first, and the number of all failed ones.
    async fn failed_deliveries(
        &self,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, usize), StoreError>;

    /// At most `limit` events behind the offset `after`, in order; 0 is before the first event.
    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError>;

    /// The argument of [`DaemonStore::events_since`] that selects the events of this wall time or later.
    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError>;

    /// The events of a watch, in order.
    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError>;

    /// The last polls of a watch, oldest first, as they were recorded.
    async fn polls_of(&self, watch: WatchId) -> Result<Vec<String>, StoreError>;

    /// The newest watch of a job, running or ended.
    async fn newest_watch(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError>;

    /// At most `limit` watches that this process does not have in memory, by id, from behind the id `after`: running ones
    /// of shards that it does not serve and, with `ended_since`, those that ended at this wall time or later.
    async fn other_watches(
        &self,
        ended_since: Option<i64>,
        after: Option<WatchId>,
        limit: usize,
    ) -> Result<Vec<SavedWatch>, StoreError>;

    /// At most `limit` watches that ended at this wall time or later, those that ended last first.
    async fn last_ended(&self, wall_ms: i64, limit: usize) -> Result<Vec<SavedWatch>, StoreError>;

    /// Stored as a whole or not at all.
    async fn update_jobs(&self, update: JobListUpdate) -> Result<(), StoreError>;

    async fn save_calibration(&self, json: String) -> Result<(), StoreError>;

    /// Deletes a batch of watches that ended before this wall time, with their events, polls and deliveries, and a batch
    /// of forgewatch's own events; returns the number of rows. Call it until that is 0: small batches let commits run
    /// in between. Watches of configured jobs stay, and so does what a pending or failed delivery needs.
    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be written now, as on a full disk: nothing was stored, and a retry may succeed.
    #[error("cannot write the state: {0}")]
    Unavailable(String),
    /// Another program has locked the file: nothing was stored, and a retry may succeed.
    #[error("another program has locked the state file: {0}")]
    Locked(String),
    /// Another process serves these watches or deliveries now: nothing was stored, and no retry can succeed.
    #[error("another process serves this now: {0}")]
    Lost(String),
    /// The request contradicts what is stored; other requests are not affected.
    #[error("{0}")]
    Rejected(String),
    /// An I/O error or a damaged row: the content of the disk is unknown. Every later call fails; only a restart of
    /// the process can open the store again.
    #[error("the state file failed: {0}")]
    Fatal(String),
}

fn stored_event(offset: u64, event: &Event) -> Result<StoredEvent, StoreError> {
    let record = serde_json::to_string(&event.record())
        .map_err(|e| StoreError::Rejected(format!("cannot encode event {}: {e}", event.id)))?;
    Ok(StoredEvent {
        offset,
        id: event.id,
        wall_ms: event.wall_ms,
        record,
    })
}

fn duplicate_event(id: EventId) -> StoreError {
    StoreError::Rejected(format!("event {id} already exists"))
}

/// Applies a change to a stored delivery, if there is one.
fn apply_change(
    row: Option<DeliveryRow>,
    change: &DeliveryChange,
) -> Result<DeliveryRow, StoreError> {
    let id = change.id();
    let mut row = row.ok_or_else(|| StoreError::Rejected(format!("no delivery {id}")))?;
    row.apply(change).ok_or_else(|| {
        let what = match change {
            DeliveryChange::Begin { .. } => "attempted",
            DeliveryChange::Deliver { .. } => "marked delivered",
            DeliveryChange::Reschedule { .. } => "rescheduled",
            DeliveryChange::Fail { .. } => "marked failed",
            DeliveryChange::Retry { .. } => "retried",
            DeliveryChange::Discard { .. } => "discarded",
        };
        let state = match row.state {
            DeliveryState::Pending { .. } if row.attempts == 0 => "has no attempt yet",
            DeliveryState::Pending { .. } => "is pending",
            DeliveryState::Failed(_) => "has failed",
            DeliveryState::Delivered => "was delivered",
            DeliveryState::Discarded => "was discarded",
        };
        StoreError::Rejected(format!("delivery {id} {state}; it cannot be {what}"))
    })?;
    Ok(row)
}

fn delivery_without_event(id: &DeliveryId) -> StoreError {
    StoreError::Rejected(format!("delivery {id} belongs to no event of its commit"))
}

fn duplicate_delivery(id: &DeliveryId) -> StoreError {
    StoreError::Rejected(format!("delivery {id} already exists"))
}
