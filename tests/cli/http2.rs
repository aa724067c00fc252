//! HTTP/2 connections that stay open although they no longer serve requests.

use std::sync::{Arc, Mutex};

use h2::Reason;
use h2::server::{self, SendResponse};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::fixture::{CliOutput, Sandbox, SimFixture, job};
use crate::tls::{Authority, spawn_server};

const RUNNING: &str = r#"{"jobstateid":4,"jobprogress":10}"#;
const DONE: &str = r#"{"jobstateid":5,"jobprogress":100}"#;

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Reply {
    Body(&'static str),
    /// Nothing, while the connection answers PINGs.
    Silence,
    /// The head, then nothing.
    HeadOnly(u16),
    Reset(Reason),
}

/// A received request: the number of its connection, from 1, its path, and whether it came in HTTP/2.
#[derive(Clone, Debug)]
struct Received {
    connection: usize,
    path: String,
    is_http2: bool,
}

type Log = Arc<Mutex<Vec<Received>>>;
/// Decides the reply by all requests so far; the last is the one to reply to.
type Replies = Arc<dyn Fn(&[Received]) -> Reply + Send + Sync>;

struct Http2Server {
    authority: Authority,
    port: u16,
    log: Log,
}

impl Http2Server {
    /// Allows `max_streams` concurrent streams on the first connection.
    fn start(
        max_streams: u32,
        reply: impl Fn(&[Received]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let config = authority.config("localhost", |_| {}, &["h2", "http/1.1"]);
        let (log, reply): (Log, Replies) = (Log::default(), Arc::new(reply));
        let requests = Arc::clone(&log);
        let addr = spawn_server(config, async move |listener, acceptor| {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = acceptor.accept(stream).await.unwrap();
                let (log, reply) = (Arc::clone(&requests), Arc::clone(&reply));
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let max_streams = if connection == 1 { max_streams } else { 100 };
                    tokio::spawn(serve_http2(stream, connection, max_streams, log, reply));
                } else {
                    tokio::spawn(serve_http1(stream, connection, log, reply));
                }
            }
        });
        Self {
            authority,
            port: addr.port(),
            log,
        }
    }

    /// Watches jobs of this server, with a short limit of each request.
    fn watch(&self, jobs: &[&str]) -> CliOutput {
        let sandbox = Sandbox::new();
        sandbox.file("ca.pem", self.authority.pem());
        let config = sandbox.file("f.toml", "[api]\nca_file = 'ca.pem'\ntimeout = '1s'\n");
        let base = format!("https://localhost:{}", self.port);
        let args = [
            "--give-up-after",
            "40s",
            "--config",
            config.to_str().unwrap(),
        ];
        sandbox.watch_at(&base, &[&args[..], jobs].concat()).run()
    }

    /// Watches a job of a simulator whose end goes to a webhook at this server.
    fn deliver(&self, hook: &str) -> CliOutput {
        let fixture = SimFixture::new(&job("update/77", ""));
        let sandbox = &fixture.sandbox;
        sandbox.file("ca.pem", self.authority.pem());
        sandbox.file(
            "key",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr\n",
        );
        let port = self.port;
        let config = sandbox.file(
            "f.toml",
            format!(
                "[api]\nca_file = 'ca.pem'\n[[hooks]]\nname = 'w'\non = ['job.completed']\n\
                 webhook = 'https://localhost:{port}/hook'\nsecret_files = ['key']\n{hook}\n"
            ),
        );
        let args = ["update/77", "--config", config.to_str().unwrap()];
        fixture.watch(&args).run()
    }

    fn requests(&self) -> Vec<Received> {
        self.log.lock().unwrap().clone()
    }

    /// The connections of the requests for a job, in order.
    fn connections_of(&self, job: &str) -> Vec<usize> {
        let mut requests = self.requests();
        requests.retain(|request| request.path.contains(job));
        requests.iter().map(|request| request.connection).collect()
    }
}

fn log_request(log: &Log, reply: &Replies, connection: usize, path: &str, is_http2: bool) -> Reply {
    let mut log = log.lock().unwrap();
    log.push(Received {
        connection,
        path: path.to_owned(),
        is_http2,
    });
    reply(&log)
}

async fn serve_http2(
    stream: TlsStream<TcpStream>,
    number: usize,
    max_streams: u32,
    log: Log,
    reply: Replies,
) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(max_streams);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    let mut open = Vec::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let path = request.uri().path();
        let reply = log_request(&log, &reply, number, path, true);
        open.push(respond_http2(respond, reply));
    }
}

/// Returns what keeps the stream open.
fn respond_http2(
    mut respond: SendResponse<Bytes>,
    reply: Reply,
) -> (SendResponse<Bytes>, Option<h2::SendStream<Bytes>>) {
    let head = |status: u16| Response::builder().status(status).body(()).unwrap();
    let stream = match reply {
        Reply::Body(body) => {
            let mut stream = respond.send_response(head(200), false).unwrap();
            stream.send_data(Bytes::from(body), true).unwrap();
            None
        }
        Reply::Silence => None,
        Reply::HeadOnly(status) => Some(respond.send_response(head(status), false).unwrap()),
        Reply::Reset(reason) => {
            respond.send_reset(reason);
            None
        }
    };
    (respond, stream)
}

async fn serve_http1(stream: TlsStream<TcpStream>, number: usize, log: Log, reply: Replies) {
    let service = service_fn(|request: Request<Incoming>| {
        let reply = log_request(&log, &reply, number, request.uri().path(), false);
        async move {
            let Reply::Body(body) = reply else {
                std::future::pending().await
            };
            Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(body)))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[test]
fn a_request_that_timed_out_goes_out_on_another_connection() {
    for dead in [Reply::Silence, Reply::HeadOnly(200), Reply::HeadOnly(503)] {
        let server = Http2Server::start(100, move |requests| match requests {
            [_] => Reply::Body(RUNNING),
            [.., Received { connection: 1, .. }] => dead,
            _ => Reply::Body(DONE),
        });
        server.watch(&["diff/1"]).expect(0);
        assert_eq!(server.connections_of("/1/"), [1, 1, 2]);
    }
}

#[test]
fn every_retry_of_several_jobs_goes_out_on_a_new_connection() {
    let server = Http2Server::start(100, |requests| match requests {
        [
            ..,
            Received {
                connection: 1 | 2, ..
            },
        ] => Reply::Silence,
        _ => Reply::Body(DONE),
    });
    server.watch(&["diff/1", "diff/2", "update/3"]).expect(0);
    for job in ["/1/", "/2/", "/3/"] {
        let connections = server.connections_of(job);
        let mut unique = connections.clone();
        unique.dedup();
        assert_eq!(connections, unique, "{job}");
    }
}

#[test]
fn a_connection_without_room_for_streams_is_left() {
    let server = Http2Server::start(0, |_| Reply::Body(DONE));
    server.watch(&["diff/1"]).expect(0);
    assert_eq!(server.requests().last().unwrap().connection, 2);
}

#[test]
fn a_server_that_requires_http1_gets_it_at_once() {
    let server = Http2Server::start(100, |requests| match requests {
        [.., Received { is_http2: true, .. }] => Reply::Reset(Reason::HTTP_1_1_REQUIRED),
        [_, _] => Reply::Body(RUNNING),
        _ => Reply::Body(DONE),
    });
    let end = server.watch(&["diff/1"]).expect(0).end_of("diff/1");
    assert_eq!(
        end["requests"], 2,
        "the repetition is part of the first poll"
    );
    let in_http2 = server.requests().iter().filter(|r| r.is_http2).count();
    assert_eq!(in_http2, 1);
}

#[test]
fn a_stream_that_the_server_refuses_is_sent_once_more() {
    let server = Http2Server::start(100, |requests| match requests {
        [_] => Reply::Reset(Reason::REFUSED_STREAM),
        _ => Reply::Body(DONE),
    });
    let end = server.watch(&["diff/1"]).expect(0).end_of("diff/1");
    assert_eq!(end["requests"], 1);
    assert_eq!(server.connections_of("/1/"), [1, 1]);
}

#[test]
fn a_stream_that_hangs_while_others_work_does_not_cost_the_connection() {
    let server = Http2Server::start(100, |requests| {
        let is_other = |request: &Received| request.path.contains("/2/");
        match requests.last() {
            Some(last) if is_other(last) && last.connection == 1 => Reply::Silence,
            Some(last) if is_other(last) => Reply::Body(DONE),
            _ if requests.iter().any(|r| is_other(r) && r.connection > 1) => Reply::Body(DONE),
            _ => Reply::Body(RUNNING),
        }
    });
    server.watch(&["diff/1", "diff/2"]).expect(0);
    let of_first = server.connections_of("/1/");
    let connection = of_first[0];
    assert!(of_first.iter().all(|c| *c == connection), "{of_first:?}");
    let of_second = server.connections_of("/2/");
    assert!(of_second.len() >= 2 || of_second == [2], "{of_second:?}");
    assert!(
        of_second.iter().filter(|c| **c == 1).count() <= 1,
        "{of_second:?}"
    );
}

#[test]
fn a_webhook_is_retried_on_another_connection() {
    for dead in [Reply::Silence, Reply::HeadOnly(503)] {
        let server = Http2Server::start(100, move |requests| match requests {
            [.., Received { connection: 1, .. }] => dead,
            _ => Reply::Body(""),
        });
        server.deliver("timeout = '1s'").expect(0);
        assert_eq!(server.connections_of("/hook"), [1, 2]);
    }
}

#[test]
fn a_receiver_that_requires_http1_gets_it_in_the_same_attempt() {
    let server = Http2Server::start(100, |requests| match requests {
        [.., Received { is_http2: true, .. }] => Reply::Reset(Reason::HTTP_1_1_REQUIRED),
        _ => Reply::Body(""),
    });
    server.deliver("retries = 0").expect(0);
    assert_eq!(server.requests().len(), 2);
}
