//! Redacts secrets from texts of a server: some servers quote the URL or the headers of a request that they reject.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// The replacement of a secret.
const MARK: &str = "[redacted]";
/// Shorter forms are not redacted: they may be plain words (the simulator's key is `sim`), and real secrets are longer.
const MIN_LENGTH: usize = 8;

/// All encodings of the secrets that a server may send back.
#[derive(Clone, Debug)]
pub struct Redactor {
    /// In ASCII lower case, the longest first.
    forms: Arc<[SecretString]>,
}

impl Redactor {
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            let text = secret.expose_secret();
            forms.extend([
                text.to_owned(),
                STANDARD_NO_PAD.encode(text),
                URL_SAFE_NO_PAD.encode(text),
                hex(text),
                percent(text),
            ]);
        }
        for form in &mut forms {
            form.make_ascii_lowercase();
        }
        forms.retain(|form| form.len() >= MIN_LENGTH);
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self {
            forms: forms.into_iter().map(SecretString::from).collect(),
        }
    }

    /// Replaces all secrets in the text, in upper or lower case.
    pub fn redact(&self, text: &mut String) {
        for form in self.forms.iter().map(ExposeSecret::expose_secret) {
            // ASCII lower case keeps all offsets.
            let lower = text.to_ascii_lowercase();
            if lower.contains(form) {
                let mut kept = String::with_capacity(text.len());
                let mut from = 0;
                for (at, _) in lower.match_indices(form) {
                    kept.push_str(text.get(from..at).unwrap_or_default());
                    kept.push_str(MARK);
                    from = at + form.len();
                }
                kept.push_str(text.get(from..).unwrap_or_default());
                *text = kept;
            }
        }
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Percent-encodes everything but letters, digits and `-._~`, as in a URL's query.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02x}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(access: &str, secret: &str, text: &str) -> String {
        let key = |key: &str| SecretString::from(key.to_owned());
        let pair = format!("{access}:{secret}");
        let mut text = text.to_owned();
        Redactor::new([key(access), key(secret), key(&pair)]).redact(&mut text);
        text
    }

    #[test]
    fn every_encoding_of_a_key_is_redacted() {
        for form in [
            "Access+Key1",
            "Secret/Key2",
            "SECRET/KEY2",
            "U2VjcmV0L0tleTI=",
            "QWNjZXNzK0tleTE6U2VjcmV0L0tleTI=",
            "5365637265742f4b657932",
            "Secret%2FKey2",
            "secret%2fkey2",
        ] {
            let text = redacted(
                "Access+Key1",
                "Secret/Key2",
                &format!("no {form} here, {form}"),
            );
            assert_eq!(
                text.replace('=', ""),
                "no [redacted] here, [redacted]",
                "{form}"
            );
        }
    }

    #[test]
    fn a_key_contained_in_the_replacement_is_redacted_once() {
        for key in ["redacted", "[Redacted", "redacted]"] {
            let text = redacted("key", key, &format!("the {key} was {key}"));
            assert_eq!(text, "the [redacted] was [redacted]", "{key}");
        }
    }

    #[test]
    fn other_text_and_short_keys_are_not_redacted() {
        let text = "Größe: simulated-image, Secret/Key";
        assert_eq!(redacted("sim", "Secret/Key2", text), text);
    }
}
