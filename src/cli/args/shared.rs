//! What several commands take: jobs, labels, the form of the output, the configuration file.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, ValueHint};

use crate::config::settings::Output;

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
