//! Where a stream of events begins.

use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use forgewatch_core::time::millis;
use forgewatch_core::user_input::quoted;

/// Where a stream of events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// With the oldest stored event.
    Beginning,
    /// With the next event that is committed.
    Now,
    /// Behind this offset.
    After(u64),
    /// With events of this wall time or later, Unix milliseconds.
    At(i64),
}

/// As users write it: digits are an offset, anything else a duration before now, a time, or `now`.
impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().ok().map(Self::After)
        } else if text == "now" {
            Some(Self::Now)
        } else {
            wall_ms(text).map(Self::At)
        };
        found.ok_or_else(|| {
            format!(
                "expected an offset such as 4711, a duration such as 10m, a time such as 2027-01-15T08:00:00Z, or \
                 now, found {}",
                quoted(text)
            )
        })
    }
}

fn wall_ms(text: &str) -> Option<i64> {
    let since_epoch = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH);
    let at = match humantime::parse_duration(text) {
        // A duration that began before 1970 takes in every event.
        Ok(ago) => since_epoch(SystemTime::now()).ok()?.saturating_sub(ago),
        Err(_) => since_epoch(humantime::parse_rfc3339(text).ok()?).ok()?,
    };
    i64::try_from(millis(at)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_at_an_offset_or_a_time() {
        let parse = str::parse::<Since>;
        assert_eq!(parse("0"), Ok(Since::After(0)));
        assert_eq!(parse("4711"), Ok(Since::After(4711)));
        assert_eq!(parse("now"), Ok(Since::Now));
        let at = Since::At(1_800_000_000_500);
        assert_eq!(parse("2027-01-15T08:00:00.5Z"), Ok(at));
        for ago in ["10m", "1h 30m"] {
            assert!(matches!(parse(ago), Ok(Since::At(_))), "{ago}");
        }
        assert_eq!(parse("300years"), Ok(Since::At(0)));
        for bad in [
            "",
            "-1",
            "+1",
            "x",
            "1,5h",
            "yesterday",
            "1969-01-01T00:00:00Z",
            "18446744073709551616",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
