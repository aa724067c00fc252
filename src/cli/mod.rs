//! The command line: the definitions are in [`args`], each command has a file of its own. Those that speak to a daemon
//! are in [`client`].

pub mod args;
mod check;
pub mod client;
mod daemon;
mod demo;
mod exit;
mod generate;
mod one_shot;
mod online;
mod ready;
mod simulate;
mod state;
mod watch;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::config::{Env, settings};
use crate::core::event::WatchId;
use crate::engine::Throttle;
use crate::hooks::supervise;
use args::{Cli, Command};

/// Once it is to stop, a reader that does not read is waited for this long.
const STUCK_READER: Duration = Duration::from_secs(4);

/// It could not be done.
const FAILED: u8 = 1;
/// Usage or configuration error; nothing was asked of the API.
const USAGE: u8 = 2;
/// The state cannot be used: read-only, damaged, of a newer program, or in use.
const UNUSABLE: u8 = 78;
/// A bug, or a machine that gives nothing.
pub const INTERNAL: u8 = 70;

/// Does what the command line asks for. Returns the exit status of the process.
pub fn run(args: impl IntoIterator<Item = OsString>, env: &Env) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: clap prints them on standard output and calls for 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Watch(args) => watch::run(*args, env),
        Command::Demo(args) => demo::run(&args, env),
        Command::Simulate(args) => simulate::run(&args, env),
        Command::Check(args) => check::run(&args, env),
        Command::Add(args) => client::done(client::jobs::add(args, env)),
        Command::Remove(args) => client::done(client::jobs::remove(args, env)),
        Command::List(args) => client::done(client::list::run(&args, env)),
        Command::Show(args) => client::done(client::show::run(&args, env)),
        Command::Events(args) => client::done(client::events::run(&args, env)),
        Command::Reload(args) => client::done(client::reload::run(&args, env)),
        Command::Hooks(args) => client::done(client::hooks::run(&args, env)),
        Command::State(args) => state::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::HookSupervisor(args) => {
            supervise::run(Duration::from_millis(args.timeout_ms), &args.command)
        }
    }
}

/// A random id for a watch.
fn new_id() -> Result<WatchId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(WatchId(id))
}

/// How hard the API may be asked, as the user wants it.
fn throttle(api: &settings::Api) -> Throttle {
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

/// Prints each line of an error behind `error: `, as clap does with its own. A closed standard error is no reason to
/// end otherwise.
fn complain(error: &impl fmt::Display) {
    let mut stderr = io::stderr().lock();
    for line in error.to_string().lines() {
        let _ = writeln!(stderr, "error: {line}");
    }
}
