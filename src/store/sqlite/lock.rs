//! Where the file is: its folder, its mode, who holds it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::OpenError;

/// How long a held lock is tried for: 200 ms.
const LOCK_TRIES: u32 = 20;
/// What group and others may do.
const OTHERS: u32 = 0o077;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The state file's place, held for this process.
#[derive(Debug)]
pub(super) struct Place {
    /// The file, in a folder whose path holds no link.
    pub(super) file: PathBuf,
    /// Held as long as it is open.
    _lock: File,
}

/// Makes folder and file where they are missing, and takes hold of them.
pub(super) fn claim(path: &Path) -> Result<Place, OpenError> {
    let fail = |error: io::Error| failed(path, &error);
    let folder = folder_of(path);
    if !folder.exists() {
        let mut private = DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail)?;
    }
    let file = settle(path).map_err(fail)?;
    refuse_links(&file).map_err(fail)?;
    let lock = lock(path, &beside(&file, ".lock"))?;
    make_private(&file).map_err(fail)?;
    Ok(Place { file, _lock: lock })
}

/// The path with every link in its folder resolved. systemd itself puts a link into the path of a dynamic user's
/// state folder, so only the file's own name is refused as one.
pub(super) fn settle(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    Ok(folder_of(path).canonicalize()?.join(name))
}

/// The path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// What the operating system's refusal means for a start.
pub(super) fn failed(path: &Path, error: &io::Error) -> OpenError {
    let path = path.to_owned();
    let reason = error.to_string();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            OpenError::ReadOnly { path, reason }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::Full { path, reason }
        }
        _ => OpenError::Io { path, reason },
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The files that SQLite keeps beside are ours as well.
fn refuse_links(file: &Path) -> io::Result<()> {
    for suffix in ["", ".lock", "-wal", "-shm"] {
        let path = beside(file, suffix);
        if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is a link or no file at all; remove it", path.display()),
            ));
        }
    }
    Ok(())
}

fn lock(path: &Path, at: &Path) -> Result<File, OpenError> {
    let fail = |error: io::Error| failed(path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(at)
        .map_err(fail)?;
    let mut tries = 0;
    while let Err(error) = file.try_lock() {
        tries += 1;
        match error {
            // A process that was killed may have left a child between fork and exec, which holds it for a moment.
            TryLockError::WouldBlock if tries < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
            TryLockError::WouldBlock => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    pid: holder.trim().parse().ok(),
                });
            }
            TryLockError::Error(error) => return Err(fail(error)),
        }
    }
    // The pid is for people; a full disk is no reason not to start.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Closes an existing file to others; SQLite gives the files beside it the same mode.
fn make_private(file: &Path) -> io::Result<()> {
    let mode = match fs::metadata(file) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & OTHERS != 0 {
        fs::set_permissions(file, Permissions::from_mode(mode & !OTHERS))?;
    }
    Ok(())
}

/// So that a new name outlives a power cut.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}
