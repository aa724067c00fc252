//! The table of events. Their row ids are their offsets.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::error::DbError;
use super::table::{Table, find};
use crate::store::{StoredEvent, duplicate_event};
use forgewatch_core::event::{EventId, WatchId};

pub(super) const EVENTS: Table = Table {
    name: "events",
    scan: "SELECT * FROM events NOT INDEXED WHERE row_id >= ?1 ORDER BY row_id",
    next_row_id: "SELECT coalesce(max(row_id), 0) + 1 FROM events",
    put: "INSERT INTO events (row_id, watch_id, seq, wall_ms, record, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
};

pub(super) fn insert(db: &Connection, offset: i64, event: StoredEvent) -> Result<(), DbError> {
    let sql = "SELECT row_id FROM events WHERE watch_id = ?1 AND seq = ?2";
    let id = event.id;
    if find(db, sql, params![id.watch.0, id.seq])?.is_some() {
        return Err(duplicate_event(id).into());
    }
    put(
        db,
        StoredEvent {
            offset: offset.cast_unsigned(),
            ..event
        },
    )
}

/// Stores an event at its offset.
pub(super) fn put(db: &Connection, event: StoredEvent) -> Result<(), DbError> {
    EVENTS.put(
        db,
        vec![
            event.offset.cast_signed().into(),
            Value::Blob(event.id.watch.0.to_vec()),
            i64::from(event.id.seq).into(),
            event.wall_ms.into(),
            event.record.into(),
        ],
    )
}

pub(super) fn since(
    db: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, DbError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT * FROM events WHERE row_id > ?1 ORDER BY row_id LIMIT ?2";
    EVENTS.read(db, sql, [after, limit], decode)
}

pub(super) fn of_watch(db: &Connection, watch: WatchId) -> Result<Vec<StoredEvent>, DbError> {
    let sql = "SELECT * FROM events WHERE watch_id = ?1 ORDER BY row_id";
    EVENTS.read(db, sql, [watch.0], decode)
}

pub(super) fn last(db: &Connection) -> Result<Option<StoredEvent>, DbError> {
    let sql = "SELECT * FROM events ORDER BY row_id DESC LIMIT 1";
    EVENTS.read_one(db, sql, [], decode)
}

pub(super) fn offset_before(db: &Connection, wall_ms: i64) -> Result<u64, DbError> {
    // Backwards from the newest event: fast without an index, as clients mostly want the last hours.
    let sql = "SELECT row_id FROM events WHERE wall_ms < ?1 ORDER BY row_id DESC LIMIT 1";
    Ok(find(db, sql, [wall_ms])?.unwrap_or(0).cast_unsigned())
}

fn decode(row: &Row<'_>) -> Result<StoredEvent, DbError> {
    Ok(StoredEvent {
        offset: row.get::<_, i64>("row_id")?.cast_unsigned(),
        id: EventId {
            watch: WatchId(row.get("watch_id")?),
            seq: row.get("seq")?,
        },
        wall_ms: row.get("wall_ms")?,
        record: row.get("record")?,
    })
}
