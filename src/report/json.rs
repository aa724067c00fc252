//! One JSON object a line, and nothing else.
//!
//! [`super::Report`] prints event records with it, [`super::diagnostics`] its own lines, the client commands what the
//! daemon answers.

use serde::Serialize;
use std::fmt::Write;

use super::sanitize::is_harmful;

/// The value as one line of JSON, without the line's end.
///
/// JSON leaves DEL, C1 controls, bidi marks and the Unicode line separators as they are; terminals and log viewers
/// would act on them, and some build servers on `##vso[` anywhere in a line. Here they are `\uXXXX`: another
/// spelling of the same value.
pub fn line(value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(text) => escape(text),
        // Not for records: numbers, strings and maps with strings as keys always serialise.
        Err(_) => {
            r#"{"level":"ERROR","message":"a record could not be written as JSON"}"#.to_owned()
        }
    }
}

fn escape(text: String) -> String {
    let is_plain = |text: &str| !text.contains("##") && !text.chars().any(is_harmful);
    if is_plain(&text) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut before = '\0';
    for c in text.chars() {
        // All of these lie in the basic plane and, in JSON, only inside strings.
        if is_harmful(c) || (c == '#' && before == '#') {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_terminals_and_build_servers_act_on_is_spelled_in_ascii() {
        assert_eq!(
            line(&"\x1b[2J\n\u{7f}\u{9b}\u{202e}\u{2028}##vso[x] # ä"),
            r#""\u001b[2J\n\u007f\u009b\u202e\u2028#\u0023vso[x] # ä""#
        );
    }

    proptest! {
        #[test]
        fn it_stays_the_same_value_on_one_harmless_line(text in any::<String>(), tail in "[#\\\\\"\u{80}-\u{9f}]{0,9}") {
            let value = text + &tail;
            let line = line(&value);
            prop_assert!(!line.chars().any(is_harmful));
            prop_assert!(!line.contains("##"));
            prop_assert_eq!(serde_json::from_str::<String>(&line).ok(), Some(value));
        }
    }
}
