//! The writes that concern several tables. They run within the worker's transaction.

use rusqlite::Connection;

use super::error::DbError;
use super::events::EVENTS;
use super::{config_jobs, deliveries, events, watches};
use crate::store::{
    JobListUpdate, SavedWatch, StoredEvent, apply_change, delivery_without_event,
    duplicate_delivery,
};
use forgewatch_core::delivery::{DeliveryChange, DeliveryRow};
use forgewatch_core::event::EventId;

/// A [`Commit`](crate::store::Commit) on its way to the worker thread.
pub(super) struct OwnedCommit {
    pub(super) watch: Option<SavedWatch>,
    /// With offset 0; [`commit`] assigns the offsets.
    pub(super) events: Vec<StoredEvent>,
    pub(super) deliveries: Vec<DeliveryRow>,
    pub(super) changes: Vec<DeliveryChange>,
}

pub(super) fn commit(db: &Connection, commit: OwnedCommit) -> Result<(), DbError> {
    for change in commit.changes {
        let row = apply_change(deliveries::get(db, change.id())?, &change)?;
        deliveries::put(db, row)?;
    }
    if let Some(new) = commit.watch {
        let added_by = watches::get(db, new.id)?.map_or(new.added_by, |stored| stored.added_by);
        watches::put(db, SavedWatch { added_by, ..new })?;
    }
    let ids: Vec<EventId> = commit.events.iter().map(|event| event.id).collect();
    for (offset, event) in (EVENTS.next_row_id(db)?..).zip(commit.events) {
        events::insert(db, offset, event)?;
    }
    for new in commit.deliveries {
        if !ids.contains(&new.id.event) {
            return Err(delivery_without_event(&new.id).into());
        }
        if deliveries::row_id(db, &new.id)?.is_some() {
            return Err(duplicate_delivery(&new.id).into());
        }
        deliveries::put(db, new)?;
    }
    Ok(())
}

pub(super) fn update_jobs(db: &Connection, update: JobListUpdate) -> Result<(), DbError> {
    if let Some(jobs) = update.config_jobs {
        config_jobs::replace(db, jobs)?;
    }
    for new in update.new_watches {
        watches::put(db, new)?;
    }
    for (id, added_by) in update.added_by {
        if let Some(stored) = watches::get(db, id)? {
            watches::put(db, SavedWatch { added_by, ..stored })?;
        }
    }
    Ok(())
}
