//! Where the access key and the secret key come from. Kept apart from [`super::settings`]: a long-running process
//! reads them again when the API refuses them.
//!
//! Nothing here prints a secret: not in `Debug`, not in an error, not by quoting a file that was the wrong one.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::env::{ACCESS_KEY, Env, SECRET_KEY};
use super::error::{ConfigError, Origin};
use crate::clanforge::Credentials;

/// The name of the systemd credential.
const SYSTEMD_NAME: &str = "clanforge";
/// A line with two keys is far shorter.
const MAX_BYTES: u64 = 4096;

/// Which of the three ways the credentials came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsSource {
    /// The two environment variables.
    Environment,
    /// The file of `--credentials-file`, `FORGEWATCH_CREDENTIALS_FILE` or `api.credentials_file`.
    File(PathBuf),
    /// systemd's, at this path.
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

/// Finds the credentials: in the environment, else in `file`, else as systemd hands them over. The first of these
/// that is there counts, and an error in it is an error, never a reason to look further.
pub fn find(
    file: Option<&Path>,
    env: &Env,
) -> Result<(Credentials, CredentialsSource), ConfigError> {
    if let Some(credentials) = from_environment(env)? {
        return Ok((credentials, CredentialsSource::Environment));
    }
    if let Some(path) = file {
        return Ok((
            from_file(path, true)?,
            CredentialsSource::File(path.to_owned()),
        ));
    }
    if let Some(folder) = env.path("CREDENTIALS_DIRECTORY") {
        let path = folder.join(SYSTEMD_NAME);
        if path.try_exists().unwrap_or(true) {
            return Ok((from_file(&path, false)?, CredentialsSource::Systemd(path)));
        }
    }
    let what = format!(
        "no credentials; set {ACCESS_KEY} and {SECRET_KEY}, or name a file holding ACCESS:SECRET with \
         --credentials-file or api.credentials_file, or hand the systemd credential {SYSTEMD_NAME} over"
    );
    Err(ConfigError::new(Origin::Nowhere, what))
}

/// The pair of the two variables; None where neither is set. Half a pair is an error.
pub(super) fn from_environment(env: &Env) -> Result<Option<Credentials>, ConfigError> {
    let (there, missing) = match (env.secret(ACCESS_KEY)?, env.secret(SECRET_KEY)?) {
        (None, None) => return Ok(None),
        (Some(access), Some(secret)) => {
            return Credentials::new(access.clone(), secret.clone())
                .map(Some)
                .map_err(|what| {
                    let what = format!("{ACCESS_KEY} and {SECRET_KEY}: {what}; set both again");
                    ConfigError::new(Origin::Nowhere, what)
                });
        }
        (Some(_), None) => (ACCESS_KEY, SECRET_KEY),
        (None, Some(_)) => (SECRET_KEY, ACCESS_KEY),
    };
    let what = format!("it is not set, but {there} is; set both or neither");
    Err(ConfigError::new(Origin::Variable(missing), what))
}

/// Reads `ACCESS:SECRET` and one line break, which may be missing. The mode is looked at where the file is the user's.
fn from_file(path: &Path, check_mode: bool) -> Result<Credentials, ConfigError> {
    let error = |what: String| {
        ConfigError::new(
            Origin::File(path.to_owned()),
            format!("credentials: {what}"),
        )
    };
    let unreadable = |e: std::io::Error| {
        error(format!(
            "cannot be read: {e}; name a file with one line ACCESS:SECRET that this user can read"
        ))
    };
    let mut file = File::open(path).map_err(|e| {
        // Somebody may have given the credentials themselves for the file's name.
        if path.as_os_str().as_encoded_bytes().contains(&b':') {
            let what = format!(
                "the credentials file: a file with a colon in its name cannot be read: {}",
                e.kind()
            );
            ConfigError::new(
                Origin::Nowhere,
                format!("{what}; name a file with one line ACCESS:SECRET"),
            )
        } else {
            unreadable(e)
        }
    })?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err(error("is a folder; name the file in it".to_owned()));
    }
    if check_mode && meta.mode() & 0o077 != 0 {
        return Err(error(format!(
            "open to others than its owner (mode {:04o}); chmod 600 {}",
            meta.mode() & 0o7777,
            path.display()
        )));
    }
    // With room for all that is read, the buffer never moves and leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 64));
    (&mut file)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    parse(&bytes).map_err(|what| error(format!("{what}; it has to be one line ACCESS:SECRET")))
}

fn parse(bytes: &[u8]) -> Result<Credentials, &'static str> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("too long");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err("empty");
    }
    let (access, secret) = line.split_once(':').ok_or("there is no colon in it")?;
    Credentials::new(access.into(), secret.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use secrecy::ExposeSecret;

    use super::*;

    fn basic(bytes: &[u8]) -> Result<String, &'static str> {
        parse(bytes).map(|c| c.basic().expose_secret().to_owned())
    }

    #[test]
    fn one_line_break_is_trimmed_and_a_secret_may_hold_colons() {
        // RFC 7617's own example.
        let known = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(basic(b"Aladdin:open sesame\n").as_deref(), Ok(known));
        assert_eq!(basic(b"Aladdin:open sesame\r\n").as_deref(), Ok(known));
        assert_eq!(basic(b"Aladdin:open sesame").as_deref(), Ok(known));
        assert_eq!(basic(b"a:b:c").as_deref(), Ok("Basic YTpiOmM="));
    }

    #[test]
    fn what_is_not_one_line_of_two_keys_is_refused() {
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
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_two_printable_keys_are_taken(access in "[!-9;-~]{1,40}", secret in "[ -~]{1,40}") {
            let line = format!("{access}:{secret}\n");
            let value = format!("Basic {}", STANDARD.encode(line.trim_end_matches('\n')));
            prop_assert_eq!(basic(line.as_bytes()), Ok(value));
        }
    }
}
