//! The command lines of the commands that speak to a daemon.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use crate::cli::args::{ConfigArgs, JobArgs, LabelArgs};
use forgewatch_core::job::JobRef;

pub(in crate::cli) const ADD_EXAMPLES: &str = "\
Examples:
  forgewatch add diff/1234
  forgewatch add --update 77,78 --label build=8812
  create-diffs | forgewatch add --jobs-file -

A job that is being watched, or has ended and is not forgotten yet, stays as it is; the answer
says so.

Exit status: 0, 1 when it could not be done, 2 for a usage error.";

pub(in crate::cli) const REMOVE_EXAMPLES: &str = "\
Examples:
  forgewatch remove diff/1234
  forgewatch remove --update 77,78

Exit status: 0, 1 when a job was not watched or it could not be done, 2 for a usage error.";

pub(in crate::cli) const LIST_EXAMPLES: &str = "\
Examples:
  forgewatch list
  forgewatch list --all --json | jq -r '.[] | select(.outcome == \"failed\") | .job'

Exit status: 0, 1 when it could not be done, 2 for a usage error.";

pub(in crate::cli) const SHOW_EXAMPLES: &str = "\
Examples:
  forgewatch show diff/1234
  forgewatch show diff/1234 --json | jq .why

Exit status: 0, 1 when the job is not known or it could not be done, 2 for a usage error.";

pub(in crate::cli) const EVENTS_EXAMPLES: &str = "\
Examples:
  forgewatch events --since 1h
  forgewatch events --follow | jq -r 'select(.event_type == \"job.failed\") | .job'
  forgewatch events --follow --since 4711

Each record has the fields of `--output json`, and before them its offset. With that offset,
--since goes on behind the record.

Exit status: 0, 1 when it could not be done or the daemon ended, 2 for a usage error.";

pub(in crate::cli) const RELOAD_EXAMPLES: &str = "\
Exit status: 0, 1 when the file is bad or it could not be done, 2 for a usage error.";

pub(in crate::cli) const HOOKS_EXAMPLES: &str = "\
Examples:
  forgewatch hooks list
  forgewatch hooks retry 6f0c3f5e8e4b4a3c9d5f1f2e3d4c5b6a-3/chat
  forgewatch hooks discard 6f0c3f5e8e4b4a3c9d5f1f2e3d4c5b6a-3/chat
  forgewatch hooks discard --all

Exit status: 0, 1 when it could not be done, 2 for a usage error.";

/// Which daemon.
#[derive(Args, Debug)]
#[command(next_help_heading = "Daemon")]
pub struct DaemonArgs {
    /// The daemon's socket.
    #[arg(
        long,
        value_name = "PATH",
        value_hint = ValueHint::FilePath,
        help = "The daemon's socket [default: $FORGEWATCH_SOCKET, then control.socket of the configuration file, then \
                /run/forgewatch/control.sock]"
    )]
    pub socket: Option<PathBuf>,
    /// Where the file is.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `forgewatch add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Begin a new watch of jobs whose watch has ended
    #[arg(long)]
    pub again: bool,
    /// The jobs.
    #[command(flatten)]
    pub jobs: JobArgs,
    /// What the user says about them.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch remove`.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    /// The jobs.
    #[command(flatten)]
    pub jobs: JobArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Those too that have ended and are not forgotten yet
    #[arg(long)]
    pub all: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The job: diff/1234 or update/77
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch events`.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Stay, and print what happens from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Begin so long ago, such as 10m, or behind an offset [default: all there are; with --follow, none]
    #[arg(long, value_name = "DURATION or OFFSET", value_parser = since)]
    pub since: Option<SinceArg>,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// What `--since` can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinceArg {
    /// Behind this offset.
    Offset(u64),
    /// So long ago, and later.
    Ago(Duration),
}

/// `forgewatch reload`.
#[derive(Args, Debug)]
pub struct ReloadArgs {
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch hooks`.
#[derive(Args, Debug)]
pub struct HooksArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: HooksCommand,
}

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub enum HooksCommand {
    /// List the deliveries that wait, are under way or were given up
    List(HooksListArgs),
    /// Try a delivery that was given up once more
    Retry(DeliveryArgs),
    /// Forget a delivery that was given up
    Discard(DiscardArgs),
}

/// `forgewatch hooks list`.
#[derive(Args, Debug)]
pub struct HooksListArgs {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch hooks retry`.
#[derive(Args, Debug)]
pub struct DeliveryArgs {
    /// The delivery, as `hooks list` has it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `forgewatch hooks discard`.
#[derive(Args, Debug)]
pub struct DiscardArgs {
    /// The delivery, as `hooks list` has it
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub id: Option<String>,
    /// All deliveries that were given up
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// Digits are an offset, anything else has to be a duration.
fn since(text: &str) -> Result<SinceArg, String> {
    let offset = text.bytes().all(|byte| byte.is_ascii_digit());
    let read = if offset {
        text.parse().ok().map(SinceArg::Offset)
    } else {
        humantime::parse_duration(text).ok().map(SinceArg::Ago)
    };
    read.ok_or_else(|| {
        "a duration such as 10m or 1h 30m, or an offset such as 4711, would do".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_offset_or_a_duration() {
        assert_eq!(since("0"), Ok(SinceArg::Offset(0)));
        assert_eq!(since("4711"), Ok(SinceArg::Offset(4711)));
        assert_eq!(since("1h 30m"), Ok(SinceArg::Ago(Duration::from_mins(90))));
        for bad in ["", "-1", "1,5h", "yesterday", "18446744073709551616"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
