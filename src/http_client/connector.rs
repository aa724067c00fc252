//! Opens connections: TCP, a tunnel through the proxy if there is one, TLS.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::{StatusCode, Uri};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::proxy::Proxy;
use super::resolver::Resolver;

/// The inner stream may be secured by the proxy, the outer by the server.
pub(super) type Stream = MaybeHttpsStream<MaybeHttpsStream<TokioIo<TcpStream>>>;
type BoxError = Box<dyn Error + Send + Sync>;

/// The limit of a proxy's response head.
const MAX_HEAD: usize = 16 * 1024;

#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tcp: HttpConnector<Resolver>,
    /// With the protocols to negotiate with the server.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proxy: Option<Arc<Proxy>>,
    /// The limit of name lookup, connection, tunnel and TLS handshake together.
    pub(super) timeout: Duration,
}

/// No connection within the limit.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {}", humantime::format_duration(*.0))]
pub(super) struct ConnectTimeout(Duration);

/// A connection through a proxy failed.
#[derive(Debug, thiserror::Error)]
#[error("proxy {proxy}")]
pub(super) struct ProxyError {
    pub(super) proxy: Arc<Proxy>,
    /// Whether the failure is of the proxy itself, not beyond it.
    pub(super) at_proxy: bool,
    pub(super) source: BoxError,
}

/// The proxy did not open the tunnel.
#[derive(Debug)]
struct TunnelRejected(StatusCode);

impl Error for TunnelRejected {}

impl fmt::Display for TunnelRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.0)?;
        if self.0 == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            f.write_str("; check the user name and password in the variable")?;
        }
        Ok(())
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (limit, proxy) = (this.timeout, this.proxy.clone());
            match tokio::time::timeout(limit, this.connect(&server)).await {
                Ok(result) => result,
                Err(_) => Err(through(proxy, false)(ConnectTimeout(limit).into())),
            }
        })
    }
}

impl Connector {
    async fn connect(mut self, server: &Uri) -> Result<Stream, BoxError> {
        let proxy = self.proxy.take();
        let tls = Arc::clone(&self.tls);
        let hop = match &proxy {
            Some(proxy) => self.tunnel(proxy, server).await,
            None => Ok(MaybeHttpsStream::Http(self.tcp.call(server.clone()).await?)),
        };
        let hop = hop.map_err(through(proxy.clone(), true))?;
        secured(hop, server, tls)
            .await
            .map_err(through(proxy, false))
    }

    /// Connects to the proxy and lets it connect to the server.
    async fn tunnel(
        &mut self,
        proxy: &Proxy,
        server: &Uri,
    ) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        let tcp = self.tcp.call(proxy.uri.clone()).await?;
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols.clear();
        let mut io = TokioIo::new(secured(tcp, &proxy.uri, Arc::new(tls)).await?);
        let (host, port) = (host(server)?, server.port_u16().unwrap_or(443));
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(auth) = proxy.auth.as_ref().and_then(|auth| auth.to_str().ok()) {
            request.push_str("Proxy-Authorization: ");
            request.push_str(auth);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        io.write_all(request.as_bytes()).await?;
        io.flush().await?;
        let status = read_status(&mut io).await?;
        if !status.is_success() {
            return Err(TunnelRejected(status).into());
        }
        Ok(io.into_inner())
    }
}

/// Adds the proxy, if there is one, to an error.
fn through(proxy: Option<Arc<Proxy>>, at_proxy: bool) -> impl FnOnce(BoxError) -> BoxError {
    move |source| match proxy {
        Some(proxy) => Box::new(ProxyError {
            proxy,
            at_proxy,
            source,
        }),
        None => source,
    }
}

async fn secured<T>(
    stream: T,
    uri: &Uri,
    tls: Arc<ClientConfig>,
) -> Result<MaybeHttpsStream<T>, BoxError>
where
    T: Read + Write + Unpin,
{
    if uri.scheme_str() != Some("https") {
        return Ok(MaybeHttpsStream::Http(stream));
    }
    let host = host(uri)?.trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned())?;
    let tls = TlsConnector::from(tls).connect(name, TokioIo::new(stream));
    Ok(MaybeHttpsStream::Https(TokioIo::new(tls.await?)))
}

fn host(uri: &Uri) -> Result<&str, BoxError> {
    uri.host().ok_or_else(|| "no host in the address".into())
}

/// The status of the response to CONNECT. After it, the server speaks second, so nothing beyond the head is lost.
async fn read_status(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<StatusCode, BoxError> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if io.read_buf(&mut head).await? == 0 {
            return Err("connection closed before the response was complete".into());
        }
        if head.len() > MAX_HEAD {
            return Err("response head too long".into());
        }
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let code = line
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.split(|b| *b == b' ').nth(1));
    code.and_then(|code| StatusCode::from_bytes(code).ok())
        .ok_or_else(|| "the response is not HTTP".into())
}
