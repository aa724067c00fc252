//! Hooks: programs and webhooks that receive events.
//!
//! [`Dispatcher`] is the shell around [`queue`], which holds the rules: it has the clock and the random numbers, commits
//! every change before it applies, and lets [`Actions`] run the attempts, by `exec` (in a [`supervisor`]) or by `webhook`
//! (signed by `signature`). Deliveries reach it through the [`Outbox`], the store that every commit passes. Its owner
//! selects over [`Dispatcher::advance`] next to the engine's. A hook that hangs, dies or floods its output takes one of
//! its own `max_running` places and nothing else.

mod admin;
mod exec;
mod executor;
mod outbox;
pub mod payload;
pub mod queue;
mod settings;
mod signature;
pub mod supervisor;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;
mod webhook;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::sleep;

pub use admin::DeliveryActionResult;
pub use executor::{Actions, AttemptFuture, Executor};
pub use outbox::Outbox;
pub use settings::{HookAction, HookSpec};

use crate::engine::{Clock, SystemEvents};
use crate::store::{Commit, Store, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventFields, EventType};
use forgewatch_core::time::Moment;
use forgewatch_core::{retry, rng::SeededRng};
use payload::PayloadError;
use queue::{AttemptResult, OpenDelivery, Queue};

/// Delay before a failed commit is retried.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// Delivers events to hooks.
pub struct Dispatcher<S, C, P> {
    queue: Rc<RefCell<Queue>>,
    executor: P,
    outbox: Outbox<S, C>,
    system_events: Rc<SystemEvents<C>>,
    clock: C,
    rng: SeededRng,
    attempts: InFlight,
    /// Commits under way. None is dropped, because then it would be unknown whether it is stored.
    commits: InFlight,
    /// Events that are stored and not yet returned by [`Dispatcher::advance`].
    unpublished: Vec<Event>,
    /// A store error that ends the process.
    fatal: Option<StoreError>,
    /// No further attempt begins.
    is_draining: bool,
    stop: watch::Sender<bool>,
}

/// A change of a delivery and, if it fails by it, the fields of its `hook.failed`.
type Settlement = (DeliveryChange, Option<Box<EventFields>>);

/// Result of work under way.
enum Completion {
    /// The beginning of an attempt was committed, or not.
    Begun(DeliveryId, u32, Result<(), StoreError>),
    /// An attempt has ended.
    Attempted(DeliveryId, AttemptResult),
    /// The change after it was committed, with the event of its failure, or not.
    Settled(Settlement, Result<Option<Box<Event>>, StoreError>),
}

impl<S, C, P> Dispatcher<S, C, P>
where
    S: Store + Clone,
    C: Clock,
    P: Executor,
{
    /// Delivers to these hooks what is committed through `outbox` from now on.
    pub fn new(
        specs: &[HookSpec],
        executor: P,
        outbox: Outbox<S, C>,
        system_events: Rc<SystemEvents<C>>,
        clock: C,
        rng: SeededRng,
    ) -> Self {
        let queue = Rc::clone(outbox.queue());
        queue.borrow_mut().configure(specs);
        Self {
            queue,
            executor,
            outbox,
            system_events,
            clock,
            rng,
            attempts: FuturesUnordered::new(),
            commits: FuturesUnordered::new(),
            unpublished: Vec::new(),
            fatal: None,
            is_draining: false,
            stop: watch::Sender::new(false),
        }
    }

    /// Adds the stored deliveries at startup.
    ///
    /// # Errors
    /// A stored body is not an event.
    pub fn load(&mut self, rows: Vec<DeliveryRow>) -> Result<(), PayloadError> {
        let now = self.clock.now();
        for row in rows {
            self.queue.borrow_mut().load(row, now)?;
        }
        Ok(())
    }

    /// Replaces the list of hooks. Pending deliveries of a removed hook fail; a running attempt is its last.
    pub fn configure(&mut self, specs: &[HookSpec], executor: P) {
        self.queue.borrow_mut().configure(specs);
        self.executor = executor;
    }

    /// Whether every delivery has ended and every event was returned.
    pub fn is_idle(&self) -> bool {
        self.queue.borrow().is_idle() && self.unpublished.is_empty()
    }

    /// Number of pending and running deliveries.
    pub fn open_count(&self) -> usize {
        self.queue.borrow().open_count()
    }

    /// At most `limit` pending and running deliveries.
    pub fn list(&self, limit: usize) -> Vec<OpenDelivery> {
        let queue = self.queue.borrow();
        queue.list(self.clock.now()).take(limit).collect()
    }

    /// The delivery if it is pending or running. All others are in the store alone.
    pub fn find(&self, id: &DeliveryId) -> Option<OpenDelivery> {
        self.queue.borrow().find(id, self.clock.now())
    }

    /// Makes deliveries until there are events to publish (`hook.failed`), or until the last delivery has ended, and then
    /// returns an empty list. Pends forever while no delivery is open. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StoreError::Fatal`]: the process has to end.
    pub async fn advance(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            if !self.unpublished.is_empty() {
                return Ok(std::mem::take(&mut self.unpublished));
            }
            if let Some(error) = &self.fatal {
                return Err(error.clone());
            }
            let next_due = self.start_due();
            let wait = next_due.map(|at| at.saturating_sub(self.clock.now().up_ms));
            tokio::select! {
                biased;
                Some(completion) = next(&mut self.commits, &mut self.attempts) => {
                    self.complete(completion);
                    if self.queue.borrow().is_idle() && self.fatal.is_none() {
                        return Ok(std::mem::take(&mut self.unpublished));
                    }
                }
                () = sleep(Duration::from_millis(wait.unwrap_or(0))), if wait.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// From now on no attempt begins; [`Dispatcher::advance`] completes the running ones until
    /// [`Dispatcher::is_drained`]. One that fails meanwhile counts as interrupted, because the shutdown itself may be
    /// the cause.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether no work is under way and every event was returned.
    pub fn is_drained(&self) -> bool {
        self.attempts.is_empty() && self.commits.is_empty() && self.unpublished.is_empty()
    }

    /// Begins no further attempt and stops the running ones: TERM, and KILL five seconds later. Returns when all have
    /// ended. Interrupted attempts are repeated, here or after the next startup.
    pub async fn stop(&mut self) {
        self.drain();
        self.stop.send_replace(true);
        while let Some(completion) = next(&mut self.commits, &mut self.attempts).await {
            self.complete(completion);
        }
    }

    /// From now on no `hook.failed` is delivered to hooks, because the process is about to end.
    pub fn suppress_failure_events(&mut self) {
        self.queue.borrow_mut().suppress_failure_events();
    }

    /// Fails all open deliveries for this reason and kills running attempts at once. Changes that are being committed are
    /// completed first; if they cannot be committed, their deliveries stay as stored. Returns the events to publish.
    /// Deliveries that are committed later are made as usual.
    pub async fn fail_all(&mut self, why: &str) -> Vec<Event> {
        self.attempts.clear();
        self.stop().await;
        let changes = self.queue.borrow_mut().fail_all(why);
        for change in changes {
            let settlement = self.settlement(change);
            let result = record(&self.outbox, &self.system_events, &settlement).await;
            self.complete(Completion::Settled(settlement, result));
        }
        self.is_draining = false;
        self.stop.send_replace(false);
        std::mem::take(&mut self.unpublished)
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Begins the due attempts, and fails the deliveries of removed hooks. Returns the next due time.
    fn start_due(&mut self) -> Option<u64> {
        if self.is_draining {
            return None;
        }
        let now = self.clock.now();
        let orphaned = self.queue.borrow_mut().fail_orphaned();
        for change in orphaned {
            self.settle(change);
        }
        let mut queue = self.queue.borrow_mut();
        while let Some(change) = queue.begin(now) {
            let DeliveryChange::Begin { id, attempt } = &change else {
                continue;
            };
            let (id, attempt) = (id.clone(), *attempt);
            let outbox = self.outbox.clone();
            self.commits.push(Box::pin(async move {
                let result = commit(&outbox, &change, None).await;
                Completion::Begun(id, attempt, result)
            }));
        }
        queue.next_due()
    }

    fn complete(&mut self, completion: Completion) {
        let now = self.clock.now();
        match completion {
            Completion::Begun(_, _, Err(error @ StoreError::Fatal(_)))
            | Completion::Settled(_, Err(error @ StoreError::Fatal(_))) => self.fatal = Some(error),
            Completion::Begun(id, attempt, Ok(())) if !self.is_draining => {
                self.start_attempt(id, attempt, now);
            }
            Completion::Begun(id, _, Ok(())) => self.queue.borrow_mut().requeue(&id, now, None),
            Completion::Begun(id, _, Err(error)) => {
                tracing::debug!(target: "forgewatch::hooks", delivery = %id, %error, "the beginning of an attempt could not be committed; retrying");
                self.queue
                    .borrow_mut()
                    .requeue(&id, now.plus(COMMIT_RETRY), None);
            }
            // It counts as interrupted and runs again, here or after the next startup.
            Completion::Attempted(id, AttemptResult::Failed { why, .. }) if self.is_draining => {
                self.queue.borrow_mut().requeue(&id, now, Some(why));
            }
            Completion::Attempted(id, attempt) => {
                let mut queue = self.queue.borrow_mut();
                let change = queue.settle(id, attempt, now, retry::ceiling, &mut self.rng);
                drop(queue);
                if let DeliveryChange::Reschedule { id, why, .. } = &change {
                    let error = &why.error;
                    tracing::debug!(target: "forgewatch::hooks", delivery = %id, error, "retrying later");
                }
                self.settle(change);
            }
            Completion::Settled((change, _), Ok(event)) => {
                self.queue.borrow_mut().apply(&change);
                self.unpublished.extend(event.map(|event| *event));
            }
            // The store may stay full: the attempt is stored without an end and runs again after the next startup.
            Completion::Settled(_, Err(error)) if self.is_stopping() => {
                tracing::error!(target: "forgewatch::hooks", %error, "the result of an attempt could not be committed; the attempt will be repeated");
            }
            Completion::Settled(settlement, Err(error)) => {
                tracing::debug!(target: "forgewatch::hooks", %error, "the result of an attempt could not be committed; retrying");
                self.commit_settlement(settlement, COMMIT_RETRY);
            }
        }
    }

    fn start_attempt(&mut self, id: DeliveryId, attempt: u32, now: Moment) {
        let payload = self.queue.borrow().payload(&id).cloned();
        let stop = self.stop.subscribe();
        let executor = &self.executor;
        let running =
            payload.and_then(|payload| executor.attempt(&id, &payload, attempt, now.wall_ms, stop));
        match running {
            Some(running) => {
                self.attempts.push(Box::pin(
                    async move { Completion::Attempted(id, running.await) },
                ))
            }
            None => self
                .queue
                .borrow_mut()
                .requeue(&id, now.plus(COMMIT_RETRY), None),
        }
    }

    fn settle(&mut self, change: DeliveryChange) {
        let settlement = self.settlement(change);
        self.commit_settlement(settlement, Duration::ZERO);
    }

    /// Adds the fields of `hook.failed` to a change by which a delivery fails.
    fn settlement(&self, change: DeliveryChange) -> Settlement {
        let failed = self.queue.borrow().failure_of(&change);
        let fields = failed.map(|(delivery, error)| {
            Box::new(EventFields {
                error_message: Some(error),
                delivery: Some(Box::new(delivery)),
                ..EventFields::default()
            })
        });
        (change, fields)
    }

    fn commit_settlement(&mut self, settlement: Settlement, delay: Duration) {
        let outbox = self.outbox.clone();
        let system_events = Rc::clone(&self.system_events);
        self.commits.push(Box::pin(async move {
            sleep(delay).await;
            let result = record(&outbox, &system_events, &settlement).await;
            Completion::Settled(settlement, result)
        }));
    }
}

type InFlight = FuturesUnordered<LocalBoxFuture<'static, Completion>>;

/// The next completion of either; None if nothing is under way. Cancel-safe.
async fn next(commits: &mut InFlight, attempts: &mut InFlight) -> Option<Completion> {
    tokio::select! {
        biased;
        Some(completion) = commits.next() => Some(completion),
        Some(completion) = attempts.next() => Some(completion),
        else => None,
    }
}

/// Commits a change, and returns the event of a failure. Each try emits the event again, so that events are stored in the
/// order of their numbers even if an earlier commit has failed.
async fn record<C: Clock>(
    store: &impl Store,
    system_events: &SystemEvents<C>,
    (change, fields): &Settlement,
) -> Result<Option<Box<Event>>, StoreError> {
    let fields = fields.as_deref().cloned();
    let event = fields.map(|fields| Box::new(system_events.event(EventType::HookFailed, fields)));
    commit(store, change, event.as_deref()).await?;
    Ok(event)
}

async fn commit(
    store: &impl Store,
    change: &DeliveryChange,
    event: Option<&Event>,
) -> Result<(), StoreError> {
    let commit = Commit {
        events: event.map_or(&[], std::slice::from_ref),
        changes: std::slice::from_ref(change),
        ..Commit::default()
    };
    store.commit(commit).await
}
