//! `forgewatch wait`.

use clap::{Args, ValueHint};

use super::client::{DaemonArgs, SelectorArgs};
use super::shared::{JobArgs, OutputArgs};
use crate::config::CommandLine;
use crate::config::settings::{Annotations, SquashedAs};

pub(super) const EXAMPLES: &str = "\
Examples:
  forgewatch wait update/77 diff/1234 --timeout 2h
  forgewatch wait --label build=8812
  forgewatch wait update/77 --add --output json

Exit status; of several, the first in the order 130/143, 6, 124, 1, 5, 3:
  0        every job completed
  1        at least one job failed or was removed
  2        usage error: also a job that the daemon does not know, or labels that no job has
  3        at least one job was squashed, none failed (see --squashed-as)
  5        a job was not found
  6        the daemon, or the API for a daemon that gives up, was unreachable for too long
  70       internal error (a bug)
  124      --timeout expired
  130/143  interrupted by SIGINT/SIGTERM

The daemon watches the jobs whatever happens to this command.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WaitArgs {
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub selector: SelectorArgs,
    /// Let the daemon watch jobs that it does not know, with the labels given
    #[arg(long)]
    pub add: bool,
    /// Wait for the first job that ends
    #[arg(long)]
    pub any: bool,
    /// Stop waiting at the first job that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Time limit, such as 2h
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Time limit for a daemon that cannot be reached, or `never` [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub give_up_after: Option<String>,
    /// Count squashed jobs as successes or failures instead of separately
    #[arg(long, value_name = "RESULT", value_enum)]
    pub squashed_as: Option<SquashedAs>,
    /// Interval of heartbeat lines in `text`, or `never` [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = "Output")]
    pub heartbeat: Option<String>,
    /// Write the results to FILE at the end: one test case or row per job; can be repeated
    #[arg(long = "report", value_name = "junit|json|markdown=FILE", value_hint = ValueHint::Other, help_heading = "Output")]
    pub reports: Vec<String>,
    /// Lines that a CI system acts on: errors, groups, progress [default: auto]
    #[arg(long, value_name = "SYSTEM", value_enum, help_heading = "Output")]
    pub annotations: Option<Annotations>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

impl WaitArgs {
    pub fn into_command_line(self) -> CommandLine {
        let give_up_after = self.give_up_after.map(|text| ("--give-up-after", text));
        CommandLine {
            flags: give_up_after.into_iter().collect(),
            labels: self.selector.labels,
            output: self.output.format(),
            timeout: self.timeout,
            fail_fast: self.fail_fast,
            heartbeat: self.heartbeat,
            squashed_as: self.squashed_as,
            annotations: self.annotations,
            reports: self.reports,
            ..self.jobs.into_command_line()
        }
    }
}
