//! Errors of the state file.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};
use rustix::process::{Resource, getrlimit};

use crate::store::StoreError;

/// Why a state file cannot be used, and what to do. Only [`OpenError::Unavailable`] and [`OpenError::Locked`] are
/// temporary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path}: the state file is read-only: {reason}; make it and its directory writable for this user, or use \
         another file with state.path or --state", path = path.display()
    )]
    ReadOnly { path: PathBuf, reason: String },
    /// The disk is full.
    #[error("{path}: cannot write the state file: {reason}; free disk space", path = path.display())]
    Unavailable { path: PathBuf, reason: String },
    #[error(
        "{path}: another program has locked the state file: {reason}; stop it, such as an sqlite3 shell or a backup",
        path = path.display()
    )]
    Locked { path: PathBuf, reason: String },
    /// The file was not changed.
    #[error(
        "{path}: the state file is damaged: {reason}; to recover what is readable: forgewatch state recover --from \
         {path}", path = path.display()
    )]
    Corrupt { path: PathBuf, reason: String },
    /// A database of another program.
    #[error("{path} is not a forgewatch state file; use another file", path = path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{path}: the state file has version {found}, but this forgewatch supports only versions up to {supported}; \
         upgrade forgewatch, or use another file", path = path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        supported: i64,
    },
    #[error(
        "{path}: the state file is in use by {holder}; stop it, or use another file",
        path = path.display(),
        holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        path: PathBuf,
        /// None if the lock file does not say.
        pid: Option<u32>,
    },
    #[error("{path}: cannot open the state file: {reason}", path = path.display())]
    Io { path: PathBuf, reason: String },
}

/// An error of the file, before it becomes an [`OpenError`] or a [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum DbError {
    #[error("{}", describe(.0))]
    Sql(#[from] rusqlite::Error),
    #[error("{0}")]
    Damaged(String),
    /// Concerns one request only.
    #[error(transparent)]
    Rejected(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a state file of this version")]
    Newer { found: i64, supported: i64 },
    #[error("not a state file of this version")]
    Foreign,
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        let reason = error.to_string();
        match error {
            DbError::Rejected(error) => error,
            DbError::Sql(error) if is_locked(&error) => Self::Locked(reason),
            DbError::Sql(error) if is_temporary(&error) => Self::Unavailable(reason),
            DbError::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => Self::Rejected(reason),
                _ => Self::Fatal(reason),
            },
            _ => Self::Fatal(reason),
        }
    }
}

/// Whether a retry may succeed: the disk is full or the file is locked.
pub(super) fn is_temporary(error: &rusqlite::Error) -> bool {
    let is_full = |cause: &ffi::Error| {
        // Or the index of the WAL could not grow.
        cause.code == ErrorCode::DiskFull || cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    };
    is_locked(error) || error.sqlite_error().is_some_and(is_full)
}

fn is_locked(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// The error, with the limit of file size, if any: SQLite reports only that a write failed.
fn describe(error: &rusqlite::Error) -> String {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
            format!("{error}; files of this process are limited to {limit} bytes: raise ulimit -f")
        }
        _ => error.to_string(),
    }
}

pub(super) fn open_error(path: &Path, error: DbError) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error {
        DbError::Newer { found, supported } => OpenError::Newer {
            path,
            found,
            supported,
        },
        DbError::Foreign => OpenError::Foreign { path },
        DbError::Damaged(_) => OpenError::Corrupt { path, reason },
        DbError::Io(error) => io_error(&path, &error),
        DbError::Rejected(_) => OpenError::Io { path, reason },
        DbError::Sql(error) if is_locked(&error) => OpenError::Locked { path, reason },
        DbError::Sql(error) if is_temporary(&error) => OpenError::Unavailable { path, reason },
        DbError::Sql(error) => match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                OpenError::ReadOnly { path, reason }
            }
            Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
                OpenError::Io { path, reason }
            }
            _ => OpenError::Corrupt { path, reason },
        },
    }
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> OpenError {
    let path = path.to_owned();
    let reason = error.to_string();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            OpenError::ReadOnly { path, reason }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::Unavailable { path, reason }
        }
        _ => OpenError::Io { path, reason },
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn temporary_errors_permanent_errors_and_damage_are_distinguished() {
        let sqlite = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            open_error(Path::new("state.db"), DbError::Sql(error))
        };
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_RECOVERY,
            ffi::SQLITE_LOCKED,
        ] {
            let error = sqlite(code);
            assert!(matches!(error, OpenError::Locked { .. }), "{code}: {error}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            let error = sqlite(code);
            assert!(
                matches!(error, OpenError::Unavailable { .. }),
                "{code}: {error}"
            );
        }
        let permanent = sqlite(ffi::SQLITE_IOERR_READ);
        assert!(matches!(permanent, OpenError::Io { .. }), "{permanent}");
        let read_only = sqlite(ffi::SQLITE_READONLY);
        assert!(
            matches!(read_only, OpenError::ReadOnly { .. }),
            "{read_only}"
        );
        let damage = sqlite(ffi::SQLITE_CORRUPT);
        assert!(matches!(damage, OpenError::Corrupt { .. }), "{damage}");
        for (kind, is_full) in [
            (ErrorKind::StorageFull, true),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::NotFound, false),
        ] {
            let error = open_error(Path::new("state.db"), DbError::Io(kind.into()));
            assert_eq!(
                matches!(error, OpenError::Unavailable { .. }),
                is_full,
                "{error}"
            );
        }
        insta::assert_snapshot!(sqlite(ffi::SQLITE_FULL), @"state.db: cannot write the state file: Error code 13: database or disk is full; free disk space");
    }
}
