//! Arguments of several commands: jobs, labels, output, configuration file.

use std::path::PathBuf;

use anstream::ColorChoice;
use clap::{Args, ValueHint};

use crate::config::CommandLine;
use crate::config::settings::OutputFormat;

#[derive(Args, Debug)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    /// Job such as diff/1234, update/77 or version/5
    #[arg(value_name = "JOB", help_heading = None::<&str>)]
    pub names: Vec<String>,
    /// IDs of image diffs, separated by commas
    #[arg(long, value_name = "IDS")]
    pub diff: Vec<String>,
    /// IDs of image updates, separated by commas
    #[arg(long, value_name = "IDS")]
    pub update: Vec<String>,
    /// IDs of image versions, separated by commas
    #[arg(long, value_name = "IDS")]
    pub image_version: Vec<String>,
    /// File with one job per line; `#` starts a comment, `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub jobs_file: Option<PathBuf>,
}

impl JobArgs {
    pub fn into_command_line(self) -> CommandLine {
        CommandLine {
            jobs: self.names,
            diffs: self.diff,
            updates: self.update,
            versions: self.image_version,
            jobs_file: self.jobs_file,
            ..CommandLine::default()
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Jobs")]
pub struct LabelArgs {
    /// Label added to every event of these jobs; can be repeated
    #[arg(long = "label", short = 'l', value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Output format [default: auto]
    #[arg(
        long,
        short,
        value_name = "FORMAT",
        value_enum,
        overrides_with = "quiet"
    )]
    output: Option<OutputFormat>,
    /// Same as --output quiet
    #[arg(long, short, overrides_with = "output")]
    quiet: bool,
    /// When to use color [default: auto]
    #[arg(long, value_name = "WHEN", value_enum)]
    color: Option<clap::ColorChoice>,
}

impl OutputArgs {
    pub fn format(&self) -> Option<OutputFormat> {
        if self.quiet {
            Some(OutputFormat::Quiet)
        } else {
            self.output
        }
    }

    /// Makes `--color` apply to the whole process.
    pub fn apply_color(&self) {
        match self.color {
            Some(clap::ColorChoice::Always) => ColorChoice::Always.write_global(),
            Some(clap::ColorChoice::Never) => ColorChoice::Never.write_global(),
            Some(clap::ColorChoice::Auto) | None => {}
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    #[arg(
        long,
        short,
        value_name = "FILE",
        help = "Configuration file [default: forgewatch/forgewatch.toml in $XDG_CONFIG_HOME (or \
                ~/.config), then in /etc]"
    )]
    pub config: Option<PathBuf>,
}
