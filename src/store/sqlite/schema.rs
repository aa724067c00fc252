//! The schema of the state file, and the migrations from earlier versions.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::error::DbError;
use super::events::{DELIVERIES, EVENTS};
use super::table::{Table, value_columns};
use super::watches::{CALIBRATION, CONFIG_JOBS, POLLS, WATCHES, WATCHES_1};

/// "fwat": identifies a state file of forgewatch.
pub(super) const APPLICATION_ID: i32 = 0x6677_6174;

/// A step from one version to the next.
#[derive(Clone, Copy)]
pub(super) struct Migration {
    /// Changes tables and rows within the caller's transaction. SQL cannot compute the checksums, so a migration that
    /// changes a table's columns reads its rows with [`Table::read`] of the version before and writes them with
    /// [`Table::put`] of its own.
    pub(super) apply: fn(&Connection) -> Result<(), DbError>,
    /// The tables of the new version. A file is checked, and recovered, by the tables of its own version.
    pub(super) tables: &'static [&'static Table],
}

/// Migration n leads from version n to n + 1, the last one to the version that this program writes. A released migration
/// and its tables must not change.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        apply: |db| Ok(db.execute_batch(VERSION_1)?),
        tables: &tables_with(&WATCHES_1),
    },
    Migration {
        apply: move_seq_and_labels,
        tables: &tables_with(&WATCHES),
    },
];

/// In the order in which they are checked and recovered.
const fn tables_with(watches: &'static Table) -> [&'static Table; 6] {
    [
        watches,
        &EVENTS,
        &DELIVERIES,
        &POLLS,
        &CONFIG_JOBS,
        &CALIBRATION,
    ]
}

const VERSION_1: &str = "
CREATE TABLE watches (
    row_id INTEGER PRIMARY KEY,
    watch_id BLOB NOT NULL UNIQUE,
    job TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    ended_ms INTEGER,
    added_by TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX watches_job ON watches (job);
CREATE INDEX watches_ended ON watches (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE events (
    row_id INTEGER PRIMARY KEY,
    watch_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    record TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (watch_id, seq)
) STRICT;

CREATE TABLE deliveries (
    row_id INTEGER PRIMARY KEY,
    watch_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    hook TEXT NOT NULL,
    payload TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    state TEXT NOT NULL,
    due_ms INTEGER,
    error_message TEXT,
    exit_status INTEGER,
    checksum INTEGER NOT NULL,
    UNIQUE (watch_id, seq, hook)
) STRICT;
CREATE INDEX deliveries_pending ON deliveries (row_id) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (row_id) WHERE state = 'failed';

CREATE TABLE polls (
    row_id INTEGER PRIMARY KEY,
    watch_id BLOB NOT NULL,
    poll TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX polls_watch ON polls (watch_id);

CREATE TABLE config_jobs (
    row_id INTEGER PRIMARY KEY,
    job TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE calibration (
    row_id INTEGER PRIMARY KEY,
    json TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
";

/// Watches migrated at once, because a file can have more than fit into memory.
const MIGRATION_BATCH: usize = 1_000;

/// Moves the number of the last event and the labels from the snapshots to columns.
fn move_seq_and_labels(db: &Connection) -> Result<(), DbError> {
    db.execute_batch(
        "ALTER TABLE watches ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE watches ADD COLUMN labels TEXT NOT NULL DEFAULT '{}'",
    )?;
    let sql = format!(
        "SELECT row_id, watch_id, job, snapshot, ended_ms, added_by, checksum FROM watches
         WHERE row_id > ?1 ORDER BY row_id LIMIT {MIGRATION_BATCH}"
    );
    let mut last = i64::MIN;
    loop {
        let rows = WATCHES_1.read(db, &sql, [last], |row| {
            let values = value_columns(row).map(|column| row.get(column));
            let values: Vec<Value> = values.collect::<Result<_, _>>()?;
            Ok((row.get("row_id")?, row.get("snapshot")?, values))
        })?;
        let count = rows.len();
        for (row_id, snapshot, mut values) in rows {
            let (snapshot, seq, labels) = split_snapshot(snapshot);
            if let Some(value) = values.get_mut(SNAPSHOT) {
                *value = snapshot.into();
            }
            values.extend([seq.into(), labels.into()]);
            WATCHES.put(db, values)?;
            last = row_id;
        }
        if count < MIGRATION_BATCH {
            return Ok(());
        }
    }
}

/// The place of the snapshot among the columns.
const SNAPSHOT: usize = 3;

/// A snapshot of version 2, with what it no longer contains. An unreadable one stays as it is.
fn split_snapshot(snapshot: String) -> (String, i64, String) {
    let fields = serde_json::from_str::<serde_json::Map<_, _>>(&snapshot);
    let Ok(mut fields) = fields else {
        return (snapshot, 0, "{}".to_owned());
    };
    let seq = fields.remove("seq").and_then(|seq| seq.as_i64());
    let labels = fields.remove("labels");
    (
        serde_json::Value::Object(fields).to_string(),
        seq.unwrap_or_default(),
        labels.map_or_else(|| "{}".to_owned(), |labels| labels.to_string()),
    )
}

/// The version of a file of this program, this version or an earlier one: the number of its migrations.
pub(super) fn read_version(db: &Connection, migrations: &[Migration]) -> Result<usize, DbError> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (id, found) = (number("application_id")?, number("user_version")?);
    let entries: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (id, found, entries) == (0, 0, 0) {
        return Err(DbError::Damaged("it is empty".to_owned()));
    }
    if id != i64::from(APPLICATION_ID) {
        return Err(DbError::Foreign);
    }
    let supported = migrations.len();
    match usize::try_from(found) {
        Ok(0) | Err(_) => Err(DbError::Damaged(format!("its version is {found}"))),
        Ok(version) if version <= supported => Ok(version),
        Ok(_) => Err(DbError::Newer {
            found,
            supported: supported as i64,
        }),
    }
}

/// Applies the migrations from version `from` on, within the caller's transaction.
pub(super) fn migrate(
    db: &Connection,
    from: usize,
    migrations: &[Migration],
) -> Result<(), DbError> {
    for migration in migrations.iter().skip(from) {
        (migration.apply)(db)?;
    }
    db.pragma_update(None, "application_id", APPLICATION_ID)?;
    db.pragma_update(None, "user_version", migrations.len() as i64)?;
    Ok(())
}

/// The tables of a file after these migrations.
pub(super) fn tables(migrations: &[Migration]) -> &'static [&'static Table] {
    migrations.last().map_or(&[], |migration| migration.tables)
}

/// Whether the definitions of tables and indexes are exactly those that the migrations create: a damaged definition could
/// make SQLite read a table as empty.
pub(super) fn is_intact(db: &Connection, migrations: &[Migration]) -> Result<bool, DbError> {
    let new = Connection::open_in_memory()?;
    migrate(&new, 0, migrations)?;
    Ok(definitions(db)? == definitions(&new)?)
}

fn definitions(db: &Connection) -> Result<Vec<(String, String, Option<String>)>, DbError> {
    let mut statement =
        db.prepare("SELECT name, tbl_name, sql FROM sqlite_schema ORDER BY name, tbl_name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The current migrations and two imaginary later ones.
    const NEWER_MIGRATIONS: [Migration; 4] = [
        MIGRATIONS[0],
        MIGRATIONS[1],
        Migration {
            apply: |db| Ok(db.execute_batch("ALTER TABLE watches ADD COLUMN note TEXT")?),
            tables: &tables_with(&WATCHES),
        },
        Migration {
            apply: |db| {
                Ok(db.execute_batch("CREATE TABLE more (row_id INTEGER PRIMARY KEY) STRICT")?)
            },
            tables: &tables_with(&WATCHES),
        },
    ];

    #[test]
    fn every_earlier_version_is_migrated_and_keeps_its_rows() {
        for from in 1..=NEWER_MIGRATIONS.len() {
            let db = Connection::open_in_memory().unwrap();
            migrate(&db, 0, &NEWER_MIGRATIONS[..from]).unwrap();
            db.execute("INSERT INTO config_jobs VALUES (1, 'diff/1', '{}', 7)", [])
                .unwrap();
            assert_eq!(read_version(&db, &NEWER_MIGRATIONS).unwrap(), from);
            migrate(&db, from, &NEWER_MIGRATIONS).unwrap();
            assert_eq!(read_version(&db, &NEWER_MIGRATIONS).unwrap(), 4);
            assert!(is_intact(&db, &NEWER_MIGRATIONS).unwrap(), "from {from}");
            let crc: i64 = db
                .query_row("SELECT checksum FROM config_jobs", [], |row| row.get(0))
                .unwrap();
            assert_eq!(crc, 7);
        }
    }

    #[test]
    fn watches_of_more_than_a_batch_are_all_migrated() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, 0, &MIGRATIONS[..1]).unwrap();
        let count = 2 * MIGRATION_BATCH as i64 + 1;
        for n in 1..=count {
            let snapshot = match n {
                7 => "damaged".to_owned(),
                _ => format!("{{\"seq\":{n},\"labels\":{{\"n\":\"{n}\"}},\"progress\":0.1}}"),
            };
            let id = Value::Blob(n.to_be_bytes().repeat(2));
            let (job, added_by) = (format!("diff/{n}").into(), "file".to_owned().into());
            let row = vec![n.into(), id, job, snapshot.into(), Value::Null, added_by];
            WATCHES_1.put(&db, row).unwrap();
        }
        migrate(&db, 1, MIGRATIONS).unwrap();
        let watches = super::super::watches::running(&db).unwrap();
        assert_eq!(watches.len() as i64, count);
        for (watch, n) in watches.into_iter().zip(1..) {
            let moved = (watch.seq, watch.labels, watch.snapshot);
            let expected = match n {
                7 => (0, "{}".to_owned(), "damaged".to_owned()),
                _ => (
                    n,
                    format!("{{\"n\":\"{n}\"}}"),
                    "{\"progress\":0.1}".to_owned(),
                ),
            };
            assert_eq!(moved, expected);
        }
    }

    #[test]
    fn empty_newer_foreign_and_damaged_headers_are_distinguished() {
        let db = Connection::open_in_memory().unwrap();
        let read = || read_version(&db, MIGRATIONS);
        assert!(matches!(read(), Err(DbError::Damaged(reason)) if reason == "it is empty"));
        migrate(&db, 0, MIGRATIONS).unwrap();
        assert_eq!(read().unwrap(), MIGRATIONS.len());
        db.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(read(), Err(DbError::Newer { found: 99, .. })));
        for invalid in [0, -1] {
            db.pragma_update(None, "user_version", invalid).unwrap();
            assert!(matches!(read(), Err(DbError::Damaged(_))));
        }
        db.pragma_update(None, "application_id", 0).unwrap();
        assert!(matches!(read(), Err(DbError::Foreign)));
    }

    #[test]
    fn a_changed_definition_is_detected() {
        let db = Connection::open_in_memory().unwrap();
        migrate(&db, 0, MIGRATIONS).unwrap();
        db.execute_batch("DROP INDEX polls_watch").unwrap();
        assert!(!is_intact(&db, MIGRATIONS).unwrap());
    }
}
