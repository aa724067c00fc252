//! A minimal server for benchmarks of a status client: it ignores the content of requests and responds with prepared
//! statuses, over plain HTTP/1.1, HTTP/1.1 over TLS, and HTTP/2.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The prepared responses.
pub(crate) struct PreparedResponses {
    /// The number of responses with each body before the next.
    times: usize,
    bodies: Vec<Bytes>,
    /// The same bodies, each after the head of an HTTP/1.1 response.
    http1: Vec<Bytes>,
    next: AtomicUsize,
}

impl PreparedResponses {
    /// These bodies in turn, each `times` times, in a loop; dated now.
    pub(crate) fn new(bodies: impl IntoIterator<Item = String>, times: usize) -> Arc<Self> {
        let bodies: Vec<Bytes> = bodies.into_iter().map(Bytes::from).collect();
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let http1 = |body: &Bytes| {
            let mut response = format!(
                "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            response.extend_from_slice(body);
            Bytes::from(response)
        };
        Arc::new(Self {
            times: times.max(1),
            http1: bodies.iter().map(http1).collect(),
            bodies,
            next: AtomicUsize::new(0),
        })
    }

    fn next(&self, of: &[Bytes]) -> Bytes {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        of.get(n / self.times % of.len().max(1))
            .cloned()
            .unwrap_or_default()
    }
}

/// A certificate for 127.0.0.1 and its authority.
pub(crate) struct Identity {
    /// For `--cacert` and `api.ca_file`.
    pub(crate) ca_pem: String,
    certificate: CertificateDer<'static>,
    key: String,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let mut ca = CertificateParams::new([])?;
        // With the name of the leaf, OpenSSL would consider it self-signed.
        ca.distinguished_name
            .push(DnType::CommonName, "authority of a benchmark");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &ca)?;
        Ok(Self {
            ca_pem: ca.pem(),
            certificate: leaf.der().clone(),
            key: key.serialize_pem(),
        })
    }

    fn acceptor(&self, protocol: &str) -> Result<TlsAcceptor, Box<dyn Error>> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![self.certificate.clone()],
                PrivateKeyDer::from_pem_slice(self.key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Serves plain HTTP/1.1, forever.
pub(crate) async fn http1(listener: TcpListener, responses: Arc<PreparedResponses>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve_http1(stream, Arc::clone(&responses)));
    }
}

/// Serves TLS, forever; `protocol` is `http/1.1` or `h2`.
pub(crate) async fn tls(
    listener: TcpListener,
    identity: &Identity,
    protocol: &str,
    responses: Arc<PreparedResponses>,
) -> Result<(), Box<dyn Error>> {
    let acceptor = identity.acceptor(protocol)?;
    let h2 = protocol == "h2";
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (acceptor, responses) = (acceptor.clone(), Arc::clone(&responses));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if h2 {
                serve_h2(stream, responses).await;
            } else {
                serve_http1(stream, responses).await;
            }
        });
    }
    Ok(())
}

async fn serve_http1(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    responses: Arc<PreparedResponses>,
) {
    let mut request = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) if !request.ends_with(b"\r\n\r\n") => continue,
            Ok(_) => request.clear(),
        }
        let response = responses.next(&responses.http1);
        if stream.write_all(&response).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn serve_h2(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    responses: Arc<PreparedResponses>,
) {
    let service = service_fn(move |_| {
        let body = Full::new(responses.next(&responses.bodies));
        async { Ok::<_, Infallible>(hyper::Response::new(body)) }
    });
    // A client that disconnects is not an error.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
