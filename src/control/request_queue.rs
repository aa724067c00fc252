//! Joins the servers with the daemon's loop: one queue of requests, and one announcement of new events.

use std::rc::Rc;

use tokio::sync::{mpsc, oneshot, watch};

use super::event_pages::EventPages;
use super::event_stream::{EventStream, EventStreamError};
use super::protocol::{Request, Response, Since};
use crate::store::DaemonStore;

/// How many requests wait for the daemon; more wait in their connections.
const CAPACITY: usize = 16;

/// A request for the daemon: any but [`Request::Events`].
#[derive(Debug)]
pub struct PendingRequest {
    pub request: Request,
    /// Closed once the client has gone. If it is dropped, the client reads that the daemon is stopping.
    pub respond_to: oneshot::Sender<Response>,
}

/// The daemon's end. On drop, pending requests fail because the daemon is stopping, and streams of events end.
#[derive(Debug)]
pub struct RequestQueue {
    requests: mpsc::Receiver<PendingRequest>,
    commits: watch::Sender<u64>,
}

/// The end of a server. Clones share everything.
#[derive(Clone, Debug)]
pub struct DaemonHandle<S> {
    requests: mpsc::Sender<PendingRequest>,
    pages: Rc<EventPages<S>>,
}

impl RequestQueue {
    pub fn new<S: DaemonStore>(store: S) -> (Self, DaemonHandle<S>) {
        let (to_daemon, requests) = mpsc::channel(CAPACITY);
        let (commits, new_events) = watch::channel(0);
        let handle = DaemonHandle {
            requests: to_daemon,
            pages: Rc::new(EventPages::new(store, new_events)),
        };
        (Self { requests, commits }, handle)
    }

    /// The next request for the daemon. Cancel-safe.
    pub async fn next(&mut self) -> PendingRequest {
        match self.requests.recv().await {
            Some(pending) => pending,
            // No server is left.
            None => std::future::pending().await,
        }
    }

    /// Wakes the clients that follow events: new ones were committed.
    pub fn notify_events(&self) {
        self.commits.send_modify(|commits| *commits += 1);
    }
}

impl<S: DaemonStore> DaemonHandle<S> {
    /// Passes the request to the daemon, which carries it out even if the result is dropped.
    pub(super) async fn submit(&self, request: Request) -> oneshot::Receiver<Response> {
        let (respond_to, response) = oneshot::channel();
        // If the daemon is stopping, the sender is dropped, and the receiver fails.
        let _ = self
            .requests
            .send(PendingRequest {
                request,
                respond_to,
            })
            .await;
        response
    }

    /// Passes the request to the daemon and returns its response.
    pub async fn call(&self, request: Request) -> Response {
        self.submit(request)
            .await
            .await
            .unwrap_or_else(|_| stopping())
    }

    /// Reads events from the store.
    pub async fn events(&self, since: Since) -> Result<EventStream<S>, EventStreamError> {
        EventStream::open(Rc::clone(&self.pages), since).await
    }
}

pub(super) fn stopping() -> Response {
    Response::unavailable("the daemon is stopping")
}
