//! Serves one client connection.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::accept::ConnectionLimit;
use super::event_pages::FilteredEvent;
use super::event_stream::EventStreamError;
use super::peer_auth::PeerAuth;
use super::protocol::{
    EventFilter, InvalidRequest, MAX_REQUEST, PROTOCOL, Request, Response, Since, decode_request,
};
use super::request_queue::{DaemonHandle, stopping};
use crate::store::DaemonStore;

/// Time limit for sending a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for reading a response, or a page of events.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What all connections share.
#[derive(Debug)]
pub(super) struct ConnectionContext<S> {
    pub(super) peer_auth: PeerAuth,
    pub(super) daemon: DaemonHandle<S>,
    /// Limits the requests that are served at once, besides streams of events.
    pub(super) permits: Semaphore,
    /// Limits the connections that stream events.
    pub(super) event_streams: Semaphore,
    pub(super) connections: ConnectionLimit,
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
        () = shared.connections.idle_too_long() => {
            Err(Response::error("no complete request received, and other clients wait"))
        }
    };
    let _permit;
    let response = match request {
        Err(response) => response,
        Ok(Request::Events {
            since,
            follow,
            filter,
        }) => {
            let _ = stream_events(&mut stream, shared, since, follow, &filter).await;
            return;
        }
        Ok(request) => {
            // Until the response is written. The semaphore is never closed.
            _permit = shared.permits.acquire().await;
            if let Some(action) = request.action() {
                tracing::debug!(
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

/// The request, or the response to an invalid one.
async fn read_request(stream: &mut UnixStream) -> Result<Request, Response> {
    let mut line = Vec::new();
    // Limited by the reader, so that memory is bounded whatever the client sends.
    let mut limited = BufReader::new(stream.take(MAX_REQUEST as u64));
    match timeout(REQUEST_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        Err(_) => Err(Response::error(format!(
            "no complete request received within {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
        Ok(Err(error)) => Err(Response::error(format!("cannot read the request: {error}"))),
        Ok(Ok(_)) => decode_request(&line).map_err(|error| match error {
            InvalidRequest::Version(_) => Response::Incompatible {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            _ => Response::error(error.to_string()),
        }),
    }
}

/// Forwards a request to the daemon, which carries it out even if the client disconnects. None if the client did.
async fn forward<S: DaemonStore>(
    request: Request,
    stream: &mut UnixStream,
    shared: &ConnectionContext<S>,
) -> Option<Response> {
    let response = shared.daemon.submit(request).await;
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
    filter: &EventFilter,
) -> io::Result<()> {
    // A slow reader takes as long as a follower, so both count.
    let Ok(_permit) = shared.event_streams.try_acquire() else {
        let busy = "too many clients are reading events; try again later";
        return respond(stream, &Response::unavailable(busy)).await;
    };
    let mut events = match shared.daemon.events(since).await {
        Ok(events) => events,
        Err(EventStreamError::BeyondLast { offset, last }) => {
            return respond(stream, &Response::UnknownOffset { offset, last }).await;
        }
        Err(error) => return respond(stream, &Response::error(error.to_string())).await,
    };
    let mut has_caught_up = false;
    loop {
        let page = match events.page().await {
            Ok(page) => page,
            Err(error) => return respond(stream, &Response::error(error.to_string())).await,
        };
        if !page.is_empty() {
            write(stream, &encode_events(&page, filter)?).await?;
            continue;
        }
        if !follow {
            return respond(stream, &Response::Done).await;
        }
        if !has_caught_up {
            has_caught_up = true;
            let offset = events.position();
            respond(stream, &Response::CaughtUp { offset }).await?;
        }
        tokio::select! {
            is_running = events.wait() => if !is_running {
                return respond(stream, &Response::Stopped).await;
            },
            () = closed(stream) => return Ok(()),
        }
    }
}

fn encode_events(page: &[Rc<FilteredEvent>], filter: &EventFilter) -> io::Result<String> {
    let mut text = String::new();
    for event in page.iter().filter(|event| event.passes(filter)) {
        let record = RawValue::from_string(event.stored.record.clone())?;
        let offset = event.stored.offset;
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
    use crate::control::protocol::encode_request;
    use crate::control::request_queue::RequestQueue;
    use crate::store::InMemoryStore;
    use tokio::time::{Instant, sleep};

    /// Both ends of a connection, and the daemon's queue of requests.
    struct TestConnection {
        client: UnixStream,
        server: UnixStream,
        shared: ConnectionContext<InMemoryStore>,
        requests: RequestQueue,
    }

    impl TestConnection {
        fn new() -> Self {
            let (client, server) = UnixStream::pair().unwrap();
            let (requests, daemon) = RequestQueue::new(InMemoryStore::default());
            let shared = ConnectionContext {
                peer_auth: PeerAuth::new(rustix::process::geteuid().as_raw(), None),
                daemon,
                permits: Semaphore::new(1),
                event_streams: Semaphore::new(1),
                connections: ConnectionLimit::new(1),
            };
            Self {
                client,
                server,
                shared,
                requests,
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
                test.shared.connections.notify_busy();
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = serve(test.server, &test.shared) => {}
            () = busy => {}
        }
        let expected = Duration::from_millis(500)..Duration::from_millis(700);
        assert!(expected.contains(&start.elapsed()), "{:?}", start.elapsed());
        let response = read_all(&mut test.client).await;
        assert!(response.contains("and other clients wait"), "{response}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_response_is_disconnected() {
        let mut test = TestConnection::new();
        test.client
            .write_all(&encode_request(&Request::ListDeliveries).unwrap())
            .await
            .unwrap();
        let daemon = async {
            let pending = test.requests.next().await;
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
        let jobs = vec!["diff/1".parse().unwrap()];
        let request = encode_request(&Request::Remove { jobs }).unwrap();
        test.client.write_all(&request).await.unwrap();
        let daemon = async {
            let pending = test.requests.next().await;
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
        let mut request = encode_request(&Request::Reload).unwrap();
        request.extend_from_slice(b"more");
        test.client.write_all(&request).await.unwrap();
        let daemon = async {
            let pending = test.requests.next().await;
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
        let request = encode_request(&Request::Reload).unwrap();
        test.client.write_all(&request).await.unwrap();
        let daemon = async { drop(test.requests.next().await) };
        tokio::join!(serve(test.server, &test.shared), daemon);
        let response = read_all(&mut test.client).await;
        assert!(response.contains("the daemon is stopping"), "{response}");
    }
}
