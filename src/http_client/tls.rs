//! TLS with the system's certificate authorities and `api.ca_file`. Verification cannot be switched off.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use url::Url;

/// `api.ca_file` is invalid.
#[derive(Debug, thiserror::Error)]
#[error("api.ca_file: {path}: {reason}; use a PEM file of CA certificates, or remove the key")]
pub struct CaFileError {
    path: String,
    reason: String,
}

/// Adds the system's certificate authorities and those of `ca_file`. Plain `http` needs none, and reading the system's
/// takes longer than a request.
pub fn configure(
    builder: ClientBuilder,
    base: &Url,
    ca_file: Option<&Path>,
) -> Result<ClientBuilder, CaFileError> {
    // reqwest panics without a provider. After the first call, this fails and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if base.scheme() == "http" {
        return Ok(builder.tls_certs_only([]));
    }
    match ca_file {
        Some(path) => Ok(builder.tls_certs_merge(read(path)?)),
        None => Ok(builder),
    }
}

/// Checks `ca_file`, if there is one.
pub fn check_ca_file(ca_file: Option<&Path>) -> Result<(), CaFileError> {
    ca_file.map_or(Ok(()), |path| read(path).map(drop))
}

fn read(path: &Path) -> Result<Vec<Certificate>, CaFileError> {
    let invalid = |reason: &str| CaFileError {
        path: path.display().to_string(),
        reason: reason.to_owned(),
    };
    let pem = std::fs::read(path).map_err(|error| invalid(&error.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| {
            invalid("not a PEM file; a certificate begins with -----BEGIN CERTIFICATE-----")
        })?;
    if certificates.is_empty() {
        return Err(invalid("contains no certificate"));
    }
    let validated = |certificate: CertificateDer<'static>| {
        // reqwest reports the same error later, without the name of the file.
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| invalid(&format!("invalid certificate: {error}")))?;
        Certificate::from_der(&certificate).map_err(|error| invalid(&error.to_string()))
    };
    certificates.into_iter().map(validated).collect()
}
