//! `forgewatch show`.

use std::fmt::Write;
use std::iter;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::list::{labels, state};
use super::table::{TerminalWidth, field_lines};
use super::{DaemonClient, hooks, now_ms, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::client::ShowArgs;
use crate::config::Env;
use crate::control::protocol::{JobDetails, Request, Response};
use crate::report::sanitize::{LIMIT, json_line, sanitized};
use forgewatch_core::poll_log::{PollRecord, WaitReason};
use forgewatch_core::time::{rfc3339_ms, span_in_seconds};

/// The number of polls details without `--json`, the newest ones.
const SHOWN_POLLS: usize = 10;

pub(in crate::cli) fn run(args: &ShowArgs, env: &Env) -> Result<(), CommandError> {
    let request = Request::Show { job: args.job };
    let Response::Job(details) = DaemonClient::find(&args.daemon, env)?.call(&request)? else {
        return Err(unexpected_response());
    };
    let text = if args.json {
        json_line(&details) + "\n"
    } else {
        page(&details, now_ms(), &TerminalWidth::stdout())
    };
    write_stdout(&text).map(drop)
}

/// The page for people: status, events, polls, deliveries.
fn page(details: &JobDetails, now_ms: i64, terminal: &TerminalWidth) -> String {
    let mut page = job_fields(details);
    if !details.events.is_empty() {
        page.push_str("\nEvents:\n");
        for record in &details.events {
            let _ = writeln!(page, "  {}", event_line(record));
        }
    }
    let hidden = details.polls.len().saturating_sub(SHOWN_POLLS);
    if !details.polls.is_empty() {
        page.push_str("\nLast polls:\n");
        for poll in details.polls.iter().skip(hidden) {
            let _ = writeln!(page, "  {}", poll_line(poll));
        }
    }
    if !details.deliveries.is_empty() {
        page.push_str("\nDeliveries:\n");
        let indented = TerminalWidth {
            columns: terminal.columns.map(|columns| columns.saturating_sub(2)),
            ellipsis: terminal.ellipsis,
        };
        for line in hooks::delivery_table(&details.deliveries, now_ms, &indented).lines() {
            let _ = writeln!(page, "  {line}");
        }
    }
    page
}

/// One field per line.
fn job_fields(details: &JobDetails) -> String {
    let line = &details.summary;
    let mut fields = vec![
        ("Job", line.job.to_string()),
        ("Watch", sanitized(&line.watch, LIMIT)),
        ("State", state(line)),
    ];
    let progress = line.progress.map(|percent| format!("{percent}%"));
    fields.extend(progress.map(|percent| ("Progress", percent)));
    fields.extend(line.left.text().map(|left| ("Time left", left)));
    if !line.labels.is_empty() {
        fields.push(("Labels", labels(line)));
    }
    let since = line
        .started_at_ms
        .map(|at| format!(" since {}", rfc3339_ms(at)));
    let since = since.unwrap_or_default();
    fields.push(("Requests", format!("{}{since}", line.requests)));
    fields.extend(line.ended_at_ms.map(|at| ("Ended", rfc3339_ms(at))));
    if let Some(ms) = line.next_poll_ms {
        let when = match ms {
            0 => "now".to_owned(),
            _ => format!("in {}", span_in_seconds(ms)),
        };
        let why = details
            .next_poll_reason
            .map(|why| format!(": {}", why.sentence()));
        fields.push(("Next poll", when + &why.unwrap_or_default()));
        let estimates = details
            .next_poll_reason
            .iter()
            .flat_map(WaitReason::estimates);
        let names = iter::once("Estimates").chain(iter::repeat(""));
        fields.extend(names.zip(estimates));
    }
    field_lines(fields, 11)
}

/// The fields of a log record that are shown.
#[derive(Deserialize)]
struct ShownEvent {
    timestamp: String,
    event_type: String,
    message: String,
    error_message: Option<String>,
}

/// A log record as a line. A record in another format is shown as it is.
fn event_line(record: &RawValue) -> String {
    let Ok(event) = serde_json::from_str::<ShownEvent>(record.get()) else {
        return sanitized(record.get(), LIMIT);
    };
    let error = event.error_message.map(|error| format!(": {error}"));
    let line = format!(
        "{}  {:<18} {}{}",
        event.timestamp,
        event.event_type,
        event.message,
        error.unwrap_or_default()
    );
    sanitized(&line, LIMIT)
}

/// A poll as a line: its result, and when and why the next one followed.
fn poll_line(poll: &PollRecord) -> String {
    let line = format!(
        "{}  {}; next {}: {}",
        rfc3339_ms(poll.wall_ms),
        poll.result.text(),
        poll.next_poll(),
        poll.next_poll_reason.sentence()
    );
    sanitized(&line, LIMIT)
}
