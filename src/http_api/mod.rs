//! The HTTP API of a running daemon, for machines, browsers and probes.
//!
//! It shares the queue of requests and the events with the control socket ([`crate::control`]): the daemon's loop knows
//! one kind of request. Each connection has its own task. Slow, silent and hostile clients do no harm: the number of
//! connections, the size of a request, and the time for sending it and for reading a response are limited.
//!
//! `service` checks a request (`access`) and passes it by its path (`route`) to `jobs`, `events`,
//! `status`, `actions` and `pages`, which fills the templates of `status_page`; errors are `problem`s.
//! A new page is a variant of `Route` and an arm in `service`.

mod access;
mod actions;
mod body;
mod events;
mod input;
mod jobs;
mod metrics;
mod paced_stream;
mod pages;
mod problem;
mod query;
mod reply;
mod route;
mod service;
mod status;
mod status_page;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, spawn_local};

use crate::control::DaemonHandle;
use crate::control::accept::ConnectionLimit;
use crate::store::DaemonStore;
use paced_stream::{Activity, PacedStream};
use service::{Addresses, ApiService};

pub use access::Access;

/// How many connections are served at once; more wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 256;
/// How many wait there; the system may allow fewer.
const BACKLOG: u32 = 1024;
/// Time limit for the head of a request, from the connection's begin or the response before.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most header lines of a request.
const MAX_HEADERS: usize = 64;
/// The longest head of a request.
const MAX_HEAD: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "http.listen: {0} is in use by another program; stop it, or set http.listen to another address"
    )]
    InUse(SocketAddr),
    #[error(
        "http.listen: cannot listen on {0}: {1}; set http.listen to an address of this machine"
    )]
    Io(SocketAddr, io::Error),
}

/// The listener and its clients. On drop it accepts no more of them.
pub struct HttpServer {
    accept_task: AbortHandle,
    replace_access: Box<dyn Fn(Access)>,
}

impl HttpServer {
    /// Listens at `listen`. Must be called within a local runtime.
    pub fn bind<S: DaemonStore>(
        listen: SocketAddr,
        access: Access,
        daemon: DaemonHandle<S>,
    ) -> Result<Self, ListenError> {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(listen),
            _ => ListenError::Io(listen, error),
        };
        let listener = listener(listen).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        tracing::info!(target: "forgewatch::http", "serving HTTP on http://{address}");
        let api = Rc::new(ApiService::new(daemon, access));
        let accept_task = spawn_local(accept(listener, Rc::clone(&api)));
        Ok(Self {
            accept_task: accept_task.abort_handle(),
            replace_access: Box::new(move |access| *api.access.borrow_mut() = Rc::new(access)),
        })
    }

    /// Holds for all later requests, those of open connections included.
    pub fn set_access(&self, access: Access) {
        (self.replace_access)(access);
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart must not wait for old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accept_task.abort();
    }
}

/// Accepts connections and spawns a task for each.
async fn accept<S: DaemonStore>(listener: TcpListener, api: Rc<ApiService<S>>) {
    let limit = Rc::new(ConnectionLimit::new(MAX_CONNECTIONS));
    let accept = async || listener.accept().await;
    limit
        .accept("HTTP API", accept, |(stream, _), permit| {
            let (api, limit) = (Rc::clone(&api), Rc::clone(&limit));
            spawn_local(async move {
                // A failed connection concerns its client alone.
                let _ = serve(stream, &api, &limit).await;
                drop(permit);
            });
        })
        .await;
}

/// Serves a connection until the client closes it, is too slow, or is idle while others wait.
async fn serve<S: DaemonStore>(
    stream: TcpStream,
    api: &Rc<ApiService<S>>,
    limit: &ConnectionLimit,
) -> io::Result<()> {
    let addresses = Addresses {
        local: stream.local_addr()?,
        peer: stream.peer_addr()?,
    };
    stream.set_nodelay(true)?;
    let activity = Rc::new(Activity::default());
    let stream = TokioIo::new(PacedStream::new(stream, Rc::clone(&activity)));
    let service = service_fn(|request| {
        let (api, activity) = (Rc::clone(api), Rc::clone(&activity));
        async move { Ok::<_, Infallible>(api.respond(request, addresses, &activity).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(stream, service)
    );
    loop {
        tokio::select! {
            result = connection.as_mut() => return result.map_err(io::Error::other),
            () = limit.idle_too_long() => if activity.is_idle() {
                return Ok(());
            },
        }
    }
}
