//! The definition of the command line, from which help, completions and man pages are generated.
//!
//! Most values stay text here: [`crate::config`] parses flags, environment and file by one table and reports all errors
//! at once.

pub mod client;
mod key_flags;
mod shared;
mod wait;
mod watch;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use client::{
    AddArgs, DaemonArgs, EventsArgs, HooksArgs, ListArgs, ReloadArgs, RemoveArgs, ShowArgs,
    StatusArgs,
};
pub use shared::{ConfigArgs, JobArgs, LabelArgs, OutputArgs};
pub use wait::WaitArgs;
pub use watch::WatchArgs;

#[derive(Debug, Parser)]
#[command(
    name = "forgewatch",
    version,
    about,
    max_term_width = 100,
    args_override_self = true,
    after_help = "Try `forgewatch demo`: it takes 20 seconds and needs neither account nor configuration."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch jobs as a daemon or, with --until-done, until they end
    ///
    /// Polls Clanforge's API for the status of each job and reports every change. With --until-done, exits when every
    /// job has ended. Without it, runs as a daemon: takes jobs from the configuration file and through its socket, keeps
    /// its state across restarts, and exits on SIGTERM.
    Watch(Box<WatchArgs>),
    /// Wait until jobs end that a daemon watches
    ///
    /// Makes no request to the API and needs no credentials: the daemon polls. Waits for the jobs that are named and for
    /// those that have all labels given. A job that ended within the daemon's state.retain counts with its outcome. If the
    /// daemon restarts, the wait goes on.
    Wait(Box<WaitArgs>),
    /// Watch simulated jobs, without account or configuration
    ///
    /// Starts the built-in simulator on a loopback port and watches its jobs, one of which fails on purpose. Exits with 0
    /// if every job ended as scripted.
    Demo(DemoArgs),
    /// Run the simulator alone, to test hooks and pipelines
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
    /// Check configuration, credentials and hooks
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Add jobs to the daemon
    #[command(after_help = client::ADD_EXAMPLES)]
    Add(AddArgs),
    /// Remove jobs from the daemon
    ///
    /// Ends their watches with job.removed. The jobs themselves continue.
    #[command(after_help = client::REMOVE_EXAMPLES)]
    Remove(RemoveArgs),
    /// Show the state of the daemon, the API, jobs and deliveries
    #[command(after_help = client::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// List watched jobs
    #[command(after_help = client::LIST_EXAMPLES)]
    List(ListArgs),
    /// Show a job's status, history, next poll and its reason
    #[command(after_help = client::SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Print events, one JSON record per line
    #[command(after_help = client::EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// Reload the daemon's configuration file
    ///
    /// If the file has an error, nothing changes.
    #[command(after_help = client::RELOAD_EXAMPLES)]
    Reload(ReloadArgs),
    /// List, retry or discard hook deliveries
    #[command(after_help = client::HOOKS_EXAMPLES)]
    Hooks(HooksArgs),
    /// Check or recover a state file
    #[command(after_help = STATE_EXAMPLES)]
    State(StateArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write man pages to a directory
    Man(ManArgs),
}

impl Command {
    /// The output options of a command that watches.
    pub fn output(&self) -> Option<&OutputArgs> {
        match self {
            Self::Watch(args) => Some(&args.output),
            Self::Wait(args) => Some(&args.output),
            Self::Demo(args) => Some(&args.output),
            _ => None,
        }
    }
}

/// Supervise one hook process; started by forgewatch for each attempt. Not a [`Command`], so that neither help nor
/// completions offer it.
#[derive(Debug, Parser)]
#[command(name = "forgewatch hook-supervisor")]
pub struct HookSupervisor {
    /// Time limit for the hook, in milliseconds
    #[arg(long)]
    pub timeout_ms: u64,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

impl HookSupervisor {
    pub const NAME: &str = "hook-supervisor";
}

const SIMULATE_EXAMPLES: &str = "\
Examples:
  forgewatch simulate --speed 60
  forgewatch simulate --listen 127.0.0.1:0 --script nightly.toml";

const CHECK_EXAMPLES: &str = "\
Examples:
  forgewatch check --online
  forgewatch check --diff && forgewatch reload

--diff compares the configuration in use with the daemon's file, and prints a line per change: +
is added, - is removed, ~ is changed. Values that may be secret are not shown.

Exit status: 0 if everything is valid, with or without changes; 1 if the request to the API failed
(--online), if no daemon runs or a change needs a restart (--diff); 2 otherwise.";

const STATE_EXAMPLES: &str = "\
Examples:
  forgewatch state check /var/lib/forgewatch/state.db
  forgewatch state recover --from /var/lib/forgewatch/state.db

Exit status: 0 if the file is intact or something was recovered, 1 otherwise.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  forgewatch completions bash > ~/.local/share/bash-completion/completions/forgewatch
  forgewatch completions fish > ~/.config/fish/completions/forgewatch.fish";

#[derive(Args, Debug)]
pub struct DemoArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// Address to listen on; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = parse_listen)]
    pub listen: SocketAddr,
    /// TOML file with jobs and faults [default: a built-in script]
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Speed of the jobs relative to real time, from 0.01 to 10000
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_speed)]
    pub speed: f64,
}

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Also send one request to the API
    #[arg(long)]
    pub online: bool,
    /// Show what a reload of the running daemon changes
    #[arg(long, conflicts_with = "online")]
    pub diff: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Shell to generate the script for
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

#[derive(Args, Debug)]
pub struct ManArgs {
    /// Directory, created if missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

#[derive(Args, Debug)]
pub struct StateArgs {
    #[command(subcommand)]
    pub command: StateCommand,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Check a state file for damage; safe while a daemon runs
    Check(StateCheckArgs),
    /// Copy the readable rows of a damaged state file to a new one
    Recover(StateRecoverArgs),
}

#[derive(Args, Debug)]
pub struct StateCheckArgs {
    /// State file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub struct StateRecoverArgs {
    /// Damaged file; no daemon may be using it
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// New file [default: the damaged file's name plus .recovered]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// A numeric address, or `localhost`.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let numbers = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numbers
        .parse()
        .map_err(|_| "expected an address and port such as 127.0.0.1:8080".to_owned())
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.01..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("expected a number from 0.01 to 10000".to_owned()),
    }
}
