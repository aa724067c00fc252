//! Serves one client connection.

use std::io;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::event_stream::EventStream;
use super::peer_auth::PeerAuth;
use super::protocol::{MAX_REQUEST, Request, Response, Since, decode_request};
use crate::store::{DaemonStore, StoredEvent};

/// Time limit for sending a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The same while other clients wait for a connection.
const BUSY_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// Time limit for reading a response, or a page of events.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A request for the daemon: any but [`Request::Events`].
#[derive(Debug)]
pub struct PendingRequest {
    pub request: Request,
    /// Closed once the client has gone. If it is dropped, the client reads that the daemon is stopping.
    pub respond_to: oneshot::Sender<Response>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct ConnectionContext<S> {
    pub(super) peer_auth: PeerAuth,
    pub(super) store: S,
    /// To the daemon.
    pub(super) requests: mpsc::Sender<PendingRequest>,
    /// Changes whenever events are committed; its sender is dropped when the daemon stops.
    pub(super) new_events: watch::Receiver<()>,
    /// Limits the connections that stream events.
    pub(super) event_streams: Semaphore,
    /// Notifies connections without a request that other clients wait.
    pub(super) busy: Notify,
}

/// Reads the request and responds to it. A failed connection concerns its client alone, so errors are dropped.
pub(super) async fn serve<S: DaemonStore>(mut stream: UnixStream, shared: &ConnectionContext<S>) {
    let Ok(peer) = stream.peer_cred() else {
        return;
    };
    let (uid, pid) = (peer.uid(), peer.pid().unwrap_or_default());
    if !shared.peer_auth.admits(&peer).await {
        tracing::warn!(
            target: "forgewatch::control",
            uid,
            pid,
            "rejected a client of the control socket"
        );
        let message = format!(
            "permission denied: user {uid} is neither root, nor the daemon's user, nor a known member of control.group"
        );
        let _ = respond(&mut stream, &Response::error(message)).await;
        return;
    }
    let request = tokio::select! {
        biased;
        request = read_request(&mut stream) => request,
        () = blocks_others(shared) => {
            Err("no complete request received, and other clients wait".to_owned())
        }
    };
    let response = match request {
        Err(message) => Response::error(message),
        Ok(Request::Events { since, follow }) => {
            let _ = stream_events(&mut stream, shared, since, follow).await;
            return;
        }
        Ok(request) => {
            if let Some(action) = request.action() {
                tracing::info!(
                    target: "forgewatch::control",
                    uid,
                    pid,
                    action,
                    "request from a client"
                );
            }
            match forward(request, &mut stream, shared).await {
                Some(response) => response,
                None => return,
            }
        }
    };
    let _ = respond(&mut stream, &response).await;
}

/// Resolves when a connection without a request keeps other clients waiting.
async fn blocks_others<S>(shared: &ConnectionContext<S>) {
    sleep(BUSY_REQUEST_TIMEOUT).await;
    shared.busy.notified().await;
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = Vec::new();
    // Limited by the reader, so that memory is bounded whatever the client sends.
    let mut limited = BufReader::new(stream.take(MAX_REQUEST as u64));
    match timeout(REQUEST_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        Err(_) => Err(format!(
            "no complete request received within {} s",
            REQUEST_TIMEOUT.as_secs()
        )),
        Ok(Err(error)) => Err(format!("cannot read the request: {error}")),
        Ok(Ok(_)) => decode_request(&line).map_err(|error| error.to_string()),
    }
}

/// Forwards a request to the daemon, which carries it out even if the client disconnects. None if the client did.
async fn forward<S>(
    request: Request,
    stream: &mut UnixStream,
    shared: &ConnectionContext<S>,
) -> Option<Response> {
    let stopping = || Response::error("the daemon is stopping");
    let (respond_to, response) = oneshot::channel();
    let pending = PendingRequest {
        request,
        respond_to,
    };
    if shared.requests.send(pending).await.is_err() {
        return Some(stopping());
    }
    // A full disk can delay the response for hours: a client that has gone must free its connection.
    tokio::select! {
        biased;
        response = response => Some(response.unwrap_or_else(|_| stopping())),
        () = closed(stream) => None,
    }
}

/// Sends the stored events and, with `follow`, later ones until either end closes.
async fn stream_events<S: DaemonStore>(
    stream: &mut UnixStream,
    shared: &ConnectionContext<S>,
    since: Since,
    follow: bool,
) -> io::Result<()> {
    // A slow reader takes as long as a follower, so both count.
    let Ok(_permit) = shared.event_streams.try_acquire() else {
        let busy = "too many clients are reading events; try again later";
        return respond(stream, &Response::error(busy)).await;
    };
    let events = EventStream::open(shared.store.clone(), shared.new_events.clone(), since).await;
    let mut events = match events {
        Ok(events) => events,
        Err(error) => return respond(stream, &Response::error(error.to_string())).await,
    };
    loop {
        let page = match events.page().await {
            Ok(page) => page,
            Err(error) => return respond(stream, &Response::error(error.to_string())).await,
        };
        if !page.is_empty() {
            write(stream, &encode_events(page)?).await?;
            continue;
        }
        if !follow {
            return respond(stream, &Response::Done).await;
        }
        tokio::select! {
            is_running = events.wait() => if !is_running {
                return respond(stream, &Response::Stopped).await;
            },
            () = closed(stream) => return Ok(()),
        }
    }
}

fn encode_events(page: Vec<StoredEvent>) -> io::Result<String> {
    let mut text = String::new();
    for event in page {
        let record = RawValue::from_string(event.record)?;
        let offset = event.offset;
        text.push_str(&encode(&Response::Event { offset, record })?);
    }
    Ok(text)
}

fn encode(response: &Response) -> io::Result<String> {
    let mut line = serde_json::to_string(response)?;
    line.push('\n');
    Ok(line)
}

async fn respond(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    write(stream, &encode(response)?).await
}

async fn write(stream: &mut UnixStream, text: &str) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, stream.write_all(text.as_bytes())).await?
}

/// Resolves when the client closes its end. Further input is discarded.
async fn closed(stream: &mut UnixStream) {
    let mut discarded = [0; 64];
    while !matches!(stream.read(&mut discarded).await, Ok(0) | Err(_)) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::InMemoryStore;
    use tokio::time::{Instant, sleep};

    /// Both ends of a connection, and the daemon's queue of requests.
    struct TestConnection {
        client: UnixStream,
        server: UnixStream,
        shared: ConnectionContext<InMemoryStore>,
        requests: mpsc::Receiver<PendingRequest>,
        _new_events: watch::Sender<()>,
    }

    impl TestConnection {
        fn new() -> Self {
            let (client, server) = UnixStream::pair().unwrap();
            let (to_daemon, requests) = mpsc::channel(1);
            let (notify_events, new_events) = watch::channel(());
            let shared = ConnectionContext {
                peer_auth: PeerAuth::new(rustix::process::geteuid().as_raw(), None),
                store: InMemoryStore::default(),
                requests: to_daemon,
                new_events,
                event_streams: Semaphore::new(1),
                busy: Notify::new(),
            };
            Self {
                client,
                server,
                shared,
                requests,
                _new_events: notify_events,
            }
        }
    }

    async fn read_all(client: &mut UnixStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_gets_an_error_and_is_disconnected() {
        let mut test = TestConnection::new();
        let start = Instant::now();
        serve(test.server, &test.shared).await;
        assert_eq!(start.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
        let response = read_all(&mut test.client).await;
        assert!(
            response.contains("no complete request received within 5 s"),
            "{response}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn sending_byte_by_byte_does_not_extend_the_timeout() {
        let test = TestConnection::new();
        let mut client = test.client;
        let dribble = tokio::spawn(async move {
            while client.write_all(b" ").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        serve(test.server, &test.shared).await;
        assert_eq!(start.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
        dribble.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_disconnected_early_when_others_wait() {
        let mut test = TestConnection::new();
        let start = Instant::now();
        let busy = async {
            loop {
                test.shared.busy.notify_waiters();
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = serve(test.server, &test.shared) => {}
            () = busy => {}
        }
        let expected = BUSY_REQUEST_TIMEOUT..BUSY_REQUEST_TIMEOUT + Duration::from_millis(200);
        assert!(expected.contains(&start.elapsed()), "{:?}", start.elapsed());
        let response = read_all(&mut test.client).await;
        assert!(response.contains("and other clients wait"), "{response}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_response_is_disconnected() {
        let mut test = TestConnection::new();
        test.client
            .write_all(b"\"list_deliveries\"\n")
            .await
            .unwrap();
        let daemon = async {
            let pending = test.requests.recv().await.unwrap();
            assert_eq!(pending.request, Request::ListDeliveries);
            let long = Response::error("x".repeat(8 << 20));
            pending.respond_to.send(long).unwrap();
        };
        let start = Instant::now();
        tokio::join!(serve(test.server, &test.shared), daemon);
        assert_eq!(start.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_hangs_up_during_its_request_frees_its_connection() {
        let mut test = TestConnection::new();
        let request = b"{\"remove\":{\"jobs\":[\"diff/1\"]}}\n";
        test.client.write_all(request).await.unwrap();
        let daemon = async {
            let pending = test.requests.recv().await.unwrap();
            drop(test.client);
            pending
        };
        let served = async { tokio::join!(serve(test.server, &test.shared), daemon).1 };
        let pending = timeout(Duration::from_hours(1), served).await;
        let pending = pending.expect("the connection ends");
        assert!(pending.respond_to.is_closed(), "the daemon can see it");
    }

    #[tokio::test]
    async fn input_behind_the_request_does_not_count_as_hanging_up() {
        let mut test = TestConnection::new();
        test.client.write_all(b"\"reload\"\nmore").await.unwrap();
        let daemon = async {
            let pending = test.requests.recv().await.unwrap();
            test.client.write_all(b"and more").await.unwrap();
            // Lets the connection read that.
            tokio::task::yield_now().await;
            pending.respond_to.send(Response::Done).unwrap();
        };
        tokio::join!(serve(test.server, &test.shared), daemon);
        let mut response = [0; 7];
        test.client.read_exact(&mut response).await.unwrap();
        assert_eq!(&response, b"\"done\"\n");
    }

    #[tokio::test]
    async fn a_request_that_the_daemon_drops_gets_an_error_response() {
        let mut test = TestConnection::new();
        test.client.write_all(b"\"reload\"\n").await.unwrap();
        let daemon = async { drop(test.requests.recv().await) };
        tokio::join!(serve(test.server, &test.shared), daemon);
        let response = read_all(&mut test.client).await;
        assert!(response.contains("the daemon is stopping"), "{response}");
    }
}
