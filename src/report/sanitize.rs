//! Neutralizes untrusted text.
//!
//! `joberror` and similar texts can contain escape sequences that rewrite the screen, bidi marks, line breaks that forge
//! a line, and commands for a build server. [`sanitized`] is for lines that people read, [`json_line`] for JSON: event
//! records, diagnostics, and responses in the client commands.

use std::fmt::Write;

use serde::Serialize;

/// The most bytes printed of one text.
pub const LIMIT: usize = 8 * 1024;

/// The text as one line without control characters, bidi marks or build-server commands, in at most `limit` bytes
/// (at least 4).
///
/// Replaced characters stay visible: a newline becomes `\n`, escape `\x1b`, a bidi mark `\u{202e}`. Surrounding blanks
/// are removed. Harmless text is returned unchanged.
pub fn sanitized(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    // Escaping only lengthens the text, so characters beyond the limit are never needed.
    for c in text.trim().chars().take(limit.saturating_add(1)) {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            _ if is_harmful(c) => out.extend(c.escape_unicode()),
            '[' if ends_in_command(&out) => out.push_str("\\["),
            _ => out.push(c),
        }
    }
    // GitHub accepts workflow commands after blanks too, and a line may begin with this text.
    if out.starts_with("::") {
        out.insert(0, '\\');
    }
    cut(out, limit)
}

/// Whether terminals, log viewers or editors act on the character instead of showing it: C0, DEL, C1, bidi marks, line
/// and paragraph separators.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a `[` would complete a build-server command: `##[error]`, `##vso[`, `##teamcity[`. GitHub and Azure find
/// them anywhere in a line.
fn ends_in_command(before: &str) -> bool {
    before
        .trim_end_matches(|c: char| c.is_ascii_alphanumeric())
        .ends_with("##")
}

fn cut(mut text: String, limit: usize) -> String {
    const MARK: char = '…';
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(MARK.len_utf8())));
        text.push(MARK);
    }
    text
}

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
    fn escaped_characters_stay_visible() {
        for (hostile, harmless) in [
            ("disk full", "disk full"),
            ("  one\ntwo\r\n", "one\\ntwo"),
            ("\n<0>forged\x1b[2J", "<0>forged\\x1b[2J"),
            (
                "\u{9b}31m red \x1b]0;title\x07",
                "\\u{9b}31m red \\x1b]0;title\\x07",
            ),
            (
                "a\u{202e}b\u{2066}c\u{2028}d",
                "a\\u{202e}b\\u{2066}c\\u{2028}d",
            ),
            ("::error::x", "\\::error::x"),
            (" \t::error::x", "\\::error::x"),
            ("x\n::error::y", "x\\n::error::y"),
            ("##[error]x", "##\\[error]x"),
            ("x ##vso[task.complete]", "x ##vso\\[task.complete]"),
            ("##teamcity[buildStop]", "##teamcity\\[buildStop]"),
            ("###[x]", "###\\[x]"),
            ("#[x] [y]", "#[x] [y]"),
            ("Grüße, 世界 👩‍👩‍👧", "Grüße, 世界 👩‍👩‍👧"),
        ] {
            assert_eq!(sanitized(hostile, LIMIT), harmless);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        assert_eq!(sanitized("äääää", 8), "ää…");
        assert_eq!(sanitized(&"x".repeat(9_000), LIMIT).len(), LIMIT);
    }

    #[test]
    fn what_terminals_and_build_servers_act_on_is_escaped() {
        assert_eq!(
            json_line(&"\x1b[2J\n\u{7f}\u{9b}\u{202e}\u{2028}##vso[x] # ä"),
            r#""\u001b[2J\n\u007f\u009b\u202e\u2028#\u0023vso[x] # ä""#
        );
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            any::<char>().prop_map(String::from),
            (0u32..0x100).prop_filter_map("a character", |c| char::from_u32(c).map(String::from)),
            prop::sample::select(vec![
                "::",
                "##",
                "[",
                "\\",
                "\n",
                " ",
                "##[",
                "##teamcity[",
                "\u{202e}",
                "\x1b[",
                "…",
            ])
            .prop_map(str::to_owned),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_harmless_line(text in hostile(), limit in 4usize..80) {
            let out = sanitized(&text, limit);
            prop_assert!(out.len() <= limit);
            prop_assert!(!out.chars().any(is_harmful), "{out:?}");
            prop_assert!(!out.trim_start().starts_with("::"), "{out:?}");
            let lower = out.to_ascii_lowercase();
            for command in ["##[", "##teamcity[", "##vso["] {
                prop_assert!(!lower.contains(command), "{out:?}");
            }
            prop_assert_eq!(sanitized(&out, limit), out.clone(), "not idempotent");
        }

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
