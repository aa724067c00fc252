//! `forgewatch watch`.

use clap::{Args, ValueHint};

use super::key_flags::KeyFlags;
use super::shared::{ConfigArgs, JobArgs, LabelArgs, OutputArgs};
use crate::config::CommandLine;
use crate::config::settings::{Annotations, SquashedAs};

pub(super) const EXAMPLES: &str = "\
Examples:
  forgewatch watch --until-done diff/1234
  forgewatch watch --until-done --update 77,78 --timeout 2h --fail-fast
  create-diffs | forgewatch watch --until-done --jobs-file - --output json
  forgewatch watch --until-done update/77 --on-event job.completed=./create-diff
  forgewatch watch --config /etc/forgewatch/forgewatch.toml

Exit status with --until-done; of several, the first in the order 130/143, 4, 6, 124, 1, 5, 3, 7:
  0        every job completed
  1        at least one job failed
  2        usage or configuration error; nothing was requested
  3        at least one job was squashed, none failed (see --squashed-as)
  4        the API rejects this client (401, 403)
  5        a job was still not found after --not-found-grace
  6        the API was unreachable or invalid for longer than --give-up-after
  7        every job completed, but a hook delivery failed
  70       internal error (a bug)
  78       the state cannot be used: read-only, corrupt, newer, or locked
  124      --timeout or --job-timeout expired
  130/143  interrupted by SIGINT/SIGTERM (a second one does not wait for hooks)

Environment: FORGEWATCH_CONFIG, FORGEWATCH_BASE_URL, FORGEWATCH_ACCOUNT_SERVICE_ID,
FORGEWATCH_ACCESS_KEY with FORGEWATCH_SECRET_KEY, FORGEWATCH_CREDENTIALS_FILE,
FORGEWATCH_OUTPUT, FORGEWATCH_LOG and, for the daemon, FORGEWATCH_SOCKET. Precedence: flag, environment, file, default.
Color follows NO_COLOR, CLICOLOR, CLICOLOR_FORCE, FORCE_COLOR and TERM.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// Watch until every job has ended, then exit with a status that shows the outcome
    #[arg(long)]
    pub until_done: bool,
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub labels: LabelArgs,
    #[command(flatten)]
    pub one_shot: OneShotArgs,
    #[command(flatten)]
    pub hooks: HookArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub keys: KeyFlags,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "With --until-done")]
pub struct OneShotArgs {
    /// Time limit for the whole watch, such as 2h
    #[arg(long, value_name = "DURATION", requires = "until_done")]
    pub timeout: Option<String>,
    /// Time limit for each job, from the start of its watch
    #[arg(long, value_name = "DURATION", requires = "until_done")]
    pub job_timeout: Option<String>,
    /// Stop at the first job that fails
    #[arg(long, requires = "until_done")]
    pub fail_fast: bool,
    /// Start new watches of jobs that ended in an earlier run with the same --state
    #[arg(long, requires = "until_done")]
    pub again: bool,
    /// Do not use or update what earlier runs have learned about the durations of jobs
    #[arg(long, requires = "until_done")]
    pub no_learn: bool,
    /// Interval of heartbeat lines in `text`, or `never` [default: 1m]
    #[arg(long, value_name = "DURATION", requires = "until_done")]
    pub heartbeat: Option<String>,
    /// Count squashed jobs as successes or failures instead of separately
    #[arg(long, value_name = "RESULT", value_enum, requires = "until_done")]
    pub squashed_as: Option<SquashedAs>,
    /// Write the results to FILE at the end: one test case or row per job; can be repeated
    #[arg(long = "report", value_name = "junit|json|markdown=FILE", value_hint = ValueHint::Other, requires = "until_done")]
    pub reports: Vec<String>,
    /// Lines that a CI system acts on: errors, groups, progress [default: auto]
    #[arg(long, value_name = "SYSTEM", value_enum, requires = "until_done")]
    pub annotations: Option<Annotations>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Hooks")]
pub struct HookArgs {
    /// Run COMMAND without a shell for events of this type, such as job.failed or job.*; can be repeated
    #[arg(long = "on-event", value_name = "TYPE=COMMAND")]
    pub on_events: Vec<String>,
}

impl WatchArgs {
    pub fn into_command_line(self) -> CommandLine {
        CommandLine {
            config: self.config.config,
            flags: self.keys.0,
            labels: self.labels.labels,
            on_events: self.hooks.on_events,
            output: self.output.format(),
            timeout: self.one_shot.timeout,
            job_timeout: self.one_shot.job_timeout,
            fail_fast: self.one_shot.fail_fast,
            again: self.one_shot.again,
            no_learn: self.one_shot.no_learn,
            heartbeat: self.one_shot.heartbeat,
            squashed_as: self.one_shot.squashed_as,
            annotations: self.one_shot.annotations,
            reports: self.one_shot.reports,
            ..self.jobs.into_command_line()
        }
    }
}
