//! The daemon's end of the control socket.
//!
//! The daemon owns a [`Server`] and selects over [`Server::next`]; each client is a task beside it. What only the daemon
//! knows comes out as an [`PendingRequest`]; events are told from the store, and [`Server::notify_events`] wakes those who follow them.
//!
//! A client can be slow, silent or hostile and harms nobody: there is a bound on how many there are, on what a request
//! takes in bytes and time, and on how long an answer waits to be taken.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::connection::{Shared, serve};
use super::listener::Place;
use super::peer_auth::{self, PeerAuth};
use super::protocol::{Answer, Request};
use crate::store::Sqlite;

pub use super::listener::BindError;

/// How many clients are served at once; more wait in the kernel's queue, until one is done or was silent for too long.
const CONNECTIONS: usize = 16;
/// How many of them may read events, which takes as long as they like: the rest is for those who want one thing.
const READERS: usize = 12;
/// How long to wait for room, and for file descriptors, before silent clients are asked to make some.
const PAUSE: Duration = Duration::from_millis(100);

/// A request that the daemon itself answers: any but [`Request::Events`].
#[derive(Debug)]
pub struct PendingRequest {
    /// What is wanted.
    pub request: Request,
    /// Where the answer goes. The client may have gone. Dropped, it says that the daemon is stopping.
    pub reply: oneshot::Sender<Answer>,
}

/// The socket and all who speak through it. Dropped, the socket is gone, clients that wait are told that the daemon
/// is stopping, and those that follow that it has stopped.
#[derive(Debug)]
pub struct Server {
    asked: mpsc::Receiver<PendingRequest>,
    notify_events: watch::Sender<()>,
    accepting: AbortHandle,
    _place: Place,
}

impl Server {
    /// Listens at `path`, for root, this process's user and the members of `group`. Has to be called within a runtime.
    ///
    /// A group that does not exist, or that this user can't give a file to, is a warning: then nobody speaks through it.
    ///
    /// # Errors
    /// Where somebody answers at `path` already, where it is anything but a socket, and where the system gives none. A
    /// socket that nobody answers at is replaced.
    pub fn bind(path: &Path, group: &str, store: Sqlite) -> Result<Self, BindError> {
        let gid = peer_auth::group(group).unwrap_or_default();
        if gid.is_none() {
            tracing::warn!(
                group,
                "there is no such group: only root and the daemon's own user can use the control socket"
            );
        }
        let (listener, place) = Place::listen(path, gid)?;
        let fail = |error: std::io::Error| BindError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        listener.set_nonblocking(true).map_err(fail)?;
        let listener = UnixListener::from_std(listener).map_err(fail)?;

        let (ask, asked) = mpsc::channel(CONNECTIONS);
        let (notify_events, heard) = watch::channel(());
        let shared = Shared {
            doorman: PeerAuth::new(rustix::process::geteuid().as_raw(), gid),
            store,
            ask,
            notify_events: heard,
            readers: Semaphore::new(READERS),
            crowded: Notify::new(),
        };
        let accepting = tokio::spawn(accept(listener, Arc::new(shared)));
        Ok(Self {
            asked,
            notify_events,
            accepting: accepting.abort_handle(),
            _place: place,
        })
    }

    /// The next request that the daemon has to answer. Cancel-safe.
    pub async fn next(&mut self) -> PendingRequest {
        match self.asked.recv().await {
            Some(asked) => asked,
            // Whoever accepts holds the other end, as long as this lives.
            None => std::future::pending().await,
        }
    }

    /// Wakes those who follow: events were committed.
    pub fn notify_events(&self) {
        self.notify_events.send_replace(());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Whether the machine has this group, as [`Server::bind`] looks for it. One that can't be looked for is none.
pub fn is_group(name: &str) -> bool {
    peer_auth::group(name).is_ok_and(|gid| gid.is_some())
}

/// Serves whoever comes, each in a task of its own.
async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut failing = false;
    loop {
        let place = room(&places, &shared).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    serve(stream, &shared).await;
                    drop(place);
                });
            }
            // For want of file descriptors: clients have some.
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "no client of the control socket can be served");
                }
                shared.crowded.notify_waiters();
                sleep(PAUSE).await;
            }
        }
    }
}

/// Waits for a place, and has silent clients make room where there is none.
async fn room(places: &Arc<Semaphore>, shared: &Shared) -> OwnedSemaphorePermit {
    loop {
        if let Ok(Ok(place)) = timeout(PAUSE, Arc::clone(places).acquire_owned()).await {
            return place;
        }
        shared.crowded.notify_waiters();
    }
}
