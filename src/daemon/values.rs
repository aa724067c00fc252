//! What the daemon returns to its clients.

use forgewatch_core::delivery::{DeliveryRow, OpenDelivery};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::poll_log::{PollRecord, WaitReason};
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Watch;

use crate::store::{StoreError, StoredEvent};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedWatch {
    pub job: JobRef,
    pub watch: WatchId,
    pub result: AddResult,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddResult {
    Started,
    AlreadyWatched,
    /// The watch ended within `retain` with this outcome and stays as it is.
    Ended(String),
}

#[derive(Debug)]
pub struct WatchReport {
    pub watch: Watch,
    /// The time of this report.
    pub at: Moment,
    pub is_running: bool,
    pub outcome: Option<String>,
    pub ended_wall_ms: Option<i64>,
}

#[derive(Debug)]
pub struct WatchDetails {
    pub report: WatchReport,
    /// None before the first status and after the end.
    pub next_poll_reason: Option<WaitReason>,
    pub events: Vec<StoredEvent>,
    /// The last polls, oldest first.
    pub polls: Vec<PollRecord>,
    /// Of all events of the watch, oldest first.
    pub deliveries: Vec<DeliveryReport>,
}

#[derive(Debug)]
pub enum DeliveryReport {
    /// Pending or running, as the hooks have it: the store does not know which attempts are running.
    Open(OpenDelivery),
    Stored(DeliveryRow),
}

#[derive(Debug)]
pub struct DeliveryList {
    /// The open ones, and the newest failed ones, oldest first.
    pub deliveries: Vec<DeliveryReport>,
    /// How many more there are.
    pub omitted: usize,
}

/// Why a request failed. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailure {
    #[error("{0} is still being removed; try again when it has left: forgewatch list")]
    StillEnding(JobRef),
    #[error("{0} is not watched; list watched jobs with: forgewatch list")]
    NotWatched(JobRef),
    #[error("no failed delivery {0}; list them with: forgewatch hooks list")]
    NoFailedDelivery(String),
    #[error(
        "{0}: the hook is no longer in the configuration; discard it with: forgewatch hooks discard {0}"
    )]
    UnknownHook(String),
    #[error("{0}")]
    Entropy(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
