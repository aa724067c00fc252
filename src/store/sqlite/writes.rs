//! The writes that concern several tables: commits, updates of the job list, pruning. They run within the worker's
//! transaction.

use rusqlite::{Connection, params};

use super::error::DbError;
use super::events::EVENTS;
use super::table::find;
use super::{events, watches};
use crate::store::{
    JobListUpdate, SavedWatch, StoredEvent, apply_change, delivery_without_event,
    duplicate_delivery,
};
use forgewatch_core::delivery::{DeliveryChange, DeliveryRow};
use forgewatch_core::event::EventId;

/// Watches pruned per batch: some ten milliseconds. Batches are small because other requests wait for the store's thread.
const WATCH_BATCH: i64 = 200;
/// Events scanned per batch of pruning: some ten milliseconds.
const EVENT_BATCH: i64 = 5000;

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
        let row = apply_change(events::delivery(db, change.id())?, &change)?;
        events::put_delivery(db, row)?;
    }
    if let Some(mut watch) = commit.watch {
        if let Some(stored) = watches::get(db, watch.id)? {
            (watch.labels, watch.added_by) = (stored.labels, stored.added_by);
        }
        watches::put(db, watch)?;
    }
    let ids: Vec<EventId> = commit.events.iter().map(|event| event.id).collect();
    for (offset, event) in (EVENTS.next_row_id(db)?..).zip(commit.events) {
        events::insert_event(db, offset, event)?;
    }
    for new in commit.deliveries {
        if !ids.contains(&new.id.event) {
            return Err(delivery_without_event(&new.id).into());
        }
        if events::delivery_row_id(db, &new.id)?.is_some() {
            return Err(duplicate_delivery(&new.id).into());
        }
        events::put_delivery(db, new)?;
    }
    Ok(())
}

pub(super) fn update_jobs(db: &Connection, update: JobListUpdate) -> Result<(), DbError> {
    if let Some(jobs) = update.config_jobs {
        watches::replace_config_jobs(db, jobs)?;
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

/// Deletes watches that ended before this wall time, with everything that belongs to them. The newest event stays, even
/// without its watch, so that no offset is used twice.
pub(super) fn prune_watches(db: &Connection, before: i64) -> Result<usize, DbError> {
    let mut ended = db.prepare_cached(
        "SELECT watch_id FROM watches w
         WHERE ended_ms < ?1 AND job NOT IN (SELECT job FROM config_jobs) AND NOT EXISTS
             (SELECT 1 FROM deliveries d WHERE d.watch_id = w.watch_id AND state IN ('pending', 'failed'))
         ORDER BY ended_ms LIMIT ?2",
    )?;
    let ended: Vec<[u8; 16]> = ended
        .query_map([before, WATCH_BATCH], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut rows = 0;
    for id in ended {
        for sql in [
            "DELETE FROM deliveries WHERE watch_id = ?1",
            "DELETE FROM events WHERE watch_id = ?1 AND row_id < (SELECT max(row_id) FROM events)",
            "DELETE FROM polls WHERE watch_id = ?1",
            "DELETE FROM watches WHERE watch_id = ?1",
        ] {
            rows += db.prepare_cached(sql)?.execute([id])?;
        }
    }
    Ok(rows)
}

/// Deletes forgewatch's own events, which belong to no watch, from before this wall time. There is no index for them, so
/// this scans a batch of events behind the offset `after`. Returns the number of rows and where to continue: 0 once the
/// end was reached.
pub(super) fn prune_own_events(
    db: &Connection,
    before: i64,
    after: i64,
) -> Result<(usize, i64), DbError> {
    let last = "SELECT row_id FROM events WHERE row_id > ?1 ORDER BY row_id LIMIT 1 OFFSET ?2";
    let last = find(db, last, [after, EVENT_BATCH - 1])?;
    let mut own = db.prepare_cached(
        "SELECT row_id, watch_id, seq FROM events e
         WHERE row_id > ?1 AND row_id <= ?2 AND row_id < (SELECT max(row_id) FROM events) AND wall_ms < ?3
             AND NOT EXISTS (SELECT 1 FROM watches w WHERE w.watch_id = e.watch_id) AND NOT EXISTS
             (SELECT 1 FROM deliveries d WHERE d.watch_id = e.watch_id AND d.seq = e.seq
                AND state IN ('pending', 'failed'))",
    )?;
    let own: Vec<(i64, [u8; 16], i64)> = own
        .query_map([after, last.unwrap_or(i64::MAX), before], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut rows = 0;
    for (n, id, seq) in own {
        let deliveries = "DELETE FROM deliveries WHERE watch_id = ?1 AND seq = ?2";
        rows += db.prepare_cached(deliveries)?.execute(params![id, seq])?;
        let event = "DELETE FROM events WHERE row_id = ?1";
        rows += db.prepare_cached(event)?.execute([n])?;
    }
    Ok((rows, last.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::schema::{self, MIGRATIONS};
    use super::*;

    #[test]
    fn own_events_are_scanned_in_batches_and_all_are_found() {
        let db = Connection::open_in_memory().unwrap();
        schema::migrate(&db, 0, MIGRATIONS).unwrap();
        db.execute(
            "WITH RECURSIVE numbers (row_id) AS (SELECT 1 UNION ALL SELECT row_id + 1 FROM numbers WHERE row_id <= ?1)
             INSERT INTO events SELECT row_id, zeroblob(16), row_id, row_id, '{}', 0 FROM numbers",
            [2 * EVENT_BATCH],
        )
        .unwrap();
        let first = prune_own_events(&db, 11, 0).unwrap();
        assert_eq!(first, (10, EVENT_BATCH), "from before 11");
        let second = prune_own_events(&db, i64::MAX, first.1).unwrap();
        assert_eq!(second, (EVENT_BATCH as usize, 2 * EVENT_BATCH));
        let newest = prune_own_events(&db, i64::MAX, second.1).unwrap();
        assert_eq!(
            newest,
            (0, 0),
            "the newest stays, and the scan wraps around"
        );
        let rest = prune_own_events(&db, i64::MAX, 0).unwrap();
        assert_eq!(rest, (EVENT_BATCH as usize - 10, 0));
    }
}
