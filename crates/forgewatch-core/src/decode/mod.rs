//! From the bytes of a response body to a [`Status`](crate::status::Status) or the server's error envelope.
//!
//! `clanforge` pushes the decompressed body, chunk by chunk, into a [`Decoder`] and takes the [`DecodedBody`] at the
//! end. The decoder keeps only the texts of known fields, each cut at 8 KiB. It counts a diff's files and sums their
//! sizes, so a body of any size takes the same few kilobytes. The division into chunks has no effect on the result, the
//! error or its offset.
//!
//! # Accepted bodies
//! The structure is strict, texts are tolerant: an error in a text must not hide the end of a job. A body is one JSON
//! object as in `serde_json`, with at most 128 levels, and only white space after it. The decoder checks all of its
//! structure, skipped parts included, and never returns a partly read status. Strings may contain any bytes: invalid
//! UTF-8 and lone surrogates become U+FFFD, control characters and unknown escapes stay as they are. A byte order mark
//! before the object is skipped.
//!
//! The vendor's pages contradict themselves and each other, so every form of a field is accepted:
//!
//! - Numbers may be strings, with white space around them. A number that is not finite, or longer than 8 KiB, is
//!   `None`.
//! - null, a missing field and a field of the wrong type are `None`. The exception is `jobfailed`: "true" and "false"
//!   count, an empty list is false as in PHP, and any other type is an error, since it would be a guess about the end of
//!   the job.
//! - The state is `jobstateid`; `jobstatename` is used only without a valid `jobstateid`.
//! - An empty map may be `[]`. Any other list counts like a map, since PHP writes maps with the keys 0, 1, 2… as lists.
//!   A file entry that is not an object counts as a file of unknown size. null is not a map.
//! - `filesize` takes precedence over `size`.
//! - The last of duplicate keys counts. Keys are compared unescaped.
//! - An empty text is `None`.
//!
//! An object is an error if `success` is false (`false`, 0, "false", "0") or `error` is true (`true`, any other number or
//! text, an object or list that is not empty), whatever else it says; except that a job that failed (`jobfailed` or state
//! 6) has failed. null and empty values mean nothing. An object with an `error_message` or `error_code` whose job fields
//! are all missing, null or 0 is an error too. Any other object with one of the keys `jobprogress`, `jobfailed`,
//! `jobstateid` and `jobstatename` is a status.
//!
//! # Why not an existing parser
//! The network pushes bytes, while `serde_json` pulls them. Of the push parsers, `actson` 2.1 reads a large diff at a
//! quarter of this speed at most (100 MB/s where `benches/decode.rs` printed 400 to 470) and keeps strings of any
//! length. The tests compare this decoder with `serde_json`.

mod fields;
mod lexer;
mod scalar;
mod text;
mod token;

#[cfg(test)]
mod tests;

use std::fmt;

pub use fields::DecodedBody;

use fields::Fields;
use lexer::Lexer;

/// Decodes one response body from its chunks.
#[derive(Debug, Default)]
pub struct Decoder {
    lexer: Lexer,
    fields: Fields,
    /// The first error, which every later call returns.
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder before the first chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the next bytes of the body.
    ///
    /// An error is final: the rest of the body need not be read, and every later call returns the same error.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let pushed = self.lexer.push(chunk, &mut self.fields);
        self.failed = pushed.err();
        pushed
    }

    /// Whether the object has ended, so that only white space may follow.
    pub fn is_complete(&self) -> bool {
        self.failed.is_none() && self.lexer.is_complete()
    }

    /// Ends the body and returns its content.
    pub fn finish(self) -> Result<DecodedBody, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let length = self.lexer.finish()?;
        self.fields.finish(length)
    }
}

/// An invalid byte: what was expected instead, and where.
///
/// It displays as, for example, ``at byte 17: expected a value, found ','``, and quotes only that one byte of the body,
/// escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The offset of the byte in the decompressed body.
    pub at: u64,
    /// What was expected there.
    pub expected: &'static str,
    /// The byte; None at the end of the body.
    pub found: Option<u8>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: expected {}, found ", self.at, self.expected)?;
        match self.found {
            None => f.write_str("the end of the response"),
            Some(byte @ b' '..=b'~') => write!(f, "'{}'", char::from(byte)),
            Some(byte) => write!(f, "byte 0x{byte:02x}"),
        }
    }
}

impl std::error::Error for DecodeError {}
