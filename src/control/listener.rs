//! The socket in the file system: it has its final permissions before anyone can connect, replaces nothing but a stale
//! socket, and is removed when the daemon ends.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error(
        "{path}: the control socket is in use by another daemon; stop it, or set control.socket to another path",
        path = path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "{path} already exists and is not a socket; remove it, or set control.socket to another path",
        path = path.display()
    )]
    NotASocket { path: PathBuf },
    #[error(
        "{path}: cannot create the control socket: {reason}; make its directory writable for this user, or set \
         control.socket to another path", path = path.display()
    )]
    Io { path: PathBuf, reason: String },
}

impl BindError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// The socket, removed on drop.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: by then, the path may belong to another socket.
    id: (u64, u64),
}

impl SocketFile {
    /// Listens at `path` for this user and the members of `group`, a gid.
    ///
    /// The socket is created in a private directory and linked to `path` once its mode is set. A `umask` would affect
    /// the files of other threads, and a `chmod` alone would come too late.
    pub(super) fn listen(
        path: &Path,
        group: Option<u32>,
    ) -> Result<(UnixListener, Self), BindError> {
        let fail = |error| BindError::io(path, &error);
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "not a file name");
        let name = path.file_name().ok_or_else(nameless).map_err(fail)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        create_folder(folder.unwrap_or(Path::new("."))).map_err(fail)?;
        remove_stale_socket(path)?;

        let private = PrivateFolder::next_to(path).map_err(fail)?;
        let inside = private.0.join(name);
        let listener = UnixListener::bind(&inside).map_err(fail)?;
        let mode = if group.is_some_and(|gid| set_group(&inside, gid)) {
            0o660
        } else {
            0o600
        };
        fs::set_permissions(&inside, Permissions::from_mode(mode)).map_err(fail)?;
        let socket = fs::symlink_metadata(&inside).map_err(fail)?;
        // Unlike a rename, a link fails if the path exists: of two daemons that start, one gets it.
        fs::hard_link(&inside, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BindError::InUse {
                path: path.to_owned(),
            },
            _ => fail(error),
        })?;
        let file = Self {
            path: path.to_owned(),
            id: (socket.dev(), socket.ino()),
        };
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A folder of mode 0700, removed with its contents on drop. Its name has nine bytes, so the path of a file inside is
/// ten bytes longer; the configuration's limit on the length of the socket's path allows for that.
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn next_to(path: &Path) -> io::Result<Self> {
        let random = getrandom::u32().map_err(io::Error::other)?;
        let path = path.with_file_name(format!(".{random:08x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sets the socket's group and returns whether it has it. Only members of the group may do so. The hardened unit may
/// not change groups at all; there, `Group=` has set it already.
fn set_group(socket: &Path, gid: u32) -> bool {
    if fs::symlink_metadata(socket).is_ok_and(|created| created.gid() == gid) {
        return true;
    }
    match chown(socket, None, Some(gid)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                target: "forgewatch::control",
                %error,
                gid,
                "cannot set the group of the control socket: only root and the daemon's own user can use it"
            );
            false
        }
    }
}

/// The folder is world-readable: the socket's own mode controls who may connect.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Removes a socket without a listener, and nothing else. A link is not a socket, whatever its target.
fn remove_stale_socket(path: &Path) -> Result<(), BindError> {
    let fail = |error| BindError::io(path, &error);
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
    }
    match try_connect(path) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(fail),
        Err(Errno::NOENT) => Ok(()),
        // EAGAIN: there is a listener, and its accept queue is full.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(fail(error.into())),
    }
}

/// Connects without blocking.
fn try_connect(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}
