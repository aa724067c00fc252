//! The clocks, as a trait so that tests can control time.

use std::time::SystemTime;

use tokio::time::Instant;

use forgewatch_core::time::{Moment, millis};

pub trait Clock: Clone + 'static {
    fn now(&self) -> Moment;
}

#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    /// `up_ms` at `start`.
    base_ms: u64,
}

impl SystemClock {
    /// Starts `up_ms` at the wall time, so that moments before the start of the process have a positive number.
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
