//! Finds the access key and the secret key, and reads files with secrets. Credentials are not part of
//! [`super::settings`]: the daemon reads them again when the API answers 401 or 403.
//!
//! No secret is ever printed: not by `Debug`, and no error quotes a file's content.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::env::{ACCESS_KEY, Env, SECRET_KEY};
use super::error::{ConfigError, Origin};
use crate::clanforge::Credentials;

/// The systemd credential's file name in `$CREDENTIALS_DIRECTORY`.
const SYSTEMD_NAME: &str = "clanforge";
/// What a file with credentials contains.
const FORMAT: &str = "one line ACCESS:SECRET";
/// Far more than a secret needs.
const MAX_BYTES: u64 = 4096;

/// Where credentials were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsSource {
    Environment,
    /// The file of `--credentials-file`, `FORGEWATCH_CREDENTIALS_FILE` or `api.credentials_file`.
    File(PathBuf),
    /// A systemd credential at this path.
    Systemd(PathBuf),
}

impl fmt::Display for CredentialsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => write!(f, "{ACCESS_KEY} and {SECRET_KEY}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Systemd(path) => write!(f, "the systemd credential {}", path.display()),
        }
    }
}

/// Reads the credentials from the environment, else from `file`, else from systemd. The first source that exists is
/// used; if it is invalid, that is an error and no later source is tried.
pub fn find(
    file: Option<&Path>,
    env: &Env,
) -> Result<(Credentials, CredentialsSource), ConfigError> {
    if let Some(credentials) = from_environment(env)? {
        return Ok((credentials, CredentialsSource::Environment));
    }
    if let Some(path) = file {
        return Ok((
            from_file(path, 0o077)?,
            CredentialsSource::File(path.to_owned()),
        ));
    }
    if let Some(folder) = env.path("CREDENTIALS_DIRECTORY") {
        let path = folder.join(SYSTEMD_NAME);
        if path.try_exists().unwrap_or(true) {
            // Only the unit's user can enter systemd's directory.
            return Ok((from_file(&path, 0)?, CredentialsSource::Systemd(path)));
        }
    }
    let what = format!(
        "no credentials; set {ACCESS_KEY} and {SECRET_KEY}, name a file with ACCESS:SECRET by --credentials-file or \
         api.credentials_file, or pass the systemd credential {SYSTEMD_NAME}"
    );
    Err(ConfigError::new(Origin::Unspecified, what))
}

/// None if neither variable is set. Setting only one of them is an error.
pub(super) fn from_environment(env: &Env) -> Result<Option<Credentials>, ConfigError> {
    let (set, missing) = match (env.secret(ACCESS_KEY)?, env.secret(SECRET_KEY)?) {
        (None, None) => return Ok(None),
        (Some(access), Some(secret)) => {
            return Credentials::new(access.clone(), secret.clone())
                .map(Some)
                .map_err(|what| {
                    let what = format!("{ACCESS_KEY} and {SECRET_KEY}: {what}; set both again");
                    ConfigError::new(Origin::Unspecified, what)
                });
        }
        (Some(_), None) => (ACCESS_KEY, SECRET_KEY),
        (None, Some(_)) => (SECRET_KEY, ACCESS_KEY),
    };
    let what = format!("not set, although {set} is; set both or neither");
    Err(ConfigError::new(Origin::Variable(missing), what))
}

/// Reads a file with one line `ACCESS:SECRET`, which only users allowed by `forbidden_mode` can access.
fn from_file(path: &Path, forbidden_mode: u32) -> Result<Credentials, ConfigError> {
    // The "file name" may be the credentials themselves.
    if path.as_os_str().as_encoded_bytes().contains(&b':')
        && let Err(error) = File::open(path)
    {
        let what = format!(
            "credentials file: cannot read a file with a colon in its name: {}; expected a file with {FORMAT}",
            error.kind()
        );
        return Err(ConfigError::new(Origin::Unspecified, what));
    }
    secret_line(path, forbidden_mode, FORMAT)
        .and_then(|line| parse(&line).map_err(|what| format!("{what}; expected {FORMAT}")))
        .map_err(|what| {
            ConfigError::new(
                Origin::File(path.to_owned()),
                format!("credentials: {what}"),
            )
        })
}

fn parse(line: &str) -> Result<Credentials, &'static str> {
    if line.is_empty() {
        return Err("empty");
    }
    let (access, secret) = line.split_once(':').ok_or("no colon found")?;
    Credentials::new(access.into(), secret.into())
}

/// Reads a file that holds a secret on its only line. `forbidden_mode` are the mode bits that would expose it to other
/// users, `expected` describes the line.
pub(super) fn secret_line(
    path: &Path,
    forbidden_mode: u32,
    expected: &str,
) -> Result<Zeroizing<String>, String> {
    let unreadable = |e: io::Error| {
        format!("cannot read the file: {e}; expected {expected}, readable by this user")
    };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err("is a directory; name a file".to_owned());
    }
    if meta.mode() & forbidden_mode != 0 {
        return Err(format!(
            "accessible to users other than its owner (mode {:04o}); run: chmod 600 {}",
            meta.mode() & 0o7777,
            path.display()
        ));
    }
    // A buffer that never grows leaves no copy of the secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 64));
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    without_line_break(&bytes)
        .map(|line| Zeroizing::new(line.to_owned()))
        .map_err(|what| format!("{what}; expected {expected}"))
}

/// Trims one line break.
fn without_line_break(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("too long");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(line.strip_suffix('\r').unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Credentials, &'static str> {
        without_line_break(bytes).and_then(super::parse)
    }

    fn basic(bytes: &[u8]) -> Result<String, &'static str> {
        parse(bytes).map(|c| c.basic().expose_secret().to_owned())
    }

    #[test]
    fn one_line_break_is_trimmed_and_a_secret_may_contain_colons() {
        // RFC 7617's own example.
        let known = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(basic(b"Aladdin:open sesame\n").as_deref(), Ok(known));
        assert_eq!(basic(b"Aladdin:open sesame\r\n").as_deref(), Ok(known));
        assert_eq!(basic(b"Aladdin:open sesame").as_deref(), Ok(known));
        assert_eq!(basic(b"a:b:c").as_deref(), Ok("Basic YTpiOmM="));
    }

    #[test]
    fn anything_but_one_line_with_two_keys_is_rejected() {
        for bytes in [
            &b""[..],
            b"\n",
            b"nocolon",
            b":secret",
            b"access:",
            b"a:b\n\n",
            b"a:b\nc:d\n",
            b"a:b\0",
            b"a\t:b",
            b"a:\xff",
            &[b'a'; 5000],
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn debug_shows_neither_key() {
        let credentials = parse(b"canary-a:canary-s").unwrap();
        let text = format!("{credentials:?} {:?}", credentials.basic());
        assert!(text.contains("***") && !text.contains("canary"), "{text}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_two_printable_keys_are_accepted(access in "[!-9;-~]{1,40}", secret in "[ -~]{1,40}") {
            let line = format!("{access}:{secret}\n");
            let value = format!("Basic {}", STANDARD.encode(line.trim_end_matches('\n')));
            prop_assert_eq!(basic(line.as_bytes()), Ok(value));
        }
    }
}
