//! The arguments of the commands that are clients of a daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::shared::{ConfigArgs, JobArgs, LabelArgs};
use crate::app::command_error::CommandError;
use crate::config::{self, CommandLine, DaemonFlags};
use crate::control::protocol::{ACTIVE_STATES, OUTCOMES, Since};
use forgewatch_core::event::{ALL_JOB_EVENTS, type_pattern};
use forgewatch_core::job::JobRef;

pub(in crate::cli) const ADD_EXAMPLES: &str = "\
Examples:
  forgewatch add diff/1234
  forgewatch add --update 77,78 --label build=8812
  create-diffs | forgewatch add --jobs-file -

A job that is already watched, or ended within state.retain, is left unchanged.

Exit status: 0 on success, 1 on failure, 2 for a usage error.";

pub(in crate::cli) const REMOVE_EXAMPLES: &str = "\
Examples:
  forgewatch remove diff/1234
  forgewatch remove --update 77,78
  forgewatch remove --label build=8812

Exit status: 0 on success, 1 if a job was not watched or on failure, 2 for a usage error.";

pub(in crate::cli) const LIST_EXAMPLES: &str = "\
Examples:
  forgewatch list
  forgewatch list --label build=8812 --state running --sort next
  forgewatch list --all --json | jq -r '.[] | select(.outcome == \"failed\") | .job'

Exit status: 0 on success, 1 on failure, 2 for a usage error.";

pub(in crate::cli) const SHOW_EXAMPLES: &str = "\
Examples:
  forgewatch show diff/1234
  forgewatch show diff/1234 --json | jq .next_poll_reason

Exit status: 0 on success, 1 if the job is unknown or on failure, 2 for a usage error.";

pub(in crate::cli) const EVENTS_EXAMPLES: &str = "\
Examples:
  forgewatch events --since 1h
  forgewatch events --follow | jq -r 'select(.event_type == \"job.failed\") | .job'
  forgewatch events --follow --since 4711 --job diff/1234

On a terminal, prints a line per event, otherwise a JSON record: an offset and the fields of
`--output json`. --since with that offset resumes after the record.

Exit status: 0 on success, 1 on failure or if the daemon stops, 2 for a usage error.";

pub(in crate::cli) const STATUS_EXAMPLES: &str = "\
Examples:
  forgewatch status
  forgewatch status --json | jq .deliveries.failed

Exit status: 0 if a daemon responded, whatever it reports; 1 on failure, 2 for a usage error.";

pub(in crate::cli) const RELOAD_EXAMPLES: &str = "\
Exit status: 0 on success, 1 if the file has an error or on failure, 2 for a usage error.";

pub(in crate::cli) const HOOKS_EXAMPLES: &str = "\
Examples:
  forgewatch hooks list
  forgewatch hooks retry 6f0c3f5e8e4b4a3c9d5f1f2e3d4c5b6a-3/chat
  forgewatch hooks discard 6f0c3f5e8e4b4a3c9d5f1f2e3d4c5b6a-3/chat
  forgewatch hooks discard --all
  forgewatch hooks test chat --type job.failed

Exit status: 0 on success, 1 on failure, 2 for a usage error.";

const HOOKS_TEST_NOTES: &str = "\
The event is marked: \"test\": true, and FORGEWATCH_TEST=true for a program. There is one attempt, which is not stored. The
daemon makes it; if none is running, this command does, with the configuration file.

Exit status: 0 if the event was delivered, 1 if not, 2 for a usage error.";

#[derive(Args, Debug)]
#[command(next_help_heading = "Daemon")]
pub struct DaemonArgs {
    #[arg(
        long,
        value_name = "PATH",
        value_hint = ValueHint::FilePath,
        help = "Socket of the daemon [default: $FORGEWATCH_SOCKET, then control.socket of the configuration file, then \
                $XDG_RUNTIME_DIR/forgewatch/control.sock if you run a daemon of your own, then \
                /run/forgewatch/control.sock]"
    )]
    pub socket: Option<PathBuf>,
    #[arg(
        long,
        value_name = "URL",
        value_hint = ValueHint::Url,
        conflicts_with = "socket",
        help = "URL of the daemon's HTTP API, instead of its socket [default: $FORGEWATCH_SERVER]"
    )]
    pub server: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        help = "File with the token for --server [default: $FORGEWATCH_TOKEN_FILE]"
    )]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

impl DaemonArgs {
    pub fn flags(&self) -> DaemonFlags<'_> {
        DaemonFlags {
            socket: self.socket.as_deref(),
            server: self.server.as_deref(),
            token_file: self.token_file.as_deref(),
            config: self.config.config.as_deref(),
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Jobs")]
pub struct SelectorArgs {
    /// Jobs with this label; if repeated, with all of them
    #[arg(long = "label", short = 'l', value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

impl SelectorArgs {
    pub fn parse(&self) -> Result<BTreeMap<String, String>, CommandError> {
        let command_line = CommandLine {
            labels: self.labels.clone(),
            ..CommandLine::default()
        };
        let named = config::named_jobs(&command_line).map_err(CommandError::usage)?;
        Ok(named.1)
    }
}

#[derive(Args, Debug)]
pub struct AddArgs {
    /// Start a new watch of jobs that have ended
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub labels: LabelArgs,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub selector: SelectorArgs,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Include ended jobs
    #[arg(long)]
    pub all: bool,
    /// Only jobs in this state or with this outcome, such as running or failed; can be repeated
    #[arg(long, value_name = "STATE", value_parser = [ACTIVE_STATES.as_slice(), &OUTCOMES].concat())]
    pub state: Vec<String>,
    /// Order of the jobs
    #[arg(long, value_name = "BY", value_enum, default_value = "age")]
    pub sort: ListOrder,
    #[command(flatten)]
    pub selector: SelectorArgs,
    /// Print as a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOrder {
    /// By kind and ID
    Name,
    /// By state
    State,
    /// The next poll first
    Next,
    /// The oldest watch first
    Age,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Job such as diff/1234, update/77 or version/5
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Print as a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Print new events as they happen
    #[arg(long, short)]
    pub follow: bool,
    /// Print events newer than a duration such as 10m or a time, or after an offset [default: all; with --follow, none]
    #[arg(long, value_name = "TIME|OFFSET")]
    pub since: Option<Since>,
    /// Only events of this job; can be repeated
    #[arg(long, value_name = "JOB")]
    pub job: Vec<JobRef>,
    /// Only events of this type, such as job.failed or job.*; can be repeated
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_event_type)]
    pub types: Vec<String>,
    /// Print JSON records even on a terminal
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub selector: SelectorArgs,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Print as a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct ReloadArgs {
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct HooksArgs {
    #[command(subcommand)]
    pub command: HooksCommand,
}

#[derive(Debug, Subcommand)]
pub enum HooksCommand {
    /// List pending, running and failed deliveries
    List(HooksListArgs),
    /// Retry a failed delivery
    Retry(DeliveryArgs),
    /// Discard failed deliveries
    Discard(DiscardArgs),
    /// Send one event that is made up, and show what comes back
    #[command(after_help = HOOKS_TEST_NOTES)]
    Test(HookTestArgs),
}

#[derive(Args, Debug)]
pub struct HooksListArgs {
    /// Print as a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct DeliveryArgs {
    /// ID of the delivery, from `hooks list`
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct DiscardArgs {
    /// ID of the delivery, from `hooks list`
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub id: Option<String>,
    /// All failed deliveries
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Args, Debug)]
pub struct HookTestArgs {
    /// Name of the hook
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Type of the event [default: the end of a job, if the hook receives it, else its first type]
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_single_type)]
    pub event_type: Option<String>,
    /// Job of the event [default: number 1234 of a kind that the hook receives]
    #[arg(long, value_name = "JOB")]
    pub job: Option<JobRef>,
    /// Print as a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

fn parse_single_type(name: &str) -> Result<String, String> {
    match type_pattern(name)? {
        pattern if pattern == ALL_JOB_EVENTS => {
            Err("expected one type such as job.failed".to_owned())
        }
        name => Ok(name),
    }
}

fn parse_event_type(name: &str) -> Result<String, String> {
    type_pattern(name)
}
