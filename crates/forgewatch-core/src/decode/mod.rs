//! From the bytes of an answer to a [`Status`], or to the server's error envelope.
//!
//! `clanforge` pushes the body, decoded but as it comes, into a [`Decoder`] and asks it for the [`Reply`] at the
//! end. Nothing is held of the body but the few texts that are wanted, each cut at 8 KiB: a diff's files are
//! counted and their sizes summed, and a body of any size takes the same few kilobytes. Where the body is cut into
//! chunks changes nothing, neither the reply nor the error nor its offset.
//!
//! # What is taken
//! A body is one JSON object, as strict as `serde_json` has it, with at most 32 levels, no byte order mark, and
//! nothing but white space behind it. All of it is checked, the skipped parts too: a half-read status is never
//! returned. The vendor's pages contradict themselves and each other, so every form of a field is accepted:
//!
//! - Numbers may be strings; the strings may have blanks around them. A number that is not finite, or is written
//!   in more than 8 KiB, is none.
//! - null, a missing field and one of an unusable type are the same: `None`. The exception is `jobfailed`: to read
//!   a wrong type as "not failed" would be guessing about the end, so that is an error.
//! - A state is known by `jobstateid`; only without a usable one by `jobstatename`.
//! - An empty map may be `[]`. A list that is not empty counts like a map, as PHP writes maps with the keys 0, 1,
//!   2… so; what stands for a file but is no object counts as a file of unknown size. null is no map.
//! - `filesize` goes before `size`, where a file has both.
//! - Of duplicate keys the last counts. Keys are compared unescaped.
//! - An empty text is none.
//!
//! An object is a status if it has at least one of the keys `jobprogress`, `jobfailed`, `jobstateid` and
//! `jobstatename`. Without them it is the error envelope if `success` is false, `error` is true (both as PHP sees
//! truth) or there is an `error_message`; and else it is an error.
//!
//! # Why a lexer of our own
//! The network pushes, and `serde_json` pulls. Of the push parsers, `actson` 2.1 reads a large diff at a quarter of
//! this lexer's speed at most (100 MB/s where `benches/decode.rs` printed 400 to 470), keeps every string whole
//! however long, and lets lone surrogates pass, and broken UTF-8 where the text is not asked for. `serde_json` is
//! the judge in the tests instead.

mod error;
mod fields;
mod lexer;
mod scalar;
mod text;
mod token;

#[cfg(test)]
mod tests;

pub use error::DecodeError;

use self::fields::Fields;
use self::lexer::Lexer;
use super::status::{ApiError, Status};

/// What the server answered with HTTP 200.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The job's status.
    Status(Box<Status>),
    /// The error envelope: the request failed. It says nothing of the job.
    Refusal(ApiError),
}

/// Decodes one answer from the chunks in which it comes.
#[derive(Debug, Default)]
pub struct Decoder {
    lexer: Lexer,
    fields: Fields,
    /// What was wrong with the chunks so far; it stays wrong.
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the body, of any number.
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

    /// Says that the body has ended, and what it was.
    pub fn finish(self) -> Result<Reply, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let length = self.lexer.finish()?;
        self.fields.finish(length)
    }
}
