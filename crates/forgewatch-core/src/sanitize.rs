//! Neutralizes untrusted text.
//!
//! `joberror` and similar texts can contain escape sequences that rewrite the screen, bidi marks, line breaks that forge
//! a line, and commands for a build server.

use std::fmt::Write;

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

/// The same for a text of several lines, which stay apart.
pub fn sanitized_lines(text: &str, limit: usize) -> String {
    let lines = text.trim().lines().map(|line| sanitized(line, limit));
    let lines: Vec<String> = lines.collect();
    cut(lines.join("\n"), limit)
}

/// Whether terminals, log viewers or editors act on the character instead of showing it: C0, DEL, C1, bidi marks, line
/// and paragraph separators.
pub fn is_harmful(c: char) -> bool {
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
    }
}
