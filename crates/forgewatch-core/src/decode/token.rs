//! The tokens that the end of a chunk can cut: strings, numbers and literals.
//!
//! Each continues where it stopped, consumes its own bytes, and leaves an invalid byte at the front of the input.

use super::text::{TextBuffer, Utf8, plain_run};

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
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum JsonString {
    /// Between characters.
    #[default]
    Plain,
    /// Inside a character that is not ASCII.
    Char(Utf8),
    /// After a backslash.
    Escape,
    /// After `\u`.
    Hex {
        /// The high surrogate before this unit, or 0.
        high: u16,
        /// The number of digits read, and their value.
        digits: u8,
        unit: u16,
    },
    /// After a high surrogate: `\` must follow.
    HighSurrogate(u16),
    /// After a high surrogate and `\`: `u` must follow.
    HighSurrogateEscape(u16),
    /// At the last digit of a surrogate without its pair.
    LoneSurrogate,
}

impl JsonString {
    /// Continues the string. The unescaped text goes to `text`, except its last piece.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8], text: &mut TextBuffer) -> Scan<'a> {
        loop {
            let mut run: &[u8] = &[];
            if let Self::Plain = self {
                (run, *input) = input.split_at(plain_run(input));
            }
            match (&self, input.split_first()) {
                (Self::Plain, Some((b'"', rest))) => {
                    *input = rest;
                    return Scan::Complete(run);
                }
                (_, None) => {
                    text.push(run);
                    return Scan::Incomplete;
                }
                (_, Some((&byte, rest))) => {
                    text.push(run);
                    if !self.step(byte, text) {
                        return Scan::Invalid;
                    }
                    *input = rest;
                }
            }
        }
    }

    /// Reads one byte that is neither plain nor the closing quote; false if it is invalid.
    ///
    /// Out of line, since most strings are plain to their end.
    #[inline(never)]
    fn step(&mut self, byte: u8, text: &mut TextBuffer) -> bool {
        let next = self.next(byte, text);
        *self = next.unwrap_or_else(|invalid| invalid);
        next.is_ok()
    }

    /// The position after this byte; the error is the position of an invalid byte.
    fn next(self, byte: u8, text: &mut TextBuffer) -> Result<Self, Self> {
        Ok(match (self, byte) {
            (Self::Plain, b'\\') => Self::Escape,
            (Self::Plain, _) => {
                let char = Utf8::lead(byte).ok_or(self)?;
                text.push(&[byte]);
                Self::Char(char)
            }
            (Self::Char(char), _) => {
                let char = char.next(byte).ok_or(self)?;
                text.push(&[byte]);
                if char.is_incomplete() {
                    Self::Char(char)
                } else {
                    Self::Plain
                }
            }
            (Self::Escape, b'u') => Self::Hex {
                high: 0,
                digits: 0,
                unit: 0,
            },
            (Self::Escape, _) => {
                text.push(&[unescape(byte).ok_or(self)?]);
                Self::Plain
            }
            (Self::Hex { high, digits, unit }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(self)?;
                let unit = unit << 4 | digit as u16;
                if digits < 3 {
                    let digits = digits + 1;
                    Self::Hex { high, digits, unit }
                } else {
                    Self::unit(high, unit, text).ok_or(Self::LoneSurrogate)?
                }
            }
            (Self::HighSurrogate(high), b'\\') => Self::HighSurrogateEscape(high),
            (Self::HighSurrogateEscape(high), b'u') => Self::Hex {
                high,
                digits: 0,
                unit: 0,
            },
            (Self::HighSurrogate(_) | Self::HighSurrogateEscape(_) | Self::LoneSurrogate, _) => {
                return Err(self);
            }
        })
    }

    /// Reads a UTF-16 code unit, the second of a surrogate pair if `high` is not 0.
    fn unit(high: u16, unit: u16, text: &mut TextBuffer) -> Option<Self> {
        if high == 0 && (0xd800..=0xdbff).contains(&unit) {
            return Some(Self::HighSurrogate(unit));
        }
        let pair = [high, unit];
        let units = if high == 0 { &pair[1..] } else { &pair[..] };
        for c in char::decode_utf16(units.iter().copied()) {
            text.push_char(c.ok()?);
        }
        Some(Self::Plain)
    }

    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Plain => "the text of a string or its closing quote",
            Self::Char(_) => "the next byte of a UTF-8 character",
            Self::Escape => "an escape (one of \"\\/bfnrtu)",
            Self::Hex { .. } => "a hexadecimal digit",
            Self::HighSurrogate(_) | Self::HighSurrogateEscape(_) | Self::LoneSurrogate => {
                "a surrogate pair"
            }
        }
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
