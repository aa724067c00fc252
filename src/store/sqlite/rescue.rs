//! `forgewatch state check` and `state recover`: whether a file is sound, and what can be read of one that is not.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row};

use super::row::{TABLES, Table};
use super::schema::{self, STEPS};
use super::{Failure, OpenError, open, place};

/// Up to here the next readable row is looked for behind a damaged place.
const FURTHEST: u32 = 40;

/// One table of a rescue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// Its name.
    pub table: &'static str,
    /// Rows that are sound, and in the new file.
    pub rescued: u64,
    /// Rows that are damaged or lie in a damaged place, at most: numbers may have been unused.
    pub lost: u64,
    /// Whether its end could not be reached, so that more may be lost.
    pub cut_off: bool,
}

/// Why nothing was rescued.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// A file is where the new one should be.
    #[error("{path} is there already; name another with --to", path = .0.display())]
    Exists(PathBuf),
    /// The old file can't be used at all: none there, in use, newer.
    #[error(transparent)]
    From(#[from] OpenError),
    /// The new file can't be written.
    #[error("{path}: {reason}", path = path.display())]
    To {
        /// The new file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Not a single row could be read.
    #[error("{path}: not one row is readable; nothing was written", path = .0.display())]
    Nothing(PathBuf),
}

/// Looks at a whole file, that of a running daemon too, and changes nothing. Returns how many rows each table has.
pub fn check(path: &Path) -> Result<Vec<(&'static str, u64)>, OpenError> {
    let file = existing(path)?;
    open::connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| {
            // One transaction, so that all that is looked at is of one moment.
            db.execute_batch("BEGIN")?;
            open::examine(&db)?;
            TABLES.iter().map(|table| count(&db, table)).collect()
        })
        .map_err(|failure| open::failed(path, failure))
}

/// Reads every row of `from` that can be read into the new file `to`. `from` is only ever read.
pub fn recover(from: &Path, to: &Path) -> Result<Vec<Rescue>, RescueError> {
    let file = existing(from)?;
    refuse_in_use(from, &file)?;
    let fail = |failure| RescueError::To {
        path: to.to_owned(),
        reason: open::failed(to, failure).to_string(),
    };
    for suffix in ["", "-wal"] {
        let path = place::beside(to, suffix);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RescueError::Exists(path));
        }
    }
    let to = place::settle(to).map_err(|error| fail(Failure::Io(error)))?;
    let copy = Copy::of(&file, &to).map_err(|error| fail(Failure::Io(error)))?;
    let rescued = salvage(&copy, &to).map_err(|failure| match failure {
        Failure::Newer(_) | Failure::Foreign => RescueError::From(open::failed(from, failure)),
        other => fail(other),
    });
    match rescued {
        Ok(tables)
            if tables
                .iter()
                .all(|t| t.rescued == 0 && (t.lost > 0 || t.cut_off)) =>
        {
            let _ = fs::remove_file(&to);
            Err(RescueError::Nothing(from.to_owned()))
        }
        Ok(tables) => {
            // Rescued by root, it is still the daemon's. Anybody else has made it for themselves.
            if let Ok(old) = fs::metadata(&file) {
                let _ = chown(&to, Some(old.uid()), Some(old.gid()));
            }
            Ok(tables)
        }
        Err(error) => {
            let _ = fs::remove_file(&to);
            Err(error)
        }
    }
}

/// The file with the links of its folder resolved, if it is one.
fn existing(path: &Path) -> Result<PathBuf, OpenError> {
    let file = place::settle(path).map_err(|error| missing(path, &error))?;
    match fs::symlink_metadata(&file) {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(missing(path, &io::Error::other("it is no regular file"))),
        Err(error) => Err(missing(path, &error)),
    }
}

fn missing(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// A file that somebody writes to would be copied half.
fn refuse_in_use(from: &Path, file: &Path) -> Result<(), OpenError> {
    let Ok(mut lock) = File::open(place::beside(file, ".lock")) else {
        return Ok(());
    };
    if let Err(TryLockError::WouldBlock) = lock.try_lock_shared() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        return Err(OpenError::InUse {
            path: from.to_owned(),
            pid: holder.trim().parse().ok(),
        });
    }
    Ok(())
}

fn count(db: &Connection, table: &Table) -> Result<(&'static str, u64), Failure> {
    let sql = format!("SELECT count(*) FROM {}", table.name);
    let rows: i64 = db.query_row(&sql, [], |row| row.get(0))?;
    Ok((table.name, rows.cast_unsigned()))
}

/// A copy of a file and its WAL to work on, beside the new file; removed with its end.
struct Copy(PathBuf);

impl Copy {
    fn of(file: &Path, to: &Path) -> io::Result<Self> {
        let copy = Self(place::beside(to, ".copy"));
        for suffix in ["", "-wal"] {
            let Ok(mut old) = File::open(place::beside(file, suffix)) else {
                if suffix.is_empty() {
                    return Err(io::Error::other("the old file can't be read"));
                }
                continue;
            };
            let mut private = OpenOptions::new();
            let new = private.write(true).create_new(true).mode(0o600);
            io::copy(&mut old, &mut new.open(place::beside(&copy.0, suffix))?)?;
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(place::beside(&self.0, suffix));
        }
    }
}

fn salvage(copy: &Copy, to: &Path) -> Result<Vec<Rescue>, Failure> {
    open::create(to)?;
    let old = connect_somehow(&copy.0, to)?;
    let new = open::connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut tables = Vec::new();
    open::transaction(&new, || {
        for table in TABLES {
            tables.push(Salvage::of(table).run(&old, &new)?);
        }
        forget_unwatched(&new, &mut tables)
    })?;
    Ok(tables)
}

/// A job of the list that has no watch left has lost it. It leaves the list, or the next start would take it for one that
/// has ended, and never watch it again.
fn forget_unwatched(new: &Connection, tables: &mut [Rescue]) -> Result<(), Failure> {
    let sql = "DELETE FROM accepted WHERE job NOT IN (SELECT job FROM watches)";
    let forgotten = new.execute(sql, [])? as u64;
    if let Some(accepted) = tables.iter_mut().find(|table| table.table == "accepted") {
        accepted.rescued -= forgotten;
        accepted.lost += forgotten;
    }
    Ok(())
}

/// Where header or definitions are damaged, those of a new file take their place: both live in the first page, and a
/// file that was made in the same way has its tables in the same places. The checksums tell if that was wrong.
fn connect_somehow(copy: &Path, fresh: &Path) -> Result<Connection, Failure> {
    let connect = || open::connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let as_it_is = connect().and_then(|db| match schema::identify(&db, STEPS)? {
        schema::Found::Newer(version) => Err(Failure::Newer(version)),
        _ if schema::is_as_made(&db, STEPS)? => Ok(db),
        _ => Err(Failure::Damaged("the first page".to_owned())),
    });
    match as_it_is {
        Ok(db) => Ok(db),
        Err(newer @ Failure::Newer(_)) => Err(newer),
        Err(_) => {
            borrow_first_page(copy, fresh).map_err(Failure::Io)?;
            connect()
        }
    }
}

fn borrow_first_page(copy: &Path, fresh: &Path) -> io::Result<()> {
    const PAGE: usize = 4096;
    const PAGES_AT: usize = 28;
    let mut page = vec![0; PAGE];
    let mut fresh = File::open(fresh)?;
    fresh.read_exact(&mut page)?;
    let fresh_length = fresh.metadata()?.len();
    let mut copy = OpenOptions::new().write(true).open(copy)?;
    // A file that was cut short in the middle of its tables' first pages gets empty ones.
    let length = copy.metadata()?.len().max(fresh_length);
    copy.set_len(length)?;
    let pages = u32::try_from(length / PAGE as u64).unwrap_or(u32::MAX);
    if let Some(field) = page.get_mut(PAGES_AT..PAGES_AT + 4) {
        field.copy_from_slice(&pages.to_be_bytes());
    }
    copy.seek(SeekFrom::Start(0))?;
    copy.write_all(&page)
}

/// One table on its way into the new file.
struct Salvage<'a> {
    table: &'a Table,
    result: Rescue,
    /// The number of the last row that was seen.
    last: i64,
}

impl<'a> Salvage<'a> {
    fn of(table: &'a Table) -> Self {
        Self {
            table,
            result: Rescue {
                table: table.name,
                rescued: 0,
                lost: 0,
                cut_off: false,
            },
            last: 0,
        }
    }

    /// Reads from the first row on; behind a damaged place from the next row that can be reached.
    fn run(mut self, old: &Connection, new: &Connection) -> Result<Rescue, Failure> {
        let mut from = Some(i64::MIN);
        while let Some(start) = from {
            from = if self.read(old, new, start)? {
                None
            } else {
                self.next_readable(old)
            };
        }
        Ok(self.result)
    }

    /// Ok(true) once the end is reached, Ok(false) at a damaged place. Err is the new file's.
    fn read(&mut self, old: &Connection, new: &Connection, from: i64) -> Result<bool, Failure> {
        let sql = self.table.select("NOT INDEXED WHERE n >= ?1 ORDER BY n");
        let Ok(mut statement) = old.prepare_cached(&sql) else {
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
            let rescued = match self.values(row) {
                Some(values) => self.put(new, values)?,
                None => false,
            };
            if rescued {
                self.result.rescued += 1;
            } else {
                self.result.lost += 1;
            }
        }
    }

    fn values(&self, row: &Row<'_>) -> Option<Vec<Value>> {
        if !self.table.is_sound(row) {
            return None;
        }
        let last = self.table.columns.len() - 1;
        (0..last).map(|at| row.get::<_, Value>(at).ok()).collect()
    }

    /// Ok(false) where a sound row contradicts another one, which a damaged index let happen.
    fn put(&self, new: &Connection, values: Vec<Value>) -> Result<bool, Failure> {
        match self.table.put(new, values) {
            Err(Failure::Sql(error))
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Where to read on: the first reachable row behind the damaged place, found by doubling and then by halving.
    fn next_readable(&mut self, old: &Connection) -> Option<i64> {
        let sql = self
            .table
            .select("NOT INDEXED WHERE n >= ?1 ORDER BY n LIMIT 1");
        let reach = |from: i64| -> Option<i64> {
            let mut statement = old.prepare_cached(&sql).ok()?;
            statement.query_row([from], |row| row.get(0)).ok()
        };
        let behind = |step: i64| self.last.saturating_add(step);
        let Some(power) = (0..FURTHEST).find(|&power| reach(behind(1 << power)).is_some()) else {
            self.result.cut_off = true;
            return None;
        };
        let (mut bad, mut good) = ((1_i64 << power) / 2, 1_i64 << power);
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            match reach(behind(middle)) {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        let next = reach(behind(good))?;
        self.result.lost += next.abs_diff(self.last).saturating_sub(1);
        Some(next)
    }
}
