//! Decodes any bytes as a request of the control socket.
//!
//! Failures are: a panic; a request that does not survive serialization; and a wrong error for a line that is too long
//! or incomplete.

#![no_main]

use forgewatch::control::protocol::{InvalidRequest, MAX_REQUEST, decode_request, encode_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The daemon reads one line up to the limit.
    let limited = input.get(..MAX_REQUEST).unwrap_or(input);
    let end = limited.iter().position(|&byte| byte == b'\n');
    let frame = end.map_or(limited, |end| &limited[..=end]);
    match decode_request(frame) {
        Ok(decoded) => {
            assert!(end.is_some(), "{decoded:?} has no newline");
            let line = encode_request(&decoded).unwrap();
            assert_eq!(decode_request(&line).unwrap(), decoded);
        }
        Err(InvalidRequest::Invalid(_) | InvalidRequest::Version(_)) => assert!(end.is_some()),
        Err(InvalidRequest::TooLong) => assert!(end.is_none() && frame.len() == MAX_REQUEST),
        Err(InvalidRequest::Incomplete) => assert!(end.is_none() && frame.len() < MAX_REQUEST),
    }
});
