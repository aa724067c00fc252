//! What people decide about deliveries that were given up, for the daemon's `hooks` requests. The store alone has those,
//! however many there are; [`super::queue`] has forgotten them.

use std::slice;
use std::sync::Arc;

use super::payload::EventPayload;
use super::{Executor, Hooks};
use crate::engine::Clock;
use crate::store::{Archive, Commit, Store, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow, DeliveryState};

/// How many deliveries one call of [`Hooks::discard_some`] forgets at most: some ten milliseconds.
const DISCARDED_AT_ONCE: usize = 256;

/// What comes of a wish for a delivery that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryAction {
    /// It is on record.
    Granted,
    /// No such delivery was given up.
    NotGivenUp,
    /// There is nobody to deliver it.
    HookGone,
}

impl<S, C, P> Hooks<S, C, P>
where
    S: Archive + Clone + 'static,
    C: Clock + Clone + 'static,
    P: Executor,
{
    /// Tries a delivery anew that was given up.
    ///
    /// # Errors
    /// It could not be read or recorded.
    pub async fn retry(&mut self, id: DeliveryId) -> Result<DeliveryAction, StoreError> {
        let Some(row) = self.given_up(&id).await? else {
            return Ok(DeliveryAction::NotGivenUp);
        };
        if !self.queue.borrow().has_hook(&id.hook) {
            return Ok(DeliveryAction::HookGone);
        }
        let told = EventPayload::parse(row.body)
            .map_err(|error| StoreError::Refused(format!("delivery {id}: {error}")))?;
        let retry = DeliveryChange::Retry { id: id.clone() };
        self.decide(slice::from_ref(&retry)).await?;
        let now = self.clock.now();
        self.queue.borrow_mut().add(&id, Arc::new(told), now);
        Ok(DeliveryAction::Granted)
    }

    /// Forgets a delivery that was given up.
    ///
    /// # Errors
    /// It could not be read or recorded.
    pub async fn discard(&mut self, id: DeliveryId) -> Result<DeliveryAction, StoreError> {
        if self.given_up(&id).await?.is_none() {
            return Ok(DeliveryAction::NotGivenUp);
        }
        self.decide(&[DeliveryChange::Discard { id }]).await?;
        Ok(DeliveryAction::Granted)
    }

    /// Forgets some of the deliveries that were given up; how many. Call it until that is 0: it does a little at a time,
    /// so that everybody else gets a turn.
    ///
    /// # Errors
    /// They could not be read or recorded.
    pub async fn discard_some(&mut self) -> Result<usize, StoreError> {
        let (rows, _) = self.outbox.store().given_up(DISCARDED_AT_ONCE).await?;
        let discard = |row: DeliveryRow| DeliveryChange::Discard { id: row.id };
        let changes: Vec<DeliveryChange> = rows.into_iter().map(discard).collect();
        self.decide(&changes).await?;
        Ok(changes.len())
    }

    /// This delivery, where it was given up. One whose giving up is on record and not yet in force still is the queue's:
    /// what somebody decided now would be undone by that.
    async fn given_up(&self, id: &DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        if self.queue.borrow().told(id).is_some() {
            return Ok(None);
        }
        let row = self.outbox.store().delivery(id.clone()).await?;
        Ok(row.filter(|row| matches!(row.standing, DeliveryState::Failed(_))))
    }

    async fn decide(&self, changes: &[DeliveryChange]) -> Result<(), StoreError> {
        let commit = Commit {
            changes,
            ..Commit::default()
        };
        self.outbox.commit(commit).await
    }
}
