//! Derives what a damaged file has lost from what is left: the list of configured jobs, and the highest offset used.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::recover::{MAX_SKIP_BITS, RecoveredTable};
use super::table::{CONFIG_JOBS, EVENTS, WATCHES};
use super::{DbError, queries};

/// Reads row ids from the unique index of events, which may be readable where the table is not.
const INDEXED: &str = "SELECT row_id FROM events INDEXED BY sqlite_autoindex_events_1";

/// Makes the list of configured jobs agree with the watches that are left. At startup, a listed job without a watch
/// counts as ended and would never be watched again; an ended job that is not listed counts as new and would run its
/// hooks again.
pub(super) fn config_jobs(new: &Connection, tables: &mut [RecoveredTable]) -> Result<(), DbError> {
    let Some(table) = tables.iter_mut().find(|t| t.table == CONFIG_JOBS.name) else {
        return Ok(());
    };
    // If the list is complete, a job that is missing from it has left the configuration.
    if table.lost > 0 || table.truncated {
        let restored = restore_config_jobs(new)?;
        table.recovered += restored;
        table.lost = table.lost.saturating_sub(restored);
    }
    let remove = "DELETE FROM config_jobs WHERE job NOT IN (SELECT job FROM watches)";
    let removed = new.execute(remove, [])? as u64;
    table.recovered -= removed;
    table.lost += removed;
    Ok(())
}

/// Lists the jobs whose newest watch was added by the configuration, and returns how many. Their labels are lost; a
/// startup takes them from the configuration.
fn restore_config_jobs(new: &Connection) -> Result<u64, DbError> {
    let newest = "WHERE row_id IN (SELECT max(row_id) FROM watches GROUP BY job)
        AND job NOT IN (SELECT job FROM config_jobs) ORDER BY row_id";
    let watches = WATCHES.read(new, newest, [], queries::saved_watch)?;
    let mut restored = 0;
    for watch in watches.iter().filter(|watch| watch.added_by.file) {
        let n = CONFIG_JOBS.next_row_id(new)?;
        let job = watch.job.to_string();
        CONFIG_JOBS.put(new, vec![n.into(), job.into(), "{}".to_owned().into()])?;
        restored += 1;
    }
    Ok(restored)
}

/// Ensures that no offset is reused if the newest events are lost: moves the last remaining event behind every offset in
/// the index. A client that follows reads that event twice and misses nothing.
pub(super) fn offsets(old: &Connection, new: &Connection) -> Result<(), DbError> {
    let values = EVENTS.columns.len() - 1;
    let last = EVENTS.read_one(new, "ORDER BY row_id DESC LIMIT 1", [], |row| {
        let n: i64 = row.get(0)?;
        let rest = (1..values).map(|at| row.get::<_, Value>(at));
        Ok((n, rest.collect::<Result<Vec<_>, _>>()?))
    })?;
    let Some((n, rest)) = last else {
        return Ok(());
    };
    // A damaged index can contain any number.
    let plausible = n..n.saturating_add(1 << MAX_SKIP_BITS);
    let used = indexed_offsets(old).filter(|n| plausible.contains(n)).max();
    if let Some(highest) = used.filter(|&highest| highest > n) {
        new.execute("DELETE FROM events WHERE row_id = ?1", [n])?;
        let moved = std::iter::once((highest + 1).into()).chain(rest);
        EVENTS.put(new, moved.collect())?;
    }
    Ok(())
}

/// The offsets that are readable from either end of the index up to a damaged page.
fn indexed_offsets(old: &Connection) -> impl Iterator<Item = i64> {
    ["watch_id, seq", "watch_id DESC, seq DESC"]
        .into_iter()
        .flat_map(|order| {
            let mut offsets = Vec::new();
            let sql = format!("{INDEXED} ORDER BY {order}");
            if let Ok(mut statement) = old.prepare(&sql)
                && let Ok(mut rows) = statement.query([])
            {
                while let Ok(Some(row)) = rows.next() {
                    offsets.extend(row.get::<_, i64>(0));
                }
            }
            offsets
        })
}
