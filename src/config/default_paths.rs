//! Where a daemon keeps its state and its socket by default, and where clients look for the socket.
//!
//! A service of systemd uses the directories of its unit, root those of the system, and an ordinary user those of the XDG
//! specification.

use std::path::{Path, PathBuf};

use super::env::Env;
use super::keys::{DEFAULT_SOCKET, DEFAULT_STATE};

const SOCKET: &str = "control.sock";

pub(super) struct DefaultPaths {
    pub(super) state: PathBuf,
    pub(super) socket: PathBuf,
    /// Whether the daemon is that of an ordinary user, which no group controls.
    pub(super) is_of_user: bool,
}

impl DefaultPaths {
    pub(super) fn of(env: &Env) -> Self {
        let state = service_folder(env, "STATE_DIRECTORY");
        let runtime = service_folder(env, "RUNTIME_DIRECTORY");
        let is_service = state.is_some() || runtime.is_some();
        let user = UserFolders::find(env).filter(|_| !is_service);
        let state = state.or_else(|| user.as_ref().map(|user| user.state.clone()));
        let socket = runtime.map(|folder| folder.join(SOCKET));
        let of_user = || user.as_ref().and_then(|user| user.sockets().next());
        Self {
            state: state.map_or_else(|| DEFAULT_STATE.into(), |folder| folder.join("state.db")),
            socket: socket
                .or_else(of_user)
                .unwrap_or_else(|| DEFAULT_SOCKET.into()),
            is_of_user: user.is_some(),
        }
    }
}

/// The socket on which a client expects the daemon: the user's own if there is one, else the system's. A daemon that
/// restarts has no socket for a moment, so if there is neither, the user's folder decides.
pub(super) fn client_socket(env: &Env) -> PathBuf {
    let system = PathBuf::from(DEFAULT_SOCKET);
    let of_service = service_folder(env, "RUNTIME_DIRECTORY").map(|folder| folder.join(SOCKET));
    let user = UserFolders::find(env);
    let of_user = || user.iter().flat_map(UserFolders::sockets);
    let mut candidates = of_service
        .into_iter()
        .chain(of_user())
        .chain([system.clone()]);
    let has_folder = |path: &PathBuf| path.parent().is_some_and(Path::exists);
    let existing = candidates.find(|path| path.exists());
    existing
        .or_else(|| of_user().find(has_folder))
        .unwrap_or(system)
}

/// The first directory of this kind that systemd has created for the service.
fn service_folder(env: &Env, variable: &str) -> Option<PathBuf> {
    let folders = env.path(variable)?;
    let first = std::env::split_paths(folders).next()?;
    first.is_absolute().then_some(first)
}

/// The folders of an ordinary user. As the XDG specification says, relative paths are ignored.
struct UserFolders {
    state: PathBuf,
    runtime: Option<PathBuf>,
}

impl UserFolders {
    /// None for root, and without a home.
    fn find(env: &Env) -> Option<Self> {
        if !env.is_of_ordinary_user() {
            return None;
        }
        let folder = |name| env.path(name).filter(|path| path.is_absolute());
        let home = folder("HOME").map(|home| home.join(".local/state"));
        let state = folder("XDG_STATE_HOME").map(Path::to_owned).or(home)?;
        Some(Self {
            state: state.join("forgewatch"),
            runtime: folder("XDG_RUNTIME_DIR").map(|folder| folder.join("forgewatch")),
        })
    }

    /// The first one is the daemon's. Without a runtime directory, as outside of a session, it is next to the state.
    fn sockets(&self) -> impl Iterator<Item = PathBuf> {
        let folders = self.runtime.iter().chain([&self.state]);
        folders.map(|folder| folder.join(SOCKET))
    }
}
