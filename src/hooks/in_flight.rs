//! The work under way of a [`Dispatcher`](super::Dispatcher): attempts, and commits around them.

use std::convert::Infallible;
use std::slice;

use futures_util::future::{AbortHandle, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use crate::engine::{Clock, SystemEvents};
use crate::store::{Commit, Store, StoreError};
use forgewatch_core::delivery::{Attempt, AttemptResult, DeliveryChange, DeliveryId, Settlement};
use forgewatch_core::event::{Event, EventType};

/// Dropping it stops the attempt.
pub(super) struct RunningAttempt {
    pub(super) _stop: oneshot::Sender<Infallible>,
    pub(super) abort: AbortHandle,
}

/// Result of work under way.
pub(super) enum Completion {
    /// The beginning of an attempt was committed, or not.
    Begun(Attempt, Result<(), StoreError>),
    /// An attempt has ended that began at this `up_ms`.
    Attempted(DeliveryId, u64, AttemptResult),
    /// The attempt of a released delivery.
    Aborted,
    /// The change after it was committed, with the event of its failure, or not.
    Settled(Settlement, Result<Option<Box<Event>>, StoreError>),
}

impl Completion {
    /// The delivery that a commit was about.
    pub(super) fn committed(&self) -> Option<&DeliveryId> {
        match self {
            Self::Begun(attempt, _) => Some(&attempt.id),
            Self::Settled(settlement, _) => Some(settlement.change.id()),
            Self::Attempted(..) | Self::Aborted => None,
        }
    }
}

pub(super) type InFlight = FuturesUnordered<LocalBoxFuture<'static, Completion>>;

/// The next completion of either; None if nothing is under way. Cancel-safe.
pub(super) async fn next(commits: &mut InFlight, attempts: &mut InFlight) -> Option<Completion> {
    tokio::select! {
        biased;
        Some(completion) = commits.next() => Some(completion),
        Some(completion) = attempts.next() => Some(completion),
        else => None,
    }
}

/// Commits a change, and returns the event of a failure. Each try emits the event again, so that events are stored in the
/// order of their numbers even if an earlier commit has failed.
pub(super) async fn record<C: Clock>(
    store: &impl Store,
    system_events: &SystemEvents<C>,
    settlement: &Settlement,
) -> Result<Option<Box<Event>>, StoreError> {
    let fields = settlement.hook_failed.as_deref().cloned();
    let event = fields.map(|fields| Box::new(system_events.event(EventType::HookFailed, fields)));
    commit(store, slice::from_ref(&settlement.change), event.as_deref()).await?;
    Ok(event)
}

pub(super) async fn commit(
    store: &impl Store,
    changes: &[DeliveryChange],
    event: Option<&Event>,
) -> Result<(), StoreError> {
    let commit = Commit {
        events: event.map_or(&[], slice::from_ref),
        changes,
        ..Commit::default()
    };
    store.commit(commit).await
}
