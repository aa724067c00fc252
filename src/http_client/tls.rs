//! Whom to trust. Nothing here can switch verification off.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use url::Url;

/// Why `api.ca_file` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "api.ca_file: {path}: {why}; name a PEM file of certificate authorities, or leave the key out"
)]
pub struct CaFileError {
    path: String,
    why: String,
}

/// The system's roots, and `ca_file` besides. A base in clear text needs none, and reading the system's store would take
/// longer than the request.
pub fn set_up(
    builder: ClientBuilder,
    base: &Url,
    ca_file: Option<&Path>,
) -> Result<ClientBuilder, CaFileError> {
    // The client's library panics where no provider is installed. A second call finds the first one's: fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if base.scheme() == "http" {
        return Ok(builder.tls_certs_only([]));
    }
    match ca_file {
        Some(path) => Ok(builder.tls_certs_merge(read(path)?)),
        None => Ok(builder),
    }
}

/// Whether `ca_file` can be used, where there is one.
pub fn check_ca_file(ca_file: Option<&Path>) -> Result<(), CaFileError> {
    ca_file.map_or(Ok(()), |path| read(path).map(drop))
}

fn read(path: &Path) -> Result<Vec<Certificate>, CaFileError> {
    let wrong = |why: &str| CaFileError {
        path: path.display().to_string(),
        why: why.to_owned(),
    };
    let pem = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| {
            wrong("it is not PEM; a certificate begins with -----BEGIN CERTIFICATE-----")
        })?;
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it"));
    }
    let usable = |certificate: CertificateDer<'static>| {
        // The HTTP library would say the same without the file's name.
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| wrong(&format!("a certificate in it is none: {error}")))?;
        Certificate::from_der(&certificate).map_err(|error| wrong(&error.to_string()))
    };
    certificates.into_iter().map(usable).collect()
}
