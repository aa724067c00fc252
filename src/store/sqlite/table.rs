//! What all tables have in common: a row id, and a checksum of every row, because SQLite itself does not detect a flipped
//! bit within a value.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::error::DbError;

pub(super) struct Table {
    pub(super) name: &'static str,
    /// Stores a row, with values in the order of the table's definition and the checksum at the end.
    pub(super) put: &'static str,
}

impl Table {
    /// Stores a row. `values` are those of all columns but the checksum.
    pub(super) fn put(&self, db: &Connection, values: Vec<Value>) -> Result<(), DbError> {
        let mut checksum = Checksum::of(self);
        for value in &values {
            checksum.add(value.into());
        }
        let checksum = Value::Integer(checksum.finish());
        let all = values.into_iter().chain([checksum]);
        db.prepare_cached(self.put)?
            .execute(rusqlite::params_from_iter(all))?;
        Ok(())
    }

    /// The row id of a new row. The newest event is never deleted, so the row ids of events are never reused.
    pub(super) fn next_row_id(&self, db: &Connection) -> Result<i64, DbError> {
        let sql = format!("SELECT coalesce(max(row_id), 0) + 1 FROM {}", self.name);
        Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
    }

    /// Selects the rows from a row id on, without the indexes: those may be damaged.
    pub(super) fn scan(&self) -> String {
        let table = self.name;
        format!("SELECT * FROM {table} NOT INDEXED WHERE row_id >= ?1 ORDER BY row_id")
    }

    /// Reads whole rows and verifies their checksums.
    pub(super) fn read<T>(
        &self,
        db: &Connection,
        sql: &str,
        params: impl Params,
        mut decode: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            self.verify(row)?;
            all.push(decode(row)?);
        }
        Ok(all)
    }

    pub(super) fn read_one<T>(
        &self,
        db: &Connection,
        sql: &str,
        params: impl Params,
        decode: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        Ok(self.read(db, sql, params, decode)?.into_iter().next())
    }

    /// Verifies the checksums of all rows; returns their number.
    pub(super) fn verify_all(&self, db: &Connection) -> Result<u64, DbError> {
        let mut statement = db.prepare(&self.scan())?;
        let mut rows = statement.query([i64::MIN])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            self.verify(row)?;
            count += 1;
        }
        Ok(count)
    }

    fn verify(&self, row: &Row<'_>) -> Result<(), DbError> {
        if self.is_sound(row) {
            return Ok(());
        }
        let row_id: i64 = row.get("row_id").unwrap_or_default();
        let reason = format!("wrong checksum of row {row_id} of {}", self.name);
        Err(DbError::Damaged(reason))
    }

    /// Whether the checksum of a whole row matches.
    pub(super) fn is_sound(&self, row: &Row<'_>) -> bool {
        let mut checksum = Checksum::of(self);
        for column in value_columns(row) {
            match row.get_ref(column) {
                Ok(value) => checksum.add(value),
                Err(_) => return false,
            }
        }
        row.get::<_, i64>("checksum") == Ok(checksum.finish())
    }
}

/// The columns of a whole row but the checksum.
pub(super) fn value_columns(row: &Row<'_>) -> impl Iterator<Item = usize> + use<> {
    let statement = row.as_ref();
    let checksum = statement.column_index("checksum").ok();
    (0..statement.column_count()).filter(move |&column| Some(column) != checksum)
}

/// The first column of the first row, such as a row id.
pub(super) fn find(
    db: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Option<i64>, DbError> {
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row(params, |row| row.get(0)).optional()?)
}

/// For a value with a valid checksum, which a later version may have written.
pub(super) fn invalid(what: &str, value: &str) -> DbError {
    DbError::Damaged(format!("invalid {what} {value:?}"))
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
