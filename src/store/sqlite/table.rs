//! The tables, and the checksum of every row: SQLite itself does not detect a flipped bit within a value.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::DbError;

/// The first column is the row id, the last one the checksum of all others.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

pub(super) const WATCHES: Table = Table {
    name: "watches",
    columns: &[
        "row_id", "watch_id", "job", "snapshot", "ended_ms", "added_by", "checksum",
    ],
};
pub(super) const EVENTS: Table = Table {
    name: "events",
    columns: &["row_id", "watch_id", "seq", "wall_ms", "record", "checksum"],
};
pub(super) const DELIVERIES: Table = Table {
    name: "deliveries",
    columns: &[
        "row_id",
        "watch_id",
        "seq",
        "hook",
        "payload",
        "attempts",
        "state",
        "due_ms",
        "error_message",
        "exit_status",
        "checksum",
    ],
};
pub(super) const POLLS: Table = Table {
    name: "polls",
    columns: &["row_id", "watch_id", "poll", "checksum"],
};
pub(super) const CONFIG_JOBS: Table = Table {
    name: "config_jobs",
    columns: &["row_id", "job", "labels", "checksum"],
};
/// One row.
pub(super) const CALIBRATION: Table = Table {
    name: "calibration",
    columns: &["row_id", "json", "checksum"],
};

/// In the order in which they are checked and recovered.
pub(super) const TABLES: [&Table; 6] = [
    &WATCHES,
    &EVENTS,
    &DELIVERIES,
    &POLLS,
    &CONFIG_JOBS,
    &CALIBRATION,
];

impl Table {
    /// A `SELECT` of all columns in order, with these clauses.
    pub(super) fn select(&self, clauses: &str) -> String {
        format!(
            "SELECT {} FROM {} {clauses}",
            self.columns.join(", "),
            self.name
        )
    }

    /// Inserts or replaces a row. `values` are those of all columns but the checksum.
    pub(super) fn put(&self, db: &Connection, values: Vec<Value>) -> Result<(), DbError> {
        let mut checksum = Checksum::of(self);
        for value in &values {
            checksum.add(value.into());
        }
        let checksum = Value::Integer(checksum.finish());
        let marks = vec!["?"; self.columns.len()].join(", ");
        let sets: Vec<String> = self
            .columns
            .iter()
            .skip(1)
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({marks}) ON CONFLICT (row_id) DO UPDATE SET {}",
            self.name,
            self.columns.join(", "),
            sets.join(", ")
        );
        let all = values.into_iter().chain([checksum]);
        db.prepare_cached(&sql)?
            .execute(rusqlite::params_from_iter(all))?;
        Ok(())
    }

    /// The row id of a new row. The newest event is never deleted, so the row ids of events are never reused.
    pub(super) fn next_row_id(&self, db: &Connection) -> Result<i64, DbError> {
        let sql = format!("SELECT coalesce(max(row_id), 0) + 1 FROM {}", self.name);
        Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
    }

    /// Reads rows and verifies their checksums.
    pub(super) fn read<T>(
        &self,
        db: &Connection,
        clauses: &str,
        params: impl Params,
        mut decode: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let mut statement = db.prepare_cached(&self.select(clauses))?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            if !self.is_sound(row) {
                let n = row.get::<_, i64>(0).unwrap_or_default();
                return Err(self.damaged(n));
            }
            all.push(decode(row)?);
        }
        Ok(all)
    }

    /// Reads the first of the rows.
    pub(super) fn read_one<T>(
        &self,
        db: &Connection,
        clauses: &str,
        params: impl Params,
        decode: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        Ok(self.read(db, clauses, params, decode)?.into_iter().next())
    }

    /// Whether the checksum of the row, of all columns in order, matches.
    pub(super) fn is_sound(&self, row: &Row<'_>) -> bool {
        let last = self.columns.len() - 1;
        let mut checksum = Checksum::of(self);
        for at in 0..last {
            match row.get_ref(at) {
                Ok(value) => checksum.add(value),
                Err(_) => return false,
            }
        }
        row.get::<_, i64>(last) == Ok(checksum.finish())
    }

    pub(super) fn damaged(&self, n: i64) -> DbError {
        DbError::Damaged(format!("wrong checksum of row {n} of {}", self.name))
    }

    /// The row id of the first matching row.
    pub(super) fn row_id_where(
        &self,
        db: &Connection,
        condition: &str,
        params: impl Params,
    ) -> Result<Option<i64>, DbError> {
        let sql = format!("SELECT row_id FROM {} WHERE {condition}", self.name);
        let mut statement = db.prepare_cached(&sql)?;
        Ok(statement.query_row(params, |row| row.get(0)).optional()?)
    }
}

/// CRC-32 of the table's name and the values, each with its type and length, so that no byte can move from one column to
/// the next undetected.
struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn of(table: &Table) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(table.name.as_bytes());
        Self(hasher)
    }

    fn add(&mut self, value: ValueRef<'_>) {
        let mut tagged = |tag: u8, bytes: &[u8]| {
            self.0.update(&[tag]);
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        };
        match value {
            ValueRef::Null => tagged(0, &[]),
            ValueRef::Integer(i) => tagged(1, &i.to_le_bytes()),
            ValueRef::Real(f) => tagged(2, &f.to_le_bytes()),
            ValueRef::Text(text) => tagged(3, text),
            ValueRef::Blob(blob) => tagged(4, blob),
        }
    }

    fn finish(self) -> i64 {
        i64::from(self.0.finalize())
    }
}
