//! What the store does, as statements. Everything runs within a transaction of the store's thread.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::Failure;
use super::row::{ACCEPTED, DELIVERIES, EVENTS, LEARNT, POLLS, WATCHES};
use crate::core::event::{EventId, WatchId};
use crate::core::job::JobRef;
use crate::store::delivery::{self, Attempt, Change, Delivery, DeliveryId, DeliveryState};
use crate::store::{
    AcceptedJob, AddedBy, Committed, NewDelivery, POLLS_KEPT, SavedWatch, StoredEvent,
    not_of_this_commit, told_already,
};

/// How many watches one call of [`prune`] forgets at most: some ten milliseconds.
const PRUNED_AT_ONCE: i64 = 200;

const PENDING: &str = "WHERE state IN ('waiting', 'running') ORDER BY n";
const OPEN: &str = "WHERE state IN ('waiting', 'running', 'given_up') ORDER BY n";

/// A commit that owns all it needs on its way to the store's thread.
pub(super) struct Step {
    pub(super) watch: Option<SavedWatch>,
    /// Their offsets are not known yet.
    pub(super) events: Vec<StoredEvent>,
    pub(super) deliveries: Vec<NewDelivery>,
    pub(super) changes: Vec<(DeliveryId, Change)>,
}

pub(super) fn commit(db: &Connection, step: Step) -> Result<Committed, Failure> {
    for (id, change) in step.changes {
        let mut delivery = delivery(db, id)?;
        delivery.apply(change)?;
        put_delivery(db, delivery)?;
    }
    if let Some(watch) = step.watch {
        put_watch(db, watch)?;
    }
    let first = EVENTS.next(db)?;
    let mut placed = Vec::with_capacity(step.events.len());
    for (n, event) in (first..).zip(step.events) {
        placed.push((event.id, n, event.wall_ms));
        put_event(db, n, event)?;
    }
    let first_delivery = DELIVERIES.next(db)?;
    let deliveries = step.deliveries.len() as u64;
    for (n, new) in (first_delivery..).zip(step.deliveries) {
        let (_, offset, wall_ms) = *placed
            .iter()
            .find(|(id, ..)| *id == new.event)
            .ok_or_else(|| not_of_this_commit(new.event))?;
        put_delivery(
            db,
            Delivery {
                id: DeliveryId(n.cast_unsigned()),
                hook: new.hook,
                event: new.event,
                offset: offset.cast_unsigned(),
                state: DeliveryState::Waiting,
                attempts: 0,
                due_ms: wall_ms,
                reason: None,
            },
        )?;
    }
    let offset = first.cast_unsigned();
    let id = first_delivery.cast_unsigned();
    Ok(Committed {
        offsets: offset..offset + placed.len() as u64,
        deliveries: id..id + deliveries,
    })
}

/// Keeps the last row of a watch that runs, and its polls.
pub(super) fn note(
    db: &Connection,
    id: WatchId,
    row: Option<String>,
    polls: Vec<String>,
) -> Result<(), Failure> {
    let Some(mut watch) = watch(db, id)?.filter(|w| w.ended_wall_ms.is_none()) else {
        return Ok(());
    };
    for poll in polls {
        let n = POLLS.next(db)?;
        POLLS.put(db, vec![n.into(), blob(id), poll.into()])?;
    }
    db.prepare_cached(
        "DELETE FROM polls WHERE watch = ?1 AND n <=
         (SELECT n FROM polls WHERE watch = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![id.0, POLLS_KEPT as i64])?;
    if let Some(row) = row {
        watch.row = row;
        put_watch(db, watch)?;
    }
    Ok(())
}

pub(super) fn start_attempt(db: &Connection, id: DeliveryId) -> Result<Attempt, Failure> {
    let mut delivery = delivery(db, id)?;
    delivery.start()?;
    let event = EVENTS
        .read_one(db, "WHERE n = ?1", [delivery.offset.cast_signed()], event)?
        .ok_or_else(|| Failure::Damaged(format!("the event of delivery {id} is missing")))?;
    let number = delivery.attempts;
    put_delivery(db, delivery)?;
    Ok(Attempt {
        number,
        record: event.record,
    })
}

pub(super) fn running_watches(db: &Connection) -> Result<Vec<SavedWatch>, Failure> {
    WATCHES.read(db, "WHERE ended_ms IS NULL ORDER BY n", [], saved_watch)
}

pub(super) fn ended_since(db: &Connection, wall_ms: i64) -> Result<Vec<SavedWatch>, Failure> {
    WATCHES.read(
        db,
        "WHERE ended_ms >= ?1 ORDER BY n",
        [wall_ms],
        saved_watch,
    )
}

pub(super) fn newest_of(db: &Connection, job: JobRef) -> Result<Option<SavedWatch>, Failure> {
    let newest = "WHERE job = ?1 ORDER BY n DESC LIMIT 1";
    WATCHES.read_one(db, newest, [job.to_string()], saved_watch)
}

pub(super) fn pending(db: &Connection) -> Result<Vec<Delivery>, Failure> {
    DELIVERIES.read(db, PENDING, [], saved_delivery)
}

pub(super) fn open_deliveries(db: &Connection) -> Result<Vec<Delivery>, Failure> {
    DELIVERIES.read(db, OPEN, [], saved_delivery)
}

pub(super) fn deliveries_of(db: &Connection, watch: WatchId) -> Result<Vec<Delivery>, Failure> {
    DELIVERIES.read(db, "WHERE watch = ?1 ORDER BY n", [watch.0], saved_delivery)
}

pub(super) fn events_since(
    db: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, Failure> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    EVENTS.read(
        db,
        "WHERE n > ?1 ORDER BY n LIMIT ?2",
        [after, limit],
        event,
    )
}

pub(super) fn offset_before(db: &Connection, wall_ms: i64) -> Result<u64, Failure> {
    // From the newest back: no index is needed for what is asked about the last hours.
    let older = "wall_ms < ?1 ORDER BY n DESC LIMIT 1";
    let n = EVENTS.number_where(db, older, [wall_ms])?;
    Ok(n.unwrap_or(0).cast_unsigned())
}

pub(super) fn events_of(db: &Connection, watch: WatchId) -> Result<Vec<StoredEvent>, Failure> {
    EVENTS.read(db, "WHERE watch = ?1 ORDER BY n", [watch.0], event)
}

pub(super) fn polls(db: &Connection, watch: WatchId) -> Result<Vec<String>, Failure> {
    POLLS.read(db, "WHERE watch = ?1 ORDER BY n", [watch.0], |row| {
        Ok(row.get(2)?)
    })
}

pub(super) fn accepted(db: &Connection) -> Result<Vec<AcceptedJob>, Failure> {
    ACCEPTED.read(db, "ORDER BY n", [], |row| {
        Ok(AcceptedJob {
            job: job(row, 1)?,
            labels: row.get(2)?,
        })
    })
}

pub(super) fn set_accepted(
    db: &Connection,
    jobs: Vec<AcceptedJob>,
    watches: Vec<SavedWatch>,
) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM accepted")?.execute([])?;
    for (n, accepted) in (1_i64..).zip(jobs) {
        let job = accepted.job.to_string();
        ACCEPTED.put(db, vec![n.into(), job.into(), accepted.labels.into()])?;
    }
    watches
        .into_iter()
        .try_for_each(|watch| put_watch(db, watch))
}

pub(super) fn calibrations(db: &Connection) -> Result<Option<String>, Failure> {
    LEARNT.read_one(db, "WHERE n = 1", [], |row| Ok(row.get(1)?))
}

pub(super) fn save_calibrations(db: &Connection, json: String) -> Result<(), Failure> {
    LEARNT.put(db, vec![1_i64.into(), json.into()])
}

/// Forgets watches that ended before this wall time, and the watcher's own events of before. The newest event and
/// the newest delivery stay, so that their numbers never come again.
pub(super) fn prune(db: &Connection, before: i64) -> Result<usize, Failure> {
    const FREE: &str = "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.watch = old.watch
        AND d.state IN ('waiting', 'running', 'given_up'))";
    let mut watches = db.prepare_cached(&format!(
        "SELECT n, watch FROM (SELECT n, id AS watch, ended_ms FROM watches
             WHERE ended_ms < ?1 AND job NOT IN (SELECT job FROM accepted)) old
         WHERE {FREE} ORDER BY n LIMIT {PRUNED_AT_ONCE}"
    ))?;
    let mut own = db.prepare_cached(&format!(
        "SELECT DISTINCT old.watch FROM events old WHERE wall_ms < ?1
             AND NOT EXISTS (SELECT 1 FROM watches w WHERE w.id = old.watch)
             AND n < (SELECT max(n) FROM events) AND {FREE} LIMIT {PRUNED_AT_ONCE}"
    ))?;
    let mut rows = 0;
    let ended: Vec<(i64, [u8; 16])> = watches
        .query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (n, id) in ended {
        rows += forget(db, id, i64::MAX)?;
        let polls = "DELETE FROM polls WHERE watch = ?1";
        rows += db.prepare_cached(polls)?.execute([id])?;
        rows += db
            .prepare_cached("DELETE FROM watches WHERE n = ?1")?
            .execute([n])?;
    }
    let ids: Vec<[u8; 16]> = own
        .query_map([before], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in ids {
        rows += forget(db, id, before)?;
    }
    Ok(rows)
}

/// Deletes what belongs to a watch and was seen before.
fn forget(db: &Connection, watch: [u8; 16], before: i64) -> Result<usize, Failure> {
    let deliveries = "DELETE FROM deliveries WHERE watch = ?1
        AND n < (SELECT max(n) FROM deliveries)
        AND event IN (SELECT n FROM events WHERE watch = ?1 AND wall_ms < ?2)";
    let events = "DELETE FROM events WHERE watch = ?1 AND wall_ms < ?2
        AND n < (SELECT max(n) FROM events)
        AND n NOT IN (SELECT event FROM deliveries WHERE watch = ?1)";
    let mut rows = 0;
    for sql in [deliveries, events] {
        rows += db.prepare_cached(sql)?.execute(params![watch, before])?;
    }
    Ok(rows)
}

fn watch(db: &Connection, id: WatchId) -> Result<Option<SavedWatch>, Failure> {
    WATCHES.read_one(db, "WHERE id = ?1", [id.0], saved_watch)
}

fn put_watch(db: &Connection, watch: SavedWatch) -> Result<(), Failure> {
    let n = match WATCHES.number_where(db, "id = ?1", [watch.id.0])? {
        Some(n) => n,
        None => WATCHES.next(db)?,
    };
    WATCHES.put(
        db,
        vec![
            n.into(),
            blob(watch.id),
            watch.job.to_string().into(),
            watch.row.into(),
            watch.ended_wall_ms.into(),
            added_by_word(watch.added_by).to_owned().into(),
        ],
    )
}

fn put_event(db: &Connection, n: i64, event: StoredEvent) -> Result<(), Failure> {
    let same = params![event.id.watch.0, event.id.seq];
    if EVENTS
        .number_where(db, "watch = ?1 AND seq = ?2", same)?
        .is_some()
    {
        return Err(told_already(event.id).into());
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

fn put_delivery(db: &Connection, delivery: Delivery) -> Result<(), Failure> {
    DELIVERIES.put(
        db,
        vec![
            delivery.id.0.cast_signed().into(),
            delivery.hook.into(),
            blob(delivery.event.watch),
            i64::from(delivery.event.seq).into(),
            delivery.offset.cast_signed().into(),
            delivery.state.as_str().to_owned().into(),
            i64::from(delivery.attempts).into(),
            delivery.due_ms.into(),
            delivery.reason.into(),
        ],
    )
}

fn delivery(db: &Connection, id: DeliveryId) -> Result<Delivery, Failure> {
    let n = i64::try_from(id.0).unwrap_or(-1);
    DELIVERIES
        .read_one(db, "WHERE n = ?1", [n], saved_delivery)?
        .ok_or_else(|| delivery::unknown(id).into())
}

fn saved_watch(row: &Row<'_>) -> Result<SavedWatch, Failure> {
    Ok(SavedWatch {
        id: WatchId(row.get(1)?),
        job: job(row, 2)?,
        row: row.get(3)?,
        ended_wall_ms: row.get(4)?,
        added_by: added_by(&row.get::<_, String>(5)?)?,
    })
}

fn event(row: &Row<'_>) -> Result<StoredEvent, Failure> {
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

fn saved_delivery(row: &Row<'_>) -> Result<Delivery, Failure> {
    let state: String = row.get(5)?;
    Ok(Delivery {
        id: DeliveryId(row.get::<_, i64>(0)?.cast_unsigned()),
        hook: row.get(1)?,
        event: EventId {
            watch: WatchId(row.get(2)?),
            seq: row.get(3)?,
        },
        offset: row.get::<_, i64>(4)?.cast_unsigned(),
        state: state.parse().map_err(|()| strange("state", &state))?,
        attempts: row.get(6)?,
        due_ms: row.get(7)?,
        reason: row.get(8)?,
    })
}

fn job(row: &Row<'_>, column: usize) -> Result<JobRef, Failure> {
    let name: String = row.get(column)?;
    name.parse().map_err(|_| strange("job", &name))
}

/// Sound by its checksum, so it was written: by a program that knew more words.
fn strange(what: &str, word: &str) -> Failure {
    Failure::Damaged(format!("{word:?} is no {what}"))
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

fn added_by(word: &str) -> Result<AddedBy, Failure> {
    let known = ADDED_BY.iter().find(|(w, _)| *w == word);
    known
        .map(|&(_, by)| by)
        .ok_or_else(|| strange("origin", word))
}
