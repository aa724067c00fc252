//! Takes our own keys out of what a server says: some quote the request they refuse, header and all.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use crate::clanforge::Credentials;
use forgewatch_core::status::Status;

/// What stands where a key was.
const MARK: &str = "[redacted]";
/// Shorter forms are left alone: they are words of the language (the simulator's key is `sim`), and no real key is
/// as short.
const SHORTEST: usize = 8;

/// Everything a key of ours may be written as.
#[derive(Clone, Debug)]
pub(super) struct Redactor {
    /// In ASCII lower case, the longest first.
    forms: Arc<[SecretString]>,
}

impl Redactor {
    pub(super) fn new(credentials: &Credentials) -> Self {
        let mut forms = Vec::new();
        for text in credentials.parts() {
            let text = text.expose_secret();
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
        forms.retain(|form| form.len() >= SHORTEST);
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self {
            forms: forms.into_iter().map(SecretString::from).collect(),
        }
    }

    /// The text without any of the keys, in whatever case they are written.
    pub(super) fn text(&self, text: &mut String) {
        for form in self.forms.iter().map(ExposeSecret::expose_secret) {
            // Lower case of ASCII moves no byte.
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

    /// The same for all that is somebody's text in a status.
    pub(super) fn status(&self, status: &mut Status) {
        let names = &mut status.names;
        let texts = [
            &mut status.error,
            &mut status.state_name,
            &mut names.game,
            &mut names.image,
            &mut names.machine,
        ];
        for text in texts.into_iter().flatten() {
            self.text(text);
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

/// As in a URL's query: everything but letters, digits and `-._~` as `%XX`.
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
        let credentials = Credentials::new(key(access), key(secret)).unwrap();
        let mut text = text.to_owned();
        Redactor::new(&credentials).text(&mut text);
        text
    }

    #[test]
    fn every_form_of_a_key_is_taken_out() {
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
            let said = redacted(
                "Access+Key1",
                "Secret/Key2",
                &format!("no {form} here, {form}"),
            );
            assert_eq!(
                said.replace('=', ""),
                "no [redacted] here, [redacted]",
                "{form}"
            );
        }
    }

    #[test]
    fn a_key_that_is_in_the_mark_itself_is_taken_out_once() {
        for key in ["redacted", "[Redacted", "redacted]"] {
            let said = redacted("key", key, &format!("the {key} was {key}"));
            assert_eq!(said, "the [redacted] was [redacted]", "{key}");
        }
    }

    #[test]
    fn other_text_and_short_keys_are_left_alone() {
        let text = "Größe: simulated-image, Secret/Key";
        assert_eq!(redacted("sim", "Secret/Key2", text), text);
    }
}
