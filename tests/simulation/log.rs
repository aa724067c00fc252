//! What outlives every crash: what the API served, what reached the disk, what hooks and clients saw. The checker reads
//! this and nothing else.

use std::sync::Arc;
use std::time::Duration;

use forgewatch::hooks::payload::EventPayload;
use forgewatch::store::{Commit, JobListUpdate, Loaded, SavedWatch, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow};
use forgewatch_core::event::Event;
use forgewatch_core::job::JobRef;
use forgewatch_core::status::Status;
use forgewatch_core::verdict::PollError;

use crate::config::Config;

/// When: by the order of all that happened, and by true time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) tick: u64,
    pub(crate) ms: u64,
}

/// All of it, each list in the order in which things began.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lives: Vec<Life>,
    pub(crate) configs: Vec<InForce>,
    pub(crate) requests: Vec<Request>,
    pub(crate) writes: Vec<Write>,
    pub(crate) attempts: Vec<Attempted>,
    pub(crate) told: Vec<ToldOut>,
    pub(crate) commands: Vec<Command>,
    /// What the store holds after the last life.
    pub(crate) left: Loaded,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Life {
    /// When the start was over; None where it never was.
    pub(crate) ready: Option<Stamp>,
    /// When the orderly stop began.
    pub(crate) wound_up: Option<Stamp>,
    pub(crate) ended: Stamp,
    pub(crate) end: End,
    /// From here on nothing goes wrong any more.
    pub(crate) is_calm: bool,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on.
    Alive,
    Crashed,
    /// In order, everything settled.
    Stopped,
    /// It ended itself, as the store could not be trusted or there was no entropy.
    Failed,
    /// In calm weather, and still not everything was done after many hours.
    Endless,
}

/// A configuration, and since when it is in force.
pub(crate) struct InForce {
    pub(crate) life: usize,
    pub(crate) since: Stamp,
    pub(crate) config: Config,
}

/// One request to the API.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) life: usize,
    pub(crate) job: JobRef,
    pub(crate) asked: Stamp,
    /// When, and with what; None where the process died first.
    pub(crate) answer: Option<(Stamp, Result<Status, PollError>)>,
    /// When it was let go of without an answer.
    pub(crate) dropped: Option<Stamp>,
}

/// One thing that was given to the disk.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) life: usize,
    /// Into [`Log::configs`].
    pub(crate) config: usize,
    /// How far the wall clock was off.
    pub(crate) wall_off: i64,
    pub(crate) submitted: Stamp,
    pub(crate) op: Op,
    /// What became of it; None while it is under way.
    pub(crate) outcome: Option<(Stamp, Outcome)>,
    /// What the process was told of that, if it lived.
    pub(crate) reply: Option<Result<(), StoreError>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Commit {
        watch: Option<SavedWatch>,
        events: Vec<Event>,
        deliveries: Vec<DeliveryRow>,
        changes: Vec<DeliveryChange>,
    },
    JobListUpdate(JobListUpdate),
    Calibrations(String),
    Prune(i64),
    /// Nothing but its place in the queue.
    Read,
}

impl Op {
    pub(crate) fn of(commit: &Commit<'_>) -> Self {
        Self::Commit {
            watch: commit.watch.clone(),
            events: commit.events.to_vec(),
            deliveries: commit.deliveries.clone(),
            changes: commit.changes.to_vec(),
        }
    }

    /// For the trace.
    pub(crate) fn words(&self) -> String {
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
                        format!("begin {id} for the {attempt}. time")
                    }
                    DeliveryChange::Deliver { id } => format!("delivered {id}"),
                    DeliveryChange::Wait { id, until, .. } => {
                        format!("{id} waits until {}", until.wall_ms)
                    }
                    DeliveryChange::GiveUp { id, why } => {
                        format!("{id} is given up: {}", why.error)
                    }
                    DeliveryChange::Retry { id } => format!("retry {id}"),
                    DeliveryChange::Discard { id } => format!("discard {id}"),
                });
                events.chain(changes).collect::<Vec<_>>().join(", ")
            }
            Self::JobListUpdate(JobListUpdate {
                jobs,
                begin,
                added_by,
            }) => {
                let listed = jobs
                    .as_ref()
                    .map(|jobs| jobs.iter().map(|j| j.job.to_string()).collect::<Vec<_>>());
                let begin: Vec<_> = begin
                    .iter()
                    .map(|w| format!("{} as {}", w.job, w.id))
                    .collect();
                format!("the list is {listed:?}, begin {begin:?}, added by {added_by:?}")
            }
            Self::Calibrations(_) => "calibrations".to_owned(),
            Self::Prune(before) => format!("prune before {before}"),
            Self::Read => "read".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Taken,
    Failed(StoreError),
    /// A crash came first.
    Lost,
}

impl Write {
    /// When it was taken, if it was.
    pub(crate) fn taken(&self) -> Option<Stamp> {
        let (at, outcome) = self.outcome.as_ref()?;
        (*outcome == Outcome::Taken).then_some(*at)
    }

    pub(crate) fn events(&self) -> &[Event] {
        match &self.op {
            Op::Commit { events, .. } => events,
            _ => &[],
        }
    }

    pub(crate) fn changes(&self) -> &[DeliveryChange] {
        match &self.op {
            Op::Commit { changes, .. } => changes,
            _ => &[],
        }
    }
}

/// One attempt at a delivery, as the hook saw it.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) life: usize,
    pub(crate) wall_off: i64,
    pub(crate) began: Stamp,
    pub(crate) delivery: DeliveryId,
    pub(crate) told: Arc<EventPayload>,
    pub(crate) attempt: u32,
    /// Whether what the hook is there for was done.
    pub(crate) had_effect: bool,
    pub(crate) end: Option<(Stamp, Came)>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Delivered,
    Failed { not_before: Duration },
    Refused,
    Stopped,
}

/// An event that the daemon handed over to be printed.
pub(crate) struct ToldOut {
    pub(crate) life: usize,
    pub(crate) at: Stamp,
    pub(crate) event: Event,
}

/// What a client asked for.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) life: usize,
    /// How far the wall clock was off.
    pub(crate) wall_off: i64,
    pub(crate) began: Stamp,
    /// When it was answered that it is done.
    pub(crate) done: Option<Stamp>,
    pub(crate) wish: DeliveryAction,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeliveryAction {
    Add {
        job: JobRef,
        /// Whether there was no watch of it, or none that is remembered, or `--again` was said.
        may_begin: bool,
    },
    Remove(JobRef),
    Reload,
    Retry(DeliveryId),
    Discard(DeliveryId),
    Look,
}
