//! Where time comes in.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::core::time::{Moment, millis};

/// Reads the two clocks. The simulation and the tests bring their own.
pub trait Clock {
    /// Now.
    fn now(&self) -> Moment;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose `up_ms` begins at 0 now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Moment {
            up_ms: millis(self.start.elapsed()),
            wall_ms: wall.map_or(0, |since| millis(since).cast_signed()),
        }
    }
}
