//! Signatures by the Standard Webhooks specification (<https://www.standardwebhooks.com>, version 1): HMAC-SHA256 over
//! id, time and body, once per key, so that a receiver can rotate keys.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use forgewatch_core::event::EventId;

pub(super) struct Signer(Vec<hmac::Key>);

impl Signer {
    /// Takes keys in base64, as validated with the configuration.
    pub(super) fn new(secrets: &[SecretString]) -> Self {
        let key = |secret: &SecretString| {
            let bytes = Zeroizing::new(STANDARD.decode(secret.expose_secret()).ok()?);
            Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        Self(secrets.iter().filter_map(key).collect())
    }

    /// The value of `webhook-signature`: one signature per key, separated by spaces. `time` is Unix seconds.
    pub(super) fn sign(&self, id: &str, time: i64, body: &str) -> String {
        let signed = format!("{id}.{time}.{body}");
        let signature = |key: &hmac::Key| {
            let tag = hmac::sign(key, signed.as_bytes());
            format!("v1,{}", STANDARD.encode(tag.as_ref()))
        };
        let signatures: Vec<String> = self.0.iter().map(signature).collect();
        signatures.join(" ")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}

/// The value of `webhook-id`: the same for every attempt, so that a receiver can discard duplicates.
pub(super) fn webhook_id(event: EventId) -> String {
    event.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference implementations.
    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signer(secrets: &[&str]) -> Signer {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        Signer::new(&secrets)
    }

    #[test]
    fn the_published_example_gets_the_published_signature() {
        assert_eq!(signer(&[SECRET]).sign(ID, TIME, BODY), SIGNATURE);
    }

    #[test]
    fn each_key_adds_its_own_signature() {
        let other = STANDARD.encode([7; 32]);
        let both = signer(&[&other, SECRET]).sign(ID, TIME, BODY);
        let alone = signer(&[&other]).sign(ID, TIME, BODY);
        assert_eq!(both, format!("{alone} {SIGNATURE}"));
    }

    #[test]
    fn debug_output_contains_no_key() {
        assert_eq!(format!("{:?}", signer(&[SECRET])), "Signer(1 keys)");
    }
}
