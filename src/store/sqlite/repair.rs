//! Derives what a damaged file has lost from what is left: the list of configured jobs, and the highest offset used.

use rusqlite::Connection;

use super::config_jobs::CONFIG_JOBS;
use super::error::DbError;
use super::salvage::{MAX_SKIP_BITS, RecoveredTable};
use super::{config_jobs, events, watches};
use crate::store::{ConfigJob, StoredEvent};

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
    let removed = config_jobs::remove_unwatched(new)? as u64;
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
            config_jobs::append(
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
    let Some(last) = events::last(new)? else {
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
        events::put(
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
