//! Whom to trust. Nothing here can switch verification off.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder};

use super::ClientError;
use crate::config::settings::Api;

/// The system's roots, and `api.ca_file` besides. A base in clear text needs none, and reading the system's
/// store would take longer than the request.
pub(super) fn set_up(builder: ClientBuilder, api: &Api) -> Result<ClientBuilder, ClientError> {
    // The client's library panics where no provider is installed. A second call finds the first one's: fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if api.base_url.scheme() == "http" {
        return Ok(builder.tls_certs_only([]));
    }
    match &api.ca_file {
        Some(path) => Ok(builder.tls_certs_merge(read(path)?)),
        None => Ok(builder),
    }
}

fn read(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let wrong = |why: &str| ClientError::CaFile {
        path: path.display().to_string(),
        why: why.to_owned(),
    };
    let pem = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| {
        wrong("it is not PEM; a certificate begins with -----BEGIN CERTIFICATE-----")
    })?;
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it"));
    }
    Ok(certificates)
}
