//! The text of one token, as far as somebody wants it, and the checks on what strings are made of.

/// The text of one token, as far as it was wanted: of a string after unescaping, of a number as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    cut: bool,
}

impl<'a> Text<'a> {
    /// The text, cut before a character that did not fit whole.
    pub(super) fn cut(self) -> &'a str {
        str::from_utf8(self.bytes).unwrap_or_else(|_| {
            let mut chunks = self.bytes.utf8_chunks();
            chunks.next().map_or("", |chunk| chunk.valid())
        })
    }

    /// The text's bytes, if all of them fitted.
    pub(super) fn whole(self) -> Option<&'a [u8]> {
        (!self.cut).then_some(self.bytes)
    }
}

/// Gathers the text of a token that comes in pieces.
///
/// It takes what fits and drops the rest, so that memory stays bounded whatever is sent. The buffer is used again
/// for every token, and not used at all by one that comes in one piece.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Scratch {
    /// Begins a token of which `limit` bytes are wanted.
    pub(super) fn begin(&mut self, limit: usize) {
        self.bytes.clear();
        self.limit = limit;
        self.cut = false;
    }

    /// Whether any of it is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.limit > 0
    }

    /// Adds a piece that is not the last one.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.is_wanted() && !piece.is_empty() {
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

    /// The whole text, with its last piece.
    pub(super) fn finish<'a>(&'a mut self, last: &'a [u8]) -> Text<'a> {
        if self.bytes.is_empty() && last.len() <= self.limit {
            return Text {
                bytes: last,
                cut: self.cut,
            };
        }
        self.push(last);
        Text {
            bytes: &self.bytes,
            cut: self.cut,
        }
    }

    /// How many bytes are set aside.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// How many bytes at the front of `bytes` are whole characters that stand for themselves in a JSON string: all up
/// to a quote, a backslash, a control character or broken UTF-8.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let ascii = run::<true>(bytes);
    let (_, rest) = bytes.split_at(ascii);
    if rest.first().is_none_or(u8::is_ascii) {
        return ascii;
    }
    let (run, _) = rest.split_at(run::<false>(rest));
    ascii + str::from_utf8(run).map_or_else(|broken| broken.valid_up_to(), str::len)
}

/// How many bytes go before a quote, a backslash or a control character, or with `ASCII` a byte that is not ASCII.
fn run<const ASCII: bool>(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let marks = marks::<ASCII>(u64::from_le_bytes(*word));
        if marks != 0 {
            return n * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let goes_on = |byte: &&u8| match byte {
        b'"' | b'\\' | ..b' ' => false,
        _ => !ASCII || byte.is_ascii(),
    };
    words.len() * 8 + tail.iter().take_while(goes_on).count()
}

/// Marks the top bit of the bytes of `word` that end a run. The lowest mark is exact; a borrow can set wrong ones
/// above it only.
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

/// Where a UTF-8 character stands: how many bytes are still to come, and the bounds of the next one.
///
/// The bounds keep out overlong forms, surrogates and what lies beyond U+10FFFF (The Unicode Standard, table
/// 3-7), so a wrong byte is known at once, however the input is cut into chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Utf8 {
    left: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Begins with a byte that is not ASCII; None if no character begins with it.
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

    /// Whether the character is not whole yet.
    pub(super) fn is_open(self) -> bool {
        self.left > 0
    }

    /// Goes on with the next byte; None if it cannot follow.
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
        let mut open = Utf8::default();
        for &byte in bytes {
            let next = match (open.is_open(), byte) {
                (true, _) => open.next(byte),
                (false, ..0x80) => Some(open),
                (false, _) => Utf8::lead(byte),
            };
            let Some(next) = next else { return false };
            open = next;
        }
        !open.is_open()
    }

    #[test]
    fn utf8_is_judged_as_the_standard_library_judges_it() {
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
        fn a_plain_run_ends_where_a_search_byte_by_byte_ends_it(
            run in "\\PC{0,20}", rest in prop::collection::vec(any::<u8>(), 0..20)
        ) {
            let bytes = [run.as_bytes(), &rest].concat();
            let ends = |b: &u8| *b < b' ' || b"\"\\".contains(b);
            let front = &bytes[..bytes.iter().position(ends).unwrap_or(bytes.len())];
            let valid = front.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
            prop_assert_eq!(plain_run(&bytes), valid);
        }

        #[test]
        fn a_text_is_cut_at_a_character_however_it_comes(
            text in "\\PC{0,12}", limit in 1..20_usize, last in 0..12_usize
        ) {
            let mut scratch = Scratch::default();
            scratch.begin(limit);
            let (front, last) = text.as_bytes().split_at(last.min(text.len()));
            for &byte in front {
                scratch.push(&[byte]);
            }
            let gathered = scratch.finish(last);
            prop_assert_eq!(gathered.cut(), &text[..text.floor_char_boundary(limit)]);
            prop_assert_eq!(gathered.whole(), (text.len() <= limit).then_some(text.as_bytes()));
        }
    }
}
