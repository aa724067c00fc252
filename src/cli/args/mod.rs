//! What can be written on the command line. Help, completions and man pages come from these definitions.
//!
//! Most values stay text here: [`crate::config`] reads flags, variables and the file by one table and tells of all
//! that is wrong with them at once.

mod shared;
mod watch;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use super::client::args as client;
use super::client::args::{
    AddArgs, EventsArgs, HooksArgs, ListArgs, ReloadArgs, RemoveArgs, ShowArgs,
};
pub use shared::{ConfigArgs, JobArgs, LabelArgs, OutputArgs};
pub use watch::WatchArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "forgewatch",
    version,
    about,
    max_term_width = 100,
    after_help = "`forgewatch demo` shows it at work: no account, no configuration, 20 seconds."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch jobs: to their end with --until-done, for months without
    ///
    /// Asks Clanforge's API how each job stands, as often as it is worth, and tells of every change. With --until-done
    /// it ends when every job has ended. Without, it is the daemon: it remembers across restarts what it watches, takes
    /// jobs from its file and through its socket, and ends on SIGTERM.
    Watch(Box<WatchArgs>),
    /// Watch a handful of simulated jobs to their end: the first thing to run
    ///
    /// Starts the built-in simulator on a loopback port and watches its jobs, one of which fails on purpose. Ends
    /// with 0 when all went as scripted. Takes no account and no configuration.
    Demo(DemoArgs),
    /// Run the simulator alone, to try hooks and pipelines on
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
    /// Say whether configuration, credentials and hooks are in order
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Have the daemon watch jobs
    #[command(after_help = client::ADD_EXAMPLES)]
    Add(AddArgs),
    /// Have the daemon watch jobs no longer
    ///
    /// Their watches end with job.removed, and nothing follows. The jobs themselves go on.
    #[command(after_help = client::REMOVE_EXAMPLES)]
    Remove(RemoveArgs),
    /// List what the daemon watches
    #[command(after_help = client::LIST_EXAMPLES)]
    List(ListArgs),
    /// Show all that the daemon knows of a job: its history, its next poll and why then
    #[command(after_help = client::SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Print what happened, a JSON record a line
    #[command(after_help = client::EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// Have the daemon read its configuration file anew
    ///
    /// The file is taken whole or, with anything wrong in it, not at all.
    #[command(after_help = client::RELOAD_EXAMPLES)]
    Reload(ReloadArgs),
    /// Look after deliveries to hooks that wait or were given up
    #[command(after_help = client::HOOKS_EXAMPLES)]
    Hooks(HooksArgs),
    /// Look into a state file, or rescue what is readable of a damaged one
    #[command(after_help = STATE_EXAMPLES)]
    State(StateArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write the man pages into a folder
    Man(ManArgs),
    /// Run one hook and see to its end: what forgewatch itself starts for each attempt
    #[command(hide = true)]
    HookSupervisor(HookSupervisorArgs),
}

const SIMULATE_EXAMPLES: &str = "\
Examples:
  forgewatch simulate --speed 60
  forgewatch simulate --listen 127.0.0.1:0 --script nightly.toml";

const CHECK_EXAMPLES: &str = "\
Exit status: 0 when all is in order, 1 when the API could not be asked (--online), 2 otherwise.";

const STATE_EXAMPLES: &str = "\
Examples:
  forgewatch state check /var/lib/forgewatch/state.db
  forgewatch state recover --from /var/lib/forgewatch/state.db

Exit status: 0 when the file is sound, or something was rescued; 1 otherwise.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  forgewatch completions bash > ~/.local/share/bash-completion/completions/forgewatch
  forgewatch completions fish > ~/.config/fish/completions/forgewatch.fish";

/// `forgewatch demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `forgewatch simulate`.
#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = listen)]
    pub listen: SocketAddr,
    /// A TOML file that says which jobs there are and what goes wrong [default: a built-in one]
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// How many times faster than real time the jobs go, from 0.01 to 10000
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    pub speed: f64,
}

/// `forgewatch check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Ask the API once, too
    #[arg(long)]
    pub online: bool,
    /// Where the file is.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `forgewatch completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// `forgewatch man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder, made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// `forgewatch state`.
#[derive(Args, Debug)]
pub struct StateArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// What can be done with a state file.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Say whether a state file is sound, while a daemon runs too; changes nothing
    Check(StateCheckArgs),
    /// Write every row that can be read of a damaged state file into a new one; leaves the old one as it is
    Recover(StateRecoverArgs),
}

/// `forgewatch state check`.
#[derive(Args, Debug)]
pub struct StateCheckArgs {
    /// The state file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `forgewatch state recover`.
#[derive(Args, Debug)]
pub struct StateRecoverArgs {
    /// The damaged file; no daemon may run on it
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// The new file [default: the old one's name with .recovered behind it]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// `forgewatch hook-supervisor`.
#[derive(Args, Debug)]
pub struct HookSupervisorArgs {
    /// The most the hook may take, in milliseconds
    #[arg(long)]
    pub timeout_ms: u64,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// An address in numbers, or `localhost` for this machine.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let numbers = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numbers
        .parse()
        .map_err(|_| "an address and a port such as 127.0.0.1:8080 would do".to_owned())
}

/// A factor the simulator can keep up with; NaN is none.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.01..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.01 to 10000 would do".to_owned()),
    }
}
