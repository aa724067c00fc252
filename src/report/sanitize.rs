//! Neutralizes untrusted text: [`sanitized`] for lines that people read, [`json_line`] for JSON, which are event records,
//! diagnostics, and responses in the client commands.

use std::fmt::Write;

use serde::Serialize;

pub use forgewatch_core::sanitize::{LIMIT, is_harmful, sanitized, sanitized_lines};

/// The value as one line of JSON, without the newline.
///
/// JSON allows DEL, C1 controls, bidi marks and Unicode line separators unescaped, but terminals and log viewers act on
/// them, and some build servers on `##vso[` anywhere in a line. They are written as `\uXXXX`, which is the same value.
pub fn json_line(value: &(impl Serialize + ?Sized)) -> String {
    match serde_json::to_string(value) {
        Ok(text) => escape_json(text),
        // Does not happen for records: numbers, strings and maps with string keys always serialize.
        Err(_) => {
            r#"{"level":"ERROR","message":"a record could not be written as JSON"}"#.to_owned()
        }
    }
}

fn escape_json(text: String) -> String {
    let is_plain = |text: &str| !text.contains("##") && !text.chars().any(is_harmful);
    if is_plain(&text) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut before = '\0';
    for c in text.chars() {
        // All of them have four hex digits and, in JSON, are inside strings.
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
    fn what_terminals_and_build_servers_act_on_is_escaped() {
        assert_eq!(
            json_line(&"\x1b[2J\n\u{7f}\u{9b}\u{202e}\u{2028}##vso[x] # ä"),
            r#""\u001b[2J\n\u007f\u009b\u202e\u2028#\u0023vso[x] # ä""#
        );
    }

    proptest! {
        #[test]
        fn any_text_becomes_the_same_value_on_one_harmless_line(text in any::<String>(), tail in "[#\\\\\"\u{80}-\u{9f}]{0,9}") {
            let value = text + &tail;
            let line = json_line(&value);
            prop_assert!(!line.chars().any(is_harmful));
            prop_assert!(!line.contains("##"));
            prop_assert_eq!(serde_json::from_str::<String>(&line).ok(), Some(value));
        }
    }
}
