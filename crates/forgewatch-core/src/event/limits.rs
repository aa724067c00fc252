//! Limits on the length of a record: its line must pass through a journal in one piece.
//!
//! Server text can fill a record, and JSON can escape one byte as six. So each text has a share of the longest line,
//! measured in its escaped form, and is cut at that share.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The longest line of a record, including its newline. The journal splits longer lines into pieces that are not JSON:
/// the default of `LineMax=` is 48 KiB (`journald.conf(5)`).
pub const MAX_LINE_BYTES: usize = 48 * 1024;

/// The share of an error message, the longest text: twice its length, as every character may need an escape.
const ERROR: usize = 16 * 1024;
/// The longest error message in bytes, before escaping.
const ERROR_TEXT: usize = 8 * 1024;
/// The share of each name from the server: of a state, a game, an image, a machine.
const NAME: usize = 4 * 1024;
/// The share of all labels together.
const LABELS: usize = 12 * 1024;
/// The share of an id or a hook name. Their own limits are far lower.
const WORD: usize = 256;
/// The share of everything else: field names, numbers, fixed words.
const REST: usize = 4 * 1024;

const _: () = assert!(ERROR + 4 * NAME + LABELS + REST <= MAX_LINE_BYTES);

/// An upper limit of the text's length in JSON, without quotes. Characters beyond ASCII and `#` count as `\uXXXX`, because
/// some of them are escaped.
pub fn escaped_len(text: &str) -> usize {
    text.chars().map(cost).sum()
}

/// The longest prefix of the text that is at most `max` bytes long in JSON.
pub fn truncate_escaped(text: &str, max: usize) -> &str {
    let mut left = max;
    for (at, c) in text.char_indices() {
        match left.checked_sub(cost(c)) {
            Some(less) => left = less,
            None => return text.get(..at).unwrap_or_default(),
        }
    }
    text
}

fn cost(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        '#' => 6,
        ' '..='~' => 1,
        '\u{10000}'.. => 4,
        _ => 6,
    }
}

/// A name from the server, cut to its share.
pub(super) fn name(text: &str) -> &str {
    truncate_escaped(text, NAME)
}

/// An id or a hook name, cut to its share.
pub(super) fn word(text: &str) -> &str {
    truncate_escaped(text, WORD)
}

/// Serializes a [`name`].
#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn as_name<S: Serializer>(text: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
    text.as_deref().map(name).serialize(s)
}

/// Serializes an error message.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn as_error<S: Serializer>(text: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
    let truncated = text.as_deref().map(|text| {
        let end = text.floor_char_boundary(ERROR_TEXT);
        truncate_escaped(text.get(..end).unwrap_or(text), ERROR)
    });
    truncated.serialize(s)
}

/// Serializes a [`word`].
pub(super) fn as_word<S: Serializer>(text: &str, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(word(text))
}

/// Labels in order, cut to their share: a label whose name does not fit is left out, a value is cut.
#[derive(Debug)]
pub(super) struct LimitedLabels<'a>(pub(super) &'a BTreeMap<String, String>);

impl Serialize for LimitedLabels<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        /// Four quotes, a colon and a comma.
        const MARKS: usize = 6;
        let mut left = LABELS - MARKS;
        let mut map = s.serialize_map(None)?;
        for (name, value) in self.0 {
            let Some(room) = left.checked_sub(escaped_len(name) + MARKS) else {
                continue;
            };
            let value = truncate_escaped(value, room);
            left = room - escaped_len(value);
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_by_its_escaped_length() {
        for (text, max, prefix) in [
            ("plain", 5, "plain"),
            ("plain", 4, "plai"),
            (r#"a"b"#, 3, "a\""),
            (r#"a"b"#, 2, "a"),
            ("a\nb", 6, "a"),
            ("äb", 6, "ä"),
            ("äb", 5, ""),
            ("😀b", 4, "😀"),
        ] {
            assert_eq!(truncate_escaped(text, max), prefix, "{text:?} in {max}");
        }
    }

    #[test]
    fn labels_that_do_not_fit_are_cut_or_left_out() {
        let labels = BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("b".repeat(LABELS), "2".to_owned()),
            ("c".to_owned(), "\u{1}".repeat(LABELS)),
            ("d".to_owned(), "4".to_owned()),
        ]);
        let json = serde_json::to_value(LimitedLabels(&labels)).unwrap();
        let json = json.as_object().unwrap();
        assert_eq!(json.get("a").unwrap(), "1");
        assert!(json.get("c").unwrap().as_str().unwrap().len() > LABELS / 7);
        assert!(json.keys().all(|name| name.len() == 1), "{json:?}");
        let line = serde_json::to_string(&LimitedLabels(&labels)).unwrap();
        assert!(line.len() <= LABELS, "{}", line.len());
    }

    proptest! {
        #[test]
        fn escaped_length_is_never_less_than_the_json_length(text: String, tail in "[#\\\\\"\\PC\u{0}-\u{9f}]{0,9}") {
            let text = text + &tail;
            let written = serde_json::to_string(&text).unwrap().len() - 2;
            prop_assert!(written <= escaped_len(&text));
            prop_assert!(truncate_escaped(&text, 20).len() <= 20);
            prop_assert_eq!(truncate_escaped(&text, escaped_len(&text)), text.as_str());
        }
    }
}
