//! Certificate authorities from `api.ca_file`.

use std::path::Path;

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// `api.ca_file` is invalid.
#[derive(Debug, thiserror::Error)]
#[error("api.ca_file: {path}: {reason}; use a PEM file of CA certificates, or remove the key")]
pub struct CaFileError {
    path: String,
    reason: String,
}

/// Checks `ca_file`, if there is one.
pub fn check_ca_file(ca_file: Option<&Path>) -> Result<(), CaFileError> {
    ca_file.map_or(Ok(()), |path| read(path).map(drop))
}

pub(super) fn read(path: &Path) -> Result<Vec<Certificate>, CaFileError> {
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
