//! The control socket: the API of a running daemon on this machine.
//!
//! [`protocol`] has the requests and responses, each a line of JSON. [`client`] is the end that the commands in
//! `cli/client` use, [`follower`] that of `wait`.
//!
//! The daemon owns a [`ControlServer`] and a [`RequestQueue`], which it shares with the HTTP API, and selects over
//! [`RequestQueue::next`]; each client is served by its own task. A request that needs the daemon comes out as a
//! [`PendingRequest`]. Events are streamed from the store, and [`RequestQueue::notify_events`] wakes the clients that
//! follow them.
//!
//! Slow, silent and hostile clients do no harm: the number of clients, the size of a request, and the time for sending
//! it and for reading a response are limited.
//!
//! Parts of the server: `listener` creates the socket with its permissions, `peer_auth` authorizes clients,
//! `connection` serves one client, [`event_stream`] reads events for it through [`event_pages`], which all clients share.
//! [`accept`](mod@accept) and [`request_queue`] serve the HTTP API too.

pub mod accept;
pub mod client;
mod client_error;
mod connection;
pub mod event_pages;
pub mod event_stream;
pub mod follower;
mod http_call;
pub mod http_transport;
mod listener;
mod peer_auth;
pub mod protocol;
pub mod request_queue;
mod sse;

use std::path::Path;
use std::rc::Rc;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, spawn_local};

use crate::store::DaemonStore;
use accept::ConnectionLimit;
use connection::{ConnectionContext, serve};
use listener::SocketFile;
use peer_auth::PeerAuth;

pub use listener::BindError;
pub use request_queue::{DaemonHandle, PendingRequest, RequestQueue};

/// How many clients are served at once; more wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 512;
/// How many of them may stream events, which takes any time: the rest is left for short requests.
const MAX_EVENT_STREAMS: usize = 480;
/// How many other requests are served at once: each response, at most a page of a list, is held in memory until its
/// client has read it.
const MAX_REQUESTS: usize = 16;
/// The control socket and its clients. On drop the socket is removed.
#[derive(Debug)]
pub struct ControlServer {
    accept_task: AbortHandle,
    _socket: SocketFile,
}

impl ControlServer {
    /// Listens at `path` for root, this process's user and the members of `group`, if there is one. Must be called within a
    /// local runtime.
    ///
    /// A group that does not exist, or that this user may not give the socket to, is a warning. A stale socket at `path`
    /// is replaced.
    pub fn bind<S: DaemonStore>(
        path: &Path,
        group: Option<&str>,
        daemon: DaemonHandle<S>,
    ) -> Result<Self, BindError> {
        let gid = group.and_then(|group| peer_auth::find_group(group).unwrap_or_default());
        if let (Some(group), None) = (group, gid) {
            tracing::warn!(
                target: "forgewatch::control",
                group,
                "no such group: only root and the daemon's own user can use the control socket"
            );
        }
        let (listener, socket) = SocketFile::listen(path, gid)?;
        let fail = |error| BindError::io(path, &error);
        listener.set_nonblocking(true).map_err(fail)?;
        let listener = UnixListener::from_std(listener).map_err(fail)?;

        let shared = ConnectionContext {
            peer_auth: PeerAuth::new(rustix::process::geteuid().as_raw(), gid),
            daemon,
            permits: Semaphore::new(MAX_REQUESTS),
            event_streams: Semaphore::new(MAX_EVENT_STREAMS),
            connections: ConnectionLimit::new(MAX_CONNECTIONS),
        };
        let accept_task = spawn_local(accept(listener, Rc::new(shared)));
        Ok(Self {
            accept_task: accept_task.abort_handle(),
            _socket: socket,
        })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.accept_task.abort();
    }
}

/// Whether [`ControlServer::bind`] finds this group; false if the groups cannot be read.
pub fn group_exists(name: &str) -> bool {
    peer_auth::find_group(name).is_ok_and(|gid| gid.is_some())
}

/// Accepts connections and spawns a task for each.
async fn accept<S: DaemonStore>(listener: UnixListener, shared: Rc<ConnectionContext<S>>) {
    let accept = async || listener.accept().await;
    let limit = &shared.connections;
    limit
        .accept("control socket", accept, |(stream, _), permit| {
            let shared = Rc::clone(&shared);
            spawn_local(async move {
                serve(stream, &shared).await;
                drop(permit);
            });
        })
        .await;
}
