//! Copies the readable rows of the tables of a damaged file, and derives from them what the file has lost: the list of
//! configured jobs, and the highest offset used.

use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use super::error::DbError;
use super::events;
use super::table::{Table, value_columns};
use super::watches::{self, CONFIG_JOBS};
use crate::store::{ConfigJob, StoredEvent};

/// The size of a page of SQLite's files.
pub(super) const PAGE: usize = 4096;

/// The search for a readable row behind a damaged page ends after 2^40 row ids.
const MAX_SKIP_BITS: u32 = 40;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredTable {
    pub table: &'static str,
    /// Rows of the new file: copied ones, and configured jobs that were derived from the watches.
    pub recovered: u64,
    /// Damaged rows and row ids in damaged pages; an upper bound, because row ids may have been unused.
    pub lost: u64,
    /// Whether the end of the table could not be reached, so that more rows may be lost.
    pub truncated: bool,
}

/// Copies the readable rows of one table: from the first row on, and behind each damaged page from the next readable row on.
pub(super) fn copy_rows(
    table: &Table,
    old: &Connection,
    new: &Connection,
) -> Result<RecoveredTable, DbError> {
    let mut salvage = Salvage {
        table,
        result: RecoveredTable {
            table: table.name,
            ..RecoveredTable::default()
        },
        last: 0,
    };
    let mut from = Some(i64::MIN);
    while let Some(start) = from {
        from = if salvage.read(old, new, start)? {
            None
        } else {
            salvage.next_readable(old)
        };
    }
    Ok(salvage.result)
}

struct Salvage<'a> {
    table: &'a Table,
    result: RecoveredTable,
    /// The row id of the last row that was read.
    last: i64,
}

impl Salvage<'_> {
    /// Returns true at the end of the table, false at a damaged page. Errors are those of the new file.
    fn read(&mut self, old: &Connection, new: &Connection, from: i64) -> Result<bool, DbError> {
        let Ok(mut statement) = old.prepare_cached(&self.table.scan()) else {
            return Ok(false);
        };
        let Ok(mut rows) = statement.query([from]) else {
            return Ok(false);
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            };
            self.last = row.get(0).unwrap_or(self.last).max(self.last);
            let recovered = match sound_values(self.table, row) {
                Some(values) => put(self.table, new, values)?,
                None => false,
            };
            if recovered {
                self.result.recovered += 1;
            } else {
                self.result.lost += 1;
            }
        }
    }

    /// The first readable row behind a damaged page, by exponential and then binary search.
    fn next_readable(&mut self, old: &Connection) -> Option<i64> {
        let read_at = |from: i64| -> Option<i64> {
            let mut statement = old.prepare_cached(&self.table.scan()).ok()?;
            statement.query_row([from], |row| row.get(0)).ok()
        };
        let skip = |rows: i64| read_at(self.last.saturating_add(rows));
        let Some(power) = (0..MAX_SKIP_BITS).find(|&power| skip(1 << power).is_some()) else {
            self.result.truncated = true;
            return None;
        };
        let (mut bad, mut good) = ((1_i64 << power) / 2, 1_i64 << power);
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            match skip(middle) {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        let next = skip(good)?;
        self.result.lost += next.abs_diff(self.last).saturating_sub(1);
        Some(next)
    }
}

/// The values of a row whose checksum matches.
pub(super) fn sound_values(table: &Table, row: &Row<'_>) -> Option<Vec<Value>> {
    if !table.is_sound(row) {
        return None;
    }
    value_columns(row)
        .map(|column| row.get(column).ok())
        .collect()
}

/// Returns false if the row conflicts with another one, which a damaged unique index allowed.
pub(super) fn put(table: &Table, new: &Connection, values: Vec<Value>) -> Result<bool, DbError> {
    match table.put(new, values) {
        Err(DbError::Sql(error))
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// Makes the list of configured jobs agree with the watches that are left. At startup, a listed job without a watch
/// counts as ended and would never be watched again; an ended job that is not listed counts as new and would run its
/// hooks again.
pub(super) fn restore_config_jobs(
    new: &Connection,
    tables: &mut [RecoveredTable],
) -> Result<(), DbError> {
    let Some(table) = tables.iter_mut().find(|t| t.table == CONFIG_JOBS.name) else {
        return Ok(());
    };
    // If the list is complete, a job that is missing from it has left the configuration.
    if table.lost > 0 || table.truncated {
        let restored = append_missing_jobs(new)?;
        table.recovered += restored;
        table.lost = table.lost.saturating_sub(restored);
    }
    let removed = watches::remove_unwatched_config_jobs(new)? as u64;
    table.recovered -= removed;
    table.lost += removed;
    Ok(())
}

/// Lists the jobs whose newest watch was added by the configuration, and returns how many. Their labels are lost; a
/// startup takes them from the configuration.
fn append_missing_jobs(new: &Connection) -> Result<u64, DbError> {
    let mut restored = 0;
    for watch in watches::newest_unlisted(new)? {
        if watch.added_by.file {
            let labels = "{}".to_owned();
            watches::append_config_job(
                new,
                ConfigJob {
                    job: watch.job,
                    labels,
                },
            )?;
            restored += 1;
        }
    }
    Ok(restored)
}

/// Ensures that no offset is reused if the newest events are lost: moves the last remaining event behind every offset in
/// the index. A client that follows reads that event twice and misses nothing.
pub(super) fn advance_offsets(old: &Connection, new: &Connection) -> Result<(), DbError> {
    let Some(last) = events::last_event(new)? else {
        return Ok(());
    };
    let offset = last.offset.cast_signed();
    // A damaged index can contain any number.
    let plausible = offset..offset.saturating_add(1 << MAX_SKIP_BITS);
    let indexed = indexed_offsets(old).into_iter();
    let highest = indexed.filter(|n| plausible.contains(n)).max();
    if let Some(highest) = highest.filter(|&highest| highest > offset) {
        new.execute("DELETE FROM events WHERE row_id = ?1", [offset])?;
        let moved = highest.cast_unsigned() + 1;
        events::put_event(
            new,
            StoredEvent {
                offset: moved,
                ..last
            },
        )?;
    }
    Ok(())
}

/// The offsets that are readable from either end of the unique index of events up to a damaged page. The index may be
/// readable where the table is not.
fn indexed_offsets(old: &Connection) -> Vec<i64> {
    let mut offsets = Vec::new();
    for sql in [
        "SELECT row_id FROM events INDEXED BY sqlite_autoindex_events_1 ORDER BY watch_id, seq",
        "SELECT row_id FROM events INDEXED BY sqlite_autoindex_events_1 ORDER BY watch_id DESC, seq DESC",
    ] {
        if let Ok(mut statement) = old.prepare(sql)
            && let Ok(mut rows) = statement.query([])
        {
            while let Ok(Some(row)) = rows.next() {
                offsets.extend(row.get::<_, i64>(0));
            }
        }
    }
    offsets
}
