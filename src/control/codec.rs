//! From the bytes of a client to its request: one line of JSON, in at most [`MAX_REQUEST`] bytes.

use super::protocol::{MAX_REQUEST, Request};

/// Why bytes are no request.
#[derive(Debug, thiserror::Error)]
pub enum NoRequest {
    /// A whole line, and it says nothing that is known.
    #[error("the daemon does not understand the request: {0}")]
    Nonsense(#[from] serde_json::Error),
    /// No end of the line within the limit.
    #[error("the request is longer than {} KiB", MAX_REQUEST / 1024)]
    TooLong,
    /// No end of the line before the client ceased to speak.
    #[error("the request broke off: it is one line of JSON")]
    BrokenOff,
}

/// The request in `frame`: all that a client said, up to its first line's end or to [`MAX_REQUEST`] bytes, whichever
/// comes first.
///
/// # Errors
/// It is none.
pub fn request(frame: &[u8]) -> Result<Request, NoRequest> {
    match frame.last() {
        Some(b'\n') => Ok(serde_json::from_slice(frame)?),
        _ if frame.len() >= MAX_REQUEST => Err(NoRequest::TooLong),
        _ => Err(NoRequest::BrokenOff),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Something near a request: its words, in any order.
    fn near() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(vec![
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
        prop::collection::vec(word, 0..30).prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_that_can_be_said_again_or_none(
            frame in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), near()]
        ) {
            if let Ok(read) = request(&frame) {
                let said = serde_json::to_string(&read).unwrap() + "\n";
                prop_assert_eq!(request(said.as_bytes()).unwrap(), read);
            }
        }
    }
}
