//! `forgewatch list`.

use std::io::Write;

use super::table::{TerminalWidth, table};
use super::{DaemonClient, now_ms, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::client::{ListArgs, ListOrder};
use crate::config::Env;
use crate::control::protocol::{JobSummary, OUTCOMES};
use crate::report::sanitize::{LIMIT, json_line, sanitized};
use crate::report::stdio;
use forgewatch_core::event::labels_text;
use forgewatch_core::time::span_in_seconds;

pub(in crate::cli) fn run(args: &ListArgs, env: &Env) -> Result<(), CommandError> {
    let labels = args.selector.parse()?;
    let daemon = DaemonClient::find(&args.daemon, env)?;
    // An outcome is a state only of ended jobs.
    let all = args.all
        || args
            .state
            .iter()
            .any(|wanted| OUTCOMES.contains(&wanted.as_str()));
    let mut jobs = daemon.list(all, &labels)?;
    let is_wanted = |job: &JobSummary| args.state.iter().any(|wanted| *wanted == state(job));
    jobs.retain(|job| args.state.is_empty() || is_wanted(job));
    match args.sort {
        ListOrder::Name => jobs.sort_by_key(|job| job.job),
        ListOrder::State => jobs.sort_by_key(state),
        ListOrder::Next => jobs.sort_by_key(|job| job.next_poll_ms.unwrap_or(u64::MAX)),
        // As they were listed.
        ListOrder::Age => {}
    }
    if args.json {
        return write_stdout(&(json_line(&jobs) + "\n")).map(drop);
    }
    if jobs.is_empty() {
        let is_filtered = !args.state.is_empty() || !labels.is_empty();
        let none = if is_filtered {
            "no job matches"
        } else {
            "no watched jobs; add one with `forgewatch add`"
        };
        let _ = writeln!(stdio::stderr(), "{none}");
        return Ok(());
    }
    write_stdout(&job_table(&jobs, all, now_ms(), &TerminalWidth::stdout())).map(drop)
}

fn job_table(
    jobs: &[JobSummary],
    with_ended: bool,
    now_ms: i64,
    terminal: &TerminalWidth,
) -> String {
    let mut head = vec!["JOB", "STATE", "PROGRESS", "LEFT", "NEXT", "REQUESTS"];
    if with_ended {
        head.push("ENDED");
    }
    head.push("LABELS");
    let rows = jobs.iter().map(|job| {
        let mut row = vec![
            job.job.to_string(),
            state(job),
            job.progress.map(|p| format!("{p}%")).unwrap_or_default(),
            job.left.short_text().unwrap_or_default(),
            job.next_poll_ms.map(until).unwrap_or_default(),
            job.requests.to_string(),
        ];
        if with_ended {
            let ago = job.ended_at_ms.map(|at| ago(now_ms, at));
            row.push(ago.unwrap_or_default());
        }
        row.push(labels(job));
        row
    });
    table(&head, rows.collect(), terminal)
}

pub(super) fn state(job: &JobSummary) -> String {
    sanitized(job.state_or_outcome(), LIMIT)
}

pub(super) fn labels(job: &JobSummary) -> String {
    labels_text(&job.labels)
}

/// A duration without blanks, for a table.
pub(super) fn short(ms: u64) -> String {
    span_in_seconds(ms).replace(' ', "")
}

/// The time until something is due, in one word.
pub(super) fn until(ms: u64) -> String {
    match ms {
        0 => "now".to_owned(),
        _ => short(ms),
    }
}

fn ago(now_ms: i64, at_ms: i64) -> String {
    let ms = u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0);
    format!("{} ago", short(ms))
}
