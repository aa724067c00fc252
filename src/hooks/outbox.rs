//! The outbox: a store that commits every event together with its deliveries.
//!
//! The engine and [`super::Dispatcher`] commit through it. An event and its deliveries are stored together or not at all;
//! after that the dispatcher takes the deliveries. As every commit passes here, store errors are logged here: a full disk
//! once when it begins and once when it ends.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::engine::Clock;
use crate::store::{Commit, PollSample, Store, StoreError};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow, EventPayload, HookRules, Routes};
use forgewatch_core::event::Event;
use forgewatch_core::measurements::{CommitMeasurements, DeliveryCounts};
use forgewatch_core::time::Moment;

/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Outbox<S, C> {
    store: S,
    clock: C,
    /// The sender's name in payloads.
    instance: Rc<str>,
    state: Rc<RefCell<OutboxState>>,
}

#[derive(Debug, Default)]
struct OutboxState {
    routes: Routes,
    /// Committed, and not yet taken by the dispatcher.
    enqueued: Vec<Enqueued>,
    /// Why the last commit failed, if it did, and since when commits fail for that reason.
    obstacle: Option<(Obstacle, Instant)>,
    commits: CommitMeasurements,
    deliveries: DeliveryCounts,
}

impl OutboxState {
    /// Commits fail for another reason from now on, or succeed. Returns what changed: the old reason.
    fn set_obstacle(&mut self, obstacle: Option<Obstacle>) -> Option<Obstacle> {
        let old = self.obstacle;
        if old.map(|(old, _)| old) != obstacle {
            self.commits = self.commits();
            self.obstacle = obstacle.map(|obstacle| (obstacle, Instant::now()));
        }
        old.map(|(old, _)| old)
    }

    /// The commits, with the time of the present obstacle.
    fn commits(&self) -> CommitMeasurements {
        let mut commits = self.commits.clone();
        match self.obstacle {
            Some((Obstacle::FullDisk, since)) => commits.disk_full += since.elapsed(),
            Some((Obstacle::LockedFile, since)) => commits.locked += since.elapsed(),
            None => {}
        }
        commits
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    FullDisk,
    LockedFile,
}

/// A committed delivery.
#[derive(Debug)]
pub(super) struct Enqueued {
    pub(super) id: DeliveryId,
    pub(super) payload: Arc<EventPayload>,
    /// When it was committed.
    pub(super) at: Moment,
}

impl<S: Store, C: Clock> Outbox<S, C> {
    /// Commits to `store`; `instance` is the sender's name in payloads.
    pub fn new(store: S, clock: C, instance: &str) -> Self {
        Self {
            store,
            clock,
            instance: instance.into(),
            state: Rc::default(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    pub(super) fn configure(&self, hooks: Vec<HookRules>) {
        self.state.borrow_mut().routes.configure(hooks);
    }

    /// From now on no `hook.failed` is delivered to hooks.
    pub(super) fn suppress_failure_events(&self) {
        self.state.borrow_mut().routes.suppress_failure_events();
    }

    /// Why nothing can be committed now.
    pub fn obstacle(&self) -> Option<&'static str> {
        self.state
            .borrow()
            .obstacle
            .map(|(obstacle, _)| match obstacle {
                Obstacle::FullDisk => "the disk is full",
                Obstacle::LockedFile => "another program has locked the state file",
            })
    }

    /// The deliveries that were committed since the last call.
    pub(super) fn take_enqueued(&self) -> Vec<Enqueued> {
        mem::take(&mut self.state.borrow_mut().enqueued)
    }

    pub(super) fn enqueued_count(&self) -> usize {
        self.state.borrow().enqueued.len()
    }

    /// Adds failed deliveries of an earlier process.
    pub fn add_failed_deliveries(&self, count: usize) {
        self.state.borrow_mut().deliveries.failed += count;
    }

    /// The deliveries that have failed or ended otherwise.
    pub(super) fn ended_deliveries(&self) -> DeliveryCounts {
        self.state.borrow().deliveries
    }

    /// The commits since the start.
    pub fn commits(&self) -> CommitMeasurements {
        self.state.borrow().commits()
    }

    fn log_error(&self, committed: &Result<(), StoreError>) {
        let mut state = self.state.borrow_mut();
        match committed {
            Ok(()) => match state.set_obstacle(None) {
                Some(Obstacle::FullDisk) => {
                    tracing::info!(target: "forgewatch::hooks", "disk space is available again: publishing the delayed events");
                }
                Some(Obstacle::LockedFile) => {
                    tracing::info!(target: "forgewatch::hooks", "the state file is unlocked again: publishing the delayed events");
                }
                None => {}
            },
            Err(error @ StoreError::Unavailable(_)) => {
                if state.set_obstacle(Some(Obstacle::FullDisk)) != Some(Obstacle::FullDisk) {
                    tracing::error!(target: "forgewatch::hooks", %error, "disk full: no event is published and no hook is started until there is space; polling continues");
                }
            }
            Err(error @ StoreError::Locked(_)) => {
                if state.set_obstacle(Some(Obstacle::LockedFile)) != Some(Obstacle::LockedFile) {
                    tracing::error!(target: "forgewatch::hooks", %error, "state file locked: no event is published and no hook is started until it is unlocked; polling continues");
                }
            }
            Err(error @ StoreError::Rejected(_)) => {
                tracing::error!(target: "forgewatch::hooks", %error, "the store rejected a commit; it is retried");
            }
            Err(error @ StoreError::Lost(_)) => {
                tracing::debug!(target: "forgewatch::hooks", %error, "a commit came too late");
            }
            // A fatal error ends the process, which logs it.
            Err(StoreError::Fatal(_)) => {}
        }
    }

    /// The deliveries of these events.
    fn deliveries(
        &self,
        events: &[Event],
    ) -> Result<Vec<(DeliveryRow, Arc<EventPayload>)>, StoreError> {
        let state = self.state.borrow();
        let mut deliveries = Vec::new();
        for event in events {
            let ids = state.routes.deliveries(event);
            if ids.is_empty() {
                continue;
            }
            let payload = EventPayload::of(event, &self.instance)
                .map_err(|error| StoreError::Rejected(error.to_string()))?;
            let payload = Arc::new(payload);
            for id in ids {
                let row = DeliveryRow::new(id, payload.body().to_owned());
                deliveries.push((row, Arc::clone(&payload)));
            }
        }
        Ok(deliveries)
    }
}

impl<S: Store, C: Clock> Store for Outbox<S, C> {
    fn is_persistent(&self) -> bool {
        self.store.is_persistent()
    }

    async fn commit(&self, mut commit: Commit<'_>) -> Result<(), StoreError> {
        let deliveries = self.deliveries(commit.events)?;
        let rows = deliveries.iter().map(|(row, _)| row.clone());
        commit.deliveries.extend(rows);
        let (changes, began) = (commit.changes, Instant::now());
        let committed = self.store.commit(commit).await;
        self.log_error(&committed);
        committed?;
        let at = self.clock.now();
        let enqueued = deliveries.into_iter().map(|(row, payload)| Enqueued {
            id: row.id,
            payload,
            at,
        });
        let mut state = self.state.borrow_mut();
        state.enqueued.extend(enqueued);
        let duration = began.elapsed().as_secs_f64();
        state.commits.duration.observe(duration);
        for change in changes {
            state.deliveries.on_change(change);
        }
        Ok(())
    }

    fn record_poll(&self, sample: PollSample) {
        self.store.record_poll(sample);
    }
}
