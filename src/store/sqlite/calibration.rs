//! The table of the calibration, with one row.

use rusqlite::Connection;

use super::error::DbError;
use super::table::Table;

pub(super) const CALIBRATION: Table = Table {
    name: "calibration",
    scan: "SELECT * FROM calibration NOT INDEXED WHERE row_id >= ?1 ORDER BY row_id",
    next_row_id: "SELECT coalesce(max(row_id), 0) + 1 FROM calibration",
    put: "INSERT INTO calibration (row_id, json, checksum) VALUES (?1, ?2, ?3)
        ON CONFLICT (row_id) DO UPDATE SET json = excluded.json, checksum = excluded.checksum",
};

pub(super) fn load(db: &Connection) -> Result<Option<String>, DbError> {
    let sql = "SELECT * FROM calibration WHERE row_id = 1";
    CALIBRATION.read_one(db, sql, [], |row| Ok(row.get("json")?))
}

pub(super) fn save(db: &Connection, json: String) -> Result<(), DbError> {
    CALIBRATION.put(db, vec![1_i64.into(), json.into()])
}
