//! Retries and discards failed deliveries, for the daemon's `hooks` requests. Failed deliveries are in the store alone,
//! however many there are: the queue holds open ones only.

use std::slice;
use std::sync::Arc;

use super::Executor;
use super::dispatcher::Dispatcher;
use super::in_flight::commit;
use crate::engine::Clock;
use crate::store::{DaemonStore, StoreError};
use forgewatch_core::delivery::{
    DeliveryChange, DeliveryId, DeliveryRow, DeliveryState, EventPayload,
};

/// Most deliveries that one call of [`Dispatcher::discard_some`] discards: about ten milliseconds of work.
const DISCARD_BATCH: usize = 256;

/// Result of retrying or discarding a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryActionResult {
    Done,
    /// The id belongs to no failed delivery.
    NotFailed,
    /// Its hook is not in the configuration.
    UnknownHook,
}

impl<S, C, P> Dispatcher<S, C, P>
where
    S: DaemonStore,
    C: Clock,
    P: Executor,
{
    /// Makes a failed delivery pending again, as if it were new.
    pub async fn retry(&mut self, id: DeliveryId) -> Result<DeliveryActionResult, StoreError> {
        let Some(row) = self.failed(&id).await? else {
            return Ok(DeliveryActionResult::NotFailed);
        };
        if !self.queue.has_hook(&id.hook) {
            return Ok(DeliveryActionResult::UnknownHook);
        }
        let payload = EventPayload::parse(row.body)
            .map_err(|error| StoreError::Rejected(format!("delivery {id}: {error}")))?;
        let retry = DeliveryChange::Retry { id: id.clone() };
        commit(&self.outbox, slice::from_ref(&retry), None).await?;
        let now = self.outbox.now();
        self.queue.add(&id, Arc::new(payload), now);
        Ok(DeliveryActionResult::Done)
    }

    pub async fn discard(&mut self, id: DeliveryId) -> Result<DeliveryActionResult, StoreError> {
        if self.failed(&id).await?.is_none() {
            return Ok(DeliveryActionResult::NotFailed);
        }
        commit(&self.outbox, &[DeliveryChange::Discard { id }], None).await?;
        Ok(DeliveryActionResult::Done)
    }

    /// Discards some of the failed deliveries and returns how many. Call it until it returns 0: other requests are
    /// served in between.
    pub async fn discard_some(&mut self) -> Result<usize, StoreError> {
        let (rows, _) = self.outbox.store().failed_deliveries(DISCARD_BATCH).await?;
        let discard = |row: DeliveryRow| DeliveryChange::Discard { id: row.id };
        let changes: Vec<DeliveryChange> = rows.into_iter().map(discard).collect();
        commit(&self.outbox, &changes, None).await?;
        Ok(changes.len())
    }

    /// The delivery if it has failed. One that is still in the queue has a change under way, which would undo a retry
    /// made now.
    async fn failed(&mut self, id: &DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.receive();
        if self.queue.contains(id) {
            return Ok(None);
        }
        let row = self.outbox.store().delivery(id.clone()).await?;
        Ok(row.filter(|row| matches!(row.state, DeliveryState::Failed(_))))
    }
}
