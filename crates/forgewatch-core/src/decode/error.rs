//! Why an answer could not be decoded.

use std::fmt;

/// An answer that is no status: what was expected, what was found, and where.
///
/// It displays as one sentence, such as ``at byte 17: expected a value, found ','``, and quotes nothing of the
/// server's but that one byte, escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The offset in the decoded body of the first byte that cannot belong to a usable answer.
    pub at: u64,
    /// What could have stood there.
    pub expected: &'static str,
    /// The byte that stood there instead; None where the body ended.
    pub found: Option<u8>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: expected {}, found ", self.at, self.expected)?;
        match self.found {
            None => f.write_str("the end of the answer"),
            Some(byte @ b' '..=b'~') => write!(f, "'{}'", char::from(byte)),
            Some(byte) => write!(f, "byte 0x{byte:02x}"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_that_shows_at_most_one_byte() {
        let told = |found| {
            let error = DecodeError {
                at: 17,
                expected: "a value",
                found,
            };
            error.to_string()
        };
        assert_eq!(told(Some(b',')), "at byte 17: expected a value, found ','");
        assert_eq!(
            told(Some(b'\x1b')),
            "at byte 17: expected a value, found byte 0x1b"
        );
        assert_eq!(
            told(Some(0xff)),
            "at byte 17: expected a value, found byte 0xff"
        );
        assert_eq!(
            told(None),
            "at byte 17: expected a value, found the end of the answer"
        );
    }
}
