//! Decodes any bytes, whole and in chunks, and compares the result with `serde_json`.
//!
//! The first byte of the input is the position of the split. Failures are: a panic; a result that depends on the split; a
//! body accepted whose structure `serde_json` rejects; and a body rejected for its grammar that `serde_json` accepts.

#![no_main]

use forgewatch_core::decode::{DecodeError, DecodedBody, Decoder};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Some((&position, body)) = input.split_first() else {
        return;
    };
    let whole = decode([body]);
    let (front, back) = body.split_at(body.len() * usize::from(position) / 256);
    assert_eq!(decode([front, back]), whole, "split at {}", front.len());
    assert_eq!(decode(body.chunks(1)), whole, "byte by byte");

    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        assert!(whole.is_ok() || may_be_rejected(&value), "{whole:?}");
    }
    match serde_json::from_slice::<Value>(&without_text(body)) {
        // Large exponents are valid in the grammar, and serde_json rejects them.
        Err(error) if error.to_string().starts_with("number out of range") => {}
        Err(error) if error.to_string().starts_with("recursion limit") => {}
        Err(error) => assert!(whole.is_err(), "{whole:?}, but {error}"),
        Ok(_) => {}
    }
});

fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<DecodedBody, DecodeError> {
    let mut decoder = Decoder::new();
    for chunk in chunks {
        decoder.push(chunk)?;
    }
    decoder.finish()
}

/// The body without a byte order mark and with empty strings: the decoder accepts any text in them.
fn without_text(body: &[u8]) -> Vec<u8> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let (mut out, mut in_string, mut escaped) = (Vec::new(), false, false);
    for &byte in body {
        let quote = byte == b'"' && !escaped;
        if quote || !in_string {
            out.push(byte);
        }
        in_string ^= quote;
        escaped = in_string && byte == b'\\' && !escaped;
    }
    out
}

/// Whether the decoder may reject this valid JSON.
fn may_be_rejected(value: &Value) -> bool {
    const JOB_FIELDS: [&str; 4] = ["jobprogress", "jobfailed", "jobstateid", "jobstatename"];
    let Value::Object(fields) = value else {
        return true;
    };
    let is_status = JOB_FIELDS.iter().any(|&key| fields.contains_key(key));
    let invalid_failed = match fields.get("jobfailed") {
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_)) => false,
        Some(Value::String(text)) => !text.is_empty() && text.trim_ascii().parse::<u64>().is_err(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    };
    let is_error = fields.get("success") == Some(&Value::Bool(false))
        || fields.get("error") == Some(&Value::Bool(true));
    invalid_failed || depth(value) > 128 || !(is_status || is_error)
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or(0) + 1
}
