//! Finds the access key and the secret key. They are not part of [`super::settings`]: the daemon reads them again when the
//! API answers 401 or 403.
//!
//! No secret is ever printed: not by `Debug`, and no error quotes a file's content.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::env::{ACCESS_KEY, Env, SECRET_KEY};
use super::error::{ConfigError, Origin};
use super::secret;
use crate::clanforge::Credentials;

/// The systemd credential's file name in `$CREDENTIALS_DIRECTORY`.
const SYSTEMD_NAME: &str = "clanforge";
/// What a file with credentials contains.
const FORMAT: &str = "one line ACCESS:SECRET";

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
            from_file(path, true)?,
            CredentialsSource::File(path.to_owned()),
        ));
    }
    if let Some(folder) = env.path("CREDENTIALS_DIRECTORY") {
        let path = folder.join(SYSTEMD_NAME);
        if path.try_exists().unwrap_or(true) {
            // Only the unit's user can enter systemd's directory.
            return Ok((from_file(&path, false)?, CredentialsSource::Systemd(path)));
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
            let (access, secret) = (variable(ACCESS_KEY, access)?, variable(SECRET_KEY, secret)?);
            return Credentials::new(access, secret).map(Some).map_err(|what| {
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

/// The key in a variable.
fn variable(name: &'static str, value: &SecretString) -> Result<SecretString, ConfigError> {
    let line = secret::line(value.expose_secret());
    secret::check_characters(line)
        .map(|()| line.into())
        .map_err(|what| ConfigError::new(Origin::Variable(name), what))
}

/// Reads a file with one line `ACCESS:SECRET`; `private` as in [`secret::read_line`].
fn from_file(path: &Path, private: bool) -> Result<Credentials, ConfigError> {
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
    secret::read_line(path, private, FORMAT)
        .and_then(|line| parse(&line).map_err(|what| format!("{what}; expected {FORMAT}")))
        .map_err(|what| {
            ConfigError::new(
                Origin::File(path.to_owned()),
                format!("credentials: {what}"),
            )
        })
}

fn parse(line: &str) -> Result<Credentials, String> {
    if line.is_empty() {
        return Err("empty".to_owned());
    }
    let (access, secret) = line.split_once(':').ok_or("no colon found")?;
    for (name, key) in [("access", access), ("secret", secret)] {
        secret::check_characters(key).map_err(|what| format!("the {name} key {what}"))?;
    }
    Ok(Credentials::new(access.into(), secret.into())?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn parse(bytes: &[u8]) -> Result<Credentials, String> {
        super::parse(secret::file_line(bytes)?)
    }

    fn basic(bytes: &[u8]) -> Result<String, String> {
        parse(bytes).map(|c| c.basic().expose_secret().to_owned())
    }

    #[test]
    fn line_ends_are_trimmed_and_a_secret_may_contain_colons() {
        // RFC 7617's own example.
        let known = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        for end in ["", "\n", "\r\n", "\n\n"] {
            let line = format!("Aladdin:open sesame{end}");
            assert_eq!(basic(line.as_bytes()).as_deref(), Ok(known));
        }
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
            b"a:b\nc:d\n",
            b"a: b",
            b"\"a:b\"",
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

    /// Without quotes and blanks around it.
    const KEY: &str = "[#-&(-9;-_a-~]([ -9;-~]{0,40}[#-&(-9;-_a-~])?";

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_two_printable_keys_are_accepted(access in KEY, secret in KEY) {
            let line = format!("{access}:{secret}\n");
            let value = format!("Basic {}", STANDARD.encode(line.trim_end_matches('\n')));
            prop_assert_eq!(basic(line.as_bytes()), Ok(value));
        }
    }
}
