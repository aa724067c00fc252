//! Certificate validation, with a TLS server and generated certificates.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fixture::{CliCommand, Sandbox};

const GIVE_UP: [&str; 2] = ["--give-up-after", "100ms"];
const DONE: &str = r#"{"jobstateid":5,"jobprogress":100}"#;

/// A private certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A server with a certificate for `name`, modified by `change`, and these ALPN protocols.
    pub(crate) fn server(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
        protocols: &[&str],
    ) -> TlsServer {
        TlsServer::start(self.config(name, change, protocols))
    }

    pub(crate) fn config(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
        protocols: &[&str],
    ) -> rustls::ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }
}

/// Runs a server on a thread of its own, until the process ends.
pub(crate) fn spawn_server<F: Future<Output = ()>>(
    config: rustls::ServerConfig,
    serve: impl FnOnce(TcpListener, TlsAcceptor) -> F + Send + 'static,
) -> SocketAddr {
    let (sender, addr) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            serve(listener, TlsAcceptor::from(Arc::new(config))).await;
        });
    });
    addr.recv().unwrap()
}

/// A server that returns a completed job to every request, until the process ends.
pub(crate) struct TlsServer {
    pub(crate) addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    /// The requests in HTTP/2.
    http2_requests: Arc<AtomicUsize>,
}

impl TlsServer {
    fn start(config: rustls::ServerConfig) -> Self {
        Self::start_with(config, serve)
    }

    fn start_with<F: Future<Output = ()>>(
        config: rustls::ServerConfig,
        serve: impl FnOnce(TcpListener, TlsAcceptor, RequestCounts) -> F + Send + 'static,
    ) -> Self {
        let (requests, http2_requests) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&requests), Arc::clone(&http2_requests));
        let addr = spawn_server(config, |listener, acceptor| {
            serve(listener, acceptor, counts)
        });
        Self {
            addr,
            requests,
            http2_requests,
        }
    }

    /// A watch of diff/1 at `host` that trusts `ca`.
    pub(crate) fn watch(
        &self,
        sandbox: &Sandbox,
        host: &str,
        ca: Option<&Authority>,
    ) -> CliCommand {
        let ca_file = ca.map_or_else(String::new, |ca| {
            let path = sandbox.file("ca.pem", ca.pem());
            format!("ca_file = '{}'\n", path.display())
        });
        let config = sandbox.file("f.toml", format!("[api]\n{ca_file}"));
        let base = format!("https://{host}:{}", self.addr.port());
        let args = [
            &GIVE_UP[..],
            &["--config", config.to_str().unwrap(), "diff/1"],
        ]
        .concat();
        sandbox.watch_at(&base, &args)
    }

    #[track_caller]
    fn expect_tls_error(&self, host: &str, ca: Option<&Authority>, message: &str) {
        let done = self.watch(&Sandbox::new(), host, ca).run().expect(6);
        let end = done.end_of("diff/1");
        assert_eq!(end["error_kind"], "tls", "{end}");
        assert_eq!(end.get("http_status"), None::<&Value>);
        assert!(
            end["error_message"].as_str().unwrap().contains(message),
            "{end}"
        );
        assert_eq!(self.requests.load(Ordering::SeqCst), 0);
        let target = |line: &Value| line["target"].as_str().unwrap().to_owned();
        let raw = |line: &Value| !target(line).starts_with("forgewatch");
        assert!(
            !done.lines().iter().any(raw),
            "lines of a library: {done:?}"
        );
    }
}

/// All requests, and those in HTTP/2.
type RequestCounts = (Arc<AtomicUsize>, Arc<AtomicUsize>);

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    (requests, http2_requests): RequestCounts,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        let (requests, http2_requests) = (requests.clone(), http2_requests.clone());
        tokio::spawn(async move {
            // A client that rejects the certificate disconnects.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request: Request<Incoming>| {
                requests.fetch_add(1, Ordering::SeqCst);
                if request.version() == hyper::Version::HTTP_2 {
                    http2_requests.fetch_add(1, Ordering::SeqCst);
                }
                async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(DONE))) }
            });
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = TokioIo::new(stream);
            if is_http2 {
                let http2 = http2::Builder::new(TokioExecutor::new());
                let _ = http2.serve_connection(stream, service).await;
            } else {
                let _ = http1::Builder::new()
                    .serve_connection(stream, service)
                    .await;
            }
        });
    }
}

#[test]
fn a_private_authority_in_ca_file_is_trusted() {
    let ca = Authority::new();
    for (protocols, http2_requests) in [(&["h2", "http/1.1"][..], 1), (&["http/1.1"], 0), (&[], 0)]
    {
        let server = ca.server("localhost", |_| {}, protocols);
        server
            .watch(&Sandbox::new(), "localhost", Some(&ca))
            .run()
            .expect(0);
        assert_eq!(server.requests.load(Ordering::SeqCst), 1);
        assert_eq!(
            server.http2_requests.load(Ordering::SeqCst),
            http2_requests,
            "{protocols:?}"
        );
    }
}

#[test]
fn a_byte_order_mark_hides_no_certificate_and_utf16_is_named() {
    let (ca, sandbox) = (Authority::new(), Sandbox::new());
    let server = ca.server("localhost", |_| {}, &[]);
    let pem = ca.pem();
    let utf16: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, status) in [
        (["\u{feff}".as_bytes(), pem.as_bytes()].concat(), 0),
        ([&b"\xff\xfe"[..], &utf16].concat(), 2),
    ] {
        let watch = server.watch(&sandbox, "localhost", Some(&ca));
        sandbox.file("ca.pem", bytes);
        let done = watch.run().expect(status);
        assert_eq!(
            done.stderr.contains("save it as UTF-8"),
            status == 2,
            "{done:?}"
        );
    }
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let server = Authority::new().server("localhost", |_| {}, &[]);
    server.expect_tls_error("localhost", None, "UnknownIssuer");
    server.expect_tls_error("localhost", Some(&Authority::new()), "certificate");
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let ca = Authority::new();
    let server = ca.server("clanforge.example", |_| {}, &[]);
    server.expect_tls_error("localhost", Some(&ca), "localhost");
}

#[test]
fn an_expired_certificate_is_not_trusted() {
    let ca = Authority::new();
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    ca.server("localhost", expired, &[])
        .expect_tls_error("localhost", Some(&ca), "expired");
}

#[test]
fn a_system_without_authorities_is_an_error_that_says_what_to_install() {
    let sandbox = Sandbox::new();
    let empty = sandbox.file("empty.pem", "");
    for file in [empty, sandbox.path("none.pem")] {
        let watch = sandbox.watch_at("https://localhost:1", &["diff/1"]);
        let done = watch.env("SSL_CERT_FILE", &file).run().expect(2);
        assert!(
            done.stderr.contains("install the package ca-certificates"),
            "{done:?}"
        );
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
    let ca = Authority::new();
    let server = ca.server("localhost", |_| {}, &[]);
    let watch = server.watch(&sandbox, "localhost", Some(&ca));
    watch.env("SSL_CERT_FILE", "/dev/null").run().expect(0);
}

#[test]
fn a_connection_closed_without_close_notify_after_the_whole_object_has_no_effect() {
    let ca = Authority::new();
    for (body, status) in [(DONE, 0), (&DONE[..DONE.len() - 1], 6)] {
        let config = ca.config("localhost", |_| {}, &[]);
        let response = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        let server = TlsServer::start_with(config, |listener, acceptor, _| async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                stream.write_all(response.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        server
            .watch(&Sandbox::new(), "localhost", Some(&ca))
            .run()
            .expect(status);
    }
}

#[test]
fn an_invalid_ca_file_is_an_error_before_any_request() {
    let sandbox = Sandbox::new();
    sandbox.file("empty.pem", "");
    sandbox.file(
        "not.pem",
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
    );
    for file in ["none.pem", "empty.pem", "not.pem"] {
        let config = sandbox.file("f.toml", format!("[api]\nca_file = '{file}'\n"));
        let args = ["--config", config.to_str().unwrap(), "diff/1"];
        let done = sandbox
            .watch_at("https://localhost:1", &args)
            .run()
            .expect(2);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert!(
            done.stderr.contains("ca_file") && done.stderr.contains(file),
            "{}",
            done.stderr
        );
        assert_eq!(done.stdout, "");
    }
}
