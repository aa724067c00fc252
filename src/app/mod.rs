//! The two applications: the one-shot ([`watch`] with `--until-done`, [`demo`]) and the daemon. They own engines, signals,
//! output and lifecycle.

pub mod api_check;
mod daemon;
pub mod demo;
mod exit_status;
mod one_shot;
pub mod setup;
pub mod watch;

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::clanforge::ApiSettings;
use crate::engine::Throttle;
use forgewatch_core::event::WatchId;

/// Once it is to stop, a reader that does not read is waited for this long.
const STUCK_READER: Duration = Duration::from_secs(4);

/// It could not be done.
pub const FAILED: u8 = 1;
/// Usage or configuration error; nothing was asked of the API.
pub const USAGE: u8 = 2;
/// The state cannot be used: read-only, damaged, of a newer program, or in use.
pub const UNUSABLE: u8 = 78;
/// A bug, or a machine that gives nothing.
pub const INTERNAL: u8 = 70;

/// A random id for a watch.
fn new_id() -> Result<WatchId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(WatchId(id))
}

/// How hard the API may be asked, as the user wants it.
fn throttle(api: &ApiSettings) -> Throttle {
    Throttle {
        max_in_flight: api.max_in_flight,
        max_requests_per_second: api.max_requests_per_second,
    }
}

/// Ticks from one period on, and after a delay no faster than before.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
