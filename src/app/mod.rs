//! The applications: the one-shot ([`watch`] with `--until-done`, [`demo`]) and the daemon, which own the engine, and
//! [`mod@wait`], which follows a daemon. They own signals, output and lifecycle.

mod ci;
mod closing;
pub mod command_error;
mod daemon;
pub mod demo;
mod exit_status;
pub mod hook_test;
mod one_shot;
pub mod setup;
pub mod wait;

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::clanforge::ApiSettings;
use crate::config::{self, CommandLine, Env};
use crate::engine::Throttle;
use command_error::CommandError;
use forgewatch_core::event::WatchId;
use setup::{Prepared, prepare};

/// How long shutdown waits for a reader that does not read.
const READER_GRACE: Duration = Duration::from_secs(4);

/// Watches the jobs until they have ended or, without `until_done`, until a signal arrives.
pub fn watch(command_line: CommandLine, until_done: bool, env: &Env) -> Result<u8, CommandError> {
    if !until_done {
        return daemon::run(command_line, env).map(|()| 0);
    }
    let loaded = config::load(&command_line, env);
    let Prepared { loaded, client, .. } = prepare(loaded, env).map_err(CommandError::usage)?;
    let config = one_shot::OneShotConfig {
        settings: loaded.settings,
        client,
        options: loaded.one_shot,
        output: loaded.output,
    };
    Ok(one_shot::run(config, env)?.exit_code)
}

fn new_watch_id() -> Result<WatchId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(WatchId(id))
}

fn throttle(api: &ApiSettings) -> Throttle {
    Throttle {
        max_in_flight: api.max_in_flight,
        max_requests_per_second: api.max_requests_per_second,
    }
}

/// An interval whose first tick is one period from now, and which does not catch up after a delay.
fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
