//! A store that sees to it that no event is forgotten: with each event it commits the deliveries that hooks are owed.
//!
//! The engine and [`super::Hooks`] commit through it. An event and its deliveries are on the disk together or not at
//! all, and only then the deliveries are in the [`Queue`]. So it is here too that a failing store is told of: a
//! full disk once, however many commits it fails, and once more when that is over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::payload::EventPayload;
use super::queue::Queue;
use crate::engine::Clock;
use crate::store::{Commit, PollSample, Store, StoreError};
use forgewatch_core::delivery::DeliveryRow;
use forgewatch_core::event::Event;

/// See the module's page. Clones share store and queue.
#[derive(Clone, Debug)]
pub struct Outbox<S, C> {
    store: S,
    queue: Rc<RefCell<Queue>>,
    clock: C,
    /// The watcher's name in what hooks get.
    instance: Rc<str>,
    /// The disk was full when something was last to be recorded.
    is_full: Rc<Cell<bool>>,
}

impl<S: Store, C: Clock> Outbox<S, C> {
    /// Commits to `store`; `instance` names the watcher in what hooks get.
    pub fn new(store: S, clock: C, instance: &str) -> Self {
        Self {
            store,
            queue: Rc::default(),
            clock,
            instance: instance.into(),
            is_full: Rc::default(),
        }
    }

    /// The store behind it.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The deliveries that are not done.
    pub(super) fn queue(&self) -> &Rc<RefCell<Queue>> {
        &self.queue
    }

    fn tell_of_failures(&self, committed: &Result<(), StoreError>) {
        match committed {
            Ok(()) if self.is_full.replace(false) => {
                tracing::info!("there is room again: what had to wait is recorded and told");
            }
            Err(error @ StoreError::Full(_)) if !self.is_full.replace(true) => {
                tracing::error!(%error, "nothing is told and no hook is started until there is room; asking goes on");
            }
            Err(error @ StoreError::Refused(_)) => {
                tracing::error!(%error, "what was to be recorded was refused, and waits");
            }
            // Nothing new; or the process ends by it, and says so.
            Ok(()) | Err(StoreError::Full(_) | StoreError::Fatal(_)) => {}
        }
    }

    /// What hooks are owed of these events.
    fn owed(&self, events: &[Event]) -> Result<Vec<(DeliveryRow, Arc<EventPayload>)>, StoreError> {
        let queue = self.queue.borrow();
        let mut owed = Vec::new();
        for event in events {
            let wanted = queue.wanted(event);
            if wanted.is_empty() {
                continue;
            }
            let told = EventPayload::of(event, &self.instance)
                .map_err(|error| StoreError::Refused(error.to_string()))?;
            let told = Arc::new(told);
            for id in wanted {
                owed.push((
                    DeliveryRow::new(id, told.body().to_owned()),
                    Arc::clone(&told),
                ));
            }
        }
        Ok(owed)
    }
}

impl<S: Store, C: Clock> Store for Outbox<S, C> {
    fn keeps_watches(&self) -> bool {
        self.store.keeps_watches()
    }

    async fn commit(&self, mut commit: Commit<'_>) -> Result<(), StoreError> {
        let owed = self.owed(commit.events)?;
        commit
            .deliveries
            .extend(owed.iter().map(|(row, _)| row.clone()));
        let committed = self.store.commit(commit).await;
        self.tell_of_failures(&committed);
        committed?;
        let now = self.clock.now();
        let mut queue = self.queue.borrow_mut();
        for (row, told) in owed {
            queue.add(&row.id, told, now);
        }
        Ok(())
    }

    fn record_poll(&self, record_poll: PollSample) {
        self.store.record_poll(record_poll);
    }
}
