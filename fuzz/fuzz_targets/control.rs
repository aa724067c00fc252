//! Any bytes, as a client may say them on the control socket.
//!
//! Found wrong are: a panic; a request that, said again, is none or another one; and a line that is called too long or
//! broken off and is not.

#![no_main]

use forgewatch::control::codec::{NoRequest, request};
use forgewatch::control::protocol::MAX_REQUEST;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // What the daemon reads of it: a line, and no more than the limit.
    let most = input.get(..MAX_REQUEST).unwrap_or(input);
    let end = most.iter().position(|&byte| byte == b'\n');
    let frame = end.map_or(most, |end| &most[..=end]);
    match request(frame) {
        Ok(asked) => {
            assert!(end.is_some(), "{asked:?} has no end");
            let said = serde_json::to_string(&asked).unwrap() + "\n";
            assert_eq!(request(said.as_bytes()).unwrap(), asked, "{said}");
        }
        Err(NoRequest::Nonsense(_)) => assert!(end.is_some()),
        Err(NoRequest::TooLong) => assert!(end.is_none() && frame.len() == MAX_REQUEST),
        Err(NoRequest::BrokenOff) => assert!(end.is_none() && frame.len() < MAX_REQUEST),
    }
});
