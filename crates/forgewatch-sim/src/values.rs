//! The kinds of values a script is written in. Each refuses nonsense where it stands, so that the message has
//! its line and column, and says what would do.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use forgewatch_core::job::JobRef;

/// The longest duration a script may hold: thirty days.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The largest shift of a clock: a hundred years, so that times stay within what HTTP can write.
const LARGEST_SHIFT: Duration = Duration::from_hours(100 * 366 * 24);

/// How many bytes a gzip bomb may decode to.
const LARGEST_SIZE: u64 = 64 << 30;

/// Reads a value that is written as a text; `wanted` tells those who wrote something else.
fn quoted<'de, D, T>(from: D, wanted: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: for<'t> TryFrom<&'t str, Error = String>,
{
    struct Quoted<T>(&'static str, PhantomData<T>);

    impl<T: for<'t> TryFrom<&'t str, Error = String>> Visitor<'_> for Quoted<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            T::try_from(text).map_err(E::custom)
        }
    }

    from.deserialize_str(Quoted(wanted, PhantomData))
}

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Count(pub(super) u64);

impl TryFrom<i64> for Count {
    type Error = String;

    fn try_from(n: i64) -> Result<Self, String> {
        u64::try_from(n)
            .map(Self)
            .map_err(|_| format!("{n} is out of range: 0 or more will do"))
    }
}

/// A job's name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name(pub(super) JobRef);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        quoted(from, "a job in quotes, like \"diff/1234\"")
    }
}

impl TryFrom<&str> for Name {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|e: forgewatch_core::job::JobRefError| e.to_string())
    }
}

/// A duration as people write it, from 1 ms to 30 days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    /// In seconds.
    pub(super) fn secs(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        quoted(from, "a duration in quotes, like \"40s\"")
    }
}

impl TryFrom<&str> for Span {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|e| {
            format!(
                "{text:?} is not a duration ({e}): write it like \"40s\", \"500ms\" or \"1m 30s\""
            )
        })?;
        if span < Duration::from_millis(1) || span > LONGEST {
            return Err(format!("{text:?} is out of range: 1ms to 30days will do"));
        }
        Ok(Self(span))
    }
}

/// A shift of a clock in milliseconds, either way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shift(pub(super) i64);

impl<'de> Deserialize<'de> for Shift {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        quoted(from, "a shift of a clock in quotes, like \"-1h\"")
    }
}

impl TryFrom<&str> for Shift {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let shift = humantime::parse_duration(rest).map_err(|e| {
            format!("{text:?} is not a shift of a clock ({e}): write it like \"-1h\" or \"5m\"")
        })?;
        if shift > LARGEST_SHIFT {
            return Err(format!("{text:?} is out of range: up to 100years will do"));
        }
        Ok(Self(sign * shift.as_millis() as i64))
    }
}

/// Which requests: `"2"`, `"2-4"` or `"3-"`, counted from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    first: u64,
    last: u64,
}

impl Requests {
    /// Whether the `n`th request is one of them.
    pub(super) fn contains(self, n: u64) -> bool {
        (self.first..=self.last).contains(&n)
    }
}

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        quoted(from, "requests in quotes, like \"2\", \"2-4\" or \"3-\"")
    }
}

impl TryFrom<&str> for Requests {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once('-') {
            None => text.parse().ok().map(|n| (n, n)),
            Some((first, "")) => first.parse().ok().map(|n| (n, u64::MAX)),
            Some((first, last)) => first.parse().ok().zip(last.parse().ok()),
        };
        match parsed {
            Some((first, last)) if 1 <= first && first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "{text:?} names no requests: write \"2\", \"2-4\" or \"3-\", counted from 1"
            )),
        }
    }
}

/// A progress in percent, 0 to 99: 100 is an end.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Percent(pub(super) u8);

impl TryFrom<i64> for Percent {
    type Error = String;

    fn try_from(n: i64) -> Result<Self, String> {
        u8::try_from(n)
            .ok()
            .filter(|p| *p < 100)
            .map(Self)
            .ok_or_else(|| format!("{n} is no progress of a job that goes on: 0 to 99 will do"))
    }
}

/// A number of bytes: `"500KiB"`, `"100MiB"`, `"2GiB"`, at most 64 GiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        quoted(from, "a size in quotes, like \"100MiB\"")
    }
}

impl TryFrom<&str> for Size {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
        units
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
            .and_then(|(number, shift)| number.trim().parse::<u64>().ok()?.checked_mul(1 << shift))
            .filter(|bytes| (1..=LARGEST_SIZE).contains(bytes))
            .map(Self)
            .ok_or_else(|| {
                format!("{text:?} is not a size: write it like \"500KiB\" or \"100MiB\", at most \"64GiB\"")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_one_a_range_or_all_from_one_on() {
        let requests = |text: &str| Requests::try_from(text);
        let hit = |text: &str| {
            (1..7)
                .filter(|n| requests(text).unwrap().contains(*n))
                .collect::<Vec<_>>()
        };
        assert_eq!(hit("2"), [2]);
        assert_eq!(hit("2-4"), [2, 3, 4]);
        assert_eq!(hit("5-"), [5, 6]);
        for bad in ["", "0", "-2", "4-2", "2-4-6", "x", "0-3", "1,2"] {
            assert!(requests(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_a_unit_and_a_bound() {
        let size = |text: &str| Size::try_from(text).map(|s| s.0);
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
    fn a_clock_is_shifted_either_way() {
        let shift = |text: &str| Shift::try_from(text).map(|s| s.0);
        assert_eq!(shift("-1h"), Ok(-3_600_000));
        assert_eq!(shift("5m"), Ok(300_000));
        assert_eq!(shift("+5m"), Ok(300_000));
        assert!(shift("200years").is_err());
        assert!(shift("soon").is_err());
    }
}
