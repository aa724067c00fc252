//! Where time comes in.

use std::time::SystemTime;

use tokio::time::Instant;

use forgewatch_core::time::{Moment, millis};

/// Reads the two clocks. The simulation and the tests bring their own.
pub trait Clock {
    /// Now.
    fn now(&self) -> Moment;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    /// What `up_ms` was then.
    base_ms: u64,
}

impl SystemClock {
    /// A clock whose `up_ms` begins at the wall time, so that there are numbers for what was before the process.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            base_ms: wall_ms(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            up_ms: self.base_ms.saturating_add(millis(self.start.elapsed())),
            wall_ms: wall_ms().cast_signed(),
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, millis)
}
