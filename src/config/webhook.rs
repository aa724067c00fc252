//! A webhook's address and the keys that sign what is posted there.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use url::{Host, Url};

use super::value;
use crate::http_client::{is_link_local, is_loopback};

/// What a key begins with, as the Standard Webhooks specification writes it.
const PREFIX: &str = "whsec_";
/// A shorter key can be guessed, and the specification forbids it.
const LEAST_BYTES: usize = 24;
/// A key of 64 bytes, the longest there should be, is far shorter.
const MAX_FILE: u64 = 4096;

/// Reads an address. It is never quoted: many services put a secret there.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let example = "write e.g. \"https://hooks.example.net/forgewatch\"";
    let url = Url::parse(text.trim()).map_err(|e| format!("not a URL ({e}); {example}"))?;
    let link_local = match url.host() {
        None => return Err(format!("not an https URL; {example}")),
        Some(Host::Domain(_)) => false,
        Some(Host::Ipv4(address)) => is_link_local(address.into()),
        Some(Host::Ipv6(address)) => is_link_local(address.into()),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("not an https URL; {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user name or a password is not taken; leave them out".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let what = "http would post the events in clear text; write https, or name this machine: localhost, 127.0.0.1 \
                    or [::1]";
        return Err(what.to_owned());
    }
    if link_local {
        return Err("a link-local address is no place for a webhook; name another host".to_owned());
    }
    Ok(url)
}

/// Reads the key in a file, which may be relative to `folder`: `whsec_` and base64, here without the prefix.
pub(super) fn secret(folder: &Path, file: &str) -> Result<SecretString, String> {
    let path = folder.join(value::file(file)?);
    let shown = path.display();
    let unreadable = |e| format!("{shown} cannot be read: {e}; name a file with a line {PREFIX}…");
    let mut file = File::open(&path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.mode() & forbidden(&path) != 0 {
        return Err(format!(
            "{shown} is open to others than its owner (mode {:04o}); chmod 600 {shown}",
            meta.mode() & 0o7777
        ));
    }
    // With room for all that is read, the buffer never moves and leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 64));
    (&mut file)
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    key(line).ok_or_else(|| {
        format!(
            "{shown} holds no key of {LEAST_BYTES} bytes or more; write {PREFIX} and base64 on one line: \
             echo {PREFIX}$(openssl rand -base64 32)"
        )
    })
}

/// The bits of the mode that open a key to others. What systemd hands over lies in a folder that is closed to all but the
/// unit's user, whose right to read is an entry in an ACL and so looks like the group's (`systemd.exec(5)`,
/// `LoadCredential=`).
fn forbidden(path: &Path) -> u32 {
    if path.starts_with("/run/credentials") {
        0o037
    } else {
        0o077
    }
}

fn key(line: &str) -> Option<SecretString> {
    let code = line.strip_prefix(PREFIX)?;
    let key = Zeroizing::new(STANDARD.decode(code).ok()?);
    (key.len() >= LEAST_BYTES).then(|| SecretString::from(code))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_group_may_seem_to_read_what_systemd_handed_over_and_nothing_else() {
        let handed_over = Path::new("/run/credentials/forgewatch.service/webhook");
        assert_eq!(0o440 & forbidden(handed_over), 0);
        assert_ne!(0o444 & forbidden(handed_over), 0);
        assert_ne!(
            0o440 & forbidden(Path::new("/etc/forgewatch/webhook.secret")),
            0
        );
    }

    #[test]
    fn https_anywhere_and_http_to_this_machine_are_taken() {
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
            let said = url(text).unwrap_err();
            assert!(!said.contains("canary") && !said.is_empty(), "{said}");
        }
    }

    #[test]
    fn a_key_is_whsec_and_base64_of_24_bytes_in_a_file_of_ones_own() {
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
            let said = with(text, 0o600).unwrap_err();
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
