//! A webhook's URL and its signing keys.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use url::{Host, Url};

use super::value::{self, UrlPurpose};
use crate::http_client::is_link_local;

/// A key's prefix in the Standard Webhooks specification.
const PREFIX: &str = "whsec_";
/// The specification's minimum: shorter keys can be guessed.
const MIN_KEY_BYTES: usize = 24;
/// Far more than the specification's longest key of 64 bytes needs.
const MAX_FILE_BYTES: u64 = 4096;

pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = value::secure_url(
        text,
        &UrlPurpose {
            example: "https://hooks.example.net/forgewatch",
            content: "events",
            instead_of_user: "remove them",
        },
    )?;
    let is_link_local = match url.host() {
        None | Some(Host::Domain(_)) => false,
        Some(Host::Ipv4(address)) => is_link_local(address.into()),
        Some(Host::Ipv6(address)) => is_link_local(address.into()),
    };
    if is_link_local {
        return Err("a webhook cannot have a link-local address; use another host".to_owned());
    }
    Ok(url)
}

/// Reads a key from a file, relative to `folder`. The result has no `whsec_` prefix.
pub(super) fn secret(folder: &Path, file: &str) -> Result<SecretString, String> {
    let path = folder.join(value::path(file)?);
    let shown = path.display();
    let unreadable = |e| format!("cannot read {shown}: {e}; name a file with one line {PREFIX}…");
    let mut file = File::open(&path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.mode() & forbidden_mode(&path) != 0 {
        return Err(format!(
            "{shown} is accessible to users other than its owner (mode {:04o}); run: chmod 600 {shown}",
            meta.mode() & 0o7777
        ));
    }
    // A buffer that never grows leaves no copy of the secret in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize + 64));
    (&mut file)
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    key(line).ok_or_else(|| {
        format!(
            "{shown} has no key of at least {MIN_KEY_BYTES} bytes; write {PREFIX} and base64 on one line: \
             echo {PREFIX}$(openssl rand -base64 32)"
        )
    })
}

/// The mode bits that would expose a key to other users. systemd's credentials are in a directory that only the unit's
/// user can enter; its ACL entry appears as group read (`systemd.exec(5)`, `LoadCredential=`).
fn forbidden_mode(path: &Path) -> u32 {
    if path.starts_with("/run/credentials") {
        0o037
    } else {
        0o077
    }
}

fn key(line: &str) -> Option<SecretString> {
    let code = line.strip_prefix(PREFIX)?;
    let key = Zeroizing::new(STANDARD.decode(code).ok()?);
    (key.len() >= MIN_KEY_BYTES).then(|| SecretString::from(code))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn group_read_is_allowed_for_systemd_credentials_only() {
        let from_systemd = Path::new("/run/credentials/forgewatch.service/webhook");
        assert_eq!(0o440 & forbidden_mode(from_systemd), 0);
        assert_ne!(0o444 & forbidden_mode(from_systemd), 0);
        assert_ne!(
            0o440 & forbidden_mode(Path::new("/etc/forgewatch/webhook.secret")),
            0
        );
    }

    #[test]
    fn https_to_any_host_and_http_to_loopback_are_accepted() {
        for text in [
            "https://hooks.example.net/a/b?token=c",
            "https://10.0.0.1:8443",
            "http://127.0.0.1:9/x",
            "http://[::1]/",
            "http://localhost:1",
        ] {
            assert!(url(text).is_ok(), "{text}");
        }
        for text in [
            "http://hooks.example.net",
            "https://user:canary@hooks.example.net",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.1.1]/",
            "https://0.0.0.0/",
            "ftp://127.0.0.1",
            "mailto:canary@example.net",
            "canary",
            "",
        ] {
            let error = url(text).unwrap_err();
            assert!(!error.contains("canary") && !error.is_empty(), "{error}");
        }
    }

    #[test]
    fn a_key_is_whsec_and_base64_of_24_bytes_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let with = |text: &str, mode| {
            let path = folder.path().join("secret");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = secret(folder.path(), "secret");
            fs::remove_file(path).unwrap();
            read.map(drop)
        };
        let good = format!("whsec_{}", STANDARD.encode([7; 24]));
        for text in [good.clone(), format!("{good}\n"), format!("{good}\r\n")] {
            assert_eq!(with(&text, 0o600), Ok(()));
        }
        assert!(with(&good, 0o640).unwrap_err().contains("chmod 600"));
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let bare = STANDARD.encode([7; 24]);
        for text in [short.as_str(), &bare, "whsec_canary!", ""] {
            let error = with(text, 0o600).unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
