//! The table of the jobs of the configuration that was applied last.

use rusqlite::Connection;

use super::error::DbError;
use super::table::{Table, invalid};
use crate::store::ConfigJob;

pub(super) const CONFIG_JOBS: Table = Table {
    name: "config_jobs",
    scan: "SELECT * FROM config_jobs NOT INDEXED WHERE row_id >= ?1 ORDER BY row_id",
    next_row_id: "SELECT coalesce(max(row_id), 0) + 1 FROM config_jobs",
    put: "INSERT INTO config_jobs (row_id, job, labels, checksum) VALUES (?1, ?2, ?3, ?4)",
};

pub(super) fn all(db: &Connection) -> Result<Vec<ConfigJob>, DbError> {
    let sql = "SELECT * FROM config_jobs ORDER BY row_id";
    CONFIG_JOBS.read(db, sql, [], |row| {
        let job: String = row.get("job")?;
        Ok(ConfigJob {
            job: job.parse().map_err(|_| invalid("job", &job))?,
            labels: row.get("labels")?,
        })
    })
}

pub(super) fn replace(db: &Connection, jobs: Vec<ConfigJob>) -> Result<(), DbError> {
    db.prepare_cached("DELETE FROM config_jobs")?.execute([])?;
    for job in jobs {
        append(db, job)?;
    }
    Ok(())
}

pub(super) fn append(db: &Connection, job: ConfigJob) -> Result<(), DbError> {
    let row_id = CONFIG_JOBS.next_row_id(db)?;
    let name = job.job.to_string();
    CONFIG_JOBS.put(db, vec![row_id.into(), name.into(), job.labels.into()])
}

/// Removes the jobs without a watch; returns how many.
pub(super) fn remove_unwatched(db: &Connection) -> Result<usize, DbError> {
    let sql = "DELETE FROM config_jobs WHERE job NOT IN (SELECT job FROM watches)";
    Ok(db.execute(sql, [])?)
}
