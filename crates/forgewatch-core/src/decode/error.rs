//! The error of a body that cannot be decoded.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_at_most_one_byte() {
        let message = |found| {
            let error = DecodeError {
                at: 17,
                expected: "a value",
                found,
            };
            error.to_string()
        };
        assert_eq!(
            message(Some(b',')),
            "at byte 17: expected a value, found ','"
        );
        assert_eq!(
            message(Some(b'\x1b')),
            "at byte 17: expected a value, found byte 0x1b"
        );
        assert_eq!(
            message(Some(0xff)),
            "at byte 17: expected a value, found byte 0xff"
        );
        assert_eq!(
            message(None),
            "at byte 17: expected a value, found the end of the response"
        );
    }
}
