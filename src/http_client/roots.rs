//! The certificate authorities that a client trusts: the system's and those of `api.ca_file`.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::HttpClientError;

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

/// The system's authorities, read from disk, and those of `ca_file`.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, HttpClientError> {
    let mut roots = ca_file.map_or_else(|| Ok(RootCertStore::empty()), read)?;
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let why = system.errors.first().map(|error| format!(" ({error})"));
        return Err(HttpClientError::NoAuthorities(why.unwrap_or_default()));
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<RootCertStore, CaFileError> {
    let invalid = |reason: &str| CaFileError {
        path: path.display().to_string(),
        reason: reason.to_owned(),
    };
    let pem = std::fs::read(path).map_err(|error| invalid(&error.to_string()))?;
    if pem.starts_with(b"\xff\xfe") || pem.starts_with(b"\xfe\xff") {
        return Err(invalid("UTF-16; save it as UTF-8"));
    }
    // The parser would skip a first line that begins with a byte order mark.
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&pem);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| {
            invalid("not a PEM file; a certificate begins with -----BEGIN CERTIFICATE-----")
        })?;
        roots
            .add(certificate)
            .map_err(|error| invalid(&format!("invalid certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(invalid("contains no certificate"));
    }
    Ok(roots)
}
