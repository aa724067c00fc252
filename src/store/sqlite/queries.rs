//! The store's statements. They run in the worker's transaction, or outside of it for reads.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::DbError;
use super::table::{CALIBRATION, CONFIG_JOBS, DELIVERIES, EVENTS, POLLS, WATCHES};
use crate::store::{
    AddedBy, ConfigJob, JobListUpdate, MAX_POLLS, SavedWatch, StoredEvent, apply_change,
    delivery_without_event, duplicate_delivery, duplicate_event,
};
use forgewatch_core::delivery::{
    self, DeliveryChange, DeliveryFailure as Why, DeliveryId, DeliveryState,
};
use forgewatch_core::event::{EventId, WatchId};
use forgewatch_core::job::JobRef;

const DELIVERY: &str = "watch_id = ?1 AND seq = ?2 AND hook = ?3";

/// A commit on its way to the worker thread.
pub(super) struct OwnedCommit {
    pub(super) watch: Option<SavedWatch>,
    /// With offset 0; the worker assigns the offsets.
    pub(super) events: Vec<StoredEvent>,
    pub(super) deliveries: Vec<delivery::DeliveryRow>,
    pub(super) changes: Vec<DeliveryChange>,
}

pub(super) fn commit(db: &Connection, commit: OwnedCommit) -> Result<(), DbError> {
    for change in commit.changes {
        let row = apply_change(delivery(db, change.id())?, &change)?;
        put_delivery(db, row)?;
    }
    if let Some(new) = commit.watch {
        let added_by = watch(db, new.id)?.map_or(new.added_by, |stored| stored.added_by);
        put_watch(db, SavedWatch { added_by, ..new })?;
    }
    let ids: Vec<EventId> = commit.events.iter().map(|event| event.id).collect();
    for (row_id, event) in (EVENTS.next_row_id(db)?..).zip(commit.events) {
        put_event(db, row_id, event)?;
    }
    for new in commit.deliveries {
        if !ids.contains(&new.id.event) {
            return Err(delivery_without_event(&new.id).into());
        }
        if delivery_row_id(db, &new.id)?.is_some() {
            return Err(duplicate_delivery(&new.id).into());
        }
        put_delivery(db, new)?;
    }
    Ok(())
}

/// Stores polls of a running watch, and its latest snapshot.
pub(super) fn record_polls(
    db: &Connection,
    id: WatchId,
    snapshot: Option<String>,
    polls: Vec<String>,
) -> Result<(), DbError> {
    let Some(mut watch) = watch(db, id)?.filter(|w| w.ended_wall_ms.is_none()) else {
        return Ok(());
    };
    for poll in polls {
        let n = POLLS.next_row_id(db)?;
        POLLS.put(db, vec![n.into(), blob(id), poll.into()])?;
    }
    db.prepare_cached(
        "DELETE FROM polls WHERE watch_id = ?1 AND row_id <=
         (SELECT row_id FROM polls WHERE watch_id = ?1 ORDER BY row_id DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![id.0, MAX_POLLS as i64])?;
    if let Some(snapshot) = snapshot {
        watch.snapshot = snapshot;
        put_watch(db, watch)?;
    }
    Ok(())
}

pub(super) fn running_watches(db: &Connection) -> Result<Vec<SavedWatch>, DbError> {
    WATCHES.read(
        db,
        "WHERE ended_ms IS NULL ORDER BY row_id",
        [],
        saved_watch,
    )
}

pub(super) fn ended_watches(db: &Connection, wall_ms: i64) -> Result<Vec<SavedWatch>, DbError> {
    WATCHES.read(
        db,
        "WHERE ended_ms >= ?1 ORDER BY row_id",
        [wall_ms],
        saved_watch,
    )
}

pub(super) fn newest_watch(db: &Connection, job: JobRef) -> Result<Option<SavedWatch>, DbError> {
    let newest = "WHERE job = ?1 ORDER BY row_id DESC LIMIT 1";
    WATCHES.read_one(db, newest, [job.to_string()], saved_watch)
}

pub(super) fn pending_deliveries(db: &Connection) -> Result<Vec<delivery::DeliveryRow>, DbError> {
    let pending = "WHERE state = 'pending' ORDER BY row_id";
    DELIVERIES.read(db, pending, [], saved_delivery)
}

/// The newest failed deliveries, oldest first, and the number of all. Counting uses the index only.
pub(super) fn failed_deliveries(
    db: &Connection,
    limit: usize,
) -> Result<(Vec<delivery::DeliveryRow>, usize), DbError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let newest = "WHERE state = 'failed' ORDER BY row_id DESC LIMIT ?1";
    let mut rows = DELIVERIES.read(db, newest, [limit], saved_delivery)?;
    rows.reverse();
    let all: i64 = db
        .prepare_cached("SELECT count(*) FROM deliveries WHERE state = 'failed'")?
        .query_row([], |row| row.get(0))?;
    Ok((rows, usize::try_from(all).unwrap_or(usize::MAX)))
}

pub(super) fn deliveries_of(
    db: &Connection,
    watch: WatchId,
) -> Result<Vec<delivery::DeliveryRow>, DbError> {
    DELIVERIES.read(
        db,
        "WHERE watch_id = ?1 ORDER BY row_id",
        [watch.0],
        saved_delivery,
    )
}

pub(super) fn events_since(
    db: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, DbError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    EVENTS.read(
        db,
        "WHERE row_id > ?1 ORDER BY row_id LIMIT ?2",
        [after, limit],
        event,
    )
}

pub(super) fn offset_before(db: &Connection, wall_ms: i64) -> Result<u64, DbError> {
    // Backwards from the newest event: fast without an index, as clients mostly want the last hours.
    let older = "wall_ms < ?1 ORDER BY row_id DESC LIMIT 1";
    let n = EVENTS.row_id_where(db, older, [wall_ms])?;
    Ok(n.unwrap_or(0).cast_unsigned())
}

pub(super) fn events_of(db: &Connection, watch: WatchId) -> Result<Vec<StoredEvent>, DbError> {
    EVENTS.read(db, "WHERE watch_id = ?1 ORDER BY row_id", [watch.0], event)
}

pub(super) fn polls_of(db: &Connection, watch: WatchId) -> Result<Vec<String>, DbError> {
    POLLS.read(
        db,
        "WHERE watch_id = ?1 ORDER BY row_id",
        [watch.0],
        |row| Ok(row.get(2)?),
    )
}

pub(super) fn config_jobs(db: &Connection) -> Result<Vec<ConfigJob>, DbError> {
    CONFIG_JOBS.read(db, "ORDER BY row_id", [], |row| {
        Ok(ConfigJob {
            job: job(row, 1)?,
            labels: row.get(2)?,
        })
    })
}

pub(super) fn update_jobs(db: &Connection, update: JobListUpdate) -> Result<(), DbError> {
    if let Some(jobs) = update.config_jobs {
        db.prepare_cached("DELETE FROM config_jobs")?.execute([])?;
        for (row_id, listed) in (1_i64..).zip(jobs) {
            let job = listed.job.to_string();
            CONFIG_JOBS.put(db, vec![row_id.into(), job.into(), listed.labels.into()])?;
        }
    }
    for new in update.new_watches {
        put_watch(db, new)?;
    }
    for (id, added_by) in update.added_by {
        if let Some(stored) = watch(db, id)? {
            put_watch(db, SavedWatch { added_by, ..stored })?;
        }
    }
    Ok(())
}

pub(super) fn calibration(db: &Connection) -> Result<Option<String>, DbError> {
    CALIBRATION.read_one(db, "WHERE row_id = 1", [], |row| Ok(row.get(1)?))
}

pub(super) fn save_calibration(db: &Connection, json: String) -> Result<(), DbError> {
    CALIBRATION.put(db, vec![1_i64.into(), json.into()])
}

fn watch(db: &Connection, id: WatchId) -> Result<Option<SavedWatch>, DbError> {
    WATCHES.read_one(db, "WHERE watch_id = ?1", [id.0], saved_watch)
}

fn put_watch(db: &Connection, watch: SavedWatch) -> Result<(), DbError> {
    let n = match WATCHES.row_id_where(db, "watch_id = ?1", [watch.id.0])? {
        Some(n) => n,
        None => WATCHES.next_row_id(db)?,
    };
    WATCHES.put(
        db,
        vec![
            n.into(),
            blob(watch.id),
            watch.job.to_string().into(),
            watch.snapshot.into(),
            watch.ended_wall_ms.into(),
            added_by_word(watch.added_by).to_owned().into(),
        ],
    )
}

fn put_event(db: &Connection, n: i64, event: StoredEvent) -> Result<(), DbError> {
    let same = params![event.id.watch.0, event.id.seq];
    if EVENTS
        .row_id_where(db, "watch_id = ?1 AND seq = ?2", same)?
        .is_some()
    {
        return Err(duplicate_event(event.id).into());
    }
    EVENTS.put(
        db,
        vec![
            n.into(),
            blob(event.id.watch),
            i64::from(event.id.seq).into(),
            event.wall_ms.into(),
            event.record.into(),
        ],
    )
}

fn put_delivery(db: &Connection, row: delivery::DeliveryRow) -> Result<(), DbError> {
    let n = match delivery_row_id(db, &row.id)? {
        Some(n) => n,
        None => DELIVERIES.next_row_id(db)?,
    };
    let (state, due_ms, why) = match row.state {
        DeliveryState::Pending { due_ms } => ("pending", Some(due_ms), None),
        DeliveryState::Failed(why) => ("failed", None, Some(why)),
        DeliveryState::Delivered => ("delivered", None, None),
        DeliveryState::Discarded => ("discarded", None, None),
    };
    let (error, exit_status) = match why {
        Some(why) => (Some(why.error), why.exit_status),
        None => (None, None),
    };
    DELIVERIES.put(
        db,
        vec![
            n.into(),
            blob(row.id.event.watch),
            i64::from(row.id.event.seq).into(),
            row.id.hook.to_string().into(),
            row.body.into(),
            i64::from(row.attempts).into(),
            state.to_owned().into(),
            due_ms.into(),
            error.into(),
            exit_status.map(i64::from).into(),
        ],
    )
}

fn delivery_row_id(db: &Connection, id: &DeliveryId) -> Result<Option<i64>, DbError> {
    let same = params![id.event.watch.0, id.event.seq, &*id.hook];
    DELIVERIES.row_id_where(db, DELIVERY, same)
}

pub(super) fn delivery(
    db: &Connection,
    id: &DeliveryId,
) -> Result<Option<delivery::DeliveryRow>, DbError> {
    let same = params![id.event.watch.0, id.event.seq, &*id.hook];
    DELIVERIES.read_one(db, &format!("WHERE {DELIVERY}"), same, saved_delivery)
}

pub(super) fn saved_watch(row: &Row<'_>) -> Result<SavedWatch, DbError> {
    Ok(SavedWatch {
        id: WatchId(row.get(1)?),
        job: job(row, 2)?,
        snapshot: row.get(3)?,
        ended_wall_ms: row.get(4)?,
        added_by: added_by(&row.get::<_, String>(5)?)?,
    })
}

fn event(row: &Row<'_>) -> Result<StoredEvent, DbError> {
    Ok(StoredEvent {
        offset: row.get::<_, i64>(0)?.cast_unsigned(),
        id: EventId {
            watch: WatchId(row.get(1)?),
            seq: row.get(2)?,
        },
        wall_ms: row.get(3)?,
        record: row.get(4)?,
    })
}

fn saved_delivery(row: &Row<'_>) -> Result<delivery::DeliveryRow, DbError> {
    let word: String = row.get(6)?;
    let state = match word.as_str() {
        "pending" => DeliveryState::Pending {
            due_ms: row.get(7)?,
        },
        "failed" => DeliveryState::Failed(Why {
            error: row.get(8)?,
            exit_status: row.get(9)?,
        }),
        "delivered" => DeliveryState::Delivered,
        "discarded" => DeliveryState::Discarded,
        other => return Err(invalid("delivery state", other)),
    };
    Ok(delivery::DeliveryRow {
        id: DeliveryId {
            event: EventId {
                watch: WatchId(row.get(1)?),
                seq: row.get(2)?,
            },
            hook: row.get::<_, String>(3)?.into(),
        },
        body: row.get(4)?,
        attempts: row.get(5)?,
        state,
    })
}

fn job(row: &Row<'_>, column: usize) -> Result<JobRef, DbError> {
    let name: String = row.get(column)?;
    name.parse().map_err(|_| invalid("job", &name))
}

/// For a value with a valid checksum, which a later version may have written.
fn invalid(what: &str, value: &str) -> DbError {
    DbError::Damaged(format!("invalid {what} {value:?}"))
}

fn blob(id: WatchId) -> Value {
    Value::Blob(id.0.to_vec())
}

const ADDED_BY: [(&str, AddedBy); 4] = [
    (
        "",
        AddedBy {
            file: false,
            socket: false,
        },
    ),
    (
        "file",
        AddedBy {
            file: true,
            socket: false,
        },
    ),
    (
        "socket",
        AddedBy {
            file: false,
            socket: true,
        },
    ),
    (
        "file,socket",
        AddedBy {
            file: true,
            socket: true,
        },
    ),
];

fn added_by_word(by: AddedBy) -> &'static str {
    ADDED_BY
        .iter()
        .find(|(_, b)| *b == by)
        .map_or("", |(word, _)| word)
}

fn added_by(word: &str) -> Result<AddedBy, DbError> {
    let entry = ADDED_BY.iter().find(|(w, _)| *w == word);
    entry
        .map(|&(_, by)| by)
        .ok_or_else(|| invalid("added_by", word))
}
