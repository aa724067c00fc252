//! `forgewatch add` and `forgewatch remove`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{DaemonClient, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::JobArgs;
use crate::cli::args::client::{AddArgs, RemoveArgs};
use crate::config::{self, CommandLine, Env};
use crate::control::client::MAX_JOBS;
use crate::control::protocol::{AddOutcome, AddedJob, Request, Response};
use crate::report::sanitize::{LIMIT, sanitized};
use forgewatch_core::job::JobRef;

pub(in crate::cli) fn add(args: AddArgs, env: &Env) -> Result<(), CommandError> {
    let (jobs, labels) = parse_jobs(args.jobs, args.labels.labels)?;
    if jobs.is_empty() {
        return Err(no_jobs(""));
    }
    let daemon = DaemonClient::find(&args.daemon, env)?;
    for jobs in jobs.chunks(MAX_JOBS) {
        let request = Request::Add {
            jobs: jobs.to_vec(),
            labels: labels.clone(),
            again: args.again,
        };
        let Response::Added(added) = daemon.call(&request)? else {
            return Err(unexpected_response());
        };
        // Goes on if standard output is closed.
        write_stdout(&added.iter().map(added_line).collect::<String>())?;
    }
    Ok(())
}

/// Removes the jobs. A job that is not watched is an error, but the others are removed.
pub(in crate::cli) fn remove(args: RemoveArgs, env: &Env) -> Result<(), CommandError> {
    let (mut jobs, labels) = parse_jobs(args.jobs, args.selector.labels)?;
    if jobs.is_empty() && labels.is_empty() {
        return Err(no_jobs(", or select some with --label NAME=VALUE"));
    }
    let daemon = DaemonClient::find(&args.daemon, env)?;
    if !labels.is_empty() {
        let selected = daemon.list(false, &labels)?;
        if selected.is_empty() && jobs.is_empty() {
            return Err(CommandError::usage("no watched job has these labels"));
        }
        let more = selected
            .iter()
            .map(|job| job.job)
            .filter(|job| !jobs.contains(job));
        jobs.extend(more.collect::<Vec<_>>());
    }
    let mut not_watched = Vec::new();
    for jobs in jobs.chunks(MAX_JOBS) {
        let request = Request::Remove {
            jobs: jobs.to_vec(),
        };
        let Response::Removed { removed, unknown } = daemon.call(&request)? else {
            return Err(unexpected_response());
        };
        let mut text = String::new();
        for job in removed {
            let _ = writeln!(text, "removed {job}");
        }
        write_stdout(&text)?;
        not_watched.extend(unknown);
    }
    if not_watched.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = not_watched
        .iter()
        .map(|job| format!("{job} is not watched"))
        .collect();
    Err(CommandError::failed(lines.join("\n")))
}

fn parse_jobs(
    jobs: JobArgs,
    labels: Vec<String>,
) -> Result<(Vec<JobRef>, BTreeMap<String, String>), CommandError> {
    let command_line = CommandLine {
        labels,
        ..jobs.into_command_line()
    };
    config::named_jobs(&command_line).map_err(CommandError::usage)
}

fn no_jobs(or: &str) -> CommandError {
    CommandError::usage(format!(
        "no jobs; name some with diff/1234, --diff 1234, --update 77, --image-version 5 or --jobs-file FILE{or}"
    ))
}

fn added_line(AddedJob { job, outcome, .. }: &AddedJob) -> String {
    match outcome {
        AddOutcome::Started => format!("watching {job}\n"),
        AddOutcome::AlreadyWatched => format!("already watching {job}\n"),
        AddOutcome::Ended(ended) => {
            let outcome = sanitized(ended, LIMIT);
            format!("{job} has already ended ({outcome}); use --again to watch it again\n")
        }
    }
}
