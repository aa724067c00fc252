//! The decoder compared with a simple reference: the whole body as a `serde_json::Value`, then field by field.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::bodies::{Damage, body, damage, damaged};
use super::{decode, in_chunks};
use crate::decode::DecodedBody;
use crate::job::{JobId, JobState};
use crate::status::{ApiError, DiffFiles, DiffNames, FileSum, Status};

/// The result of `serde_json` within our limits; None for a number out of its range, which is valid here.
fn parse(body: &[u8]) -> Option<Result<Value, ()>> {
    match serde_json::from_slice::<Value>(&strict(body)) {
        Ok(value) if value.is_object() && depth(&value) <= 128 => Some(Ok(value)),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        _ => Some(Err(())),
    }
}

/// The body without a byte order mark, and with valid strings of the same text.
fn strict(body: &[u8]) -> Vec<u8> {
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut out = Vec::new();
    while let Some(quote) = rest.iter().position(|&b| b == b'"') {
        let (front, string) = rest.split_at(quote + 1);
        let mut end = 0;
        while string.get(end).is_some_and(|&b| b != b'"') {
            end += if string[end] == b'\\' { 2 } else { 1 };
        }
        if end >= string.len() {
            break;
        }
        out.extend_from_slice(&front[..quote]);
        out.extend(serde_json::to_vec(&text_of(&string[..end])).unwrap());
        rest = &string[end + 1..];
    }
    [&out, rest].concat()
}

/// The text of a string by the standard library's lossy conversions.
fn text_of(mut string: &[u8]) -> String {
    let (mut bytes, mut units) = (Vec::new(), Vec::new());
    loop {
        let unit = match string {
            [b'\\', b'u', rest @ ..] => {
                let digits = rest
                    .iter()
                    .take(4)
                    .take_while(|b| b.is_ascii_hexdigit())
                    .count();
                let (hex, after) = rest.split_at(digits);
                string = after;
                let hex = str::from_utf8(hex).unwrap();
                Some(if digits == 4 {
                    u16::from_str_radix(hex, 16).unwrap()
                } else {
                    0xfffd
                })
            }
            _ => None,
        };
        if let Some(unit) = unit {
            units.push(unit);
            continue;
        }
        bytes.extend(String::from_utf16_lossy(&units).bytes());
        units.clear();
        string = match string {
            [b'\\', b'b', rest @ ..] => {
                bytes.push(8);
                rest
            }
            [b'\\', b'f', rest @ ..] => {
                bytes.push(12);
                rest
            }
            [b'\\', b'n', rest @ ..] => {
                bytes.push(b'\n');
                rest
            }
            [b'\\', b'r', rest @ ..] => {
                bytes.push(b'\r');
                rest
            }
            [b'\\', b't', rest @ ..] => {
                bytes.push(b'\t');
                rest
            }
            [b'\\', c @ (b'"' | b'\\' | b'/'), rest @ ..] | [c, rest @ ..] => {
                bytes.push(*c);
                rest
            }
            [] => return String::from_utf8_lossy(&bytes).into_owned(),
        };
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or(0) + 1
}

fn reference(body: &Value) -> Option<DecodedBody> {
    let get = |key| body.get(key).unwrap_or(&Value::Null);
    let failed = match get("jobfailed") {
        Value::Null => 0.0,
        Value::Bool(failed) => f64::from(u8::from(*failed)),
        Value::String(text) if text.is_empty() => 0.0,
        Value::String(text) if text.trim_ascii().eq_ignore_ascii_case("true") => 1.0,
        Value::String(text) if text.trim_ascii().eq_ignore_ascii_case("false") => 0.0,
        Value::Array(items) if items.is_empty() => 0.0,
        Value::Object(fields) if fields.is_empty() => 0.0,
        other => number(other).unwrap_or(f64::NAN),
    };
    let by_name = || JobState::from_name(get("jobstatename").as_str()?);
    let state = integer(get("jobstateid"))
        .map(JobState::from_id)
        .or_else(by_name);
    let state_name = text(get("jobstatename"));
    let progress = number(get("jobprogress")).map(|x| x.clamp(0.0, 100.0) as f32);
    let (code, message) = (integer(get("error_code")), text(get("error_message")));
    let is_blank = state.is_none_or(|state| state.id() == 0)
        && state_name.is_none()
        && progress.unwrap_or_default() == 0.0;
    let rejected = truth(get("success")) == Some(false)
        || truth(get("error")) == Some(true)
        || is_blank && (message.is_some() || code.unwrap_or_default() != 0);
    let error_text = get("error");
    let is_flag = ["true", "false"].contains(
        &&*error_text
            .as_str()
            .unwrap_or_default()
            .trim_ascii()
            .to_ascii_lowercase(),
    ) || number(error_text).is_some();
    let message = message.or(text(error_text).filter(|_| !is_flag));
    let job_error = text(get("joberror"));
    if rejected && !(failed.abs() > 0.0 || state == Some(JobState::Failed)) {
        let message = message.or(job_error).unwrap_or_default();
        return Some(DecodedBody::Error(ApiError { code, message }));
    }
    let keys = ["jobprogress", "jobfailed", "jobstateid", "jobstatename"];
    if keys.iter().all(|&key| body.get(key).is_none()) || failed.is_nan() {
        return None;
    }
    let maps = ["added", "modified", "removed"].map(|key| files(get(key)));
    let [added, modified, removed] = maps.map(Option::unwrap_or_default);
    let name = |key| text(get(key).get("name")?);
    Some(DecodedBody::Status(Box::new(Status {
        state,
        state_name,
        progress,
        failed: if failed == 0.0 {
            0
        } else {
            (failed as u32).max(1)
        },
        error: job_error.or(message.filter(|_| rejected)),
        rejected,
        eta: seconds(get("jobeta")),
        created: seconds(get("jobcreated")),
        start: seconds(get("jobstart")),
        updated: seconds(get("jobupdated")),
        files: maps.iter().any(Option::is_some).then_some(DiffFiles {
            added,
            modified,
            removed,
        }),
        names: DiffNames {
            game: name("game"),
            image: name("image"),
            machine: name("machine"),
        },
        diff_id: job_id(get("diffid")),
        update_id: job_id(get("updateid")),
        version_id: job_id(get("imageversionid")),
    })))
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim_ascii().parse().ok(),
        _ => None,
    };
    number.filter(|x| x.is_finite())
}

fn integer(value: &Value) -> Option<i64> {
    let exact = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim_ascii().parse().ok(),
        _ => None,
    };
    exact.or_else(|| {
        let x = number(value)?;
        (x % 1.0 == 0.0 && x >= -(2f64.powi(63)) && x < 2f64.powi(63)).then_some(x as i64)
    })
}

fn job_id(value: &Value) -> Option<JobId> {
    JobId::try_from(u64::try_from(integer(value)?).ok()?).ok()
}

fn size(value: &Value) -> Option<u64> {
    let exact = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim_ascii().parse().ok(),
        _ => None,
    };
    exact.or_else(|| number(value).filter(|&x| x >= 0.0).map(|x| x as u64))
}

fn seconds(value: &Value) -> Option<i64> {
    let seconds = number(value)?.floor();
    (1.0..=253_402_300_799.0)
        .contains(&seconds)
        .then_some(seconds as i64)
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Null => None,
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) if text.trim_ascii().is_empty() => None,
        Value::String(text) if text.trim_ascii().eq_ignore_ascii_case("false") => Some(false),
        Value::String(_) => Some(number(value) != Some(0.0)),
        Value::Array(items) => (!items.is_empty()).then_some(true),
        Value::Object(fields) => (!fields.is_empty()).then_some(true),
    }
}

fn files(value: &Value) -> Option<FileSum> {
    let files: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => return None,
    };
    let sizes = files.iter().map(|file| {
        let field = |key| file.get(key).and_then(size);
        field("filesize").or(field("size")).unwrap_or(0)
    });
    Some(FileSum {
        count: files.len() as u64,
        bytes: sizes.fold(0, u64::saturating_add),
    })
}

/// Asserts that the decoder and the reference give the same result.
fn compare(body: &[u8]) -> Result<(), TestCaseError> {
    let ours = in_chunks([body]);
    match parse(body) {
        Some(Ok(value)) => prop_assert_eq!(ours.ok(), reference(&value)),
        Some(Err(())) => prop_assert!(ours.is_err(), "{:?}", ours),
        None => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn valid_bodies_are_decoded_as_by_the_reference(body in body()) {
        compare(body.as_bytes())?;
    }

    #[test]
    fn damaged_bodies_are_validated_as_by_serde_json(
        body in body(), damages in vec((any::<Index>(), damage()), 1..3)
    ) {
        let damage = |body: Vec<u8>, (at, damage): &(Index, Damage)| match body.len() {
            0 => body,
            _ => damaged(body, *at, damage),
        };
        compare(&damages.iter().fold(body.into_bytes(), damage))?;
    }

    #[test]
    fn numbers_are_validated_as_by_serde_json(number in "[-+.0-9eE]{1,12}") {
        compare(format!(r#"{{"jobprogress":{number},"jobstateid":"{number}"}}"#).as_bytes())?;
    }

    #[test]
    fn strings_are_decoded_as_by_serde_json(
        pieces in vec(prop_oneof![
            "\\PC{0,3}", "\\\\[\"/bfnrtux\\\\]", "\\\\u[0-9a-fA-F]{4}", "\\\\ud[89abAB][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}",
        ], 0..6)
    ) {
        compare(format!(r#"{{"joberror":"{0}","jobfailed":0,"{0}":0}}"#, pieces.concat()).as_bytes())?;
    }

    #[test]
    fn any_bytes_give_the_same_result_in_any_chunks(body in vec(any::<u8>(), 0..64)) {
        decode([br#"{"jobfailed":0,"x":""#, &*body].concat()).ok();
        decode(body).ok();
    }

    #[test]
    fn every_split_into_chunks_gives_the_same_result(
        body in body(), place in any::<Index>(), damage in damage(), cuts in vec(any::<Index>(), 0..8)
    ) {
        let body = body.into_bytes();
        for body in [damaged(body.clone(), place, &damage), body] {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut chunks, mut from) = (Vec::new(), 0);
            for cut in cuts {
                chunks.push(&body[from..cut]);
                from = cut;
            }
            chunks.push(&body[from..]);
            prop_assert_eq!(in_chunks(chunks), in_chunks([&*body]));
        }
    }
}
