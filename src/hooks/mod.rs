//! Hooks: what users want done when something is told.
//!
//! [`Hooks`] is the shell around [`queue`], which decides everything: it owns clock and dice, has every change recorded
//! before it is true, and makes the attempts, by `exec` (with the help of [`supervise`]) or by `webhook` (signed by
//! `signature`). Whoever owns it offers it what is told and selects over [`Hooks::advance`], next to the engine's. A
//! hook that hangs, dies or floods costs a place of its own `max_running` and nothing else.

mod exec;
pub mod queue;
mod signature;
pub mod supervise;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;
pub mod told;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::settings::{HookAction, HookSpec};
use crate::core::delivery::{Change, DeliveryId, Failure};
use crate::core::event::GivenUp;
use crate::core::time::Moment;
use crate::engine::{Clock, SeededDice, retry};
use crate::store::{Commit, Store, StoreError};
use exec::Program;
use queue::{Attempt, GaveUp, Queue};
use told::Told;

/// How long after a change could not be recorded it is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Delivers. See the module's page.
pub struct Hooks<S, C> {
    queue: Queue,
    actions: BTreeMap<Arc<str>, Action>,
    store: Rc<S>,
    clock: C,
    dice: SeededDice,
    work: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    gave_up: Vec<GaveUp>,
    stop: watch::Sender<bool>,
}

#[derive(Clone)]
enum Action {
    Run(Rc<Program>),
    Post(Rc<webhook::Webhook>),
}

/// What has come of something under way.
enum Done {
    /// An attempt is on record, or could not be put there.
    Begun(DeliveryId, u32, Result<(), StoreError>),
    /// An attempt is over.
    Tried(DeliveryId, Attempt),
    /// What came of it is on record, or could not be put there.
    Settled(Change, Result<(), StoreError>),
}

impl<S: Store + 'static, C: Clock> Hooks<S, C> {
    /// Nothing to deliver yet. `ca_file` holds certificate authorities trusted besides the system's.
    ///
    /// # Errors
    /// What keeps a webhook's client from being set up, for the user.
    pub fn new(
        specs: &[HookSpec],
        ca_file: Option<&Path>,
        store: S,
        clock: C,
        dice: SeededDice,
    ) -> Result<Self, String> {
        let mut actions = BTreeMap::new();
        for spec in specs {
            let action = match &spec.action {
                HookAction::Run { program, args, env } => {
                    Action::Run(Rc::new(Program::new(spec, program, args, env)))
                }
                HookAction::Webhook { url, secrets } => {
                    Action::Post(Rc::new(webhook::Webhook::new(spec, url, secrets, ca_file)?))
                }
            };
            actions.insert(Arc::clone(&spec.name), action);
        }
        Ok(Self {
            queue: Queue::new(specs),
            actions,
            store: Rc::new(store),
            clock,
            dice,
            work: FuturesUnordered::new(),
            gave_up: Vec::new(),
            stop: watch::Sender::new(false),
        })
    }

    /// Delivers this event to every hook that wants it.
    pub fn offer(&mut self, told: Told) {
        let now = self.clock.now();
        let told = Arc::new(told);
        for id in self.queue.wanted(&told) {
            self.queue.add(&id, Arc::clone(&told), now);
        }
    }

    /// Whether everything that was offered has been delivered or given up, and told of.
    pub fn is_idle(&self) -> bool {
        self.queue.is_idle() && self.gave_up.is_empty()
    }

    /// Drives everything until something is given up, and returns that, or until the last delivery has arrived, and
    /// returns nothing. Pends for ever when there is nothing to deliver. Cancel-safe: nothing is lost when the future
    /// is dropped.
    pub async fn advance(&mut self) -> Vec<GaveUp> {
        loop {
            if !self.gave_up.is_empty() {
                return std::mem::take(&mut self.gave_up);
            }
            let wake = self.start_due();
            let wait = wake.map(|at| at.saturating_sub(self.clock.now().up_ms));
            tokio::select! {
                biased;
                Some(done) = self.work.next() => {
                    self.done(done);
                    if self.queue.is_idle() {
                        return std::mem::take(&mut self.gave_up);
                    }
                }
                () = sleep(Duration::from_millis(wait.unwrap_or(0))), if wait.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Starts nothing more, and ends what is under way: TERM, and KILL five seconds later. Resolves when all has ended.
    /// What was cut off counts as not tried.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        while let Some(done) = self.work.next().await {
            self.done(done);
        }
    }

    /// Gives up all that is not delivered, for this reason, and returns it with what was given up before.
    pub fn give_up_all(&mut self, why: &str) -> Vec<GaveUp> {
        self.work.clear();
        let now = self.clock.now();
        for change in self.queue.give_up_all(why) {
            self.gave_up.extend(self.queue.apply(&change, now));
        }
        std::mem::take(&mut self.gave_up)
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Begins whatever is due. Returns when to look again.
    fn start_due(&mut self) -> Option<u64> {
        if self.is_stopping() {
            return None;
        }
        while let Some(change) = self.queue.begin(self.clock.now()) {
            let Change::Begin { id, attempt } = &change else {
                continue;
            };
            let (id, attempt) = (id.clone(), *attempt);
            let store = Rc::clone(&self.store);
            self.work.push(Box::pin(async move {
                let result = record(&*store, &change).await;
                Done::Begun(id, attempt, result)
            }));
        }
        self.queue.wake()
    }

    fn done(&mut self, done: Done) {
        let now = self.clock.now();
        match done {
            Done::Begun(id, attempt, Ok(())) if !self.is_stopping() => {
                self.attempt(id, attempt, now);
            }
            Done::Begun(id, _, Ok(())) => self.put_back(&id, now, None),
            Done::Begun(id, _, Err(error)) => {
                tracing::error!(delivery = %id, %error, "an attempt could not be recorded, and waits");
                self.put_back(&id, now.plus(RECORD_AGAIN), None);
            }
            // Cut off: it runs again, here or after the next start.
            Done::Tried(id, Attempt::Failed { why, .. }) if self.is_stopping() => {
                self.put_back(&id, now, Some(why));
            }
            Done::Tried(id, attempt) => {
                let change = self
                    .queue
                    .settle(id, attempt, now, retry::ceiling, &mut self.dice);
                self.settle(change, Duration::ZERO);
            }
            Done::Settled(change, Ok(())) => self.gave_up.extend(self.queue.apply(&change, now)),
            // Nobody knows when it will be: the attempt is on record without an end, and runs again after the start.
            Done::Settled(_, Err(error)) if self.is_stopping() => {
                tracing::error!(%error, "what came of an attempt could not be recorded; it is made again");
            }
            Done::Settled(change, Err(error)) => {
                tracing::error!(%error, "what came of an attempt could not be recorded; once more");
                self.settle(change, RECORD_AGAIN);
            }
        }
    }

    fn attempt(&mut self, id: DeliveryId, attempt: u32, now: Moment) {
        let action = self.actions.get(&id.hook).cloned();
        let (Some(action), Some(told)) = (action, self.queue.told(&id).map(Arc::clone)) else {
            return self.put_back(&id, now.plus(RECORD_AGAIN), None);
        };
        let stop = self.stop.subscribe();
        self.work.push(Box::pin(async move {
            let result = match action {
                Action::Run(program) => program.attempt(&id, &told, attempt, stop).await,
                Action::Post(webhook) => {
                    webhook.attempt(&id, &told, now.wall_ms / 1000, stop).await
                }
            };
            Done::Tried(id, result)
        }));
    }

    fn put_back(&mut self, id: &DeliveryId, until: Moment, why: Option<Failure>) {
        if let Some(change) = self.queue.put_back(id, until, why) {
            self.settle(change, Duration::ZERO);
        }
    }

    fn settle(&mut self, change: Change, after: Duration) {
        let store = Rc::clone(&self.store);
        self.work.push(Box::pin(async move {
            sleep(after).await;
            let result = record(&*store, &change).await;
            Done::Settled(change, result)
        }));
    }
}

/// Writes a change down before it is true.
async fn record(store: &impl Store, change: &Change) -> Result<(), StoreError> {
    let changes = std::slice::from_ref(change);
    let commit = Commit {
        changes,
        ..Commit::default()
    };
    store.commit(commit).await
}

/// What `hook.failed` tells of a delivery given up.
pub fn given_up(gave_up: &GaveUp) -> GivenUp {
    GivenUp {
        hook: gave_up.id.hook.to_string(),
        delivery: gave_up.id.to_string(),
        attempt: gave_up.attempts,
        exit_status: gave_up.why.exit_status,
        what: gave_up.told.what(),
    }
}
