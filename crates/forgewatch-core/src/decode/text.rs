//! The text of one token, up to a limit, and the search for the end of a string.

use std::borrow::Cow;

/// The text of one token, up to its limit: of a string unescaped, of a number as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenText<'a> {
    bytes: &'a [u8],
    cut: bool,
}

impl<'a> TokenText<'a> {
    /// Whether the text is this word, in upper or lower case.
    pub(super) fn is(self, word: &[u8]) -> bool {
        !self.cut && self.bytes.trim_ascii().eq_ignore_ascii_case(word)
    }

    /// The text with U+FFFD for invalid UTF-8, cut at a character boundary.
    pub(super) fn lossy(self) -> Cow<'a, str> {
        let bytes = match str::from_utf8(self.bytes) {
            Err(error) if self.cut && error.error_len().is_none() => {
                self.bytes.get(..error.valid_up_to()).unwrap_or_default()
            }
            _ => self.bytes,
        };
        String::from_utf8_lossy(bytes)
    }

    /// The bytes of the text, if all of them fit.
    pub(super) fn complete(self) -> Option<&'a [u8]> {
        (!self.cut).then_some(self.bytes)
    }
}

/// Collects the text of a token that comes in pieces, up to a limit.
///
/// One buffer serves every token; a token in one piece does not use it.
#[derive(Debug, Default)]
pub(super) struct TextBuffer {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl TextBuffer {
    /// Begins a token of which up to `limit` bytes are kept.
    pub(super) fn begin(&mut self, limit: usize) {
        self.bytes.clear();
        self.limit = limit;
        self.cut = false;
    }

    /// Whether any of the text is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.limit > 0
    }

    /// Adds a piece before the last.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.is_kept() && !piece.is_empty() {
            let room = self.limit.saturating_sub(self.bytes.len());
            self.cut |= room < piece.len();
            self.bytes
                .extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
    }

    /// Adds an unescaped character.
    pub(super) fn push_char(&mut self, c: char) {
        self.push(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Adds U+FFFD for a high surrogate without its pair; 0 means there was no high surrogate.
    pub(super) fn push_lone(&mut self, high: u16) {
        if high != 0 {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Adds the last piece and returns the text.
    pub(super) fn finish<'a>(&'a mut self, last: &'a [u8]) -> TokenText<'a> {
        if self.bytes.is_empty() && last.len() <= self.limit {
            return TokenText {
                bytes: last,
                cut: self.cut,
            };
        }
        self.push(last);
        TokenText {
            bytes: &self.bytes,
            cut: self.cut,
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The number of bytes before a quote or a backslash.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return n * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let continues = |byte: &&u8| !matches!(byte, b'"' | b'\\');
    words.len() * 8 + tail.iter().take_while(continues).count()
}

/// Sets the top bit of each byte of `word` that is a quote or a backslash. The lowest mark is exact; a borrow can only
/// set wrong marks above it.
///
/// After "Determine if a word has a zero byte", Bit Twiddling Hacks, Sean Eron Anderson.
fn marks(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero_bytes = |x: u64| x.wrapping_sub(ONES) & !x & (ONES << 7);
    let quotes = word ^ (ONES * u64::from(b'"'));
    let backslashes = word ^ (ONES * u64::from(b'\\'));
    zero_bytes(quotes) | zero_bytes(backslashes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_run_ends_at_the_first_quote_or_backslash(
            run in prop::collection::vec(any::<u8>(), 0..20), end in "[\"\\\\]?", rest in any::<[u8; 3]>()
        ) {
            let bytes = [&run, end.as_bytes(), &rest].concat();
            let end = bytes.iter().position(|b| b"\"\\".contains(b));
            prop_assert_eq!(plain_run(&bytes), end.unwrap_or(bytes.len()));
        }

        #[test]
        fn a_text_is_cut_at_a_character_boundary_in_any_pieces(
            text in "\\PC{0,12}", limit in 1..20_usize, last in 0..12_usize
        ) {
            let mut buffer = TextBuffer::default();
            buffer.begin(limit);
            let (front, last) = text.as_bytes().split_at(last.min(text.len()));
            for &byte in front {
                buffer.push(&[byte]);
            }
            let collected = buffer.finish(last);
            prop_assert_eq!(collected.lossy(), &text[..text.floor_char_boundary(limit)]);
            prop_assert_eq!(collected.complete(), (text.len() <= limit).then_some(text.as_bytes()));
        }
    }
}
