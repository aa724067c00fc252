//! The key pair that authenticates every request.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

/// An access key and its secret key. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Credentials {
    access: SecretString,
    secret: SecretString,
}

impl Credentials {
    /// Checks the two keys. The error message quotes neither.
    pub fn new(access: SecretString, secret: SecretString) -> Result<Self, &'static str> {
        let (a, s) = (access.expose_secret(), secret.expose_secret());
        if a.is_empty() || s.is_empty() {
            return Err("the access key or the secret key is empty");
        }
        if a.contains(':') {
            return Err("the access key contains ':', which Basic authentication does not allow");
        }
        if a.chars().chain(s.chars()).any(char::is_control) {
            return Err("a key contains a control character or a line break");
        }
        Ok(Self { access, secret })
    }

    /// The access key, the secret key, and the pair as Basic authentication joins them: none may appear in any output.
    pub fn parts(&self) -> [SecretString; 3] {
        let (access, secret) = (self.access.expose_secret(), self.secret.expose_secret());
        let pair = SecretString::from(format!("{access}:{secret}"));
        [self.access.clone(), self.secret.clone(), pair]
    }

    /// The value of the `Authorization` header: `Basic …`. The caller marks the header as sensitive.
    pub fn basic(&self) -> SecretString {
        let pair = Zeroizing::new(format!(
            "{}:{}",
            self.access.expose_secret(),
            self.secret.expose_secret()
        ));
        let code = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        SecretString::from(format!("Basic {}", code.as_str()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials { access: ***, secret: *** }")
    }
}
