//! The tokens that can be cut anywhere by the end of a chunk: strings, numbers and words.
//!
//! Each reads on from where it was, takes what belongs to it, and leaves a byte that it refuses in front.

use super::text::{Scratch, Utf8, plain_run};

/// How far a token came with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// It took all of them and is not at its end.
    More,
    /// It is whole; the last piece of its text.
    Done(&'a [u8]),
    /// The next byte cannot follow.
    Wrong,
}

/// A string, from behind its opening quote.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum JsonString {
    /// Between characters.
    #[default]
    Plain,
    /// Inside a character that is not ASCII.
    Char(Utf8),
    /// Behind a backslash.
    Escape,
    /// Behind `\u`.
    Hex {
        /// The first half of a pair, where this is the second; else 0.
        high: u16,
        /// How many digits were read, and their value.
        digits: u8,
        unit: u16,
    },
    /// Behind the first half of a pair: `\` must follow.
    Half(u16),
    /// And then `u`.
    HalfEscape(u16),
    /// At the last digit of half a pair that lacks its other half.
    Lone,
}

impl JsonString {
    /// Reads on. The unescaped text goes to `text`, but for its last piece.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8], text: &mut Scratch) -> Read<'a> {
        loop {
            let mut run: &[u8] = &[];
            if let Self::Plain = self {
                (run, *input) = input.split_at(plain_run(input));
            }
            match (&self, input.split_first()) {
                (Self::Plain, Some((b'"', rest))) => {
                    *input = rest;
                    return Read::Done(run);
                }
                (_, None) => {
                    text.push(run);
                    return Read::More;
                }
                (_, Some((&byte, rest))) => {
                    text.push(run);
                    if !self.step(byte, text) {
                        return Read::Wrong;
                    }
                    *input = rest;
                }
            }
        }
    }

    /// Takes one byte that is neither plain nor the closing quote; false if it cannot follow.
    ///
    /// Most strings are plain to their end: out of line, this does not slow them.
    #[inline(never)]
    fn step(&mut self, byte: u8, text: &mut Scratch) -> bool {
        let next = self.next(byte, text);
        *self = next.unwrap_or_else(|wrong| wrong);
        next.is_ok()
    }

    /// Where the string stands after this byte; the error is where it stands if the byte cannot follow.
    fn next(self, byte: u8, text: &mut Scratch) -> Result<Self, Self> {
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
                if char.is_open() {
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
                    Self::unit(high, unit, text).ok_or(Self::Lone)?
                }
            }
            (Self::Half(high), b'\\') => Self::HalfEscape(high),
            (Self::HalfEscape(high), b'u') => Self::Hex {
                high,
                digits: 0,
                unit: 0,
            },
            (Self::Half(_) | Self::HalfEscape(_) | Self::Lone, _) => return Err(self),
        })
    }

    /// Takes a UTF-16 code unit, behind the first half of a pair if `high` is not 0.
    fn unit(high: u16, unit: u16, text: &mut Scratch) -> Option<Self> {
        if high == 0 && (0xd800..=0xdbff).contains(&unit) {
            return Some(Self::Half(unit));
        }
        let pair = [high, unit];
        let units = if high == 0 { &pair[1..] } else { &pair[..] };
        for c in char::decode_utf16(units.iter().copied()) {
            text.push_char(c.ok()?);
        }
        Some(Self::Plain)
    }

    /// What could come next.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Plain => "the text of a string or its closing quote",
            Self::Char(_) => "the next byte of a UTF-8 character",
            Self::Escape => "an escape (one of \"\\/bfnrtu)",
            Self::Hex { .. } => "a hexadecimal digit",
            Self::Half(_) | Self::HalfEscape(_) | Self::Lone => "a pair of surrogates",
        }
    }
}

/// What a letter behind a backslash stands for.
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

/// A number, by the part in which it stands (RFC 8259, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Number {
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

impl Number {
    /// Reads on, to the first byte that does not belong to the number. What does goes to `text`, but for its last
    /// piece.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8], text: &mut Scratch) -> Read<'a> {
        for (n, &byte) in input.iter().enumerate() {
            if let Some(next) = self.next(byte) {
                *self = next;
                continue;
            }
            let (run, rest) = input.split_at(n);
            *input = rest;
            return if self.is_whole() {
                Read::Done(run)
            } else {
                Read::Wrong
            };
        }
        text.push(input);
        *input = &[];
        Read::More
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

    fn is_whole(self) -> bool {
        use Number::{ExponentDigits, Fraction, Integer, Zero};
        matches!(self, Zero | Integer | Fraction | ExponentDigits)
    }

    /// What could come next.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Exponent => "a sign or a digit",
            _ if self.is_whole() => "the rest of a number",
            _ => "a digit",
        }
    }
}

/// One of the three words of JSON.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    /// What it says; None for null.
    pub(super) truth: Option<bool>,
    /// How many of its letters were read.
    read: u8,
}

impl Word {
    /// The word that begins with this byte, if one does.
    pub(super) fn begin(byte: u8) -> Option<Self> {
        let truth = match byte {
            b'n' => None,
            b't' => Some(true),
            b'f' => Some(false),
            _ => return None,
        };
        Some(Self { truth, read: 1 })
    }

    /// Reads on.
    pub(super) fn read<'a>(&mut self, input: &mut &'a [u8]) -> Read<'a> {
        let letters: &[u8] = match self.truth {
            None => b"null",
            Some(true) => b"true",
            Some(false) => b"false",
        };
        while let Some(&letter) = letters.get(usize::from(self.read)) {
            match input.split_first() {
                None => return Read::More,
                Some((&byte, rest)) if byte == letter => *input = rest,
                Some(_) => return Read::Wrong,
            }
            self.read += 1;
        }
        Read::Done(&[])
    }

    /// What could come next.
    pub(super) fn expected(self) -> &'static str {
        match self.truth {
            None => "the word null",
            Some(true) => "the word true",
            Some(false) => "the word false",
        }
    }
}
