//! The log of a lifetime: API requests, writes to the disk, hook attempts, published events, client commands. It is the
//! only input of the checker.

use std::sync::Arc;
use std::time::Duration;

use forgewatch::store::{Commit, Gained, JobListUpdate, SavedWatch, Shard, StoreError};
use forgewatch_core::delivery::EventPayload;
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventId};
use forgewatch_core::job::JobRef;
use forgewatch_core::status::Status;
use forgewatch_core::verdict::PollError;

use crate::config::Config;

/// A point in time: `tick` orders all log entries, `ms` is true time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) tick: u64,
    pub(crate) ms: u64,
}

impl Stamp {
    pub(crate) const MAX: Self = Self {
        tick: u64::MAX,
        ms: u64::MAX,
    };
}

/// Each list is in the order in which its entries began.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) processes: Vec<ProcessRun>,
    pub(crate) configs: Vec<ActiveConfig>,
    pub(crate) requests: Vec<ApiRequest>,
    pub(crate) writes: Vec<StoreWrite>,
    pub(crate) attempts: Vec<HookAttempt>,
    pub(crate) published: Vec<Publication>,
    pub(crate) followed: Vec<FollowedEvent>,
    pub(crate) commands: Vec<ClientCommand>,
    pub(crate) shard_changes: Vec<ShardChange>,
    /// Jobs that run and that a list lacked, or had twice.
    pub(crate) wrongly_listed: Vec<(Stamp, JobRef)>,
    /// What the store holds after the last process.
    pub(crate) final_state: Gained,
}

/// An event that the following client read.
#[derive(Debug)]
pub(crate) struct FollowedEvent {
    pub(crate) at: Stamp,
    pub(crate) id: EventId,
    pub(crate) offset: u64,
}

/// A process learned that it serves a shard, or that it does not any more.
#[derive(Debug)]
pub(crate) struct ShardChange {
    pub(crate) process: usize,
    pub(crate) at: Stamp,
    pub(crate) shard: Shard,
    pub(crate) is_gained: bool,
}

/// One daemon process.
#[derive(Debug)]
pub(crate) struct ProcessRun {
    /// End of its startup, if it got that far.
    pub(crate) ready: Option<Stamp>,
    /// Start of the orderly shutdown.
    pub(crate) stopping_since: Option<Stamp>,
    pub(crate) ended: Stamp,
    pub(crate) end: ProcessEnd,
    /// This is the last process, which runs without faults.
    pub(crate) faults_disabled: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessEnd {
    /// It has not ended.
    Running,
    Crashed,
    /// By an orderly shutdown.
    Stopped,
    /// By an error: the store failed, or the system provided no random numbers.
    Failed,
    /// Without faults, and still watches or deliveries were left after many hours.
    NotDrained,
}

/// A configuration, from the moment the daemon uses it.
pub(crate) struct ActiveConfig {
    pub(crate) process: usize,
    pub(crate) since: Stamp,
    pub(crate) config: Config,
}

/// One request to the API.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) process: usize,
    pub(crate) job: JobRef,
    pub(crate) sent: Stamp,
    /// None if the process crashed first.
    pub(crate) response: Option<(Stamp, Result<Status, PollError>)>,
    /// When the daemon dropped the request before its response.
    pub(crate) canceled: Option<Stamp>,
}

/// One operation that was submitted to the disk.
#[derive(Debug)]
pub(crate) struct StoreWrite {
    pub(crate) process: usize,
    /// Index into [`Log::configs`].
    pub(crate) config: usize,
    pub(crate) wall_offset: i64,
    pub(crate) submitted: Stamp,
    pub(crate) op: StoreOp,
    /// None while it is queued.
    pub(crate) outcome: Option<(Stamp, WriteOutcome)>,
    /// The result that the process got, unless it crashed.
    pub(crate) reply: Option<Result<(), StoreError>>,
}

#[derive(Clone, Debug)]
pub(crate) enum StoreOp {
    Commit {
        watch: Option<SavedWatch>,
        events: Vec<Event>,
        deliveries: Vec<DeliveryRow>,
        changes: Vec<DeliveryChange>,
    },
    JobListUpdate(JobListUpdate),
    Calibrations(String),
    Prune(i64),
    /// Changes nothing, but waits in the same queue.
    Read,
}

impl StoreOp {
    pub(crate) fn of(commit: &Commit<'_>) -> Self {
        Self::Commit {
            watch: commit.watch.clone(),
            events: commit.events.to_vec(),
            deliveries: commit.deliveries.clone(),
            changes: commit.changes.to_vec(),
        }
    }

    /// A summary for the trace.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Commit {
                events, changes, ..
            } => {
                let events = events.iter().map(|event| {
                    let job = event
                        .job
                        .map_or_else(String::new, |job| format!(" of {job}"));
                    format!("{}{job} {}", event.kind.as_str(), event.id)
                });
                let changes = changes.iter().map(|change| match change {
                    DeliveryChange::Begin { id, attempt } => {
                        format!("begin attempt {attempt} of {id}")
                    }
                    DeliveryChange::Deliver { id } => format!("delivered {id}"),
                    DeliveryChange::Reschedule { id, until, .. } => {
                        format!("retry {id} at {}", until.wall_ms)
                    }
                    DeliveryChange::Fail { id, why } => {
                        format!("failed {id}: {}", why.error)
                    }
                    DeliveryChange::Retry { id } => format!("retry {id} by command"),
                    DeliveryChange::Discard { id } => format!("discard {id} by command"),
                });
                events.chain(changes).collect::<Vec<_>>().join(", ")
            }
            Self::JobListUpdate(JobListUpdate {
                config_jobs,
                new_watches,
                added_by,
            }) => {
                let listed = config_jobs
                    .as_ref()
                    .map(|jobs| jobs.iter().map(|j| j.job.to_string()).collect::<Vec<_>>());
                let new: Vec<_> = new_watches
                    .iter()
                    .map(|w| format!("{} as {}", w.job, w.id))
                    .collect();
                format!("job list {listed:?}, new watches {new:?}, added by {added_by:?}")
            }
            Self::Calibrations(_) => "calibrations".to_owned(),
            Self::Prune(before) => format!("prune before {before}"),
            Self::Read => "read".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    Applied,
    Failed(StoreError),
    /// By a crash.
    Lost,
}

impl StoreWrite {
    /// When it was applied, if it was.
    pub(crate) fn applied(&self) -> Option<Stamp> {
        let (at, outcome) = self.outcome.as_ref()?;
        (*outcome == WriteOutcome::Applied).then_some(*at)
    }

    pub(crate) fn events(&self) -> &[Event] {
        match &self.op {
            StoreOp::Commit { events, .. } => events,
            _ => &[],
        }
    }

    pub(crate) fn changes(&self) -> &[DeliveryChange] {
        match &self.op {
            StoreOp::Commit { changes, .. } => changes,
            _ => &[],
        }
    }
}

/// One attempt at a delivery, as the hook sees it.
#[derive(Debug)]
pub(crate) struct HookAttempt {
    pub(crate) process: usize,
    pub(crate) wall_offset: i64,
    pub(crate) began: Stamp,
    pub(crate) delivery: DeliveryId,
    pub(crate) payload: Arc<EventPayload>,
    pub(crate) attempt: u32,
    /// Whether the hook's program did its work.
    pub(crate) had_effect: bool,
    pub(crate) end: Option<(Stamp, AttemptEnd)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    Delivered,
    Failed {
        not_before: Duration,
    },
    Rejected,
    Stopped,
    /// With its process, or because its shard was lost.
    Killed,
}

/// An event that the daemon returned for output.
pub(crate) struct Publication {
    pub(crate) process: usize,
    pub(crate) at: Stamp,
    pub(crate) event: Event,
}

/// A command of a client.
#[derive(Debug)]
pub(crate) struct ClientCommand {
    pub(crate) process: usize,
    pub(crate) wall_offset: i64,
    pub(crate) began: Stamp,
    /// When the daemon confirmed it.
    pub(crate) confirmed: Option<Stamp>,
    pub(crate) kind: CommandKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CommandKind {
    Add {
        job: JobRef,
        /// There is no watch of the job, or it ended longer ago than `retain`, or the command has `--again`.
        may_start: bool,
    },
    Remove(JobRef),
    Reload,
    Retry(DeliveryId),
    Discard(DeliveryId),
    Query,
}
