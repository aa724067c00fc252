//! The tokens that the end of a chunk can cut: strings, numbers and literals.
//!
//! Each continues where it stopped, consumes its own bytes, and leaves an invalid byte at the front of the input.

use super::text::{TextBuffer, plain_run};

/// The result of reading a token from a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan<'a> {
    /// The chunk ended within the token.
    Incomplete,
    /// The token has ended; the last piece of its text.
    Complete(&'a [u8]),
    /// The next byte is invalid.
    Invalid,
}

/// A string after its opening quote, by the position within it.
///
/// Every string is accepted: a text decides nothing, so an error in it must not hide the status. Invalid escapes become
/// U+FFFD or stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum JsonString {
    /// Between characters.
    #[default]
    Plain,
    /// After a backslash.
    Escape {
        /// The high surrogate before it, or 0.
        high: u16,
    },
    /// After `\u`.
    Hex {
        /// The high surrogate before this unit, or 0.
        high: u16,
        /// The number of digits read, and their value.
        digits: u8,
        unit: u16,
    },
    /// After a high surrogate.
    HighSurrogate(u16),
}

impl JsonString {
    /// Continues the string. The unescaped text goes to `text`, except its last piece.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8], text: &mut TextBuffer) -> Scan<'a> {
        loop {
            let mut run: &[u8] = &[];
            if let Self::Plain = self {
                (run, *input) = input.split_at(plain_run(input));
            }
            let Some((&byte, rest)) = input.split_first() else {
                text.push(run);
                return Scan::Incomplete;
            };
            match (*self, byte) {
                (Self::Plain, b'"') => {
                    *input = rest;
                    return Scan::Complete(run);
                }
                (Self::Plain, _) => {
                    text.push(run);
                    *input = rest;
                    *self = Self::Escape { high: 0 };
                }
                _ => {
                    if self.escape(byte, text) {
                        *input = rest;
                    }
                }
            }
        }
    }

    /// Reads one byte of an escape; false if the byte is not part of it.
    ///
    /// Out of line, since most strings are plain to their end.
    #[inline(never)]
    fn escape(&mut self, byte: u8, text: &mut TextBuffer) -> bool {
        let hex = |high| Self::Hex {
            high,
            digits: 0,
            unit: 0,
        };
        *self = match (*self, char::from(byte).to_digit(16)) {
            (Self::HighSurrogate(high), _) if byte == b'\\' => Self::Escape { high },
            (Self::Escape { high }, _) if byte == b'u' => hex(high),
            (Self::Escape { high }, _) => {
                text.push_lone(high);
                match unescape(byte) {
                    Some(unescaped) => text.push(&[unescaped]),
                    None => text.push(&[b'\\', byte]),
                }
                Self::Plain
            }
            (Self::Hex { high, digits, unit }, Some(digit)) => {
                let unit = unit << 4 | digit as u16;
                if digits < 3 {
                    let digits = digits + 1;
                    Self::Hex { high, digits, unit }
                } else {
                    Self::after_unit(high, unit, text)
                }
            }
            (state, _) => {
                if let Self::Hex { high, .. } = state {
                    text.push_lone(high);
                }
                text.push_char(char::REPLACEMENT_CHARACTER);
                *self = Self::Plain;
                return false;
            }
        };
        true
    }

    /// The position after a UTF-16 code unit that follows the high surrogate `high`, or none if that is 0.
    fn after_unit(high: u16, unit: u16, text: &mut TextBuffer) -> Self {
        let is_high = (0xd800..=0xdbff).contains(&unit);
        let is_low = (0xdc00..=0xdfff).contains(&unit);
        if high != 0 && is_low {
            for char in char::decode_utf16([high, unit]) {
                text.push_char(char.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            return Self::Plain;
        }
        text.push_lone(high);
        if is_high {
            return Self::HighSurrogate(unit);
        }
        let char = char::from_u32(u32::from(unit));
        text.push_char(char.unwrap_or(char::REPLACEMENT_CHARACTER));
        Self::Plain
    }
}

/// The meaning of a letter after a backslash.
fn unescape(letter: u8) -> Option<u8> {
    Some(match letter {
        b'"' | b'\\' | b'/' => letter,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// A number, by the position within it (RFC 8259, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum JsonNumber {
    /// Before its first byte.
    #[default]
    Begin,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl JsonNumber {
    /// Continues the number up to the first byte that does not belong to it. Its text goes to `text`, except the last
    /// piece.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8], text: &mut TextBuffer) -> Scan<'a> {
        for (n, &byte) in input.iter().enumerate() {
            if let Some(next) = self.next(byte) {
                *self = next;
                continue;
            }
            let (run, rest) = input.split_at(n);
            *input = rest;
            return if self.is_complete() {
                Scan::Complete(run)
            } else {
                Scan::Invalid
            };
        }
        text.push(input);
        *input = &[];
        Scan::Incomplete
    }

    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Integer, b'0'..=b'9') | (Self::Begin | Self::Minus, b'1'..=b'9') => {
                Self::Integer
            }
            (Self::Begin | Self::Minus, b'0') => Self::Zero,
            (Self::Begin, b'-') => Self::Minus,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Self::ExponentDigits
            }
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            _ => return None,
        })
    }

    fn is_complete(self) -> bool {
        use JsonNumber::{ExponentDigits, Fraction, Integer, Zero};
        matches!(self, Zero | Integer | Fraction | ExponentDigits)
    }

    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Exponent => "a sign or a digit",
            _ if self.is_complete() => "the rest of a number",
            _ => "a digit",
        }
    }
}

/// One of the literals `null`, `true` and `false`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonLiteral {
    /// Its value; None for null.
    pub(super) truth: Option<bool>,
    /// The number of letters read.
    read: u8,
}

impl JsonLiteral {
    /// The literal that begins with this byte.
    pub(super) fn begin(byte: u8) -> Option<Self> {
        let truth = match byte {
            b'n' => None,
            b't' => Some(true),
            b'f' => Some(false),
            _ => return None,
        };
        Some(Self { truth, read: 1 })
    }

    /// Continues the literal.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8]) -> Scan<'a> {
        let letters: &[u8] = match self.truth {
            None => b"null",
            Some(true) => b"true",
            Some(false) => b"false",
        };
        while let Some(&letter) = letters.get(usize::from(self.read)) {
            match input.split_first() {
                None => return Scan::Incomplete,
                Some((&byte, rest)) if byte == letter => *input = rest,
                Some(_) => return Scan::Invalid,
            }
            self.read += 1;
        }
        Scan::Complete(&[])
    }

    pub(super) fn expected(self) -> &'static str {
        match self.truth {
            None => "null",
            Some(true) => "true",
            Some(false) => "false",
        }
    }
}
