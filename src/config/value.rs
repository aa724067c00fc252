//! Reads one value as its key's kind asks, from a flag's text or from the file's tree. A message says what was
//! wrong and what would do; the caller puts the place in front.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::base_url;
use super::keys::{Key, ValueKind};
use super::layers::Values;
use forgewatch_core::quote::quoted;

/// Sets `key` to what a flag, a variable or a default says.
pub(super) fn text(key: &Key, text: &str, draft: &mut Values) -> Result<(), String> {
    let example = key.example();
    match key.kind {
        ValueKind::Duration { min, max, set } => set(draft, duration(text, min, max, example)?),
        ValueKind::DurationOrNever { min, max, set } => {
            set(draft, duration_or_never(text, min, max, example)?);
        }
        ValueKind::Count { min, max, set } => set(draft, count(text, min, max)?),
        ValueKind::Rate { min, max, set } => set(draft, rate(text, min, max)?),
        ValueKind::Size { min, max, set } => set(draft, size(text, min, max, example)?),
        ValueKind::Switch { set } => set(draft, switch(text)?),
        ValueKind::Word { words, set } => set(draft, word(text, words)?),
        ValueKind::File { set } => set(draft, file(text)?),
        ValueKind::Socket { set } => set(draft, socket(file(text)?)?),
        ValueKind::Group { set } => set(draft, group(text)?),
        ValueKind::BaseUrl { set } => set(draft, base_url::parse(text)?),
        // [[jobs]] and [[hooks]] have readers of their own.
        ValueKind::Job | ValueKind::Labels | ValueKind::OfHook { .. } => {}
    }
    Ok(())
}

/// Sets `key` to what the file in `folder` says. A path that is not absolute starts there, wherever the program runs.
pub(super) fn toml(
    key: &Key,
    value: &DeValue<'_>,
    folder: &Path,
    draft: &mut Values,
) -> Result<(), String> {
    let written = plain(key, value)?;
    match key.kind {
        ValueKind::File { set } => set(draft, folder.join(file(&written)?)),
        ValueKind::Socket { set } => set(draft, socket(folder.join(file(&written)?))?),
        _ => text(key, &written, draft)?,
    }
    Ok(())
}

/// A TOML value of the type the kind wants, as a flag would say it.
fn plain(key: &Key, value: &DeValue<'_>) -> Result<String, String> {
    let (written, wanted) = match key.kind {
        ValueKind::Count { .. } => (integer(value), "a whole number"),
        ValueKind::Rate { .. } => (
            integer(value).or_else(|| value.as_float().map(|f| f.as_str().to_owned())),
            "a number",
        ),
        ValueKind::Size { .. } => (
            integer(value).or_else(|| string(value)),
            "a number of bytes, or a text with a unit",
        ),
        ValueKind::Switch { .. } => (value.as_bool().map(|b| b.to_string()), "true or false"),
        ValueKind::Duration { .. } | ValueKind::DurationOrNever { .. } => {
            (string(value), "a duration in quotes")
        }
        _ => (string(value), "a text in quotes"),
    };
    written.ok_or_else(|| {
        format!(
            "{} is not {wanted}; write e.g. {}",
            type_name(value),
            in_toml(key)
        )
    })
}

/// The key's example as it is written in a file.
pub(super) fn in_toml(key: &Key) -> String {
    let example = key.example();
    match key.kind {
        ValueKind::Count { .. }
        | ValueKind::Rate { .. }
        | ValueKind::Switch { .. }
        | ValueKind::Labels
        | ValueKind::OfHook { .. } => example.to_owned(),
        _ => format!("{example:?}"),
    }
}

/// What a value of the wrong type is called in a message.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn string(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// In decimal; one beyond 128 bits stays as it is written, and is out of every range.
pub(super) fn integer(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    Some(number.map_or_else(|_| integer.as_str().to_owned(), |n| n.to_string()))
}

/// A duration from `min` to `max`.
pub(super) fn duration(
    text: &str,
    min: Duration,
    max: Duration,
    example: &str,
) -> Result<Duration, String> {
    let read = humantime::parse_duration(text)
        .map_err(|_| format!("{} is not a duration; write e.g. {example:?}", quoted(text)))?;
    if read < min {
        return Err(format!(
            "{} is too short; {} or longer would do",
            quoted(text),
            brief(min)
        ));
    }
    if read > max {
        return Err(format!(
            "{} is too long; {} or shorter would do",
            quoted(text),
            brief(max)
        ));
    }
    Ok(read)
}

/// The same, or `never`.
pub(super) fn duration_or_never(
    text: &str,
    min: Duration,
    max: Duration,
    example: &str,
) -> Result<Option<Duration>, String> {
    if text.trim() == "never" {
        return Ok(None);
    }
    match duration(text, min, max, example) {
        Ok(read) => Ok(Some(read)),
        Err(what) => Err(format!("{what}, or \"never\"")),
    }
}

/// A limit of ours in its largest whole unit; humantime would write a year as "11months 30days …".
pub(super) fn brief(limit: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [
        (24 * 3_600_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let ms = limit.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit))
        .map_or_else(
            || format!("{ms}ms"),
            |(unit, name)| format!("{}{name}", ms / unit),
        )
}

pub(super) fn count(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let read = text.trim().parse::<u64>().ok();
    read.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        let shown = number_or_quoted(text);
        if max == u64::MAX {
            format!("{shown} is not a whole number of 64 bits, from {min} on")
        } else {
            format!("{shown} is not a whole number from {min} to {max}")
        }
    })
}

/// NaN is in no range.
fn rate(text: &str, min: f64, max: f64) -> Result<f64, String> {
    let read = text.trim().parse::<f64>().ok();
    read.filter(|x| (min..=max).contains(x)).ok_or_else(|| {
        let shown = number_or_quoted(text);
        format!("{shown} is not a number from {min} to {max}")
    })
}

/// What is a number, if the wrong one, is shown as such.
fn number_or_quoted(text: &str) -> String {
    if text.len() < 40 && text.parse::<f64>().is_ok() {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn size(text: &str, min: u64, max: u64, example: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let trimmed = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?.trim_end(), *unit)))
        .unwrap_or((trimmed, 1));
    let bytes = number
        .parse::<u64>()
        .map_err(|_| format!("{} is not a size; write e.g. {example:?}", quoted(text)))?
        .checked_mul(unit);
    bytes.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        format!(
            "{} is out of range; from {min} to {max} bytes would do",
            number_or_quoted(text)
        )
    })
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{} is neither true nor false", quoted(text)))
}

fn word(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    words
        .iter()
        .find(|word| **word == text)
        .copied()
        .ok_or_else(|| format!("{} is not one of {}", quoted(text), listed(words)))
}

/// `"a", "b"`.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(", ")
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty; name a file, or leave it out".to_owned());
    }
    if text.contains('\0') {
        return Err("no path holds a zero byte; name a file".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// The longest path of the daemon's socket, in bytes: Linux has room for 108 and ends them with a zero (unix(7)), and
/// the folder that is closed to others, in which the daemon makes the socket, takes ten.
const LONGEST_SOCKET: usize = 97;

/// A path that fits into the address of a socket.
fn socket(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().len() > LONGEST_SOCKET {
        return Err(format!(
            "{} is too long for a socket; a path of up to {LONGEST_SOCKET} bytes would do",
            quoted(&path.to_string_lossy())
        ));
    }
    Ok(path)
}

/// What can be a name in the system's list of groups, whose lines are fields with colons between.
fn group(text: &str) -> Result<&str, String> {
    let good = |c: char| !c.is_control() && !c.is_whitespace() && !":,/".contains(c);
    if text.is_empty() || text.len() > 255 || text.starts_with('-') || !text.chars().all(good) {
        return Err(format!(
            "{} is no name of a group; write e.g. \"forgewatch-ops\"",
            quoted(text)
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = |text| duration(text, Duration::ZERO, DAY, "1s");
        assert_eq!(read("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(read(" 1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(read("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(read("1d"), Ok(DAY));
        for text in [
            "",
            "5",
            "-1s",
            "1s ago",
            "never",
            "1d 1ms",
            "99999999999999999999d",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_either_kind_of_unit() {
        let read = |text| size(text, 1, 1 << 40, "1GiB");
        assert_eq!(read("1GiB"), Ok(1 << 30));
        assert_eq!(read("64 KiB"), Ok(64 << 10));
        assert_eq!(read("5 MB"), Ok(5_000_000));
        assert_eq!(read("12B"), Ok(12));
        assert_eq!(read("1024"), Ok(1024));
        for text in [
            "",
            "GiB",
            "1.5GiB",
            "-1",
            "0",
            "2TiB",
            "99999999999999999TiB",
            "1 gib",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_and_finite() {
        let read = |text| rate(text, 0.001, 100_000.0);
        assert_eq!(read("20"), Ok(20.0));
        assert_eq!(read("0.5"), Ok(0.5));
        for text in ["nan", "inf", "-1", "0", "1e9", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_shown_in_its_largest_whole_unit() {
        let shown = [0, 10, 1000, 90_000, 3_600_000, 365 * 86_400_000]
            .map(|ms| brief(Duration::from_millis(ms)));
        assert_eq!(shown, ["0s", "10ms", "1s", "90s", "1h", "365d"]);
    }
}
