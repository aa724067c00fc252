//! What the file looks like, and how one of an earlier version becomes one of this version.

use rusqlite::Connection;

use super::Failure;
use super::table::{TABLES, Table};

/// "fwat": marks the file as ours.
pub(super) const APPLICATION_ID: i32 = 0x6677_6174;

/// Leads from one version to the next.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Changes tables and rows, in the caller's transaction. A row's checksum is over all its columns, which no SQL can
    /// reckon: where a step changes the columns of a table, it reads that table's rows with [`Table::read`] of the step
    /// before, and writes each with [`Table::put`] of its own.
    pub(super) take: fn(&Connection) -> Result<(), Failure>,
    /// The tables as they are from then on: a file is checked, and rescued, by those of its own version.
    pub(super) queries: &'static [&'static Table],
}

/// Step n leads from version n to version n + 1; the last one to the version that this program writes, whose tables are
/// [`TABLES`]. A step that was ever released is never changed again, nor are its tables.
pub(super) const STEPS: &[Step] = &[Step {
    take: |db| Ok(db.execute_batch(FIRST)?),
    queries: &TABLES,
}];

const FIRST: &str = "
CREATE TABLE watches (
    n INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    job TEXT NOT NULL,
    row TEXT NOT NULL,
    ended_ms INTEGER,
    added_by TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE INDEX watches_job ON watches (job);
CREATE INDEX watches_ended ON watches (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE events (
    n INTEGER PRIMARY KEY,
    watch BLOB NOT NULL,
    seq INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    record TEXT NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (watch, seq)
) STRICT;

CREATE TABLE deliveries (
    n INTEGER PRIMARY KEY,
    watch BLOB NOT NULL,
    seq INTEGER NOT NULL,
    hook TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    state TEXT NOT NULL,
    due_ms INTEGER,
    error TEXT,
    exit_status INTEGER,
    crc INTEGER NOT NULL,
    UNIQUE (watch, seq, hook)
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (n) WHERE state = 'waiting';
CREATE INDEX deliveries_given_up ON deliveries (n) WHERE state = 'given_up';

CREATE TABLE polls (
    n INTEGER PRIMARY KEY,
    watch BLOB NOT NULL,
    poll TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE INDEX polls_watch ON polls (watch);

CREATE TABLE accepted (
    n INTEGER PRIMARY KEY,
    job TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE TABLE learnt (
    n INTEGER PRIMARY KEY,
    calibrations TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
";

/// What stands in the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was ever written.
    Fresh,
    /// Ours, of this version or an earlier one: a whole number of steps.
    Version(usize),
    /// Ours, of a version that this program does not know.
    Newer(i64),
    /// A database of some other program.
    Foreign,
}

/// The version that a file has after all of `steps`.
pub(super) fn version(steps: &[Step]) -> i64 {
    steps.len() as i64
}

/// Reads the header, and writes nothing.
pub(super) fn identify(db: &Connection, steps: &[Step]) -> Result<Found, Failure> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = number("user_version")?;
    let queries: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let found = match (number("application_id")?, usize::try_from(version)) {
        (0, Ok(0)) if queries == 0 => Found::Fresh,
        (id, _) if id != i64::from(APPLICATION_ID) => Found::Foreign,
        (_, Ok(known)) if (1..=steps.len()).contains(&known) => Found::Version(known),
        (_, Ok(0) | Err(_)) => {
            return Err(Failure::Damaged(format!("its version reads {version}")));
        }
        _ => Found::Newer(version),
    };
    Ok(found)
}

/// Takes all steps from version `from` on, in the caller's transaction.
pub(super) fn migrate(db: &Connection, from: usize, steps: &[Step]) -> Result<(), Failure> {
    for step in steps.iter().skip(from) {
        (step.take)(db)?;
    }
    db.pragma_update(None, "application_id", APPLICATION_ID)?;
    db.pragma_update(None, "user_version", version(steps))?;
    Ok(())
}

/// The tables of a file after all of `steps`.
pub(super) fn queries(steps: &[Step]) -> &'static [&'static Table] {
    steps.last().map_or(&[], |step| step.queries)
}

/// Whether tables and indexes are, letter by letter, those that the steps make: a damaged definition could make
/// SQLite see a table as empty.
pub(super) fn is_as_made(db: &Connection, steps: &[Step]) -> Result<bool, Failure> {
    let fresh = Connection::open_in_memory()?;
    migrate(&fresh, 0, steps)?;
    Ok(definitions(db)? == definitions(&fresh)?)
}

fn definitions(db: &Connection) -> Result<Vec<(String, String, Option<String>)>, Failure> {
    let mut statement =
        db.prepare("SELECT name, tbl_name, sql FROM sqlite_schema ORDER BY name, tbl_name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The released steps, and two that might come one day.
    const LATER: [Step; 3] = [
        STEPS[0],
        Step {
            take: |db| Ok(db.execute_batch("ALTER TABLE watches ADD COLUMN note TEXT")?),
            queries: &TABLES,
        },
        Step {
            take: |db| Ok(db.execute_batch("CREATE TABLE more (n INTEGER PRIMARY KEY) STRICT")?),
            queries: &TABLES,
        },
    ];

    #[test]
    fn every_earlier_version_becomes_this_one_and_keeps_its_rows() {
        for from in 1..=LATER.len() {
            let db = Connection::open_in_memory().unwrap();
            migrate(&db, 0, &LATER[..from]).unwrap();
            db.execute("INSERT INTO accepted VALUES (1, 'diff/1', '{}', 7)", [])
                .unwrap();
            assert_eq!(identify(&db, &LATER).unwrap(), Found::Version(from));
            migrate(&db, from, &LATER).unwrap();
            assert_eq!(identify(&db, &LATER).unwrap(), Found::Version(3));
            assert!(is_as_made(&db, &LATER).unwrap(), "from {from}");
            let crc: i64 = db
                .query_row("SELECT crc FROM accepted", [], |row| row.get(0))
                .unwrap();
            assert_eq!(crc, 7);
        }
    }

    #[test]
    fn a_header_tells_fresh_newer_foreign_and_damaged_apart() {
        let db = Connection::open_in_memory().unwrap();
        assert_eq!(identify(&db, STEPS).unwrap(), Found::Fresh);
        migrate(&db, 0, STEPS).unwrap();
        assert_eq!(identify(&db, STEPS).unwrap(), Found::Version(STEPS.len()));
        db.pragma_update(None, "user_version", 99).unwrap();
        assert_eq!(identify(&db, STEPS).unwrap(), Found::Newer(99));
        for nonsense in [0, -1] {
            db.pragma_update(None, "user_version", nonsense).unwrap();
            assert!(matches!(identify(&db, STEPS), Err(Failure::Damaged(_))));
        }
        db.pragma_update(None, "application_id", 0).unwrap();
        assert_eq!(identify(&db, STEPS).unwrap(), Found::Foreign);
    }

    #[test]
    fn a_definition_that_changed_is_seen() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, 0, STEPS).unwrap();
        db.execute_batch("DROP INDEX polls_watch").unwrap();
        assert!(!is_as_made(&db, STEPS).unwrap());
    }
}
