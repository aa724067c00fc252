//! The control socket: the API of a running daemon on this machine.
//!
//! [`protocol`] has the requests and responses, each a line of JSON. [`client`] is the end that the commands in
//! `cli/client` use, [`follower`] that of `wait`.
//!
//! The daemon owns a [`ControlServer`] and selects over [`ControlServer::next_request`]; each client is served by its own
//! task. A request that needs the daemon comes out as a [`PendingRequest`]. Events are streamed from the store, and
//! [`ControlServer::notify_events`] wakes the clients that follow them.
//!
//! Slow, silent and hostile clients do no harm: the number of clients, the size of a request, and the time for sending
//! it and for reading a response are limited.
//!
//! Parts of the server: `listener` creates the socket with its permissions, `peer_auth` authorizes clients,
//! `connection` serves one client, [`event_stream`] reads events for it through [`event_pages`], which all clients share.

pub mod client;
mod connection;
pub mod event_pages;
pub mod event_stream;
pub mod follower;
mod listener;
mod peer_auth;
pub mod protocol;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::store::DaemonStore;
use connection::{ConnectionContext, serve};
use event_pages::EventPages;
use listener::SocketFile;
use peer_auth::PeerAuth;

pub use connection::PendingRequest;
pub use listener::BindError;

/// How many clients are served at once; more wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 512;
/// How many of them may stream events, which takes any time: the rest is left for short requests.
const MAX_EVENT_STREAMS: usize = 480;
/// How many other requests are served at once: each response, at most a page of a list, is held in memory until its
/// client has read it.
const MAX_REQUESTS: usize = 16;
/// How long to wait for a free connection or file descriptor before idle clients are disconnected.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The control socket and its clients. On drop the socket is removed, pending requests fail because the daemon is
/// stopping, and streams of events end with [`Response::Stopped`](protocol::Response::Stopped).
#[derive(Debug)]
pub struct ControlServer {
    requests: mpsc::Receiver<PendingRequest>,
    commits: watch::Sender<u64>,
    accept_task: AbortHandle,
    _socket: SocketFile,
}

impl ControlServer {
    /// Listens at `path` for root, this process's user and the members of `group`. Must be called within a
    /// local runtime.
    ///
    /// A group that does not exist, or that this user may not give the socket to, is a warning. A stale socket at `path`
    /// is replaced.
    pub fn bind<S: DaemonStore>(path: &Path, group: &str, store: S) -> Result<Self, BindError> {
        let gid = peer_auth::find_group(group).unwrap_or_default();
        if gid.is_none() {
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

        let (to_daemon, requests) = mpsc::channel(MAX_REQUESTS);
        let (commits, new_events) = watch::channel(0);
        let shared = ConnectionContext {
            peer_auth: PeerAuth::new(rustix::process::geteuid().as_raw(), gid),
            pages: Rc::new(EventPages::new(store, new_events)),
            requests: to_daemon,
            permits: Semaphore::new(MAX_REQUESTS),
            event_streams: Semaphore::new(MAX_EVENT_STREAMS),
            busy: Notify::new(),
        };
        let accept_task = spawn_local(accept(listener, Rc::new(shared)));
        Ok(Self {
            requests,
            commits,
            accept_task: accept_task.abort_handle(),
            _socket: socket,
        })
    }

    /// The next request for the daemon. Cancel-safe.
    pub async fn next_request(&mut self) -> PendingRequest {
        match self.requests.recv().await {
            Some(pending) => pending,
            // The accept task holds the sender for as long as the server lives.
            None => std::future::pending().await,
        }
    }

    /// Wakes the clients that follow events: new ones were committed.
    pub fn notify_events(&self) {
        self.commits.send_modify(|commits| *commits += 1);
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
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut failing = false;
    loop {
        let permit = acquire_connection(&connections, &shared).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                let shared = Rc::clone(&shared);
                spawn_local(async move {
                    serve(stream, &shared).await;
                    drop(permit);
                });
            }
            // Out of file descriptors: idle clients hold some.
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        target: "forgewatch::control",
                        %error,
                        "cannot accept clients of the control socket"
                    );
                }
                shared.busy.notify_waiters();
                sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Waits for a free connection; disconnects idle clients if there is none.
async fn acquire_connection<S>(
    connections: &Arc<Semaphore>,
    shared: &ConnectionContext<S>,
) -> OwnedSemaphorePermit {
    loop {
        if let Ok(Ok(permit)) = timeout(RETRY_DELAY, Arc::clone(connections).acquire_owned()).await
        {
            return permit;
        }
        shared.busy.notify_waiters();
    }
}
