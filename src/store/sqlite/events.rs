//! The tables of events, whose row ids are their offsets, and of their deliveries.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::error::DbError;
use super::table::{Table, find, invalid};
use crate::store::{StoredEvent, duplicate_event};
use forgewatch_core::delivery::{DeliveryFailure, DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{EventId, WatchId};

pub(super) const EVENTS: Table = Table {
    name: "events",
    put: "INSERT INTO events (row_id, watch_id, seq, wall_ms, record, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
};

pub(super) const DELIVERIES: Table = Table {
    name: "deliveries",
    put: "INSERT INTO deliveries (row_id, watch_id, seq, hook, payload, attempts, failures, state, due_ms,
            error_message, exit_status, checksum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
        ON CONFLICT (row_id) DO UPDATE SET
            watch_id = excluded.watch_id, seq = excluded.seq, hook = excluded.hook, payload = excluded.payload,
            attempts = excluded.attempts, failures = excluded.failures, state = excluded.state,
            due_ms = excluded.due_ms, error_message = excluded.error_message,
            exit_status = excluded.exit_status, checksum = excluded.checksum",
};

pub(super) fn insert_event(
    db: &Connection,
    offset: i64,
    event: StoredEvent,
) -> Result<(), DbError> {
    let sql = "SELECT row_id FROM events WHERE watch_id = ?1 AND seq = ?2";
    let id = event.id;
    if find(db, sql, params![id.watch.0, id.seq])?.is_some() {
        return Err(duplicate_event(id).into());
    }
    put_event(
        db,
        StoredEvent {
            offset: offset.cast_unsigned(),
            ..event
        },
    )
}

/// Stores an event at its offset.
pub(super) fn put_event(db: &Connection, event: StoredEvent) -> Result<(), DbError> {
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

pub(super) fn events_since(
    db: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, DbError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT * FROM events WHERE row_id > ?1 ORDER BY row_id LIMIT ?2";
    EVENTS.read(db, sql, [after, limit], decode_event)
}

pub(super) fn events_of(db: &Connection, watch: WatchId) -> Result<Vec<StoredEvent>, DbError> {
    let sql = "SELECT * FROM events WHERE watch_id = ?1 ORDER BY row_id";
    EVENTS.read(db, sql, [watch.0], decode_event)
}

pub(super) fn last_event(db: &Connection) -> Result<Option<StoredEvent>, DbError> {
    let sql = "SELECT * FROM events ORDER BY row_id DESC LIMIT 1";
    EVENTS.read_one(db, sql, [], decode_event)
}

pub(super) fn offset_before(db: &Connection, wall_ms: i64) -> Result<u64, DbError> {
    // Backwards from the newest event: fast without an index, as clients mostly want the last hours.
    let sql = "SELECT row_id FROM events WHERE wall_ms < ?1 ORDER BY row_id DESC LIMIT 1";
    Ok(find(db, sql, [wall_ms])?.unwrap_or(0).cast_unsigned())
}

fn decode_event(row: &Row<'_>) -> Result<StoredEvent, DbError> {
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

pub(super) fn delivery(db: &Connection, id: &DeliveryId) -> Result<Option<DeliveryRow>, DbError> {
    let sql = "SELECT * FROM deliveries WHERE watch_id = ?1 AND seq = ?2 AND hook = ?3";
    let key = params![id.event.watch.0, id.event.seq, &*id.hook];
    DELIVERIES.read_one(db, sql, key, decode_delivery)
}

pub(super) fn delivery_row_id(db: &Connection, id: &DeliveryId) -> Result<Option<i64>, DbError> {
    let sql = "SELECT row_id FROM deliveries WHERE watch_id = ?1 AND seq = ?2 AND hook = ?3";
    find(db, sql, params![id.event.watch.0, id.event.seq, &*id.hook])
}

pub(super) fn pending_deliveries(db: &Connection) -> Result<Vec<DeliveryRow>, DbError> {
    let sql = "SELECT * FROM deliveries WHERE state = 'pending' ORDER BY row_id";
    DELIVERIES.read(db, sql, [], decode_delivery)
}

/// The newest failed deliveries, oldest first, and the number of all. Counting uses the index only.
pub(super) fn failed_deliveries(
    db: &Connection,
    limit: usize,
) -> Result<(Vec<DeliveryRow>, usize), DbError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT * FROM deliveries WHERE state = 'failed' ORDER BY row_id DESC LIMIT ?1";
    let mut rows = DELIVERIES.read(db, sql, [limit], decode_delivery)?;
    rows.reverse();
    let count = "SELECT count(*) FROM deliveries WHERE state = 'failed'";
    let count = find(db, count, [])?.unwrap_or(0);
    Ok((rows, usize::try_from(count).unwrap_or(usize::MAX)))
}

pub(super) fn deliveries_of(db: &Connection, watch: WatchId) -> Result<Vec<DeliveryRow>, DbError> {
    let sql = "SELECT * FROM deliveries WHERE watch_id = ?1 ORDER BY row_id";
    DELIVERIES.read(db, sql, [watch.0], decode_delivery)
}

/// Inserts or updates a delivery.
pub(super) fn put_delivery(db: &Connection, delivery: DeliveryRow) -> Result<(), DbError> {
    let row_id = match delivery_row_id(db, &delivery.id)? {
        Some(row_id) => row_id,
        None => DELIVERIES.next_row_id(db)?,
    };
    let (state, due_ms, failure) = match delivery.state {
        DeliveryState::Pending { due_ms } => ("pending", Some(due_ms), None),
        DeliveryState::Failed(failure) => ("failed", None, Some(failure)),
        DeliveryState::Delivered => ("delivered", None, None),
        DeliveryState::Discarded => ("discarded", None, None),
    };
    let exit_status = failure.as_ref().and_then(|failure| failure.exit_status);
    let id = delivery.id;
    DELIVERIES.put(
        db,
        vec![
            row_id.into(),
            Value::Blob(id.event.watch.0.to_vec()),
            i64::from(id.event.seq).into(),
            id.hook.to_string().into(),
            delivery.body.into(),
            i64::from(delivery.attempts).into(),
            i64::from(delivery.failures).into(),
            state.to_owned().into(),
            due_ms.into(),
            failure.map(|failure| failure.error).into(),
            exit_status.map(i64::from).into(),
        ],
    )
}

fn decode_delivery(row: &Row<'_>) -> Result<DeliveryRow, DbError> {
    let state: String = row.get("state")?;
    let state = match state.as_str() {
        "pending" => DeliveryState::Pending {
            due_ms: row.get("due_ms")?,
        },
        "failed" => DeliveryState::Failed(DeliveryFailure {
            error: row.get("error_message")?,
            exit_status: row.get("exit_status")?,
        }),
        "delivered" => DeliveryState::Delivered,
        "discarded" => DeliveryState::Discarded,
        _ => return Err(invalid("delivery state", &state)),
    };
    Ok(DeliveryRow {
        id: DeliveryId {
            event: EventId {
                watch: WatchId(row.get("watch_id")?),
                seq: row.get("seq")?,
            },
            hook: row.get::<_, String>("hook")?.into(),
        },
        body: row.get("payload")?,
        attempts: row.get("attempts")?,
        failures: row.get("failures")?,
        state,
    })
}
