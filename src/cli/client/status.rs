//! `forgewatch status`.

use std::io;

use anstyle::AnsiColor;

use super::table::field_lines;
use super::{DaemonClient, now_ms, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::client::StatusArgs;
use crate::config::Env;
use crate::control::protocol::{
    ApiReport, ApiState, ReloadReport, Request, Response, StatusReport,
};
use crate::report::has_color;
use crate::report::sanitize::{LIMIT, json_line, sanitized};
use forgewatch_core::time::{rough, span_in_seconds};

pub(in crate::cli) fn run(args: &StatusArgs, env: &Env) -> Result<(), CommandError> {
    let response = DaemonClient::find(&args.daemon, env)?.call(&Request::Status)?;
    let Response::Status(status) = response else {
        return Err(unexpected_response());
    };
    let text = if args.json {
        json_line(&status) + "\n"
    } else {
        page(&status, now_ms(), has_color(&io::stdout()))
    };
    write_stdout(&text).map(drop)
}

/// The page for people: a field per line, with what is wrong in color.
fn page(status: &StatusReport, now_ms: i64, color: bool) -> String {
    let paint = |text: String, style: Option<AnsiColor>| match style.filter(|_| color) {
        Some(style) => {
            let style = style.on_default();
            format!("{style}{text}{style:#}")
        }
        None => text,
    };
    let (api, api_color) = api(&status.api, now_ms);
    let (state, state_color) = match &status.store.error_message {
        None => ("writable".to_owned(), None),
        Some(error) => (
            format!("cannot be written: {}", sanitized(error, LIMIT)),
            Some(AnsiColor::Red),
        ),
    };
    let deliveries = &status.deliveries;
    let (pending, running) = (deliveries.pending, deliveries.running);
    let (failed, failed_color) = match deliveries.failed {
        0 => ("0 failed".to_owned(), None),
        failed => (
            format!("{failed} failed; see: forgewatch hooks list"),
            Some(AnsiColor::Red),
        ),
    };
    let (reload, reload_color) = last_reload(status.last_reload.as_ref(), now_ms);
    let (version, instance) = (&status.version, &status.instance);
    let lines = [
        (
            "version",
            format!(
                "{}, instance {}",
                sanitized(version, LIMIT),
                sanitized(instance, LIMIT)
            ),
        ),
        ("running for", rough(status.uptime_ms)),
        ("API", paint(api, api_color)),
        ("last success", ago(status.api.last_success_at_ms, now_ms)),
        ("state", paint(state, state_color)),
        (
            "jobs",
            jobs(status) + &paint(troubled_jobs(status), Some(AnsiColor::Yellow)),
        ),
        (
            "deliveries",
            format!(
                "{pending} pending, {running} running, {}",
                paint(failed, failed_color)
            ),
        ),
        ("last reload", paint(reload, reload_color)),
    ];
    field_lines(lines, 15)
}

fn api(api: &ApiReport, now_ms: i64) -> (String, Option<AnsiColor>) {
    let why = match &api.error_message {
        Some(error) => format!(": {}", sanitized(error, LIMIT)),
        None => String::new(),
    };
    match api.state {
        ApiState::Available => ("available".to_owned(), Some(AnsiColor::Green)),
        ApiState::Paused => {
            let left = api.paused_until_ms.map_or(0, |until| until - now_ms);
            let left = span_in_seconds(u64::try_from(left).unwrap_or(0));
            let text = format!("requested a pause, {left} left{why}");
            (text, Some(AnsiColor::Yellow))
        }
        ApiState::Unavailable => {
            let text = format!("unavailable, one job at a time is tried{why}");
            (text, Some(AnsiColor::Red))
        }
    }
}

fn jobs(status: &StatusReport) -> String {
    let total: u64 = status.jobs.values().sum();
    let counts = status.jobs.iter();
    let counts = counts.map(|(state, count)| format!("{count} {}", sanitized(state, LIMIT)));
    match counts.collect::<Vec<_>>() {
        counts if counts.is_empty() => "0 watched".to_owned(),
        counts => format!("{total} watched: {}", counts.join(", ")),
    }
}

fn troubled_jobs(status: &StatusReport) -> String {
    let troubles = [
        (status.unreachable, "unreachable"),
        (status.stalled, "stalled"),
    ];
    let troubles = troubles.into_iter().filter(|(count, _)| *count > 0);
    let troubles = troubles.map(|(count, what)| format!("; {count} {what}"));
    troubles.collect::<Vec<_>>().concat()
}

fn last_reload(reload: Option<&ReloadReport>, now_ms: i64) -> (String, Option<AnsiColor>) {
    let Some(reload) = reload else {
        return ("none".to_owned(), None);
    };
    let when = ago(Some(reload.at_ms), now_ms);
    match reload.errors.as_slice() {
        [] => (format!("{when}, applied"), None),
        [first, more @ ..] => {
            let more = match more.len() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let first = sanitized(first, LIMIT);
            let text = format!("{when}, rejected: {first}{more}");
            (text, Some(AnsiColor::Red))
        }
    }
}

fn ago(at_ms: Option<i64>, now_ms: i64) -> String {
    let ms = at_ms.map(|at| u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0));
    ms.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", rough(ms)))
}
