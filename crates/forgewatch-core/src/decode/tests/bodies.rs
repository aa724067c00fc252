//! Bodies for property tests: valid ones with any values, and damaged ones.

use std::fmt::Write as _;

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value};

/// A value of any type, for any field.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..9).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-10.0..110.0).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..2_000_000_000_u32).prop_map(Value::from),
        (0..200_u32).prop_map(|n| Value::from(n.to_string())),
        (-1e3..1e12).prop_map(|n: f64| Value::from(n.to_string())),
        select(vec![
            "", "0", " 7 ", "true", "False", "NaN", "-inf", "1e999", "Running", "Complete", "x"
        ])
        .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "jobprogress",
        "jobfailed",
        "jobstateid",
        "jobstatename",
        "joberror",
        "jobeta",
        "jobcreated",
        "jobstart",
        "jobupdated",
        "added",
        "modified",
        "removed",
        "game",
        "image",
        "machine",
        "success",
        "error",
        "error_code",
        "error_message",
        "name",
        "size",
        "filesize",
        "crc",
        "updateid",
        "diffid",
        "success",
        "error",
        "error_code",
        "error_message",
    ];
    prop_oneof![9 => select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    hash_map(key(), value, 0..6).prop_map(|fields| Value::Object(Map::from_iter(fields)))
}

fn body_value() -> impl Strategy<Value = Value> {
    let value = scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            object(inner)
        ]
    });
    object(value)
}

/// The text of a body: compact or pretty, with or without escapes.
pub(super) fn body() -> impl Strategy<Value = String> {
    (body_value(), any::<bool>(), any::<bool>()).prop_map(|(value, pretty, escaped)| {
        let text = if pretty {
            format!("{value:#}")
        } else {
            value.to_string()
        };
        if !escaped {
            return text;
        }
        text.chars().fold(String::new(), |mut text, c| {
            if c.is_ascii() {
                text.push(c);
                return text;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(text, "\\u{unit:04X}").unwrap();
            }
            text
        })
    })
}

/// A change of one byte, or the loss of the rest.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    Cut,
    Drop,
    Insert(u8),
    Replace(u8),
}

pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let significant =
        select(b"{}[]:,\"\\/u019.-+eEtfn dD8\n\0\x1f\x7f\x80\xbf\xc3\xe0\xed\xf0\xf4\xff".to_vec());
    let byte = prop_oneof![significant, any::<u8>()];
    prop_oneof![
        1 => Just(Damage::Cut),
        2 => Just(Damage::Drop),
        4 => byte.clone().prop_map(Damage::Insert),
        4 => byte.prop_map(Damage::Replace),
    ]
}

pub(super) fn damaged(mut body: Vec<u8>, at: Index, damage: &Damage) -> Vec<u8> {
    let at = at.index(body.len());
    match damage {
        Damage::Cut => body.truncate(at),
        Damage::Drop => drop(body.remove(at)),
        Damage::Insert(byte) => body.insert(at, *byte),
        Damage::Replace(byte) => body[at] = *byte,
    }
    body
}
