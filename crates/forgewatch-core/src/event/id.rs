//! Identities of watches and events.

use std::fmt;
use std::str::FromStr;

/// The identity of a watch: random, created with the watch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub [u8; 16]);

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the id of a watch, event or delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid id")]
pub struct InvalidId;

impl FromStr for WatchId {
    type Err = InvalidId;

    /// Parses 32 hexadecimal digits, the form of `Display`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidId)?;
        digits
            .then_some(Self(number.to_be_bytes()))
            .ok_or(InvalidId)
    }
}

/// The identity of an event, `<watch>-<seq>`: the same wherever and however often the event appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The watch; for events of forgewatch itself, an id of the process.
    pub watch: WatchId,
    /// Counted from 1 within the watch.
    pub seq: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.watch, self.seq)
    }
}

impl FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (watch, seq) = text.split_once('-').ok_or(InvalidId)?;
        Ok(Self {
            watch: watch.parse()?,
            seq: seq.parse().map_err(|_| InvalidId)?,
        })
    }
}
