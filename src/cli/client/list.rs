//! `forgewatch list`.

use std::io::{self, Write};

use super::args::ListArgs;
use super::table::{Paper, table};
use super::{CommandError, Daemon, now_ms, print};
use crate::config::Env;
use crate::control::protocol::{Answer, JobLine, Request};
use crate::report::json;
use crate::report::sanitize::{LIMIT, neutral};
use forgewatch_core::time::span;

/// Prints what is watched.
pub(in crate::cli) fn run(args: &ListArgs, env: &Env) -> Result<(), CommandError> {
    let request = Request::List { all: args.all };
    let Answer::Jobs(jobs) = Daemon::find(&args.daemon, env).ask_once(&request)? else {
        return Err(CommandError::beside_the_point());
    };
    if args.json {
        return print(&(json::line(&jobs) + "\n")).map(drop);
    }
    if jobs.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "no jobs are watched; add some with `forgewatch add`"
        );
        return Ok(());
    }
    print(&lines(&jobs, args.all, now_ms(), &Paper::stdout())).map(drop)
}

/// A line a job, under a head.
fn lines(jobs: &[JobLine], ended_too: bool, now_ms: i64, paper: &Paper) -> String {
    let mut head = vec!["JOB", "STATE", "PROGRESS", "LEFT", "NEXT", "REQUESTS"];
    if ended_too {
        head.push("ENDED");
    }
    head.push("LABELS");
    let rows = jobs.iter().map(|job| {
        let mut row = vec![
            job.job.to_string(),
            state(job),
            job.progress.map(|p| format!("{p}%")).unwrap_or_default(),
            job.left_ms.map(short).unwrap_or_default(),
            job.next_poll_ms.map(next).unwrap_or_default(),
            job.requests.to_string(),
        ];
        if ended_too {
            let ago = job.ended_ms.map(|at| ago(now_ms, at));
            row.push(ago.unwrap_or_default());
        }
        row.push(labels(job));
        row
    });
    table(&head, rows.collect(), paper)
}

/// The one word that says most about it.
pub(super) fn state(job: &JobLine) -> String {
    match (&job.outcome, job.unreachable, &job.state) {
        (Some(outcome), ..) => neutral(outcome, LIMIT),
        (None, true, _) => "unreachable".to_owned(),
        (None, false, Some(state)) => neutral(state, LIMIT),
        (None, false, None) => "asking".to_owned(),
    }
}

pub(super) fn labels(job: &JobLine) -> String {
    let labels: Vec<String> = job
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    neutral(&labels.join(","), LIMIT)
}

/// A span in whole seconds.
pub(super) fn whole_seconds(ms: u64) -> String {
    span(ms.div_ceil(1_000) * 1_000)
}

/// The same in one word, for a table.
pub(super) fn short(ms: u64) -> String {
    whole_seconds(ms).replace(' ', "")
}

/// When something is due.
pub(super) fn next(ms: u64) -> String {
    match ms {
        0 => "now".to_owned(),
        _ => short(ms),
    }
}

fn ago(now_ms: i64, at_ms: i64) -> String {
    let ms = u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0);
    format!("{} ago", short(ms))
}
