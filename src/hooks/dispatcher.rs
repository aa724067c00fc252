//! Makes the deliveries: the shell around the [`Queue`], which holds the rules. It has the random numbers,
//! commits every change before it applies, and lets an [`Executor`] run the attempts. Its owner selects over
//! [`Dispatcher::advance`] next to the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::in_flight::{Completion, InFlight, RunningAttempt, commit, next, record};
use super::{Executor, HookSpec, Outbox};
use crate::engine::{Clock, SystemEvents};
use crate::store::{Store, StoreError};
use forgewatch_core::delivery::{
    Attempt, AttemptResult, DeliveryChange, DeliveryId, DeliveryRow, HookRules, OpenDelivery,
    PayloadError, Queue, Settlement,
};
use forgewatch_core::event::{Event, WatchId};
use forgewatch_core::job::JobRef;
use forgewatch_core::measurements::{AttemptMeasurements, DeliveryCounts};
use forgewatch_core::retry;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::time::Moment;

/// Delay before a failed commit is retried.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// Delivers events to hooks.
pub struct Dispatcher<S, C, P> {
    pub(super) queue: Queue,
    executor: P,
    pub(super) outbox: Outbox<S, C>,
    system_events: Rc<SystemEvents<C>>,
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
    /// Running attempts are being stopped.
    is_stopping: bool,
    /// In order, so that a simulation can be replayed.
    running: BTreeMap<DeliveryId, RunningAttempt>,
    /// Released deliveries with a commit in flight.
    releasing: BTreeSet<DeliveryId>,
    /// Of each configured hook.
    measured: BTreeMap<Arc<str>, AttemptMeasurements>,
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
        rng: SeededRng,
    ) -> Self {
        let rules = rules(specs);
        let queue = Queue::new(&rules);
        let measured = measurements(&rules, &BTreeMap::new());
        outbox.configure(rules);
        Self {
            queue,
            executor,
            outbox,
            system_events,
            rng,
            attempts: FuturesUnordered::new(),
            commits: FuturesUnordered::new(),
            unpublished: Vec::new(),
            fatal: None,
            is_draining: false,
            is_stopping: false,
            running: BTreeMap::new(),
            releasing: BTreeSet::new(),
            measured,
        }
    }

    /// Adds stored deliveries.
    pub fn load(&mut self, rows: Vec<DeliveryRow>) -> Result<(), PayloadError> {
        let now = self.outbox.now();
        for row in rows {
            self.queue.load(row, now)?;
        }
        Ok(())
    }

    /// Drops the deliveries of these watches and kills their attempts at once, without an event: this process no longer
    /// serves them. [`Dispatcher::is_releasing`] while one of their commits is in flight.
    pub fn release(&mut self, which: impl Fn(WatchId, Option<JobRef>) -> bool) {
        self.receive();
        for id in self.queue.release(which) {
            match self.running.remove(&id) {
                Some(attempt) => attempt.abort.abort(),
                None => drop(self.releasing.insert(id)),
            }
        }
    }

    /// Whether a commit of a released delivery is in flight.
    pub fn is_releasing(&self) -> bool {
        !self.releasing.is_empty()
    }

    /// Replaces the list of hooks. Pending deliveries of a removed hook fail; a running attempt is its last.
    pub fn configure(&mut self, specs: &[HookSpec], executor: P) {
        let rules = rules(specs);
        self.queue.configure(&rules);
        self.measured = measurements(&rules, &self.measured);
        self.outbox.configure(rules);
        self.executor = executor;
    }

    /// Whether every delivery has ended and every event was returned.
    pub fn is_idle(&self) -> bool {
        self.has_no_open_delivery() && self.unpublished.is_empty()
    }

    pub fn open_count(&self) -> usize {
        self.queue.open_count() + self.outbox.enqueued_count()
    }

    /// The deliveries by state; those that no queue has taken yet are pending.
    pub fn delivery_counts(&self) -> DeliveryCounts {
        let running = self.queue.running_count();
        DeliveryCounts {
            pending: self.open_count().saturating_sub(running),
            running,
            ..self.outbox.ended_deliveries()
        }
    }

    /// The attempts of each configured hook since the start.
    pub fn measured(&self) -> &BTreeMap<Arc<str>, AttemptMeasurements> {
        &self.measured
    }

    fn has_no_open_delivery(&self) -> bool {
        self.queue.is_idle() && self.outbox.enqueued_count() == 0
    }

    /// Moves the deliveries of committed events to the queue. [`Dispatcher::advance`] does that too; before, they are in
    /// no list.
    pub fn receive(&mut self) {
        for enqueued in self.outbox.take_enqueued() {
            self.queue.add(&enqueued.id, enqueued.payload, enqueued.at);
        }
    }

    /// At most `limit` pending and running deliveries.
    pub fn list(&self, limit: usize) -> Vec<OpenDelivery> {
        self.queue.list(self.outbox.now()).take(limit).collect()
    }

    /// The delivery if it is pending or running. All others are in the store alone.
    pub fn find(&self, id: &DeliveryId) -> Option<OpenDelivery> {
        self.queue.find(id, self.outbox.now())
    }

    /// Makes deliveries until there are events to publish (`hook.failed`), or until the last delivery has ended or the
    /// last released one is gone, and then returns an empty list. Pends forever while no delivery is open. Cancel-safe: dropping the future loses nothing.
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
            let wait = next_due.map(|at| at.saturating_sub(self.outbox.now().up_ms));
            tokio::select! {
                biased;
                Some(completion) = next(&mut self.commits, &mut self.attempts) => {
                    let was_releasing = self.is_releasing();
                    self.complete(completion);
                    let has_released = was_releasing && !self.is_releasing();
                    if (has_released || self.has_no_open_delivery()) && self.fatal.is_none() {
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
        self.is_stopping = true;
        self.running.clear();
        while let Some(completion) = next(&mut self.commits, &mut self.attempts).await {
            self.complete(completion);
        }
    }

    /// From now on no `hook.failed` is delivered to hooks, because the process is about to end.
    pub fn suppress_failure_events(&mut self) {
        self.outbox.suppress_failure_events();
    }

    /// Fails all open deliveries for this reason and kills running attempts at once. Changes that are being committed are
    /// completed first; if they cannot be committed, their deliveries stay as stored. Returns the events to publish.
    /// Deliveries that are committed later are made as usual.
    pub async fn fail_all(&mut self, why: &str) -> Vec<Event> {
        self.attempts.clear();
        self.stop().await;
        self.receive();
        for settlement in self.queue.fail_all(why) {
            let result = record(&self.outbox, &self.system_events, &settlement).await;
            self.complete(Completion::Settled(settlement, result));
        }
        self.is_draining = false;
        self.is_stopping = false;
        std::mem::take(&mut self.unpublished)
    }

    /// Begins the due attempts, and fails the deliveries of removed hooks. Returns the next due time.
    fn start_due(&mut self) -> Option<u64> {
        self.receive();
        if self.is_draining {
            return None;
        }
        for settlement in self.queue.fail_orphaned() {
            self.commit_settlement(settlement, Duration::ZERO);
        }
        let now = self.outbox.now();
        while let Some(attempt) = self.queue.begin(now) {
            let outbox = self.outbox.clone();
            self.commits.push(Box::pin(async move {
                let result = commit(&outbox, slice::from_ref(&attempt.begin()), None).await;
                Completion::Begun(attempt, result)
            }));
        }
        self.queue.next_due()
    }

    fn complete(&mut self, completion: Completion) {
        let now = self.outbox.now();
        let is_released = completion
            .committed()
            .is_some_and(|id| self.releasing.remove(id));
        match completion {
            Completion::Begun(_, Err(error @ StoreError::Fatal(_)))
            | Completion::Settled(_, Err(error @ StoreError::Fatal(_))) => self.fatal = Some(error),
            Completion::Settled(_, Ok(event)) if is_released => {
                self.unpublished.extend(event.map(|event| *event));
            }
            Completion::Begun(..) | Completion::Settled(..) if is_released => {}
            Completion::Begun(Attempt { id, .. }, Err(StoreError::Lost(_))) => {
                self.release(|watch, _| watch == id.event.watch);
            }
            Completion::Settled(Settlement { change, .. }, Err(StoreError::Lost(_))) => {
                self.release(|watch, _| watch == change.id().event.watch);
            }
            Completion::Begun(attempt, Ok(())) if !self.is_draining => {
                self.start_attempt(attempt, now);
            }
            Completion::Begun(attempt, Ok(())) => self.queue.requeue(&attempt.id, now, None),
            Completion::Begun(Attempt { id, .. }, Err(error)) => {
                tracing::debug!(target: "forgewatch::hooks", delivery = %id, %error, "the beginning of an attempt could not be committed; retrying");
                self.queue.requeue(&id, now.plus(COMMIT_RETRY), None);
            }
            Completion::Attempted(id, began, result) => {
                if let Some(measured) = self.measured.get_mut(&id.hook) {
                    measured.on_result(now.up_ms.saturating_sub(began), &result);
                }
                self.attempted(id, result, now);
            }
            Completion::Aborted => {}
            Completion::Settled(settlement, Ok(event)) => {
                self.queue.apply(&settlement.change);
                self.unpublished.extend(event.map(|event| *event));
            }
            // The store may stay full: the attempt is stored without an end and runs again after the next startup.
            Completion::Settled(_, Err(error)) if self.is_stopping => {
                tracing::error!(target: "forgewatch::hooks", %error, "the result of an attempt could not be committed; the attempt will be repeated");
            }
            Completion::Settled(settlement, Err(error)) => {
                tracing::debug!(target: "forgewatch::hooks", %error, "the result of an attempt could not be committed; retrying");
                self.commit_settlement(settlement, COMMIT_RETRY);
            }
        }
    }

    fn start_attempt(&mut self, attempt: Attempt, now: Moment) {
        let id = attempt.id.clone();
        let (stop, stopped) = oneshot::channel();
        let Some(running) = self.executor.attempt(attempt, now.wall_ms, stopped) else {
            return self.queue.requeue(&id, now.plus(COMMIT_RETRY), None);
        };
        let (abort, registration) = AbortHandle::new_pair();
        let attempt = RunningAttempt { _stop: stop, abort };
        self.running.insert(id.clone(), attempt);
        let running = Abortable::new(running, registration);
        self.attempts.push(Box::pin(async move {
            match running.await {
                Ok(result) => Completion::Attempted(id, now.up_ms, result),
                Err(_) => Completion::Aborted,
            }
        }));
    }

    fn attempted(&mut self, id: DeliveryId, result: AttemptResult, now: Moment) {
        self.running.remove(&id);
        match result {
            // It counts as interrupted and runs again, here or after the next startup.
            AttemptResult::Failed { why, .. } if self.is_draining => {
                self.queue.requeue(&id, now, Some(why));
            }
            result => {
                let backoff = |failures| retry::wait(failures, retry::MAX, &mut self.rng);
                let settlement = self.queue.settle(id, result, now, backoff);
                if let DeliveryChange::Reschedule { id, why, .. } = &settlement.change {
                    let error = &why.error;
                    tracing::debug!(target: "forgewatch::hooks", delivery = %id, error, "retrying later");
                }
                self.commit_settlement(settlement, Duration::ZERO);
            }
        }
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

fn rules(specs: &[HookSpec]) -> Vec<HookRules> {
    specs.iter().map(|spec| spec.rules.clone()).collect()
}

/// Empty measurements of new hooks, and those so far of the others.
fn measurements(
    rules: &[HookRules],
    old: &BTreeMap<Arc<str>, AttemptMeasurements>,
) -> BTreeMap<Arc<str>, AttemptMeasurements> {
    let names = rules.iter().map(|rules| Arc::clone(&rules.name));
    names
        .map(|name| {
            let measured = old.get(&name).cloned().unwrap_or_default();
            (name, measured)
        })
        .collect()
}
