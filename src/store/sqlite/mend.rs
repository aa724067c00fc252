//! What a rescue can make good of what was lost, from what is left: the list of the configuration file, and how far the
//! offsets had risen.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::rescue::{FURTHEST, Rescue};
use super::table::{ACCEPTED, EVENTS, WATCHES};
use super::{Failure, queries};

/// Every row of events in the order of its index, which holds their offsets, too.
const INDEXED: &str = "SELECT n FROM events INDEXED BY sqlite_autoindex_events_1";

/// Makes the list agree with the watches that are left. A listed job without a watch is taken for one that ended, and is
/// never watched again; one that has ended and is not listed is taken for a new one, and its hooks hear of it again.
pub(super) fn list(new: &Connection, rescues: &mut [Rescue]) -> Result<(), Failure> {
    let Some(config_jobs) = rescues.iter_mut().find(|r| r.table == ACCEPTED.name) else {
        return Ok(());
    };
    // A sound list is right: jobs that are not on it have left the configuration.
    if config_jobs.lost > 0 || config_jobs.cut_off {
        let put_back = put_back(new)?;
        config_jobs.rescued += put_back;
        config_jobs.lost = config_jobs.lost.saturating_sub(put_back);
    }
    let forget = "DELETE FROM accepted WHERE job NOT IN (SELECT job FROM watches)";
    let forgotten = new.execute(forget, [])? as u64;
    config_jobs.rescued -= forgotten;
    config_jobs.lost += forgotten;
    Ok(())
}

/// Lists the jobs whose newest watch the configuration asked for; how many. Their labels are lost: a start takes them
/// from the configuration.
fn put_back(new: &Connection) -> Result<u64, Failure> {
    let newest = "WHERE n IN (SELECT max(n) FROM watches GROUP BY job)
        AND job NOT IN (SELECT job FROM accepted) ORDER BY n";
    let watches = WATCHES.read(new, newest, [], queries::saved_watch)?;
    let mut put = 0;
    for watch in watches.iter().filter(|watch| watch.added_by.file) {
        let n = ACCEPTED.next(new)?;
        let job = watch.job.to_string();
        ACCEPTED.put(new, vec![n.into(), job.into(), "{}".to_owned().into()])?;
        put += 1;
    }
    Ok(put)
}

/// Takes care that no offset is given twice where the newest events are lost: the last one that is left moves behind all
/// that their index tells of. Whoever follows by offset reads it once more, and misses nothing that comes.
pub(super) fn offsets(old: &Connection, new: &Connection) -> Result<(), Failure> {
    let values = EVENTS.columns.len() - 1;
    let last = EVENTS.read_one(new, "ORDER BY n DESC LIMIT 1", [], |row| {
        let n: i64 = row.get(0)?;
        let rest = (1..values).map(|at| row.get::<_, Value>(at));
        Ok((n, rest.collect::<Result<Vec<_>, _>>()?))
    })?;
    let Some((n, rest)) = last else {
        return Ok(());
    };
    // A damaged index may tell anything.
    let believable = n..n.saturating_add(1 << FURTHEST);
    let given = told_by_index(old).filter(|n| believable.contains(n)).max();
    if let Some(highest) = given.filter(|&highest| highest > n) {
        new.execute("DELETE FROM events WHERE n = ?1", [n])?;
        let moved = std::iter::once((highest + 1).into()).chain(rest);
        EVENTS.put(new, moved.collect())?;
    }
    Ok(())
}

/// The offsets that can be read from both ends up to a damaged place.
fn told_by_index(old: &Connection) -> impl Iterator<Item = i64> {
    ["watch, seq", "watch DESC, seq DESC"]
        .into_iter()
        .flat_map(|order| {
            let mut told = Vec::new();
            let sql = format!("{INDEXED} ORDER BY {order}");
            if let Ok(mut statement) = old.prepare(&sql)
                && let Ok(mut rows) = statement.query([])
            {
                while let Ok(Some(row)) = rows.next() {
                    told.extend(row.get::<_, i64>(0));
                }
            }
            told
        })
}
