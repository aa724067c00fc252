//! `forgewatch watch`.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueEnum, ValueHint};

use super::shared::{ConfigArgs, JobArgs, LabelArgs, OutputArgs};
use crate::config::Given;
use crate::config::settings::SquashedAs;

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

/// The daemon's command line, and the one-shot's.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
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
