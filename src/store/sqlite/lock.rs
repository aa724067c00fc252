//! The state file in the file system: its folder, mode and lock.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::{OpenError, io_error};

const LOCK_ATTEMPTS: u32 = 20;
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(10);
const GROUP_AND_OTHERS: u32 = 0o077;

#[derive(Debug)]
pub(super) struct LockedFile {
    /// Its path without links in the folder.
    pub(super) file: PathBuf,
    /// The lock is held while this is open.
    _lock: File,
}

/// Locks the file; creates its folder if it is missing.
pub(super) fn acquire(path: &Path) -> Result<LockedFile, OpenError> {
    let fail = |error: io::Error| io_error(path, &error);
    let folder = folder_of(path);
    if !folder.exists() {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(fail)?;
    }
    let file = resolve_folder(path).map_err(fail)?;
    reject_links(&file).map_err(fail)?;
    let lock = lock(path, &with_suffix(&file, ".lock"))?;
    make_private(&file).map_err(fail)?;
    Ok(LockedFile { file, _lock: lock })
}

/// The path with all links in its folder resolved. systemd puts a link into the path of a dynamic user's state folder, so
/// only the file itself must not be a link.
pub(super) fn resolve_folder(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    Ok(folder_of(path).canonicalize()?.join(name))
}

/// The path with a suffix appended to its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

/// Also for the files that SQLite creates next to it.
fn reject_links(file: &Path) -> io::Result<()> {
    for suffix in ["", ".lock", "-wal", "-shm"] {
        let path = with_suffix(file, suffix);
        if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is not a regular file; remove it", path.display()),
            ));
        }
    }
    Ok(())
}

fn lock(path: &Path, lock_path: &Path) -> Result<File, OpenError> {
    let fail = |error: io::Error| io_error(path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock_path)
        .map_err(fail)?;
    let mut attempts = 0;
    while let Err(error) = file.try_lock() {
        attempts += 1;
        match error {
            // A killed daemon's child between fork and exec holds the lock for a moment.
            TryLockError::WouldBlock if attempts < LOCK_ATTEMPTS => thread::sleep(LOCK_RETRY_DELAY),
            TryLockError::WouldBlock => return Err(in_use(path, file)),
            TryLockError::Error(error) => return Err(fail(error)),
        }
    }
    // The PID only serves error messages, so a full disk is no reason to fail.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The error for a file whose `lock` another process holds.
pub(super) fn in_use(path: &Path, lock: File) -> OpenError {
    let mut holder = String::new();
    let _ = lock.take(20).read_to_string(&mut holder);
    OpenError::InUse {
        path: path.to_owned(),
        pid: holder.trim().parse().ok(),
    }
}

/// Removes other users' access to an existing file; SQLite creates its other files with the same mode.
fn make_private(file: &Path) -> io::Result<()> {
    let mode = match fs::metadata(file) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & GROUP_AND_OTHERS != 0 {
        fs::set_permissions(file, Permissions::from_mode(mode & !GROUP_AND_OTHERS))?;
    }
    Ok(())
}

/// Makes a rename durable.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}
