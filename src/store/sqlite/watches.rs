//! The tables of watches, of their last polls, of the configured jobs and of the calibration.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::error::DbError;
use super::table::{Table, find, invalid};
use crate::store::{AddedBy, ConfigJob, MAX_POLLS, SavedWatch};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;

pub(super) const WATCHES: Table = Table {
    name: "watches",
    put: "INSERT INTO watches (row_id, watch_id, job, snapshot, ended_ms, added_by, seq, labels, checksum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (row_id) DO UPDATE SET
            watch_id = excluded.watch_id, job = excluded.job, snapshot = excluded.snapshot,
            ended_ms = excluded.ended_ms, added_by = excluded.added_by, seq = excluded.seq,
            labels = excluded.labels, checksum = excluded.checksum",
};

/// Up to schema version 1: `seq` and `labels` are in the snapshot.
pub(super) const WATCHES_1: Table = Table {
    name: "watches",
    put: "INSERT INTO watches (row_id, watch_id, job, snapshot, ended_ms, added_by, checksum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
};

pub(super) const POLLS: Table = Table {
    name: "polls",
    put: "INSERT INTO polls (row_id, watch_id, poll, checksum) VALUES (?1, ?2, ?3, ?4)",
};

pub(super) const CONFIG_JOBS: Table = Table {
    name: "config_jobs",
    put: "INSERT INTO config_jobs (row_id, job, labels, checksum) VALUES (?1, ?2, ?3, ?4)",
};

pub(super) const CALIBRATION: Table = Table {
    name: "calibration",
    put: "INSERT INTO calibration (row_id, json, checksum) VALUES (?1, ?2, ?3)
        ON CONFLICT (row_id) DO UPDATE SET json = excluded.json, checksum = excluded.checksum",
};

pub(super) fn get(db: &Connection, id: WatchId) -> Result<Option<SavedWatch>, DbError> {
    let sql = "SELECT * FROM watches WHERE watch_id = ?1";
    WATCHES.read_one(db, sql, [id.0], decode)
}

pub(super) fn running(db: &Connection) -> Result<Vec<SavedWatch>, DbError> {
    let sql = "SELECT * FROM watches WHERE ended_ms IS NULL ORDER BY row_id";
    WATCHES.read(db, sql, [], decode)
}

/// The plus excludes the index by time: with it, SQLite would sort all ended watches for each page.
const ENDED_SINCE: &str =
    "SELECT * FROM watches WHERE watch_id > ?1 AND +ended_ms >= ?2 ORDER BY watch_id LIMIT ?3";

pub(super) fn ended_since(
    db: &Connection,
    wall_ms: i64,
    after: Option<WatchId>,
    limit: usize,
) -> Result<Vec<SavedWatch>, DbError> {
    let after = after.map_or(Vec::new(), |id| id.0.to_vec());
    let params = params![after, wall_ms, limit as i64];
    WATCHES.read(db, ENDED_SINCE, params, decode)
}

pub(super) fn last_ended(
    db: &Connection,
    wall_ms: i64,
    limit: usize,
) -> Result<Vec<SavedWatch>, DbError> {
    let sql = "SELECT * FROM watches WHERE ended_ms >= ?1 ORDER BY ended_ms DESC LIMIT ?2";
    WATCHES.read(db, sql, params![wall_ms, limit as i64], decode)
}

pub(super) fn newest(db: &Connection, job: JobRef) -> Result<Option<SavedWatch>, DbError> {
    let sql = "SELECT * FROM watches WHERE job = ?1 ORDER BY row_id DESC LIMIT 1";
    WATCHES.read_one(db, sql, [job.to_string()], decode)
}

/// The newest watches of the jobs that are missing from the list of configured jobs.
pub(super) fn newest_unlisted(db: &Connection) -> Result<Vec<SavedWatch>, DbError> {
    let sql = "SELECT * FROM watches WHERE row_id IN (SELECT max(row_id) FROM watches GROUP BY job)
        AND job NOT IN (SELECT job FROM config_jobs) ORDER BY row_id";
    WATCHES.read(db, sql, [], decode)
}

/// Inserts or updates a watch.
pub(super) fn put(db: &Connection, watch: SavedWatch) -> Result<(), DbError> {
    let sql = "SELECT row_id FROM watches WHERE watch_id = ?1";
    let row_id = match find(db, sql, [watch.id.0])? {
        Some(row_id) => row_id,
        None => WATCHES.next_row_id(db)?,
    };
    WATCHES.put(
        db,
        vec![
            row_id.into(),
            Value::Blob(watch.id.0.to_vec()),
            watch.job.to_string().into(),
            watch.snapshot.into(),
            watch.ended_wall_ms.into(),
            added_by_text(watch.added_by).to_owned().into(),
            watch.seq.into(),
            watch.labels.into(),
        ],
    )
}

/// Stores polls of a running watch, and its latest snapshot.
pub(super) fn record_polls(
    db: &Connection,
    id: WatchId,
    snapshot: Option<String>,
    polls: Vec<String>,
) -> Result<(), DbError> {
    let Some(watch) = get(db, id)?.filter(|w| w.ended_wall_ms.is_none()) else {
        return Ok(());
    };
    for poll in polls {
        let row_id = POLLS.next_row_id(db)?;
        let watch_id = Value::Blob(id.0.to_vec());
        POLLS.put(db, vec![row_id.into(), watch_id, poll.into()])?;
    }
    db.prepare_cached(
        "DELETE FROM polls WHERE watch_id = ?1 AND row_id <=
            (SELECT row_id FROM polls WHERE watch_id = ?1 ORDER BY row_id DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![id.0, MAX_POLLS as i64])?;
    match snapshot {
        Some(snapshot) => put(db, SavedWatch { snapshot, ..watch }),
        None => Ok(()),
    }
}

pub(super) fn polls_of(db: &Connection, watch: WatchId) -> Result<Vec<String>, DbError> {
    let sql = "SELECT * FROM polls WHERE watch_id = ?1 ORDER BY row_id";
    POLLS.read(db, sql, [watch.0], |row| Ok(row.get("poll")?))
}

fn decode(row: &Row<'_>) -> Result<SavedWatch, DbError> {
    let job: String = row.get("job")?;
    Ok(SavedWatch {
        id: WatchId(row.get("watch_id")?),
        job: job.parse().map_err(|_| invalid("job", &job))?,
        seq: row.get("seq")?,
        labels: row.get("labels")?,
        snapshot: row.get("snapshot")?,
        ended_wall_ms: row.get("ended_ms")?,
        added_by: parse_added_by(&row.get::<_, String>("added_by")?)?,
    })
}

fn added_by_text(by: AddedBy) -> &'static str {
    match (by.file, by.socket) {
        (false, false) => "",
        (true, false) => "file",
        (false, true) => "socket",
        (true, true) => "file,socket",
    }
}

fn parse_added_by(text: &str) -> Result<AddedBy, DbError> {
    let (file, socket) = match text {
        "" => (false, false),
        "file" => (true, false),
        "socket" => (false, true),
        "file,socket" => (true, true),
        _ => return Err(invalid("added_by", text)),
    };
    Ok(AddedBy { file, socket })
}

pub(super) fn config_jobs(db: &Connection) -> Result<Vec<ConfigJob>, DbError> {
    let sql = "SELECT * FROM config_jobs ORDER BY row_id";
    CONFIG_JOBS.read(db, sql, [], |row| {
        let job: String = row.get("job")?;
        Ok(ConfigJob {
            job: job.parse().map_err(|_| invalid("job", &job))?,
            labels: row.get("labels")?,
        })
    })
}

pub(super) fn replace_config_jobs(db: &Connection, jobs: Vec<ConfigJob>) -> Result<(), DbError> {
    db.prepare_cached("DELETE FROM config_jobs")?.execute([])?;
    for job in jobs {
        append_config_job(db, job)?;
    }
    Ok(())
}

pub(super) fn append_config_job(db: &Connection, job: ConfigJob) -> Result<(), DbError> {
    let row_id = CONFIG_JOBS.next_row_id(db)?;
    let name = job.job.to_string();
    CONFIG_JOBS.put(db, vec![row_id.into(), name.into(), job.labels.into()])
}

/// Removes the configured jobs without a watch; returns how many.
pub(super) fn remove_unwatched_config_jobs(db: &Connection) -> Result<usize, DbError> {
    let sql = "DELETE FROM config_jobs WHERE job NOT IN (SELECT job FROM watches)";
    Ok(db.execute(sql, [])?)
}

pub(super) fn load_calibration(db: &Connection) -> Result<Option<String>, DbError> {
    let sql = "SELECT * FROM calibration WHERE row_id = 1";
    CALIBRATION.read_one(db, sql, [], |row| Ok(row.get("json")?))
}

pub(super) fn save_calibration(db: &Connection, json: String) -> Result<(), DbError> {
    CALIBRATION.put(db, vec![1_i64.into(), json.into()])
}

#[cfg(test)]
mod tests {
    use super::super::schema::{self, MIGRATIONS};
    use super::*;

    #[test]
    fn a_page_of_ended_watches_is_read_without_sorting_all_of_them() {
        let db = Connection::open_in_memory().unwrap();
        schema::migrate(&db, 0, MIGRATIONS).unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {ENDED_SINCE}");
        let plan: String = db
            .query_row(&sql, params![Vec::new(), 0, 1], |row| row.get("detail"))
            .unwrap();
        assert!(plan.contains("(watch_id>?)"), "{plan}");
    }
}
