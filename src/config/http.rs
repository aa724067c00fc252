//! The HTTP listener of the configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use secrecy::SecretString;

use super::secret;
use super::settings::HttpSettings;
use forgewatch_core::user_input::quoted;

/// Shorter tokens can be guessed.
const MIN_TOKEN: usize = 32;

/// The keys that [`conflict`] compares.
pub(super) const CHECKED: [&str; 3] = ["http.listen", "http.allow_remote", "http.token_files"];

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let text = quoted(text);
        format!("expected an IP address and a port such as \"127.0.0.1:9464\", found {text}")
    })
}

/// Reads a bearer token from a file, relative to `folder`.
pub(super) fn token_file(folder: &Path, file: &str) -> Result<SecretString, String> {
    secret::from_file(folder, file, "one line with a token", token)
}

/// RFC 6750 defines the characters of a bearer token.
fn token(line: &str) -> Result<SecretString, String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if line.is_empty() {
        return Err("empty; expected one line with a token: openssl rand -hex 32".to_owned());
    }
    secret::check_characters(line)?;
    if !line.chars().all(is_valid) {
        return Err(
            "a token has letters, digits and -._~+/= only; make one with: openssl rand -hex 32"
                .to_owned(),
        );
    }
    if line.len() < MIN_TOKEN {
        return Err(format!(
            "shorter than {MIN_TOKEN} characters, so it can be guessed; make one with: openssl rand -hex 32"
        ));
    }
    Ok(line.into())
}

/// The key and the error if the values contradict each other.
pub(super) fn conflict(http: &HttpSettings) -> Option<(&'static str, String)> {
    if let Some(listen) = http.listen
        && !http.allow_remote
        && !is_loopback(listen.ip())
    {
        let what = format!(
            "other machines reach {listen}; use a loopback address such as 127.0.0.1:{}, or set allow_remote = true and \
             token_files",
            listen.port()
        );
        return Some(("http.listen", what));
    }
    (http.allow_remote && http.tokens.is_empty()).then(|| {
        let what =
            "needs a token; add a line such as token_files = [\"/etc/forgewatch/http.token\"]";
        ("http.allow_remote", what.to_owned())
    })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_fits_a_header() {
        let long = "a1-._~+/=".repeat(4);
        assert!(token(&long).is_ok());
        for (text, why) in [
            ("", "empty"),
            (&long[..31], "shorter than 32"),
            (&format!("{long} {long}"), "letters, digits"),
            (&format!("{long}\n{long}"), "line break"),
            (&format!("{long}\u{e9}"), "letters, digits"),
        ] {
            let error = token(text).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn other_machines_need_permission_and_a_token() {
        let settings = |listen: &str, allow_remote, tokens: usize| HttpSettings {
            listen: Some(listen.parse().unwrap()),
            allow_remote,
            hosts: Vec::new(),
            tokens: vec!["x".into(); tokens],
            job_metrics: false,
        };
        for (listen, allow_remote, tokens, key) in [
            ("127.0.0.1:1", false, 0, None),
            ("127.9.9.9:1", false, 0, None),
            ("[::1]:1", false, 0, None),
            ("[::ffff:127.0.0.1]:1", false, 0, None),
            ("0.0.0.0:1", false, 1, Some("http.listen")),
            ("[::]:1", false, 1, Some("http.listen")),
            ("192.0.2.1:1", false, 1, Some("http.listen")),
            ("192.0.2.1:1", true, 0, Some("http.allow_remote")),
            ("127.0.0.1:1", true, 0, Some("http.allow_remote")),
            ("192.0.2.1:1", true, 1, None),
        ] {
            let found = conflict(&settings(listen, allow_remote, tokens));
            assert_eq!(
                found.map(|(key, _)| key),
                key,
                "{listen} {allow_remote} {tokens}"
            );
        }
    }
}
