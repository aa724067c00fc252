//! What can be written on the command line. Help, completions and man pages come from these definitions.
//!
//! Most values stay text here: [`crate::config`] reads flags, variables and the file by one table and tells of all
//! that is wrong with them at once.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use super::client::args as client;
use super::client::args::{
    AddArgs, EventsArgs, HooksArgs, ListArgs, ReloadArgs, RemoveArgs, ShowArgs,
};
use crate::config::Given;
use crate::config::settings::{Output, SquashedAs};

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

const WATCH_EXAMPLES: &str = "\
Examples:
  forgewatch watch --until-done diff/1234
  forgewatch watch --until-done --update 77,78 --timeout 2h --fail-fast
  create-diffs | forgewatch watch --until-done --jobs-file - --output json
  forgewatch watch --until-done update/77 --on-event job.completed=./create-diff
  forgewatch watch --config /etc/forgewatch/forgewatch.toml

Exit status with --until-done; of several, the first in the order 130/143, 4, 6, 124, 1, 5, 3, 7:
  0        every job completed
  1        at least one job failed
  2        usage or configuration error; nothing was asked of the API
  3        at least one job was squashed, none failed (see --squashed-as)
  4        the API refuses this client (401, 403)
  5        a job was still not found after --not-found-grace
  6        the API was unreachable or talked nonsense for longer than --give-up-after
  7        all would be 0, but a hook was given up
  70       internal error: a bug
  78       the file of --state cannot be used: read-only, damaged, of a newer forgewatch, or in use
  124      --timeout or --job-timeout ran out
  130/143  interrupted by SIGINT/SIGTERM (a second one does not wait for hooks)

Environment: FORGEWATCH_CONFIG, FORGEWATCH_BASE_URL, FORGEWATCH_ACCOUNT_SERVICE_ID,
FORGEWATCH_ACCESS_KEY with FORGEWATCH_SECRET_KEY, FORGEWATCH_CREDENTIALS_FILE,
FORGEWATCH_OUTPUT, FORGEWATCH_LOG and, for the daemon, FORGEWATCH_SOCKET. A flag goes before them, they go before the file.";

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

/// `forgewatch watch`.
#[derive(Args, Debug)]
#[command(after_help = WATCH_EXAMPLES)]
pub struct WatchArgs {
    /// Watch the jobs given to their end, then leave with a status that says how they ended
    #[arg(long)]
    pub until_done: bool,
    /// The jobs.
    #[command(flatten)]
    pub jobs: JobArgs,
    /// What the user says about them.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// How long, and what counts.
    #[command(flatten)]
    pub one_shot: OneShotArgs,
    /// What is done when something happens.
    #[command(flatten)]
    pub hooks: HookArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Where the file is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How the API is reached.
    #[command(flatten)]
    pub api: ApiArgs,
    /// When the API is asked.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    /// What is kept.
    #[command(flatten)]
    pub keep: KeepArgs,
}

/// Which jobs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    /// A job: diff/1234 or update/77
    #[arg(value_name = "JOB", help_heading = None::<&str>)]
    pub names: Vec<String>,
    /// Image diffs by their IDs, separated by commas
    #[arg(long, value_name = "IDS")]
    pub diff: Vec<String>,
    /// Image updates by their IDs, separated by commas
    #[arg(long, value_name = "IDS")]
    pub update: Vec<String>,
    /// A file with a job a line; `#` starts a comment, `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub jobs_file: Option<PathBuf>,
}

/// What the user says about the jobs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Jobs")]
pub struct LabelArgs {
    /// A label told with every event of these jobs; can be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

/// What only makes sense for a watch that ends.
#[derive(Args, Debug)]
#[command(next_help_heading = "With --until-done")]
pub struct OneShotArgs {
    /// The most the whole watch may take, such as 2h
    #[arg(long, value_name = "DURATION", requires = "until_done")]
    pub timeout: Option<String>,
    /// The most each job may take, from when its watch begins
    #[arg(long, value_name = "DURATION", requires = "until_done")]
    pub job_timeout: Option<String>,
    /// Stop at the first job that fails
    #[arg(long, requires = "until_done")]
    pub fail_fast: bool,
    /// How often `text` says that it is still there, or `never` [default: 1m]
    #[arg(long, value_name = "DURATION", requires = "until_done")]
    pub heartbeat: Option<String>,
    /// Count squashed jobs as successes or as failures, rather than apart
    #[arg(long, value_name = "AS", value_enum, requires = "until_done")]
    pub squashed_as: Option<SquashedAs>,
}

/// What is done when something happens.
#[derive(Args, Debug)]
#[command(next_help_heading = "Hooks")]
pub struct HookArgs {
    /// Run COMMAND, without a shell, at events of this type, such as job.failed or job.*; can be repeated
    #[arg(long = "on-event", value_name = "TYPE=COMMAND")]
    pub on_events: Vec<String>,
}

/// What is printed.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// What to print and where [default: auto]
    #[arg(long, value_name = "FORM", value_enum)]
    pub output: Option<Output>,
}

/// Where the configuration file is.
#[derive(Args, Debug)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(
        long,
        value_name = "FILE",
        help = "The configuration file [default: forgewatch/forgewatch.toml in $XDG_CONFIG_HOME (or \
                ~/.config), then in /etc]"
    )]
    pub config: Option<PathBuf>,
}

/// How the API is reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// Where the API is.
    #[arg(
        long,
        value_name = "URL",
        help = "Where the API is; https, or http to this machine [default: https://api.multiplay.co.uk]"
    )]
    pub base_url: Option<String>,
    /// The account service the jobs belong to
    #[arg(long, value_name = "ID")]
    pub account_service_id: Option<String>,
    /// A file with one line ACCESS:SECRET, readable by its owner alone
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub credentials_file: Option<String>,
    /// What `jobfailed` in an answer means: the job failed, or how often it did so far [default: flag]
    #[arg(long, value_name = "READING", value_parser = PossibleValuesParser::new(["flag", "count"]))]
    pub jobfailed: Option<String>,
}

/// When the API is asked.
#[derive(Args, Debug)]
#[command(next_help_heading = "Schedule")]
pub struct ScheduleArgs {
    /// How the moment of the next request is chosen [default: inspection]
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["inspection", "exponential"]))]
    pub policy: Option<String>,
    /// How long a delay in seeing the end one request is worth [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub request_cost: Option<String>,
    /// Never ask for a job sooner than this after an answer [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub min_interval: Option<String>,
    /// Never ask for a job later than this after an answer [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub max_interval: Option<String>,
    /// How long a job may be not found before that is its end [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub not_found_grace: Option<String>,
    /// How long asking may fail before that is a job's end, or `never` [default: 10m with --until-done]
    #[arg(long, value_name = "DURATION")]
    pub give_up_after: Option<String>,
}

/// What is kept.
#[derive(Args, Debug)]
#[command(next_help_heading = "State")]
pub struct KeepArgs {
    /// The file to keep the state in [default: /var/lib/forgewatch/state.db, none with --until-done]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub state: Option<String>,
}

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

impl WatchArgs {
    /// The same, as the configuration's loader takes it.
    pub fn into_given(self) -> Given {
        let (api, schedule) = (self.api, self.schedule);
        let flags = [
            ("--base-url", api.base_url),
            ("--account-service-id", api.account_service_id),
            ("--credentials-file", api.credentials_file),
            ("--jobfailed", api.jobfailed),
            ("--policy", schedule.policy),
            ("--request-cost", schedule.request_cost),
            ("--min-interval", schedule.min_interval),
            ("--max-interval", schedule.max_interval),
            ("--not-found-grace", schedule.not_found_grace),
            ("--give-up-after", schedule.give_up_after),
            ("--state", self.keep.state),
        ];
        Given {
            config: self.config.config,
            flags: flags
                .into_iter()
                .filter_map(|(flag, value)| Some((flag, value?)))
                .collect(),
            jobs: self.jobs.names,
            diffs: self.jobs.diff,
            updates: self.jobs.update,
            jobs_file: self.jobs.jobs_file,
            labels: self.labels.labels,
            on_events: self.hooks.on_events,
            output: self.output.output,
            timeout: self.one_shot.timeout,
            job_timeout: self.one_shot.job_timeout,
            fail_fast: self.one_shot.fail_fast,
            heartbeat: self.one_shot.heartbeat,
            squashed_as: self.one_shot.squashed_as,
            ..Given::default()
        }
    }
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

impl ValueEnum for Output {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()).help(match self {
            Self::Auto => {
                "json in the daemon or the journal, progress on a terminal, text otherwise"
            }
            Self::Progress => "a bar a job, on standard error",
            Self::Text => "a line a change, on standard output",
            Self::Json => "an object a line, on standard output",
            Self::Quiet => "nothing but errors",
        }))
    }
}

impl ValueEnum for SquashedAs {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Success, Self::Failure]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }))
    }
}
