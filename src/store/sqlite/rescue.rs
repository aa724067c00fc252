//! `forgewatch state check` and `state recover`: whether a file is sound, and what can be read of one that is not.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row};

use super::schema::{self, Found, STEPS, Step};
use super::table::Table;
use super::{Failure, OpenError, lock, mend, open};

/// Up to here the next readable row is looked for behind a damaged place.
pub(super) const FURTHEST: u32 = 40;

/// Behind the new file's name: what a rescue works on.
const COPY: &str = ".copy";

/// One table of a rescue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// Its name.
    pub table: &'static str,
    /// Rows that are in the new file: sound ones, and entries of the list that the watches tell of.
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
    #[error(transparent)]
    To(OpenError),
    /// Not a single row could be read.
    #[error(
        "{path}: not one row is readable; nothing was written. To begin anew, move it and what lies beside it out of \
         the way", path = .0.display()
    )]
    Nothing(PathBuf),
}

/// Looks at a whole file, that of a running daemon too, and changes nothing. Returns how many rows each table has.
pub fn check(path: &Path) -> Result<Vec<(&'static str, u64)>, OpenError> {
    let file = existing(path)?;
    open::connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| {
            // One transaction, so that all that is looked at is of one moment.
            db.execute_batch("BEGIN")?;
            let steps = open::examine(&db, STEPS)?;
            let queries = schema::queries(steps).iter();
            queries.map(|table| count(&db, table)).collect()
        })
        .map_err(|failure| open::failed(path, failure))
}

/// Reads every row of `from` that can be read into the new file `to`. `from` is only ever read; `to` is there once it
/// is whole. Beside it, what is worked on lies in a folder whose name ends with ".copy".
pub fn recover(from: &Path, to: &Path) -> Result<Vec<Rescue>, RescueError> {
    recover_as(from, to, STEPS)
}

/// The same, as a program that knows these steps.
pub(super) fn recover_as(
    from: &Path,
    to: &Path,
    steps: &[Step],
) -> Result<Vec<Rescue>, RescueError> {
    let file = existing(from)?;
    let _held = hold(from, &file)?;
    let fail = |failure| RescueError::To(open::failed(to, failure));
    let io = |error| fail(Failure::Io(error));
    for suffix in ["", "-wal"] {
        let path = lock::beside(to, suffix);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RescueError::Exists(path));
        }
    }
    let settled = lock::settle(to).map_err(io)?;
    let bench = Bench::beside(&settled).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RescueError::Exists(lock::beside(to, COPY)),
        _ => io(error),
    })?;
    let (copy, new) = (bench.0.join("old"), bench.0.join("new"));
    copy_whole(&file, &copy).map_err(io)?;
    let queries = salvage(&copy, &new, steps).map_err(|failure| match failure {
        Failure::Newer(_) => RescueError::From(open::failed(from, failure)),
        other => fail(other),
    })?;
    let nothing = |t: &Rescue| t.rescued == 0 && (t.lost > 0 || t.cut_off);
    if queries.iter().all(nothing) {
        return Err(RescueError::Nothing(from.to_owned()));
    }
    // Rescued by root, it is still the daemon's. Anybody else has made it for themselves.
    if let Ok(old) = fs::metadata(&file) {
        let _ = chown(&new, Some(old.uid()), Some(old.gid()));
    }
    fs::rename(&new, &settled)
        .and_then(|()| lock::sync_folder(&settled))
        .map_err(io)?;
    Ok(queries)
}

/// The file with the links of its folder resolved, if it is one.
fn existing(path: &Path) -> Result<PathBuf, OpenError> {
    let file = lock::settle(path).map_err(|error| missing(path, &error))?;
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

/// Keeps daemons from the file, where ever one had it: what somebody writes to would be copied half.
fn hold(from: &Path, file: &Path) -> Result<Option<File>, OpenError> {
    let Ok(mut lock) = File::open(lock::beside(file, ".lock")) else {
        return Ok(None);
    };
    if let Err(TryLockError::WouldBlock) = lock.try_lock_shared() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        return Err(OpenError::InUse {
            path: from.to_owned(),
            pid: holder.trim().parse().ok(),
        });
    }
    Ok(Some(lock))
}

fn count(db: &Connection, table: &Table) -> Result<(&'static str, u64), Failure> {
    let sql = format!("SELECT count(*) FROM {}", table.name);
    let rows: i64 = db.query_row(&sql, [], |row| row.get(0))?;
    Ok((table.name, rows.cast_unsigned()))
}

/// A folder of our own beside the new file, to work in; removed with its end.
struct Bench(PathBuf);

impl Bench {
    fn beside(to: &Path) -> io::Result<Self> {
        let folder = lock::beside(to, COPY);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file and its WAL.
fn copy_whole(file: &Path, copy: &Path) -> io::Result<()> {
    for suffix in ["", "-wal"] {
        match File::open(lock::beside(file, suffix)) {
            Ok(mut old) => {
                let mut new = File::create_new(lock::beside(copy, suffix))?;
                io::copy(&mut old, &mut new)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && suffix == "-wal" => {}
            Err(_) => return Err(io::Error::other("the old file can't be read")),
        }
    }
    Ok(())
}

/// The new file begins as one of the old one's version, so that rows, and the first page, go from one into the other
/// as they are.
fn salvage(copy: &Path, new: &Path, steps: &[Step]) -> Result<Vec<Rescue>, Failure> {
    let taken = steps_behind(copy, steps)?;
    open::create(new, taken)?;
    let old = connect_somehow(copy, new, taken)?;
    let new = open::connect(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut queries = Vec::new();
    open::transaction(&new, || {
        for table in schema::queries(taken) {
            queries.push(Salvage::of(table).run(&old, &new)?);
        }
        schema::migrate(&new, taken.len(), steps)?;
        mend::list(&new, &mut queries)?;
        mend::offsets(&old, &new)
    })?;
    Ok(queries)
}

/// The steps that the file has behind it; all of them where its header does not tell.
fn steps_behind<'a>(copy: &Path, steps: &'a [Step]) -> Result<&'a [Step], Failure> {
    let db = open::connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    match db.and_then(|db| schema::identify(&db, steps)) {
        Ok(Found::Newer(version)) => Err(Failure::Newer(version)),
        Ok(Found::Version(version)) => Ok(steps.get(..version).unwrap_or(steps)),
        Ok(Found::Fresh | Found::Foreign) | Err(_) => Ok(steps),
    }
}

/// Where header or definitions are damaged, those of a new file take their place: both live in the first page, and a
/// file that was made in the same way has its tables in the same places. The checksums tell if that was wrong.
fn connect_somehow(copy: &Path, fresh: &Path, steps: &[Step]) -> Result<Connection, Failure> {
    let connect = || open::connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    match connect() {
        Ok(db) if schema::is_as_made(&db, steps).unwrap_or(false) => Ok(db),
        _ => {
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
