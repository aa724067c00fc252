//! The log record of an event together with its offset.

use serde_json::value::RawValue;

/// The record with its offset as the first field. Anything but an object is returned unchanged.
pub fn with_offset(offset: u64, record: &RawValue) -> Box<RawValue> {
    let fields = record.get().trim_start().strip_prefix('{');
    let with_offset = fields.and_then(|fields| {
        let comma = if fields.trim_start().starts_with('}') {
            ""
        } else {
            ","
        };
        RawValue::from_string(format!("{{\"offset\":{offset}{comma}{fields}")).ok()
    });
    with_offset.unwrap_or_else(|| record.to_owned())
}

/// The offset and the record that [`with_offset`] made one object of; None for anything else.
pub fn split_offset(object: &str) -> Option<(u64, Box<RawValue>)> {
    let rest = object.strip_prefix("{\"offset\":")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (offset, fields) = rest.split_at_checked(end)?;
    let fields = fields.strip_prefix(',').unwrap_or(fields);
    let record = RawValue::from_string(format!("{{{fields}")).ok()?;
    Some((offset.parse().ok()?, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_the_first_field_and_the_rest_is_unchanged() {
        for (record, with) in [
            (
                r#"{"timestamp":"t","job_id":18446744073709551615}"#,
                r#"{"offset":7,"timestamp":"t","job_id":18446744073709551615}"#,
            ),
            ("{}", r#"{"offset":7}"#),
            ("[1]", "[1]"),
        ] {
            let record = RawValue::from_string(record.to_owned()).unwrap();
            assert_eq!(with_offset(7, &record).get(), with);
            if with.starts_with('{') {
                let (offset, split) = split_offset(with).unwrap();
                assert_eq!((offset, split.get()), (7, record.get()));
            }
        }
    }
}
