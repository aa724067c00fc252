//! The parts of HTTP that the API client and webhooks share: the client itself, error classes, response headers, address
//! classes.

mod address;
mod ca_file;
pub mod errors;
pub mod headers;

use std::path::Path;

use reqwest::{Client, ClientBuilder, redirect};
use url::Url;

pub use address::{is_link_local, is_loopback};
pub use ca_file::{CaFileError, check_ca_file};
pub use errors::root_cause;
pub use headers::retry_after;

/// The limit of header lines in HTTP/1.1.
const MAX_HEADERS: usize = 1000;

/// A client cannot be created. Both are errors of the configuration or the environment.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// An error of the HTTP library, such as an invalid proxy variable.
    #[error("could not set up the HTTP client: {0}")]
    Setup(String),
}

/// Creates a client for requests to `url`, with further settings by `configure`. It trusts the system's certificate
/// authorities and those of `ca_file`; verification cannot be switched off.
pub fn client(
    url: &Url,
    ca_file: Option<&Path>,
    configure: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client, HttpClientError> {
    // reqwest panics without a provider. After the first call, this fails and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = configure(Client::builder())
        .user_agent(concat!("forgewatch/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        // Some servers print warnings among the headers. Invalid lines are skipped; the length of the body stays strict.
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_max_headers(MAX_HEADERS);
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    let builder = match ca_file {
        // Plain HTTP needs no certificates, and reading the system's takes longer than a request.
        _ if url.scheme() == "http" => builder.tls_certs_only([]),
        Some(path) => builder.tls_certs_merge(ca_file::read(path)?),
        None => builder,
    };
    builder
        .build()
        .map_err(|error| HttpClientError::Setup(root_cause(&error)))
}
