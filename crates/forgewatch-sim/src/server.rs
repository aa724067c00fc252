//! The server around a play: sockets, the real clock, a thread where wanted, and the log of requests.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::body::Body;
use super::http::{NoRequest, Request};
use super::responder::{Play, RequestLog};
use super::script::Script;
use super::wire::{self, Framing, Response, Transport};
use forgewatch_core::job::JobRef;

/// How long to wait after a failed accept: it fails for want of file descriptors, and closing takes a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long a dying connection is read on, so that its last response is not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);

/// A simulated server on a thread of its own. It stops when dropped.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Plays a script on a free port of the loopback, at speed 1.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::start_with(script, SocketAddr::from(([127, 0, 0, 1], 0)), 1.0)
    }

    /// Plays a script on `listen`, its durations divided by `speed`. An address that is taken and a speed that is
    /// not a positive number are errors.
    pub fn start_with(script: Script, listen: SocketAddr, speed: f64) -> io::Result<Self> {
        // no waiting here, so that asynchronous callers may start a server too
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
        let play = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("simulator".to_owned())
            .spawn(move || {
                runtime.block_on(accept(listener, play, async {
                    // sent or dropped, the server is to stop
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

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to give as `--base-url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<RequestLog> {
        self.shared.state().log.clone()
    }

    /// Waits until `n` requests have come for `job` (None: at all), answered or about to be. False when
    /// `patience` ran out first.
    pub fn wait_for_hits(&self, job: Option<JobRef>, n: usize, patience: Duration) -> bool {
        let hits = |state: &mut State| {
            state
                .log
                .iter()
                .filter(|hit| job.is_none() || hit.job == job)
                .count()
        };
        let (_state, timeout) = self
            .shared
            .arrived
            .wait_timeout_while(self.shared.state(), patience, |state| hits(state) < n)
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// When a job truly ended, in milliseconds since the start; None while it goes on, has not begun, or is not
    /// in the script.
    pub fn ended_at(&self, job: JobRef) -> Option<u64> {
        let now = self.shared.now();
        self.shared
            .state()
            .play
            .ended_at(job, now)
            .map(|at| at as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic there has been printed already
            let _ = thread.join();
        }
    }
}

/// Plays a script on `listener`, its durations divided by `speed`, until `stop` is ready; then drops all
/// connections. A speed that is not a positive number is an error.
pub async fn serve(
    listener: TcpListener,
    script: Script,
    speed: f64,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    accept(listener, Arc::new(Shared::new(script, speed, false)?), stop).await;
    Ok(())
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Whether hits are kept; a server that runs for days would drown in them.
    keeps_log: bool,
    state: Mutex<State>,
    /// A hit has been logged.
    arrived: Condvar,
}

#[derive(Debug)]
struct State {
    play: Play,
    log: Vec<RequestLog>,
}

impl Shared {
    fn new(script: Script, speed: f64, keeps_log: bool) -> io::Result<Self> {
        if !(speed.is_finite() && (1e-6..=1e6).contains(&speed)) {
            let message = format!("the speed {speed} is out of range: 0.000001 to 1000000 will do");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let play = Play::new(script, speed, wall.as_millis() as i64);
        Ok(Self {
            started: Instant::now(),
            keeps_log,
            state: Mutex::new(State {
                play,
                log: Vec::new(),
            }),
            arrived: Condvar::new(),
        })
    }

    /// Milliseconds since the start.
    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides the response to a request, and logs it before it is sent.
    fn reply(&self, request: &Request) -> io::Result<(Response, Transport)> {
        let mut state = self.state();
        let reply = state.play.reply(request, self.now())?;
        let hit = reply.hit;
        tracing::debug!(
            at_ms = hit.at,
            method = hit.method,
            target_path = hit.target,
            n = hit.n,
            served = hit.served,
            "request"
        );
        if self.keeps_log {
            state.log.push(hit);
            self.arrived.notify_all();
        }
        Ok((reply.response, reply.manner))
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
                        if let Err(error) = converse(stream, &shared).await {
                            tracing::debug!(%error, "connection lost");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Answers the requests of one connection until either side ends it.
async fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let request = match Request::read(&mut stream, &mut buffer).await {
            Ok(request) => request,
            Err(NoRequest::Closed) => return Ok(()),
            Err(NoRequest::Bad(status)) => return refuse(&mut stream, status).await,
        };
        let (response, manner) = shared.reply(&request)?;
        let framing = Framing {
            chunked: request.modern,
            keep_alive: request.keeps_alive(),
            head_only: request.method == "HEAD",
        };
        if !wire::send(&mut stream, response, framing, manner).await? {
            return Ok(());
        }
    }
}

/// The last words to something that does not speak HTTP/1.
async fn refuse(stream: &mut TcpStream, status: u16) -> io::Result<()> {
    let response = Response {
        status,
        headers: Vec::new(),
        body: Body::text(""),
    };
    let framing = Framing {
        chunked: false,
        keep_alive: false,
        head_only: false,
    };
    wire::send(stream, response, framing, Transport::default()).await?;
    // closing with unread bytes would reset the connection before the response is read
    let mut nowhere = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(stream, &mut nowhere)).await;
    Ok(())
}
