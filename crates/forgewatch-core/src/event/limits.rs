//! How long a record may get: its line must come through a journal in one piece.
//!
//! Texts of somebody else's fill a record, and JSON can spell one byte with six. So each has a share of the longest line,
//! counted as JSON spells it, and is cut where that ends.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The longest line of a record, its end included. The journal breaks longer ones, and the pieces are no JSON: 48 KiB
/// unless `LineMax=` says otherwise (`journald.conf(5)`).
pub const LONGEST_LINE: usize = 48 * 1024;

/// The share of an error, which is the longest text: twice what is kept of one, as every character may need an escape.
const ERROR: usize = 16 * 1024;
/// The most bytes of an error itself.
const ERROR_TEXT: usize = 8 * 1024;
/// The share of each name that the server gives: of a state, a game, an image, a machine.
const NAME: usize = 4 * 1024;
/// The share of all labels together.
const LABELS: usize = 12 * 1024;
/// The share of an id, and of the name of a hook, which have a bound of their own far below it.
const WORD: usize = 256;
/// What everything else takes at most: the names of the fields, numbers, and words.
const REST: usize = 4 * 1024;

const _: () = assert!(ERROR + 4 * NAME + LABELS + REST <= LONGEST_LINE);

/// How many bytes JSON spells the text with, at most, quotes not counted. A character beyond ASCII counts as `\uXXXX`, as
/// which some are written, and so does `#`.
pub fn spelled(text: &str) -> usize {
    text.chars().map(cost).sum()
}

/// As much of the front of the text as JSON spells with `most` bytes, and no more bytes than that itself.
pub fn short(text: &str, most: usize) -> &str {
    let mut left = most;
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

/// A name that the server gives.
pub(super) fn name(text: &str) -> &str {
    short(text, NAME)
}

/// An id, or the name of a hook.
pub(super) fn word(text: &str) -> &str {
    short(text, WORD)
}

/// Serializes a [`name`].
#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn as_name<S: Serializer>(text: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
    text.as_deref().map(name).serialize(s)
}

/// Serializes an error.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn as_error<S: Serializer>(text: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
    let kept = text.as_deref().map(|text| {
        let most = text.floor_char_boundary(ERROR_TEXT);
        short(text.get(..most).unwrap_or(text), ERROR)
    });
    kept.serialize(s)
}

/// Serializes a [`word`].
pub(super) fn as_word<S: Serializer>(text: &str, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(word(text))
}

/// Labels, in order, as far as they fit: one whose name does not is left out, and a value is cut.
#[derive(Debug)]
pub(super) struct Labels<'a>(pub(super) &'a BTreeMap<String, String>);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        /// Four quotes, a colon and a comma.
        const MARKS: usize = 6;
        let mut left = LABELS - MARKS;
        let mut map = s.serialize_map(None)?;
        for (name, value) in self.0 {
            let Some(room) = left.checked_sub(spelled(name) + MARKS) else {
                continue;
            };
            let value = short(value, room);
            left = room - spelled(value);
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
    fn a_text_is_cut_where_its_spelling_is_too_long_and_between_characters() {
        for (text, most, kept) in [
            ("plain", 5, "plain"),
            ("plain", 4, "plai"),
            (r#"a"b"#, 3, "a\""),
            (r#"a"b"#, 2, "a"),
            ("a\nb", 6, "a"),
            ("äb", 6, "ä"),
            ("äb", 5, ""),
            ("😀b", 4, "😀"),
        ] {
            assert_eq!(short(text, most), kept, "{text:?} in {most}");
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
        let told = serde_json::to_value(Labels(&labels)).unwrap();
        let told = told.as_object().unwrap();
        assert_eq!(told.get("a").unwrap(), "1");
        assert!(told.get("c").unwrap().as_str().unwrap().len() > LABELS / 7);
        assert!(told.keys().all(|name| name.len() == 1), "{told:?}");
        let line = serde_json::to_string(&Labels(&labels)).unwrap();
        assert!(line.len() <= LABELS, "{}", line.len());
    }

    proptest! {
        #[test]
        fn json_spells_no_text_longer_than_is_counted(text: String, tail in "[#\\\\\"\\PC\u{0}-\u{9f}]{0,9}") {
            let text = text + &tail;
            let written = serde_json::to_string(&text).unwrap().len() - 2;
            prop_assert!(written <= spelled(&text));
            prop_assert!(short(&text, 20).len() <= 20);
            prop_assert_eq!(short(&text, spelled(&text)), text.as_str());
        }
    }
}
