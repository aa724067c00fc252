//! The types of values in a script, and errors with their position in it. Each value is checked while it is
//! deserialized, so that its error has line and column.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use forgewatch_core::job::JobRef;

const MAX_DURATION: Duration = Duration::from_hours(30 * 24);

/// A hundred years, so that HTTP dates can express all times.
const MAX_CLOCK_OFFSET: Duration = Duration::from_hours(100 * 366 * 24);

const MAX_BYTE_SIZE: u64 = 64 << 30;

/// An error in a script. Displayed as `line 3, column 8: …`, ready to follow a file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub message: String,
}

impl ScriptError {
    pub(crate) fn at(source: &str, offset: usize, message: &str) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: message.to_owned(),
        }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.message
        )
    }
}

impl std::error::Error for ScriptError {}

/// Deserializes types that are written as a string. The text describes the value in the error for any other type.
macro_rules! quoted {
    ($($type:ty: $expected:literal,)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = from.deserialize_str(Quoted($expected))?;
                text.parse().map_err(Error::custom)
            }
        }
    )*};
}

quoted! {
    JobName: "a job such as \"diff/1234\"",
    ScriptDuration: "a duration such as \"40s\"",
    ClockOffset: "a clock offset such as \"-1h\"",
    RequestRange: "a range of requests such as \"2\", \"2-4\" or \"3-\"",
    ByteSize: "a size such as \"100MiB\"",
}

struct Quoted(&'static str);

impl Visitor<'_> for Quoted {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct NonNegative(pub(crate) u64);

impl TryFrom<i64> for NonNegative {
    type Error = String;

    fn try_from(n: i64) -> Result<Self, String> {
        u64::try_from(n)
            .map(Self)
            .map_err(|_| format!("{n} is out of range: use 0 or more"))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct JobName(pub(crate) JobRef);

impl FromStr for JobName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let job = text.parse::<JobRef>();
        job.map(Self).map_err(|e| e.to_string())
    }
}

/// A duration such as `"1m 30s"`, from 1 ms to 30 days.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptDuration(pub(crate) Duration);

impl ScriptDuration {
    pub(crate) fn secs(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl FromStr for ScriptDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|e| {
            format!(
                "invalid duration {text:?} ({e}): expected a duration such as \"40s\", \"500ms\" or \"1m 30s\""
            )
        })?;
        if span < Duration::from_millis(1) || span > MAX_DURATION {
            return Err(format!("{text:?} is out of range: use 1ms to 30days"));
        }
        Ok(Self(span))
    }
}

/// Milliseconds, positive or negative.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockOffset(pub(crate) i64);

impl FromStr for ClockOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let offset = humantime::parse_duration(rest).map_err(|e| {
            format!(
                "invalid clock offset {text:?} ({e}): expected an offset such as \"-1h\" or \"5m\""
            )
        })?;
        if offset > MAX_CLOCK_OFFSET {
            return Err(format!("{text:?} is out of range: use up to 100years"));
        }
        Ok(Self(sign * offset.as_millis() as i64))
    }
}

/// `"2"`, `"2-4"` or `"3-"`, counted from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestRange {
    first: u64,
    last: u64,
}

impl RequestRange {
    pub(crate) fn contains(self, n: u64) -> bool {
        (self.first..=self.last).contains(&n)
    }
}

impl FromStr for RequestRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once('-') {
            None => text.parse().ok().map(|n| (n, n)),
            Some((first, "")) => first.parse().ok().map(|n| (n, u64::MAX)),
            Some((first, last)) => first.parse().ok().zip(last.parse().ok()),
        };
        match parsed {
            Some((first, last)) if 1 <= first && first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "invalid range {text:?}: expected requests such as \"2\", \"2-4\" or \"3-\", counted from 1"
            )),
        }
    }
}

/// Progress of a job that has not ended: 0 to 99.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Percent(pub(crate) u8);

impl TryFrom<i64> for Percent {
    type Error = String;

    fn try_from(n: i64) -> Result<Self, String> {
        u8::try_from(n)
            .ok()
            .filter(|p| *p < 100)
            .map(Self)
            .ok_or_else(|| format!("progress {n} is out of range: use 0 to 99"))
    }
}

/// A number of bytes: `"500KiB"`, `"100MiB"`, `"2GiB"`, at most 64 GiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteSize(pub(crate) u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
        units
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
            .and_then(|(number, shift)| number.trim().parse::<u64>().ok()?.checked_mul(1 << shift))
            .filter(|bytes| (1..=MAX_BYTE_SIZE).contains(bytes))
            .map(Self)
            .ok_or_else(|| {
                format!("invalid size {text:?}: expected a size such as \"500KiB\" or \"100MiB\", at most \"64GiB\"")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_range_has_one_number_two_or_an_open_end() {
        let requests = |text: &str| text.parse::<RequestRange>();
        let matching = |text: &str| {
            (1..7)
                .filter(|n| requests(text).unwrap().contains(*n))
                .collect::<Vec<_>>()
        };
        assert_eq!(matching("2"), [2]);
        assert_eq!(matching("2-4"), [2, 3, 4]);
        assert_eq!(matching("5-"), [5, 6]);
        for bad in ["", "0", "-2", "4-2", "2-4-6", "x", "0-3", "1,2"] {
            assert!(requests(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn byte_sizes_have_a_unit_and_a_limit() {
        let size = |text: &str| text.parse::<ByteSize>().map(|s| s.0);
        assert_eq!(size("100MiB"), Ok(100 << 20));
        assert_eq!(size("2 KiB"), Ok(2048));
        assert_eq!(size("7B"), Ok(7));
        for bad in [
            "",
            "5",
            "0B",
            "-1MiB",
            "65GiB",
            "99999999999999999999GiB",
            "18446744073709551615GiB",
        ] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn clock_offsets_are_positive_or_negative() {
        let offset = |text: &str| text.parse::<ClockOffset>().map(|s| s.0);
        assert_eq!(offset("-1h"), Ok(-3_600_000));
        assert_eq!(offset("5m"), Ok(300_000));
        assert_eq!(offset("+5m"), Ok(300_000));
        assert!(offset("200years").is_err());
        assert!(offset("soon").is_err());
    }
}
