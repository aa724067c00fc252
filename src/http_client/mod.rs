//! The parts of HTTP that the API client and webhooks share: the client itself, error classes, response headers, address
//! classes.

mod connector;
pub mod errors;
pub mod headers;
mod pools;
mod proxy;
mod resolver;
mod roots;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

pub use headers::retry_after;
pub use pools::{HttpClient, Lease};
pub use proxy::{Proxy, ProxyVariableError};
pub use resolver::Resolver;
pub use roots::{CaFileError, check_ca_file};

use connector::Connector;

pub type HttpRequest = Request<Full<Bytes>>;
pub type HttpResponse = Response<Incoming>;

/// The limit of header lines in HTTP/1.1.
const MAX_HEADERS: usize = 1000;
/// The limit of the response headers in HTTP/2.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// While a request waits for so long, an HTTP/2 server is pinged; a connection that is silent for as long again is closed.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Between the probes of TCP, which end an idle connection that a router has forgotten.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A client cannot be created. All are errors of the configuration or the environment.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error(
        "no CA certificates found{0}: install the package ca-certificates, or set SSL_CERT_FILE or api.ca_file"
    )]
    NoAuthorities(String),
    #[error("could not set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a client is for.
pub struct ClientSettings<'a> {
    pub url: &'a Url,
    /// Certificate authorities to trust in addition to the system's. Verification cannot be switched off.
    pub ca_file: Option<&'a Path>,
    pub proxy: Option<Proxy>,
    /// The limit of name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// The limit of idle connections.
    pub max_idle: usize,
    pub resolver: Resolver,
}

impl ClientSettings<'_> {
    fn connector(self) -> Result<Connector, HttpClientError> {
        // Plain HTTP needs no certificates, and reading the system's takes longer than a request.
        let roots = match self.url.scheme() {
            "http" => RootCertStore::empty(),
            _ => roots::roots(self.ca_file)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut tcp = HttpConnector::new_with_resolver(self.resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(KEEP_ALIVE));
        tcp.set_keepalive_retries(Some(3));
        Ok(Connector {
            tcp,
            tls: Arc::new(tls),
            proxy: self.proxy.map(Arc::new),
            timeout: self.connect_timeout,
        })
    }
}

fn builder(max_idle: usize) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(max_idle)
        // Some servers print warnings among the headers. Invalid lines are skipped; the length of the body stays strict.
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_AFTER);
    builder
}

/// Sets the headers that every request has.
pub fn set_common_headers(headers: &mut HeaderMap) {
    let agent = HeaderValue::from_static(concat!("forgewatch/", env!("CARGO_PKG_VERSION")));
    headers.insert(USER_AGENT, agent);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
}

/// The next part of a body; None at its end.
pub async fn chunk(response: &mut HttpResponse) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Whether the host is `localhost` or a literal loopback address. No name is resolved.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether the address is link-local or unspecified. Clouds serve the secrets of a machine at link-local addresses.
pub fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    }
}
