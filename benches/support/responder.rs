//! The least server that a status client can be measured against: it reads requests without looking at them and
//! answers with ready-made statuses, over HTTP/1.1 in clear and over TLS, and over HTTP/2.

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

/// What is answered.
pub(crate) struct Answers {
    /// How often each body is given before the next.
    times: usize,
    bodies: Vec<Bytes>,
    /// The same with the head of an HTTP/1.1 response before them.
    whole: Vec<Bytes>,
    next: AtomicUsize,
}

impl Answers {
    /// These bodies in turn, each so many times, over and over; dated now.
    pub(crate) fn new(bodies: impl IntoIterator<Item = String>, times: usize) -> Arc<Self> {
        let bodies: Vec<Bytes> = bodies.into_iter().map(Bytes::from).collect();
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let whole = |body: &Bytes| {
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
            whole: bodies.iter().map(whole).collect(),
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

/// A certificate for 127.0.0.1 and the authority that signed it.
pub(crate) struct Identity {
    /// The authority, for `--cacert` and `api.ca_file`.
    pub(crate) ca_pem: String,
    certificate: CertificateDer<'static>,
    key: String,
}

impl Identity {
    /// A new one.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let mut ca = CertificateParams::new([])?;
        // another name than the leaf's, which OpenSSL would take for self-signed
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

/// Answers HTTP/1.1 in clear, for ever.
pub(crate) async fn http1(listener: TcpListener, answers: Arc<Answers>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(converse(stream, Arc::clone(&answers)));
    }
}

/// Answers over TLS, for ever: `protocol` is `http/1.1` or `h2`.
pub(crate) async fn tls(
    listener: TcpListener,
    identity: &Identity,
    protocol: &str,
    answers: Arc<Answers>,
) -> Result<(), Box<dyn Error>> {
    let acceptor = identity.acceptor(protocol)?;
    let h2 = protocol == "h2";
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if h2 {
                multiplex(stream, answers).await;
            } else {
                converse(stream, answers).await;
            }
        });
    }
    Ok(())
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: Arc<Answers>) {
    let mut request = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) if !request.ends_with(b"\r\n\r\n") => continue,
            Ok(_) => request.clear(),
        }
        let answer = answers.next(&answers.whole);
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn multiplex(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, answers: Arc<Answers>) {
    let service = service_fn(move |_| {
        let body = Full::new(answers.next(&answers.bodies));
        async { Ok::<_, Infallible>(hyper::Response::new(body)) }
    });
    // a client that leaves is no error worth telling
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
