//! `forgewatch add` and `forgewatch remove`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::args::{AddArgs, RemoveArgs};
use super::{CommandError, Daemon, print};
use crate::cli::args::JobArgs;
use crate::config::{self, Env, Given};
use crate::control::protocol::{AddedJob, Answer, How, Request};
use crate::report::sanitize::{LIMIT, neutral};
use forgewatch_core::job::JobRef;

/// How many jobs go into one request, so that it fits: the longest name takes 30 bytes in it.
const AT_ONCE: usize = 1_000;

/// Has the daemon watch the jobs; says of each what became of it.
pub(in crate::cli) fn add(args: AddArgs, env: &Env) -> Result<(), CommandError> {
    let (jobs, labels) = named(args.jobs, args.labels.labels)?;
    let daemon = Daemon::find(&args.daemon, env);
    for jobs in jobs.chunks(AT_ONCE) {
        let request = Request::Add {
            jobs: jobs.to_vec(),
            labels: labels.clone(),
            again: args.again,
        };
        let Answer::Added(added) = daemon.ask_once(&request)? else {
            return Err(CommandError::beside_the_point());
        };
        // Whether anybody reads it or not: the rest is to be watched too.
        print(&added.iter().map(what_became).collect::<String>())?;
    }
    Ok(())
}

/// Has the daemon let the jobs go; those that it did not watch are an error, but the others go.
pub(in crate::cli) fn remove(args: RemoveArgs, env: &Env) -> Result<(), CommandError> {
    let (jobs, _) = named(args.jobs, Vec::new())?;
    let daemon = Daemon::find(&args.daemon, env);
    let mut never_watched = Vec::new();
    for jobs in jobs.chunks(AT_ONCE) {
        let request = Request::Remove {
            jobs: jobs.to_vec(),
        };
        let Answer::Removed { removed, unknown } = daemon.ask_once(&request)? else {
            return Err(CommandError::beside_the_point());
        };
        let mut text = String::new();
        for job in removed {
            let _ = writeln!(text, "{job} is no longer watched");
        }
        print(&text)?;
        never_watched.extend(unknown);
    }
    if never_watched.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = never_watched
        .iter()
        .map(|job| format!("{job} is not watched"))
        .collect();
    Err(CommandError::failed(lines.join("\n")))
}

/// What the command line names.
fn named(
    jobs: JobArgs,
    labels: Vec<String>,
) -> Result<(Vec<JobRef>, BTreeMap<String, String>), CommandError> {
    let given = Given {
        jobs: jobs.names,
        diffs: jobs.diff,
        updates: jobs.update,
        jobs_file: jobs.jobs_file,
        labels,
        ..Given::default()
    };
    config::named_jobs(&given).map_err(|errors| CommandError::usage(&errors))
}

fn what_became(AddedJob { job, how, .. }: &AddedJob) -> String {
    match how {
        How::Begun => format!("{job} is watched from now on\n"),
        How::Watched => format!("{job} is being watched already\n"),
        How::Ended(outcome) => {
            let outcome = neutral(outcome, LIMIT);
            format!("{job} has ended ({outcome}) and stays as it is; --again watches it anew\n")
        }
    }
}
