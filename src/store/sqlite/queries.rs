//! What the store does, as statements. Everything runs within a transaction of the store's thread.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::Failure;
use super::table::{ACCEPTED, DELIVERIES, EVENTS, LEARNT, POLLS, WATCHES};
use crate::store::{
    AddedBy, ConfigJob, JobListUpdate, POLLS_KEPT, SavedWatch, StoredEvent, changed,
    not_of_this_commit, told_already, wanted_already,
};
use forgewatch_core::delivery::{
    self, DeliveryChange, DeliveryFailure as Why, DeliveryId, DeliveryState,
};
use forgewatch_core::event::{EventId, WatchId};
use forgewatch_core::job::JobRef;

const DELIVERY: &str = "watch = ?1 AND seq = ?2 AND hook = ?3";

/// A commit that owns all it needs on its way to the store's thread.
pub(super) struct Step {
    pub(super) watch: Option<SavedWatch>,
    /// Their offsets are not known yet.
    pub(super) events: Vec<StoredEvent>,
    pub(super) deliveries: Vec<delivery::DeliveryRow>,
    pub(super) changes: Vec<DeliveryChange>,
}

pub(super) fn commit(db: &Connection, step: Step) -> Result<(), Failure> {
    for change in step.changes {
        let row = changed(delivery(db, change.id())?, &change)?;
        put_delivery(db, row)?;
    }
    if let Some(step) = step.watch {
        let added_by = watch(db, step.id)?.map_or(step.added_by, |known| known.added_by);
        put_watch(db, SavedWatch { added_by, ..step })?;
    }
    let told: Vec<EventId> = step.events.iter().map(|event| event.id).collect();
    for (n, event) in (EVENTS.next(db)?..).zip(step.events) {
        put_event(db, n, event)?;
    }
    for new in step.deliveries {
        if !told.contains(&new.id.event) {
            return Err(not_of_this_commit(&new.id).into());
        }
        if number_of(db, &new.id)?.is_some() {
            return Err(wanted_already(&new.id).into());
        }
        put_delivery(db, new)?;
    }
    Ok(())
}

/// Keeps the last row of a watch that runs, and its polls.
pub(super) fn record_poll(
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

pub(super) fn waiting_deliveries(db: &Connection) -> Result<Vec<delivery::DeliveryRow>, Failure> {
    let waiting = "WHERE state = 'waiting' ORDER BY n";
    DELIVERIES.read(db, waiting, [], saved_delivery)
}

/// The newest of those that were given up, oldest first, and how many there are. No row is read for the number.
pub(super) fn given_up(
    db: &Connection,
    limit: usize,
) -> Result<(Vec<delivery::DeliveryRow>, usize), Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let newest = "WHERE state = 'given_up' ORDER BY n DESC LIMIT ?1";
    let mut rows = DELIVERIES.read(db, newest, [limit], saved_delivery)?;
    rows.reverse();
    let all: i64 = db
        .prepare_cached("SELECT count(*) FROM deliveries WHERE state = 'given_up'")?
        .query_row([], |row| row.get(0))?;
    Ok((rows, usize::try_from(all).unwrap_or(usize::MAX)))
}

pub(super) fn deliveries_of(
    db: &Connection,
    watch: WatchId,
) -> Result<Vec<delivery::DeliveryRow>, Failure> {
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

pub(super) fn config_jobs(db: &Connection) -> Result<Vec<ConfigJob>, Failure> {
    ACCEPTED.read(db, "ORDER BY n", [], |row| {
        Ok(ConfigJob {
            job: job(row, 1)?,
            labels: row.get(2)?,
        })
    })
}

pub(super) fn accept(db: &Connection, accept: JobListUpdate) -> Result<(), Failure> {
    if let Some(jobs) = accept.jobs {
        db.prepare_cached("DELETE FROM accepted")?.execute([])?;
        for (n, config_jobs) in (1_i64..).zip(jobs) {
            let job = config_jobs.job.to_string();
            ACCEPTED.put(db, vec![n.into(), job.into(), config_jobs.labels.into()])?;
        }
    }
    for begun in accept.begin {
        put_watch(db, begun)?;
    }
    for (id, added_by) in accept.added_by {
        if let Some(known) = watch(db, id)? {
            put_watch(db, SavedWatch { added_by, ..known })?;
        }
    }
    Ok(())
}

pub(super) fn calibrations(db: &Connection) -> Result<Option<String>, Failure> {
    LEARNT.read_one(db, "WHERE n = 1", [], |row| Ok(row.get(1)?))
}

pub(super) fn save_calibrations(db: &Connection, json: String) -> Result<(), Failure> {
    LEARNT.put(db, vec![1_i64.into(), json.into()])
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

fn put_delivery(db: &Connection, row: delivery::DeliveryRow) -> Result<(), Failure> {
    let n = match number_of(db, &row.id)? {
        Some(n) => n,
        None => DELIVERIES.next(db)?,
    };
    let (state, due_ms, why) = match row.standing {
        DeliveryState::Pending { due_ms } => ("waiting", Some(due_ms), None),
        DeliveryState::Failed(why) => ("given_up", None, Some(why)),
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

fn number_of(db: &Connection, id: &DeliveryId) -> Result<Option<i64>, Failure> {
    let same = params![id.event.watch.0, id.event.seq, &*id.hook];
    DELIVERIES.number_where(db, DELIVERY, same)
}

pub(super) fn delivery(
    db: &Connection,
    id: &DeliveryId,
) -> Result<Option<delivery::DeliveryRow>, Failure> {
    let same = params![id.event.watch.0, id.event.seq, &*id.hook];
    DELIVERIES.read_one(db, &format!("WHERE {DELIVERY}"), same, saved_delivery)
}

pub(super) fn saved_watch(row: &Row<'_>) -> Result<SavedWatch, Failure> {
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

fn saved_delivery(row: &Row<'_>) -> Result<delivery::DeliveryRow, Failure> {
    let state: String = row.get(6)?;
    let standing = match state.as_str() {
        "waiting" => DeliveryState::Pending {
            due_ms: row.get(7)?,
        },
        "given_up" => DeliveryState::Failed(Why {
            error: row.get(8)?,
            exit_status: row.get(9)?,
        }),
        "delivered" => DeliveryState::Delivered,
        "discarded" => DeliveryState::Discarded,
        word => return Err(strange("state", word)),
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
        standing,
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
