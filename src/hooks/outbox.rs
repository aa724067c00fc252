//! The outbox: a store that commits every event together with its deliveries.
//!
//! The engine and [`super::Dispatcher`] commit through it. An event and its deliveries are stored together or not at all,
//! and enter the [`Queue`] after that. As every commit passes here, store errors are logged here: a full disk once when
//! it begins and once when it ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::payload::EventPayload;
use super::queue::Queue;
use crate::engine::Clock;
use crate::store::{Commit, PollSample, Store, StoreError};
use forgewatch_core::delivery::DeliveryRow;
use forgewatch_core::event::Event;

/// Clones share store and queue.
#[derive(Clone, Debug)]
pub struct Outbox<S, C> {
    store: S,
    queue: Rc<RefCell<Queue>>,
    clock: C,
    /// The sender's name in payloads.
    instance: Rc<str>,
    /// Whether the last commit found the disk full.
    is_full: Rc<Cell<bool>>,
}

impl<S: Store, C: Clock> Outbox<S, C> {
    /// Commits to `store`; `instance` is the sender's name in payloads.
    pub fn new(store: S, clock: C, instance: &str) -> Self {
        Self {
            store,
            queue: Rc::default(),
            clock,
            instance: instance.into(),
            is_full: Rc::default(),
        }
    }

    /// The store that it commits to.
    pub fn store(&self) -> &S {
        &self.store
    }

    pub(super) fn queue(&self) -> &Rc<RefCell<Queue>> {
        &self.queue
    }

    fn log_error(&self, committed: &Result<(), StoreError>) {
        match committed {
            Ok(()) if self.is_full.replace(false) => {
                tracing::info!(target: "forgewatch::hooks", "disk space is available again: publishing the delayed events");
            }
            Err(error @ StoreError::Unavailable(_)) if !self.is_full.replace(true) => {
                tracing::error!(target: "forgewatch::hooks", %error, "disk full: no event is published and no hook is started until there is space; polling continues");
            }
            Err(error @ StoreError::Rejected(_)) => {
                tracing::error!(target: "forgewatch::hooks", %error, "the store rejected a commit; it is retried");
            }
            // A fatal error ends the process, which logs it.
            Ok(()) | Err(StoreError::Unavailable(_) | StoreError::Fatal(_)) => {}
        }
    }

    /// The deliveries of these events.
    fn deliveries(
        &self,
        events: &[Event],
    ) -> Result<Vec<(DeliveryRow, Arc<EventPayload>)>, StoreError> {
        let queue = self.queue.borrow();
        let mut deliveries = Vec::new();
        for event in events {
            let ids = queue.deliveries_for(event);
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
        let committed = self.store.commit(commit).await;
        self.log_error(&committed);
        committed?;
        let now = self.clock.now();
        let mut queue = self.queue.borrow_mut();
        for (row, payload) in deliveries {
            queue.add(&row.id, payload, now);
        }
        Ok(())
    }

    fn record_poll(&self, record_poll: PollSample) {
        self.store.record_poll(record_poll);
    }
}
