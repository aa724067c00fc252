//! Conversion of scalars: numbers and truth values may be strings.
//!
//! None is a value of the wrong type or range; callers treat it like a missing field.

use super::text::TokenText;
use crate::job::JobId;

/// The last second of the year 9999: later times have no RFC 3339 form.
const LAST_SECOND: i64 = 253_402_300_799;

/// A value that is neither object nor list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// A number, as written.
    Number(TokenText<'a>),
    /// A string, unescaped.
    String(TokenText<'a>),
}

impl Scalar<'_> {
    /// The text of a number, or of a string that may contain one.
    fn digits(&self) -> Option<&str> {
        match self {
            Self::Number(text) | Self::String(text) => {
                str::from_utf8(text.complete()?).ok().map(str::trim_ascii)
            }
            Self::Null | Self::Bool(_) => None,
        }
    }

    /// A number of 1 to 15 digits, which is exact in every type here. Nearly all numbers are like this, and it takes a
    /// third of the time of the general conversion.
    fn short_digits(&self) -> Option<u64> {
        let (Self::Number(text) | Self::String(text)) = self else {
            return None;
        };
        let digits = text.complete()?;
        if !(1..=15).contains(&digits.len()) {
            return None;
        }
        digits.iter().try_fold(0, |sum, byte| match byte {
            b'0'..=b'9' => Some(sum * 10 + u64::from(byte - b'0')),
            _ => None,
        })
    }

    /// A finite number: not the words for infinity and NaN that Rust parses.
    pub(super) fn number(&self) -> Option<f64> {
        self.short_digits().map(|n| n as f64).or_else(|| {
            let x: f64 = self.digits()?.parse().ok()?;
            x.is_finite().then_some(x)
        })
    }

    /// A whole number; `4.0` and `4e0` are 4.
    pub(super) fn integer(&self) -> Option<i64> {
        /// 2^63, the first float out of range.
        const END: f64 = 9_223_372_036_854_775_808.0;
        let whole = |x: f64| (x.fract() == 0.0 && (-END..END).contains(&x)).then_some(x as i64);
        let short = self.short_digits().map(u64::cast_signed);
        short
            .or_else(|| self.digits()?.parse().ok())
            .or_else(|| whole(self.number()?))
    }

    /// The ID of a job; 0 counts as absent.
    pub(super) fn job_id(&self) -> Option<JobId> {
        JobId::try_from(u64::try_from(self.integer()?).ok()?).ok()
    }

    /// A number of bytes: rounded down, capped at 64 bits, not negative.
    pub(super) fn bytes(&self) -> Option<u64> {
        let whole = |x: f64| (x >= 0.0).then_some(x as u64);
        self.short_digits()
            .or_else(|| self.digits()?.parse().ok())
            .or_else(|| whole(self.number()?))
    }

    /// A time in Unix seconds from 1 to the end of the year 9999. The server sends 0 and less for "no time".
    pub(super) fn seconds(&self) -> Option<i64> {
        let seconds = self.number()?.floor() as i64;
        (1..=LAST_SECOND).contains(&seconds).then_some(seconds)
    }

    /// A percentage, clamped to 0 and 100. A value below 100 never rounds to 100, since 100 is the end.
    pub(super) fn percent(&self) -> Option<f32> {
        let x = self.number()?;
        Some(if x >= 100.0 {
            100.0
        } else if x > 0.0 {
            (x as f32).min(100.0_f32.next_down())
        } else {
            0.0
        })
    }

    /// The number of failures of a job: a flag or a count; null and the empty string (PHP's `(string) false`) are 0.
    /// Any number but 0 is at least 1.
    pub(super) fn failures(&self) -> Option<u32> {
        match self {
            Self::Null => Some(0),
            Self::Bool(failed) => Some(u32::from(*failed)),
            Self::String(text) if text.complete() == Some(b"") => Some(0),
            Self::String(text) if text.is(b"true") => Some(1),
            Self::String(text) if text.is(b"false") => Some(0),
            Self::Number(_) | Self::String(_) => {
                let x = self.number()?;
                Some(if x == 0.0 { 0 } else { (x as u32).max(1) })
            }
        }
    }

    /// A text that is not empty, cut at the limit, with U+FFFD for invalid UTF-8.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::String(text) => Some(text.lossy().into_owned()).filter(|s| !s.is_empty()),
            _ => None,
        }
    }

    /// The first byte of the value in the body.
    pub(super) fn first_byte(&self) -> u8 {
        match self {
            Self::Null => b'n',
            Self::Bool(true) => b't',
            Self::Bool(false) => b'f',
            Self::Number(text) => text.lossy().bytes().next().unwrap_or(b'0'),
            Self::String(_) => b'"',
        }
    }

    /// The truth of a flag: `false`, 0, "false" and "0" are false. None for null and an empty text.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Null => None,
            Self::Bool(truth) => Some(*truth),
            Self::String(text) if text.is(b"") => None,
            Self::String(text) if text.is(b"false") => Some(false),
            Self::Number(_) | Self::String(_) => Some(self.number() != Some(0.0)),
        }
    }

    /// Whether the value is a truth value or a number, also in a string.
    pub(super) fn is_flag(&self) -> bool {
        self.failures().is_some()
    }
}
