//! Decodes a request: one line of JSON of at most [`MAX_REQUEST`] bytes.

use super::protocol::{MAX_REQUEST, Request};

#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    #[error("invalid request: {0}")]
    Invalid(#[from] serde_json::Error),
    /// No newline within the limit.
    #[error("the request is longer than {} KiB", MAX_REQUEST / 1024)]
    TooLong,
    /// No newline before the end of the input.
    #[error("incomplete request: expected one line of JSON")]
    Incomplete,
}

/// Decodes `frame`: the input up to its first newline or to [`MAX_REQUEST`] bytes, whichever comes first.
pub fn request(frame: &[u8]) -> Result<Request, InvalidRequest> {
    match frame.last() {
        Some(b'\n') => Ok(serde_json::from_slice(frame)?),
        _ if frame.len() >= MAX_REQUEST => Err(InvalidRequest::TooLong),
        _ => Err(InvalidRequest::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tokens of requests in any order.
    fn tokens() -> impl Strategy<Value = Vec<u8>> {
        let token = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\n",
            "\"add\"",
            "\"jobs\"",
            "\"diff/1\"",
            "\"labels\"",
            "\"again\"",
            "true",
            "\"events\"",
            "\"since\"",
            "\"after\"",
            "\"now\"",
            "-1",
            "1e400",
            "null",
            "\"hooks\"",
            "\"\\ud800\"",
        ]);
        prop::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_to_an_equal_request(
            frame in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), tokens()]
        ) {
            if let Ok(decoded) = request(&frame) {
                let encoded = serde_json::to_string(&decoded).unwrap() + "\n";
                prop_assert_eq!(request(encoded.as_bytes()).unwrap(), decoded);
            }
        }
    }
}
