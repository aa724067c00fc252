//! The text of one token, up to a limit, and the validation of strings.

/// The text of one token, up to its limit: of a string unescaped, of a number as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenText<'a> {
    bytes: &'a [u8],
    cut: bool,
}

impl<'a> TokenText<'a> {
    /// The text, cut at a character boundary.
    pub(super) fn cut(self) -> &'a str {
        str::from_utf8(self.bytes).unwrap_or_else(|_| {
            let mut chunks = self.bytes.utf8_chunks();
            chunks.next().map_or("", |chunk| chunk.valid())
        })
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

/// The number of bytes at the front of `bytes` that are complete, unescaped characters of a JSON string: all up to a
/// quote, a backslash, a control character or invalid UTF-8.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let ascii = run::<true>(bytes);
    let (_, rest) = bytes.split_at(ascii);
    if rest.first().is_none_or(u8::is_ascii) {
        return ascii;
    }
    let (run, _) = rest.split_at(run::<false>(rest));
    ascii + str::from_utf8(run).map_or_else(|error| error.valid_up_to(), str::len)
}

/// The number of bytes before a quote, a backslash or a control character, or with `ASCII` a byte that is not ASCII.
fn run<const ASCII: bool>(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let marks = marks::<ASCII>(u64::from_le_bytes(*word));
        if marks != 0 {
            return n * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let continues = |byte: &&u8| match byte {
        b'"' | b'\\' | ..b' ' => false,
        _ => !ASCII || byte.is_ascii(),
    };
    words.len() * 8 + tail.iter().take_while(continues).count()
}

/// Sets the top bit of each byte of `word` that ends a run. The lowest mark is exact; a borrow can only set wrong marks
/// above it.
///
/// After "Determine if a word has a byte less than n", Bit Twiddling Hacks, Sean Eron Anderson.
fn marks<const ASCII: bool>(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x;
    let not_ascii = if ASCII { word } else { 0 };
    (below(quote, 1) | below(backslash, 1) | below(word, 0x20) | not_ascii) & (ONES << 7)
}

/// A partly read UTF-8 character: the number of bytes to come, and the bounds of the next one.
///
/// The bounds exclude overlong forms, surrogates and anything above U+10FFFF (The Unicode Standard, table 3-7), so an
/// invalid byte is found at once, wherever the chunks are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Utf8 {
    left: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Begins a character with a byte that is not ASCII; None for an invalid one.
    pub(super) fn lead(byte: u8) -> Option<Self> {
        let (left, low, high) = match byte {
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return None,
        };
        Some(Self { left, low, high })
    }

    pub(super) fn is_incomplete(self) -> bool {
        self.left > 0
    }

    /// Adds the next byte; None if it is invalid.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        (self.low..=self.high).contains(&byte).then_some(Self {
            left: self.left.saturating_sub(1),
            low: 0x80,
            high: 0xbf,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_utf8(bytes: &[u8]) -> bool {
        let mut char = Utf8::default();
        for &byte in bytes {
            let next = match (char.is_incomplete(), byte) {
                (true, _) => char.next(byte),
                (false, ..0x80) => Some(char),
                (false, _) => Utf8::lead(byte),
            };
            let Some(next) = next else { return false };
            char = next;
        }
        !char.is_incomplete()
    }

    #[test]
    fn utf8_is_validated_as_by_the_standard_library() {
        const LAST: [u8; 8] = [b'a', 0x7f, 0x80, 0x8f, 0x90, 0xbf, 0xc0, 0xff];
        for lead in 0x80..=u8::MAX {
            for second in 0..=u8::MAX {
                for last in LAST {
                    let bytes = [lead, second, last, 0x80];
                    for bytes in [&bytes[..1], &bytes[..2], &bytes[..3], &bytes[..4]] {
                        assert_eq!(is_utf8(bytes), str::from_utf8(bytes).is_ok(), "{bytes:x?}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_plain_run_ends_where_a_search_byte_by_byte_ends(
            run in "\\PC{0,20}", rest in prop::collection::vec(any::<u8>(), 0..20)
        ) {
            let bytes = [run.as_bytes(), &rest].concat();
            let ends = |b: &u8| *b < b' ' || b"\"\\".contains(b);
            let front = &bytes[..bytes.iter().position(ends).unwrap_or(bytes.len())];
            let valid = front.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
            prop_assert_eq!(plain_run(&bytes), valid);
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
            prop_assert_eq!(collected.cut(), &text[..text.floor_char_boundary(limit)]);
            prop_assert_eq!(collected.complete(), (text.len() <= limit).then_some(text.as_bytes()));
        }
    }
}
