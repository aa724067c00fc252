//! The parts of HTTP that the API client and webhooks share: the client itself, error classes, response headers, address
//! classes.

pub mod errors;
pub mod headers;
mod pools;
mod proxy;
mod redact;
mod resolver;
mod roots;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

pub use headers::retry_after;
pub use pools::{HttpClient, Lease};
pub use proxy::{Proxy, ProxyVariableError};
pub use redact::Redactor;
pub use roots::{CaFileError, check_ca_file};

use resolver::NoLinkLocal;

/// The limit of header lines in HTTP/1.1.
const MAX_HEADERS: usize = 1000;
/// The limit of the response headers in HTTP/2.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// While a request waits for so long, an HTTP/2 server is pinged; a connection that is silent for as long again is closed.
const PING_AFTER: Duration = Duration::from_secs(10);

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
    #[error("could not set up the HTTP client: {}", errors::root_cause(.0))]
    Setup(reqwest::Error),
}

/// What a client is for.
#[derive(Clone)]
pub struct ClientSettings {
    /// The address of its requests.
    pub url: Url,
    pub tls: ClientConfig,
    pub proxy: Option<Proxy>,
    /// The limit of name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// The limit of idle connections.
    pub max_idle: usize,
    /// If not, a host name cannot point at a cloud's metadata service.
    pub allow_link_local: bool,
}

impl ClientSettings {
    fn client(&self) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .user_agent(concat!("forgewatch/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .tls_backend_preconfigured(self.tls.clone())
            .connect_timeout(self.connect_timeout)
            .pool_max_idle_per_host(self.max_idle)
            // Some servers print warnings among the headers. Invalid lines are skipped; the length of the body stays
            // strict.
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_AFTER)
            // The variables were read already.
            .no_proxy();
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.to_reqwest()?);
        }
        if !self.allow_link_local {
            builder = builder.dns_resolver(NoLinkLocal);
        }
        builder.build()
    }
}

/// TLS for requests to `url`, which trusts the system's certificate authorities and those of `ca_file`. Verification
/// cannot be switched off.
pub fn tls(url: &Url, ca_file: Option<&Path>) -> Result<ClientConfig, HttpClientError> {
    // Plain HTTP needs no certificates, and reading the system's takes longer than a request.
    let roots = match url.scheme() {
        "http" => RootCertStore::empty(),
        _ => roots::roots(ca_file)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
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
