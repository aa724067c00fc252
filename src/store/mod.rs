//! What must not be lost. The engine commits a step here before anybody outside can see it, and hooks every change of
//! a delivery before it is true: [`Store::commit`] is the one way in for both.
//!
//! [`Sqlite`] is the daemon's, as safe as the disk. [`InMemoryStore`] keeps the same in memory: what simulations run on, and
//! what the file is held against: one suite of tests (`tests/store`) holds for both. [`NoStore`] is the one-shot's, whose
//! engine and hooks hold all that it needs.
//!
//! What a watch is, only the core knows: here it is a text. An event is stored as the log record that it is told
//! with, a delivery with the text that its hook is sent. Wall times are Unix milliseconds throughout.

pub mod calibration;
mod in_memory;
mod sqlite;

use std::future::Future;

use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{Event, EventId, WatchId};
use forgewatch_core::job::JobRef;

pub use forgewatch_core::reconcile::AddedBy;
pub use in_memory::InMemoryStore;
pub use sqlite::{OpenError, Rescue, RescueError, Sqlite, check, recover};

/// How many polls of a watch are kept, the newest.
pub const POLLS_KEPT: usize = 64;

/// A watch as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedWatch {
    /// Which watch.
    pub id: WatchId,
    /// The job it watches.
    pub job: JobRef,
    /// All the core wants to know again after a start; the store never looks into it.
    pub row: String,
    /// When it ended; None while it runs.
    pub ended_wall_ms: Option<i64>,
    /// Who asked for it.
    pub added_by: AddedBy,
}

/// What is to be taken over whole or not at all.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// A watch as it will be, new or known. Who asked for a known one stays as it is: [`Archive::accept`] says that.
    pub watch: Option<SavedWatch>,
    /// What is to be told of it, in order.
    pub events: &'a [Event],
    /// The deliveries that those events cause.
    pub deliveries: Vec<DeliveryRow>,
    /// What becomes of deliveries that are there.
    pub changes: &'a [DeliveryChange],
}

/// A poll that told nothing new. It may be lost.
#[derive(Clone, Debug)]
pub struct PollSample {
    /// The watch as it is now; one that has ended or is unknown stays as it is.
    pub watch: WatchId,
    /// Its new row.
    pub row: String,
    /// What is shown of the poll, as JSON.
    pub poll: String,
}

/// An event as it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place among all events: rises, never used twice, with gaps.
    pub offset: u64,
    /// Its identity.
    pub id: EventId,
    /// When it was seen.
    pub wall_ms: i64,
    /// Its flat log record, as JSON.
    pub record: String,
}

/// A job of the configuration file that was accepted last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigJob {
    /// The job.
    pub job: JobRef,
    /// Its labels, as JSON.
    pub labels: String,
}

/// What the file's list, or a client, changes in what is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobListUpdate {
    /// The file's list, where it is taken over anew.
    pub jobs: Option<Vec<ConfigJob>>,
    /// The watches that begin.
    pub begin: Vec<SavedWatch>,
    /// Who asks for these watches from now on.
    pub added_by: Vec<(WatchId, AddedBy)>,
}

/// What a start goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The watches that have not ended, in the order in which they began.
    pub watches: Vec<SavedWatch>,
    /// The file's list as it was accepted last.
    pub config_jobs: Vec<ConfigJob>,
    /// What ends have taught, as it was saved.
    pub calibrations: Option<String>,
    /// Deliveries that wait, or whose attempt was cut off, oldest first. Those given up stay where they are: there can
    /// be any number of them, and [`Archive::given_up`] shows them.
    pub deliveries: Vec<DeliveryRow>,
}

/// A place that remembers: what the engine and the hooks need of it.
pub trait Store {
    /// Whether watches are kept: where they are not, nobody needs to write them down.
    fn keeps_watches(&self) -> bool {
        true
    }

    /// Resolves once all of it is safe. After an error nothing of it was taken.
    fn commit(&self, commit: Commit<'_>) -> impl Future<Output = Result<(), StoreError>>;

    /// Keeps a poll. Polls are written at most once a second, with what is asked next; a close writes the last.
    fn record_poll(&self, record_poll: PollSample);
}

/// The one-shot's: as safe as the process, which is all that a one-shot promises. The engine's and the hooks' own rows
/// are the state, so there is nothing to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl Store for NoStore {
    fn keeps_watches(&self) -> bool {
        false
    }

    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_poll(&self, _: PollSample) {}
}

/// What a daemon needs besides: looking back, the list of the file, forgetting.
pub trait Archive: Store {
    /// All deliveries of one watch's events, oldest first, whatever became of them.
    fn deliveries_of(
        &self,
        watch: WatchId,
    ) -> impl Future<Output = Result<Vec<DeliveryRow>, StoreError>>;

    /// One delivery, whatever became of it.
    fn delivery(
        &self,
        id: DeliveryId,
    ) -> impl Future<Output = Result<Option<DeliveryRow>, StoreError>>;

    /// The newest `limit` of the deliveries that were given up, oldest first, and how many there are in all.
    fn given_up(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<(Vec<DeliveryRow>, usize), StoreError>>;

    /// At most `limit` events behind the offset `after`, in order; 0 is before the first.
    fn events_since(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, StoreError>>;

    /// The offset to give to [`Archive::events_since`] for what was seen at this wall time or later.
    fn offset_before(&self, wall_ms: i64) -> impl Future<Output = Result<u64, StoreError>>;

    /// The events of one watch, in order.
    fn events_of(
        &self,
        watch: WatchId,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, StoreError>>;

    /// The last polls of a watch, oldest first, as they were noted.
    fn polls(&self, watch: WatchId) -> impl Future<Output = Result<Vec<String>, StoreError>>;

    /// The newest watch of a job, running or ended.
    fn newest_of(
        &self,
        job: JobRef,
    ) -> impl Future<Output = Result<Option<SavedWatch>, StoreError>>;

    /// Watches that ended at this wall time or later.
    fn ended_since(
        &self,
        wall_ms: i64,
    ) -> impl Future<Output = Result<Vec<SavedWatch>, StoreError>>;

    /// Takes over who wants what watched: whole or not at all.
    fn accept(&self, accept: JobListUpdate) -> impl Future<Output = Result<(), StoreError>>;

    /// Keeps what ends have taught.
    fn save_calibrations(&self, json: String) -> impl Future<Output = Result<(), StoreError>>;

    /// Forgets some watches that ended before this wall time, with all that belongs to them, and some of the
    /// watcher's own events; how many rows. Call it until that is 0: it does a little at a time, so that commits get
    /// their turn. In a long history, own events may outlast many such rounds. What stays: jobs on the accepted list,
    /// and what a delivery that is not done needs.
    fn prune(&self, before_wall_ms: i64) -> impl Future<Output = Result<usize, StoreError>>;
}

/// Why something could not be made safe or read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or another program has the file to itself: nothing was taken. The same may succeed later.
    #[error("nothing can be recorded for now: {0}")]
    Full(String),
    /// This alone was refused, as it contradicts what is stored; everything else goes on.
    #[error("{0}")]
    Refused(String),
    /// An I/O error or a damaged row: what is on the disk is not known any more. Every later call fails like this;
    /// the process has to end, and to open the store anew.
    #[error("the state can't be trusted any more: {0}")]
    Fatal(String),
}

/// An event as both stores keep it.
fn stored(offset: u64, event: &Event) -> Result<StoredEvent, StoreError> {
    let record = serde_json::to_string(&event.record())
        .map_err(|e| StoreError::Refused(format!("event {} is no JSON: {e}", event.id)))?;
    Ok(StoredEvent {
        offset,
        id: event.id,
        wall_ms: event.wall_ms,
        record,
    })
}

/// The refusal of an event whose id there is already.
fn told_already(id: EventId) -> StoreError {
    StoreError::Refused(format!("there is an event {id} already"))
}

/// Takes over what became of a delivery; `row` is None where there is no such one.
fn changed(row: Option<DeliveryRow>, change: &DeliveryChange) -> Result<DeliveryRow, StoreError> {
    let id = change.id();
    let mut row = row.ok_or_else(|| StoreError::Refused(format!("there is no delivery {id}")))?;
    row.apply(change).ok_or_else(|| {
        let what = match change {
            DeliveryChange::Begin { .. } => "begun",
            DeliveryChange::Deliver { .. } => "marked delivered",
            DeliveryChange::Wait { .. } => "put off",
            DeliveryChange::GiveUp { .. } => "given up",
            DeliveryChange::Retry { .. } => "retried",
            DeliveryChange::Discard { .. } => "discarded",
        };
        let stands = match row.standing {
            DeliveryState::Pending { .. } if row.attempts == 0 => "was never tried",
            DeliveryState::Pending { .. } => "waits",
            DeliveryState::Failed(_) => "was given up",
            DeliveryState::Delivered => "was delivered",
            DeliveryState::Discarded => "was discarded",
        };
        StoreError::Refused(format!("delivery {id} {stands}, it can't be {what}"))
    })?;
    Ok(row)
}

/// The refusal of a delivery that does not belong to the commit's events.
fn not_of_this_commit(id: &DeliveryId) -> StoreError {
    StoreError::Refused(format!("delivery {id} is not of an event of its commit"))
}

/// The refusal of a delivery that there is already.
fn wanted_already(id: &DeliveryId) -> StoreError {
    StoreError::Refused(format!("there is a delivery {id} already"))
}
