//! `forgewatch state check` and `state recover`: checks a state file, and copies the readable rows of a damaged one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::{DbError, OpenError, open_error};
use super::open::RowCounts;
use super::salvage::{self, PAGE, RecoveredTable};
use super::schema::{self, MIGRATIONS, Migration};
use super::{leaf_pages, lock, open};

const WORK_SUFFIX: &str = ".copy";

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("{path} already exists; use another file with --to", path = .0.display())]
    Exists(PathBuf),
    /// The old file is missing, in use or newer.
    #[error(transparent)]
    From(#[from] OpenError),
    /// The new file cannot be written.
    #[error(transparent)]
    To(OpenError),
    #[error(
        "{path}: no row is readable; nothing was written. To start with an empty state, move the file, its -wal and \
         its -shm away", path = .0.display()
    )]
    NothingReadable(PathBuf),
}

/// Checks a file completely and changes nothing; a daemon may be using it. Returns the number of rows of each table.
pub fn check(path: &Path) -> Result<RowCounts, OpenError> {
    let file = existing(path)?;
    open::connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| {
            // One transaction, to see a consistent state.
            db.execute_batch("BEGIN")?;
            let (_, rows) = open::check(&db, MIGRATIONS)?;
            Ok(rows)
        })
        .map_err(|error| open_error(path, error))
}

/// The hooks of all deliveries that were delivered. Only reads; a daemon may be using the file.
pub fn delivered_hooks(path: &Path) -> Result<BTreeSet<String>, OpenError> {
    let read = |db: &Connection| {
        let mut hooks =
            db.prepare("SELECT DISTINCT hook FROM deliveries WHERE state = 'delivered'")?;
        let hooks = hooks.query_map([], |row| row.get(0))?;
        Ok(hooks.collect::<Result<_, _>>()?)
    };
    let file = existing(path)?;
    open::connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| read(&db))
        .map_err(|error| open_error(path, error))
}

/// Copies every readable row of `from` into the new file `to`. `from` is only read, and `to` appears when it is complete.
/// The working files are in a folder next to it whose name ends with ".copy".
pub fn recover(from: &Path, to: &Path) -> Result<Vec<RecoveredTable>, RecoverError> {
    recover_as(from, to, MIGRATIONS)
}

/// As a program with these migrations does.
pub(super) fn recover_as(
    from: &Path,
    to: &Path,
    migrations: &[Migration],
) -> Result<Vec<RecoveredTable>, RecoverError> {
    let file = existing(from)?;
    let _lock = lock_shared(from, &file)?;
    let fail = |error| RecoverError::To(open_error(to, error));
    let io = |error| fail(DbError::Io(error));
    for suffix in ["", "-wal"] {
        let path = lock::with_suffix(to, suffix);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RecoverError::Exists(path));
        }
    }
    let target = lock::resolve_folder(to).map_err(io)?;
    let work = WorkFolder::next_to(&target).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RecoverError::Exists(lock::with_suffix(to, WORK_SUFFIX)),
        _ => io(error),
    })?;
    let (copy, new) = (work.0.join("old"), work.0.join("new"));
    copy_with_wal(&file, &copy).map_err(io)?;
    let tables = salvage(&copy, &new, migrations).map_err(|error| match error {
        DbError::Newer { .. } => RecoverError::From(open_error(from, error)),
        error => fail(error),
    })?;
    let is_unreadable = |t: &RecoveredTable| t.recovered == 0 && (t.lost > 0 || t.truncated);
    if tables.iter().all(is_unreadable) {
        return Err(RecoverError::NothingReadable(from.to_owned()));
    }
    // Root recovers on behalf of the daemon's user; for any other user this fails and does not matter.
    if let Ok(old) = fs::metadata(&file) {
        let _ = chown(&new, Some(old.uid()), Some(old.gid()));
    }
    fs::rename(&new, &target)
        .and_then(|()| lock::sync_folder(&target))
        .map_err(io)?;
    Ok(tables)
}

/// The path with the links of its folder resolved, if it is a regular file.
fn existing(path: &Path) -> Result<PathBuf, OpenError> {
    let file = lock::resolve_folder(path).map_err(|error| missing(path, &error))?;
    match fs::symlink_metadata(&file) {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(missing(path, &io::Error::other("not a regular file"))),
        Err(error) => Err(missing(path, &error)),
    }
}

fn missing(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Keeps daemons from writing to the file while it is copied. A file that no daemon ever used has no lock.
fn lock_shared(from: &Path, file: &Path) -> Result<Option<File>, OpenError> {
    let Ok(lock) = File::open(lock::with_suffix(file, ".lock")) else {
        return Ok(None);
    };
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(lock::in_use(from, lock)),
        _ => Ok(Some(lock)),
    }
}

/// A private folder next to the new file, removed on drop.
struct WorkFolder(PathBuf);

impl WorkFolder {
    fn next_to(to: &Path) -> io::Result<Self> {
        let folder = lock::with_suffix(to, WORK_SUFFIX);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_with_wal(file: &Path, copy: &Path) -> io::Result<()> {
    for suffix in ["", "-wal"] {
        match File::open(lock::with_suffix(file, suffix)) {
            Ok(mut old) => {
                let mut new = File::create_new(lock::with_suffix(copy, suffix))?;
                io::copy(&mut old, &mut new)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && suffix == "-wal" => {}
            Err(_) => return Err(io::Error::other("cannot read the old file")),
        }
    }
    Ok(())
}

/// Copies the readable rows. The new file is created with the old one's version, so that rows, and the first page, can
/// be copied unchanged; it is migrated afterwards.
fn salvage(
    copy: &Path,
    new: &Path,
    migrations: &[Migration],
) -> Result<Vec<RecoveredTable>, DbError> {
    let done = migrations_done(copy, migrations)?;
    open::create(new, done)?;
    let old = connect_damaged(copy, new, done)?;
    let new = open::connect(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut tables = Vec::new();
    open::transaction(&new, || {
        for table in schema::tables(done) {
            tables.push(salvage::copy_rows(table, &old, &new)?);
        }
        if tables.iter().any(|table| table.lost > 0 || table.truncated) {
            leaf_pages::copy_rows(schema::tables(done), copy, &new, &mut tables)?;
        }
        schema::migrate(&new, done.len(), migrations)?;
        salvage::restore_config_jobs(&new, &mut tables)?;
        salvage::advance_offsets(&old, &new)
    })?;
    Ok(tables)
}

/// The migrations that the file has had; all of them if its header is unreadable.
fn migrations_done<'a>(
    copy: &Path,
    migrations: &'a [Migration],
) -> Result<&'a [Migration], DbError> {
    let db = open::connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    match db.and_then(|db| schema::read_version(&db, migrations)) {
        Ok(version) => Ok(migrations.get(..version).unwrap_or(migrations)),
        Err(error @ DbError::Newer { .. }) => Err(error),
        Err(_) => Ok(migrations),
    }
}

/// Connects to a file whose header or schema may be damaged. Both are in the first page, which is then replaced by that of
/// the new file: a file that was created in the same way has its tables in the same pages. If it has not, the checksums
/// of the rows do not match.
fn connect_damaged(
    copy: &Path,
    new: &Path,
    migrations: &[Migration],
) -> Result<Connection, DbError> {
    let connect = || open::connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    match connect() {
        Ok(db) if schema::is_intact(&db, migrations).unwrap_or(false) => Ok(db),
        _ => {
            replace_first_page(copy, new)?;
            connect()
        }
    }
}

fn replace_first_page(copy: &Path, new: &Path) -> io::Result<()> {
    /// Offset of the header's number of pages.
    const PAGES_AT: usize = 28;
    let mut page = vec![0; PAGE];
    let mut new = File::open(new)?;
    new.read_exact(&mut page)?;
    let new_length = new.metadata()?.len();
    let mut copy = OpenOptions::new().write(true).open(copy)?;
    // A truncated file may lack the tables' first pages; they are read as empty.
    let length = copy.metadata()?.len().max(new_length);
    copy.set_len(length)?;
    let pages = u32::try_from(length / PAGE as u64).unwrap_or(u32::MAX);
    if let Some(field) = page.get_mut(PAGES_AT..PAGES_AT + 4) {
        field.copy_from_slice(&pages.to_be_bytes());
    }
    copy.seek(SeekFrom::Start(0))?;
    copy.write_all(&page)
}
