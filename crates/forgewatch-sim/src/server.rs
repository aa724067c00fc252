//! The server: sockets, the real clock, an optional thread, and the request log.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::body::Body;
use crate::http::{HttpRequest, LoggedRequest, RequestError};
use crate::responder::Responder;
use crate::script::Script;
use crate::transport::{self, Framing, HttpResponse, Transport};
use forgewatch_core::job::JobRef;

/// Pause after a failed accept, which is usually a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long a rejected connection is still read, so that a reset does not discard the response.
const LINGER: Duration = Duration::from_millis(500);

/// A simulated server on its own thread. It stops when dropped.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a script on a free loopback port, at speed 1.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::start_with(script, SocketAddr::from(([127, 0, 0, 1], 0)), 1.0)
    }

    /// Serves a script on `listen`, its durations divided by `speed`. Fails if the address is in use or the speed is not
    /// a positive number.
    pub fn start_with(script: Script, listen: SocketAddr, speed: f64) -> io::Result<Self> {
        // not async, so that the server can be started inside and outside a runtime
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let shared = Arc::new(Shared::new(script, speed, true)?);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("simulator".to_owned())
            .spawn(move || {
                runtime.block_on(accept(listener, served, async {
                    // a message and a dropped sender both stop the server
                    let _ = stopped.await;
                }));
            })?;
        Ok(Self {
            addr,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.shared.state().log.clone()
    }

    /// Waits until `n` requests for `job` (None: for any) have arrived. False after `timeout`.
    pub fn wait_for_requests(&self, job: Option<JobRef>, n: usize, timeout: Duration) -> bool {
        let count = |state: &mut ServerState| {
            state
                .log
                .iter()
                .filter(|record| job.is_none() || record.job == job)
                .count()
        };
        let (_state, result) = self
            .shared
            .arrived
            .wait_timeout_while(self.shared.state(), timeout, |state| count(state) < n)
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// The true end of a job, in milliseconds since the start; None if it has not ended or is not in the script.
    pub fn ended_at(&self, job: JobRef) -> Option<u64> {
        let now = self.shared.now();
        self.shared
            .state()
            .responder
            .ended_at(job, now)
            .map(|at| at as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic of the thread has been printed already
            let _ = thread.join();
        }
    }
}

/// Serves a script on `listener`, its durations divided by `speed`, until `stop` completes; then drops all connections.
/// Fails if the speed is not a positive number.
pub async fn serve(
    listener: TcpListener,
    script: Script,
    speed: f64,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    accept(listener, Arc::new(Shared::new(script, speed, false)?), stop).await;
    Ok(())
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// False for servers that may run for days.
    keep_requests: bool,
    state: Mutex<ServerState>,
    /// Notified when a request has been logged.
    arrived: Condvar,
}

#[derive(Debug)]
struct ServerState {
    responder: Responder,
    log: Vec<LoggedRequest>,
}

impl Shared {
    fn new(script: Script, speed: f64, keep_requests: bool) -> io::Result<Self> {
        if !(speed.is_finite() && (1e-6..=1e6).contains(&speed)) {
            let message = format!("speed {speed} is out of range: use 0.000001 to 1000000");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let responder = Responder::new(script, speed, wall.as_millis() as i64);
        Ok(Self {
            started: Instant::now(),
            keep_requests,
            state: Mutex::new(ServerState {
                responder,
                log: Vec::new(),
            }),
            arrived: Condvar::new(),
        })
    }

    /// Milliseconds since the start.
    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares the response to a request and logs the request before the response is sent.
    fn respond(&self, request: &HttpRequest) -> io::Result<(HttpResponse, Transport)> {
        let mut state = self.state();
        let reply = state.responder.respond(request, self.now())?;
        let record = reply.record;
        tracing::debug!(
            target: "forgewatch::sim",
            at_ms = record.at,
            method = record.method,
            target_path = record.target,
            n = record.n,
            served = record.served,
            "request"
        );
        if self.keep_requests {
            state.log.push(record);
            self.arrived.notify_all();
        }
        Ok((reply.response, reply.transport))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        if let Err(error) = handle_connection(stream, &shared).await {
                            tracing::debug!(target: "forgewatch::sim", %error, "connection lost");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(target: "forgewatch::sim", %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Serves the requests of one connection until either side closes it.
async fn handle_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let request = match HttpRequest::read(&mut stream, &mut buffer).await {
            Ok(request) => request,
            Err(RequestError::Closed) => return Ok(()),
            Err(RequestError::Invalid(status)) => return reject(&mut stream, status).await,
        };
        let (response, transport) = shared.respond(&request)?;
        let framing = Framing {
            chunked: request.is_http_1_1,
            keep_alive: request.keeps_alive(),
            head_only: request.method == "HEAD",
        };
        if !transport::send(&mut stream, response, framing, transport).await? {
            return Ok(());
        }
    }
}

/// Responds to what is not HTTP/1, then closes the connection.
async fn reject(stream: &mut TcpStream, status: u16) -> io::Result<()> {
    let response = HttpResponse {
        status,
        headers: Vec::new(),
        body: Body::text(""),
    };
    transport::send(stream, response, Framing::default(), Transport::default()).await?;
    // closing with unread bytes would reset the connection before the client reads the response
    let mut nowhere = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(stream, &mut nowhere)).await;
    Ok(())
}
