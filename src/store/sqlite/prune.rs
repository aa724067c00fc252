//! Forgetting, a little at a time: everybody else waits for the store's thread meanwhile.

use rusqlite::{Connection, OptionalExtension, params};

use super::Failure;

/// How many watches are forgotten at once at most: some ten milliseconds.
const PRUNED_AT_ONCE: i64 = 200;
/// How many events are looked at for the watcher's own at once: some ten milliseconds, too.
const LOOKED_AT: i64 = 5000;

/// Of a delivery that is not done.
const UNDONE: &str = "state IN ('waiting', 'given_up')";

/// Forgets watches that ended before this wall time. The newest event stays, so that its number never comes again; it
/// is nobody's then.
pub(super) fn watches(db: &Connection, before: i64) -> Result<usize, Failure> {
    let mut ended = db.prepare_cached(&format!(
        "SELECT n, id FROM watches w
         WHERE ended_ms < ?1 AND job NOT IN (SELECT job FROM accepted) AND NOT EXISTS
             (SELECT 1 FROM deliveries d WHERE d.watch = w.id AND {UNDONE})
         ORDER BY ended_ms LIMIT {PRUNED_AT_ONCE}"
    ))?;
    let ended: Vec<(i64, [u8; 16])> = ended
        .query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut rows = 0;
    for (n, id) in ended {
        for sql in [
            "DELETE FROM deliveries WHERE watch = ?1",
            "DELETE FROM events WHERE watch = ?1 AND n < (SELECT max(n) FROM events)",
            "DELETE FROM polls WHERE watch = ?1",
        ] {
            rows += db.prepare_cached(sql)?.execute([id])?;
        }
        let watch = "DELETE FROM watches WHERE n = ?1";
        rows += db.prepare_cached(watch)?.execute([n])?;
    }
    Ok(rows)
}

/// Forgets events of before this wall time that no watch has: the watcher's own. No index tells them, so it looks at a
/// stretch behind the event `after`. Returns how many rows went, and where to look next: 0 once the end was reached.
pub(super) fn own(db: &Connection, before: i64, after: i64) -> Result<(usize, i64), Failure> {
    let mut last =
        db.prepare_cached("SELECT n FROM events WHERE n > ?1 ORDER BY n LIMIT 1 OFFSET ?2")?;
    let last: Option<i64> = last
        .query_row([after, LOOKED_AT - 1], |row| row.get(0))
        .optional()?;
    let mut own = db.prepare_cached(&format!(
        "SELECT n, watch, seq FROM events e
         WHERE n > ?1 AND n <= ?2 AND n < (SELECT max(n) FROM events) AND wall_ms < ?3
             AND NOT EXISTS (SELECT 1 FROM watches w WHERE w.id = e.watch) AND NOT EXISTS
             (SELECT 1 FROM deliveries d WHERE d.watch = e.watch AND d.seq = e.seq AND {UNDONE})"
    ))?;
    let own: Vec<(i64, [u8; 16], i64)> = own
        .query_map([after, last.unwrap_or(i64::MAX), before], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut rows = 0;
    for (n, id, seq) in own {
        let deliveries = "DELETE FROM deliveries WHERE watch = ?1 AND seq = ?2";
        rows += db.prepare_cached(deliveries)?.execute(params![id, seq])?;
        let event = "DELETE FROM events WHERE n = ?1";
        rows += db.prepare_cached(event)?.execute([n])?;
    }
    Ok((rows, last.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::schema::{self, STEPS};
    use super::*;

    #[test]
    fn own_events_are_looked_for_a_stretch_at_a_time_and_all_are_found() {
        let db = Connection::open_in_memory().unwrap();
        schema::migrate(&db, 0, STEPS).unwrap();
        db.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n <= ?1)
             INSERT INTO events SELECT n, zeroblob(16), n, n, '{}', 0 FROM numbers",
            [2 * LOOKED_AT],
        )
        .unwrap();
        let first = own(&db, 11, 0).unwrap();
        assert_eq!(first, (10, LOOKED_AT), "seen before 11");
        let second = own(&db, i64::MAX, first.1).unwrap();
        assert_eq!(second, (LOOKED_AT as usize, 2 * LOOKED_AT));
        let newest = own(&db, i64::MAX, second.1).unwrap();
        assert_eq!(newest, (0, 0), "the newest stays, and it begins anew");
        let rest = own(&db, i64::MAX, 0).unwrap();
        assert_eq!(rest, (LOOKED_AT as usize - 10, 0));
    }
}
