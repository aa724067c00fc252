//! The tables, and the checksum that every row carries: SQLite itself does not see a flipped bit inside a value.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::Failure;

/// A table of ours. The first column is the row's number, the last its checksum over all others.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

pub(super) const WATCHES: Table = Table {
    name: "watches",
    columns: &["n", "id", "job", "row", "ended_ms", "added_by", "crc"],
};
pub(super) const EVENTS: Table = Table {
    name: "events",
    columns: &["n", "watch", "seq", "wall_ms", "record", "crc"],
};
pub(super) const DELIVERIES: Table = Table {
    name: "deliveries",
    columns: &[
        "n",
        "watch",
        "seq",
        "hook",
        "body",
        "attempts",
        "state",
        "due_ms",
        "error",
        "exit_status",
        "crc",
    ],
};
pub(super) const POLLS: Table = Table {
    name: "polls",
    columns: &["n", "watch", "poll", "crc"],
};
pub(super) const ACCEPTED: Table = Table {
    name: "accepted",
    columns: &["n", "job", "labels", "crc"],
};
/// One row: what ends have taught.
pub(super) const LEARNT: Table = Table {
    name: "learnt",
    columns: &["n", "calibrations", "crc"],
};

/// All of them as this program writes them, in the order in which they are checked and rescued.
pub(super) const TABLES: [&Table; 6] = [&WATCHES, &EVENTS, &DELIVERIES, &POLLS, &ACCEPTED, &LEARNT];

impl Table {
    /// `SELECT` of all columns in order, and what follows.
    pub(super) fn select(&self, rest: &str) -> String {
        format!(
            "SELECT {} FROM {} {rest}",
            self.columns.join(", "),
            self.name
        )
    }

    /// Inserts the row with this number, or takes its place. `values` are all columns but the checksum.
    pub(super) fn put(&self, db: &Connection, values: Vec<Value>) -> Result<(), Failure> {
        let mut sum = Sum::of(self);
        for value in &values {
            sum.add(value.into());
        }
        let crc = Value::Integer(sum.finish());
        let marks = vec!["?"; self.columns.len()].join(", ");
        let sets: Vec<String> = self
            .columns
            .iter()
            .skip(1)
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({marks}) ON CONFLICT (n) DO UPDATE SET {}",
            self.name,
            self.columns.join(", "),
            sets.join(", ")
        );
        let all = values.into_iter().chain([crc]);
        db.prepare_cached(&sql)?
            .execute(rusqlite::params_from_iter(all))?;
        Ok(())
    }

    /// The number for a new row. The event with the highest number is never deleted, so that theirs rise.
    pub(super) fn next(&self, db: &Connection) -> Result<i64, Failure> {
        let sql = format!("SELECT coalesce(max(n), 0) + 1 FROM {}", self.name);
        Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
    }

    /// Reads rows, each one's checksum first.
    pub(super) fn read<T>(
        &self,
        db: &Connection,
        rest: &str,
        params: impl Params,
        mut take: impl FnMut(&Row<'_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut statement = db.prepare_cached(&self.select(rest))?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            if !self.is_sound(row) {
                let n = row.get::<_, i64>(0).unwrap_or_default();
                return Err(self.damaged(n));
            }
            all.push(take(row)?);
        }
        Ok(all)
    }

    /// The first of them, if there is one.
    pub(super) fn read_one<T>(
        &self,
        db: &Connection,
        rest: &str,
        params: impl Params,
        take: impl FnMut(&Row<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        Ok(self.read(db, rest, params, take)?.into_iter().next())
    }

    /// Whether the row, of all columns in order, is as it was written.
    pub(super) fn is_sound(&self, row: &Row<'_>) -> bool {
        let last = self.columns.len() - 1;
        let mut sum = Sum::of(self);
        for at in 0..last {
            match row.get_ref(at) {
                Ok(value) => sum.add(value),
                Err(_) => return false,
            }
        }
        row.get::<_, i64>(last) == Ok(sum.finish())
    }

    pub(super) fn damaged(&self, n: i64) -> Failure {
        Failure::Damaged(format!("row {n} of {} is not as it was written", self.name))
    }

    /// Whether a row exists, by its number.
    pub(super) fn number_where(
        &self,
        db: &Connection,
        condition: &str,
        params: impl Params,
    ) -> Result<Option<i64>, Failure> {
        let sql = format!("SELECT n FROM {} WHERE {condition}", self.name);
        let mut statement = db.prepare_cached(&sql)?;
        Ok(statement.query_row(params, |row| row.get(0)).optional()?)
    }
}

/// CRC-32 over a table's name and its values, each with its type and length, so that nothing can move from one
/// column into the next unseen.
struct Sum(crc32fast::Hasher);

impl Sum {
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
