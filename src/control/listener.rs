//! The socket in the file system: nobody else can ever connect to it before it is closed to them, nothing of anybody's
//! is taken away to make room, and it goes when the daemon does.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Why there is no socket; its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error(
        "{path}: another daemon answers at this socket; stop that one, or name another with control.socket",
        path = path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A file, a folder or a link has its name. It was left as it is.
    #[error(
        "{path} is there already and is no socket; remove it, or name another with control.socket",
        path = path.display()
    )]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
    /// The system gives an error.
    #[error(
        "{path}: the control socket can't be made: {reason}; let this user write its folder, or name another with \
         control.socket", path = path.display()
    )]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// A socket that is there; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Device and inode: somebody may have put another there by then.
    id: (u64, u64),
}

impl Place {
    /// Listens at `path`, for this user and the members of `group`, a gid.
    ///
    /// The socket is made in a folder that is closed to others and gets its name once it has its mode; a `umask` would
    /// do the same to the files of other threads, and a `chmod` alone comes after somebody has connected.
    pub(super) fn listen(
        path: &Path,
        group: Option<u32>,
    ) -> Result<(UnixListener, Self), BindError> {
        let fail = |error: io::Error| BindError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
        let name = path.file_name().ok_or_else(nameless).map_err(fail)?;
        let folder = folder_of(path);
        make_folder(folder).map_err(fail)?;
        make_room(path)?;

        let closed = Closed::beside(path).map_err(fail)?;
        let inside = closed.0.join(name);
        let listener = UnixListener::bind(&inside).map_err(fail)?;
        let mode = if group.is_some_and(|gid| give(&inside, gid)) {
            0o660
        } else {
            0o600
        };
        fs::set_permissions(&inside, Permissions::from_mode(mode)).map_err(fail)?;
        let socket = fs::symlink_metadata(&inside).map_err(fail)?;
        // Unlike a rename, a link replaces nothing: whoever came first keeps the place.
        fs::hard_link(&inside, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BindError::InUse {
                path: path.to_owned(),
            },
            _ => fail(error),
        })?;
        let place = Self {
            path: path.to_owned(),
            id: (socket.dev(), socket.ino()),
        };
        Ok((listener, place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.id)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A folder for this user alone, gone with all that is in it when dropped. Its name is nine bytes long: what is in it has
/// a path ten bytes longer than beside it, for which the configuration leaves room.
struct Closed(PathBuf);

impl Closed {
    fn beside(path: &Path) -> io::Result<Self> {
        let random = getrandom::u32().map_err(io::Error::other)?;
        let path = path.with_file_name(format!(".{random:08x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives the socket to the group; whether it is the group's now. Who is no member of it may not; a hardened unit may not
/// for any group, but makes it this one's in the first place (`Group=`).
fn give(socket: &Path, gid: u32) -> bool {
    if fs::symlink_metadata(socket).is_ok_and(|made| made.gid() == gid) {
        return true;
    }
    match chown(socket, None, Some(gid)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                %error,
                gid,
                "the control socket can't be given to its group: only root and the daemon's own user can use it"
            );
            false
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Everybody may look into the folder: the socket's own mode says who may connect.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Takes away a socket that nobody answers at, and nothing else. A link is no socket, wherever it leads.
fn make_room(path: &Path) -> Result<(), BindError> {
    let fail = |error: io::Error| BindError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {}
        Ok(_) => {
            return Err(BindError::NoSocket {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
    }
    match knock(path) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(fail),
        Err(Errno::NOENT) => Ok(()),
        // So many wait to be heard that there is no room for one more.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(fail(error.into())),
    }
}

/// Connects, without waiting.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}
