//! Any bytes, pushed whole and in pieces, beside `serde_json`.
//!
//! The first byte of the input says where the rest is cut. Found wrong are: a panic; a body whose reply or error
//! depends on how it was cut; one that is taken though `serde_json` refuses it; and one that is refused for its
//! grammar though `serde_json` takes it.

#![no_main]

use forgewatch_core::decode::{DecodeError, Decoder, Reply};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Some((&place, body)) = input.split_first() else {
        return;
    };
    let whole = decode([body]);
    let (front, back) = body.split_at(body.len() * usize::from(place) / 256);
    assert_eq!(decode([front, back]), whole, "cut at {}", front.len());
    assert_eq!(decode(body.chunks(1)), whole, "cut everywhere");

    match serde_json::from_slice::<Value>(body) {
        Ok(answer) => assert!(whole.is_ok() || is_beyond(&answer), "{whole:?}"),
        // Large exponents are numbers of the grammar, and serde_json gives up on them.
        Err(error) if error.to_string().starts_with("number out of range") => {}
        Err(error) => assert!(whole.is_err(), "{whole:?}, but {error}"),
    }
});

fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Reply, DecodeError> {
    let mut decoder = Decoder::new();
    for chunk in chunks {
        decoder.push(chunk)?;
    }
    decoder.finish()
}

/// Whether valid JSON may be refused all the same.
fn is_beyond(answer: &Value) -> bool {
    const OF_JOB: [&str; 4] = ["jobprogress", "jobfailed", "jobstateid", "jobstatename"];
    let Value::Object(fields) = answer else {
        return true;
    };
    let is_status = OF_JOB.iter().any(|&key| fields.contains_key(key));
    let is_unclear = match fields.get("jobfailed") {
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_)) => false,
        Some(Value::String(text)) => !text.is_empty() && text.trim_ascii().parse::<u64>().is_err(),
        Some(Value::Array(_) | Value::Object(_)) => true,
    };
    let is_refusal = fields.get("success") == Some(&Value::Bool(false))
        || fields.get("error") == Some(&Value::Bool(true));
    is_unclear || depth(answer) > 32 || !(is_status || is_refusal)
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or(0) + 1
}
