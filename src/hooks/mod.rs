//! Hooks: what users want done when something is told.
//!
//! [`Hooks`] is the shell around [`queue`], which decides everything: it owns clock and dice, has every change recorded
//! before it is true, and lets [`Actions`] make the attempts, by `exec` (with the help of [`supervisor`]) or by `webhook`
//! (signed by `signature`). What is told reaches it through the [`Outbox`], the store that everybody commits to. Whoever
//! owns it selects over [`Hooks::advance`], next to the engine's. A hook that hangs, dies or floods costs a place of its
//! own `max_running` and nothing else.

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

pub use admin::DeliveryAction;
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
use queue::{Attempt, Listed, Queue};

/// How long after a change could not be recorded it is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Delivers. See the module's page.
pub struct Hooks<S, C, P> {
    queue: Rc<RefCell<Queue>>,
    perform: P,
    outbox: Outbox<S, C>,
    system_events: Rc<SystemEvents<C>>,
    clock: C,
    rng: SeededRng,
    /// Attempts under way.
    attempts: Work,
    /// Changes on their way into the store. None is dropped: nobody could say then whether it is on record.
    records: Work,
    /// Recorded and not yet handed over.
    tellable: Vec<Event>,
    /// The store can't be trusted any more, and why.
    fatal: Option<StoreError>,
    /// No attempt begins any more.
    winding_up: bool,
    stop: watch::Sender<bool>,
}

/// What becomes of a delivery, with what there is to tell of it where it is given up.
type Settling = (DeliveryChange, Option<Box<EventFields>>);

/// What has come of something under way.
enum Done {
    /// An attempt is on record, or could not be put there.
    Begun(DeliveryId, u32, Result<(), StoreError>),
    /// An attempt is over.
    Tried(DeliveryId, Attempt),
    /// What came of it is on record, with the event that tells of it, or could not be put there.
    Settled(Settling, Result<Option<Box<Event>>, StoreError>),
}

impl<S, C, P> Hooks<S, C, P>
where
    S: Store + Clone + 'static,
    C: Clock + Clone + 'static,
    P: Executor,
{
    /// Delivers what is committed through `outbox` from now on, to these hooks.
    pub fn new(
        specs: &[HookSpec],
        perform: P,
        outbox: Outbox<S, C>,
        system_events: Rc<SystemEvents<C>>,
        clock: C,
        rng: SeededRng,
    ) -> Self {
        let queue = Rc::clone(outbox.queue());
        queue.borrow_mut().configure(specs);
        Self {
            queue,
            perform,
            outbox,
            system_events,
            clock,
            rng,
            attempts: FuturesUnordered::new(),
            records: FuturesUnordered::new(),
            tellable: Vec::new(),
            fatal: None,
            winding_up: false,
            stop: watch::Sender::new(false),
        }
    }

    /// Goes on with what a store kept.
    ///
    /// # Errors
    /// What is kept is no event of ours.
    pub fn load(&mut self, rows: Vec<DeliveryRow>) -> Result<(), PayloadError> {
        let now = self.clock.now();
        for row in rows {
            self.queue.borrow_mut().load(row, now)?;
        }
        Ok(())
    }

    /// Takes over another list of hooks. What waits for one that is gone is given up; an attempt under way is the last.
    pub fn configure(&mut self, specs: &[HookSpec], perform: P) {
        self.queue.borrow_mut().configure(specs);
        self.perform = perform;
    }

    /// Whether everything has been delivered or given up, and told of.
    pub fn is_idle(&self) -> bool {
        self.queue.borrow().is_idle() && self.tellable.is_empty()
    }

    /// How many deliveries are to be made.
    pub fn waiting(&self) -> usize {
        self.queue.borrow().waiting()
    }

    /// At most `limit` of the deliveries that are to be made.
    pub fn list(&self, limit: usize) -> Vec<Listed> {
        let queue = self.queue.borrow();
        queue.list(self.clock.now()).take(limit).collect()
    }

    /// This delivery, where it is to be made. Others only the store knows.
    pub fn find(&self, id: &DeliveryId) -> Option<Listed> {
        self.queue.borrow().find(id, self.clock.now())
    }

    /// Drives everything until there is something to tell, and returns that (`hook.failed`), or until the last delivery
    /// has arrived, and returns nothing. Pends for ever when there is nothing to deliver. Cancel-safe: nothing is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// The store can't be trusted any more ([`StoreError::Fatal`]): the process has to end.
    pub async fn advance(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            if !self.tellable.is_empty() {
                return Ok(std::mem::take(&mut self.tellable));
            }
            if let Some(error) = &self.fatal {
                return Err(error.clone());
            }
            let wake = self.start_due();
            let wait = wake.map(|at| at.saturating_sub(self.clock.now().up_ms));
            tokio::select! {
                biased;
                Some(done) = next(&mut self.records, &mut self.attempts) => {
                    self.done(done);
                    if self.queue.borrow().is_idle() && self.fatal.is_none() {
                        return Ok(std::mem::take(&mut self.tellable));
                    }
                }
                () = sleep(Duration::from_millis(wait.unwrap_or(0))), if wait.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// From here on no attempt begins. [`Hooks::advance`] goes on with those under way; [`Hooks::is_settled`] says when
    /// they are over. One that fails meanwhile counts as cut off: the stop itself may be why, as when what the hook
    /// asks is not there any more.
    pub fn wind_up(&mut self) {
        self.winding_up = true;
    }

    /// Whether nothing is under way.
    pub fn is_settled(&self) -> bool {
        self.attempts.is_empty() && self.records.is_empty() && self.tellable.is_empty()
    }

    /// Starts nothing more, and ends what is under way: TERM, and KILL five seconds later. Resolves when all has ended.
    /// What was cut off is tried again, here or after the next start.
    pub async fn stop(&mut self) {
        self.wind_up();
        self.stop.send_replace(true);
        while let Some(done) = next(&mut self.records, &mut self.attempts).await {
            self.done(done);
        }
    }

    /// From here on no hook hears of deliveries given up: there is no time for it.
    pub fn tell_no_failures(&mut self) {
        self.queue.borrow_mut().tell_no_failures();
    }

    /// Gives up all that is not delivered, for this reason, what is being tried included; it ends at once. What has
    /// become of others already is waited for, and where it can't be recorded, that is all that becomes of them here.
    /// Returns what there is to tell. What is committed from then on is delivered as ever.
    pub async fn give_up_all(&mut self, why: &str) -> Vec<Event> {
        self.attempts.clear();
        self.stop().await;
        let changes = self.queue.borrow_mut().give_up_all(why);
        for change in changes {
            let settling = self.settling(change);
            let result = record(&self.outbox, &self.system_events, &settling).await;
            self.done(Done::Settled(settling, result));
        }
        self.winding_up = false;
        self.stop.send_replace(false);
        std::mem::take(&mut self.tellable)
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Begins whatever is due, and gives up what has lost its hook. Returns when to look again.
    fn start_due(&mut self) -> Option<u64> {
        if self.winding_up {
            return None;
        }
        let now = self.clock.now();
        let leaving = self.queue.borrow_mut().leaving();
        for change in leaving {
            self.settle(change);
        }
        let mut queue = self.queue.borrow_mut();
        while let Some(change) = queue.begin(now) {
            let DeliveryChange::Begin { id, attempt } = &change else {
                continue;
            };
            let (id, attempt) = (id.clone(), *attempt);
            let outbox = self.outbox.clone();
            self.records.push(Box::pin(async move {
                let result = commit(&outbox, &change, None).await;
                Done::Begun(id, attempt, result)
            }));
        }
        queue.wake()
    }

    fn done(&mut self, done: Done) {
        let now = self.clock.now();
        match done {
            Done::Begun(_, _, Err(error @ StoreError::Fatal(_)))
            | Done::Settled(_, Err(error @ StoreError::Fatal(_))) => self.fatal = Some(error),
            Done::Begun(id, attempt, Ok(())) if !self.winding_up => {
                self.attempt(id, attempt, now);
            }
            Done::Begun(id, _, Ok(())) => self.queue.borrow_mut().put_back(&id, now, None),
            Done::Begun(id, _, Err(error)) => {
                tracing::debug!(delivery = %id, %error, "an attempt could not be recorded, and waits");
                self.queue
                    .borrow_mut()
                    .put_back(&id, now.plus(RECORD_AGAIN), None);
            }
            // Cut off, or as good as that: it runs again, here or after the next start.
            Done::Tried(id, Attempt::Failed { why, .. }) if self.winding_up => {
                self.queue.borrow_mut().put_back(&id, now, Some(why));
            }
            Done::Tried(id, attempt) => {
                let mut queue = self.queue.borrow_mut();
                let change = queue.settle(id, attempt, now, retry::ceiling, &mut self.rng);
                drop(queue);
                self.settle(change);
            }
            Done::Settled((change, _), Ok(event)) => {
                self.queue.borrow_mut().apply(&change);
                self.tellable.extend(event.map(|event| *event));
            }
            // Nobody knows when it will be: the attempt is on record without an end, and runs again after the start.
            Done::Settled(_, Err(error)) if self.is_stopping() => {
                tracing::error!(%error, "what came of an attempt could not be recorded; it is made again");
            }
            Done::Settled(settling, Err(error)) => {
                tracing::debug!(%error, "what came of an attempt could not be recorded; once more");
                self.record(settling, RECORD_AGAIN);
            }
        }
    }

    fn attempt(&mut self, id: DeliveryId, attempt: u32, now: Moment) {
        let told = self.queue.borrow().told(&id).cloned();
        let stop = self.stop.subscribe();
        let perform = &self.perform;
        let trying = told.and_then(|told| perform.attempt(&id, &told, attempt, now.wall_ms, stop));
        match trying {
            Some(trying) => self
                .attempts
                .push(Box::pin(async move { Done::Tried(id, trying.await) })),
            None => self
                .queue
                .borrow_mut()
                .put_back(&id, now.plus(RECORD_AGAIN), None),
        }
    }

    fn settle(&mut self, change: DeliveryChange) {
        let settling = self.settling(change);
        self.record(settling, Duration::ZERO);
    }

    /// The change, with what is to be told of it.
    fn settling(&self, change: DeliveryChange) -> Settling {
        let given_up = self.queue.borrow().gives_up(&change);
        let facts = given_up.map(|(delivery, error)| {
            Box::new(EventFields {
                error: Some(error),
                delivery: Some(Box::new(delivery)),
                ..EventFields::default()
            })
        });
        (change, facts)
    }

    fn record(&mut self, settling: Settling, after: Duration) {
        let outbox = self.outbox.clone();
        let system_events = Rc::clone(&self.system_events);
        self.records.push(Box::pin(async move {
            sleep(after).await;
            let result = record(&outbox, &system_events, &settling).await;
            Done::Settled(settling, result)
        }));
    }
}

type Work = FuturesUnordered<LocalBoxFuture<'static, Done>>;

/// The next that has come of either; None where nothing is under way. Cancel-safe.
async fn next(records: &mut Work, attempts: &mut Work) -> Option<Done> {
    tokio::select! {
        biased;
        Some(done) = records.next() => Some(done),
        Some(done) = attempts.next() => Some(done),
        else => None,
    }
}

/// Writes down what becomes of a delivery, and returns the event that tells of it. The event is made as it is handed to
/// the store, anew where that has failed before: so events are on record in the order of their numbers, though one may
/// have to wait for room on the disk and the next finds some.
async fn record<C: Clock>(
    store: &impl Store,
    system_events: &SystemEvents<C>,
    (change, facts): &Settling,
) -> Result<Option<Box<Event>>, StoreError> {
    let facts = facts.as_deref().cloned();
    let event = facts.map(|facts| Box::new(system_events.event(EventType::HookFailed, facts)));
    commit(store, change, event.as_deref()).await?;
    Ok(event)
}

/// Writes a change down before it is true, with what is to be told of it.
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
