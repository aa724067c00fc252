//! `forgewatch hooks`.

use std::io::Write;
use std::iter;

use serde_json::Value;

use super::list::until;
use super::table::{TerminalWidth, field_lines, table};
use super::{DaemonClient, now_ms, rejected, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::app::hook_test;
use crate::cli::args::client::{DaemonArgs, HookTestArgs, HooksArgs, HooksCommand, HooksListArgs};
use crate::config::Env;
use crate::control::client::{self, ClientError};
use crate::control::protocol::{DeliveryStatus, DeliverySummary, Request, Response};
use crate::report::sanitize::{LIMIT, json_line, sanitized};
use crate::report::stdio;
use forgewatch_core::delivery::{HookTestReport, HookTestRequest};
use forgewatch_core::time::span;

pub(in crate::cli) fn run(args: &HooksArgs, env: &Env) -> Result<(), CommandError> {
    match &args.command {
        HooksCommand::List(args) => list(args, env),
        HooksCommand::Test(args) => test(args, env),
        HooksCommand::Retry(args) => {
            let retry = |delivery| Request::RetryDelivery { delivery };
            change(&args.id, &args.daemon, env, retry, "retrying")
        }
        HooksCommand::Discard(args) => match &args.id {
            Some(id) => {
                let discard = |delivery| Request::DiscardDelivery { delivery };
                change(id, &args.daemon, env, discard, "discarded")
            }
            None => discard_all(&args.daemon, env),
        },
    }
}

fn change(
    id: &str,
    daemon: &DaemonArgs,
    env: &Env,
    request: impl FnOnce(String) -> Request,
    done: &str,
) -> Result<(), CommandError> {
    let request = request(id.to_owned());
    match DaemonClient::find(daemon, env)?.call(&request)? {
        Response::Done => write_stdout(&format!("{done} {}\n", sanitized(id, LIMIT))).map(drop),
        _ => Err(unexpected_response()),
    }
}

/// The daemon discards a batch per request, so that it stays responsive.
fn discard_all(daemon: &DaemonArgs, env: &Env) -> Result<(), CommandError> {
    let daemon = DaemonClient::find(daemon, env)?;
    let mut discarded = 0;
    loop {
        match daemon.call(&Request::DiscardFailed)? {
            Response::Discarded(0) => break,
            Response::Discarded(some) => discarded += some,
            _ => return Err(unexpected_response()),
        }
    }
    let noun = if discarded == 1 {
        "delivery"
    } else {
        "deliveries"
    };
    write_stdout(&format!("discarded {discarded} {noun}\n")).map(drop)
}

fn list(args: &HooksListArgs, env: &Env) -> Result<(), CommandError> {
    let response = DaemonClient::find(&args.daemon, env)?.call(&Request::ListDeliveries)?;
    let Response::Deliveries {
        deliveries,
        omitted,
    } = response
    else {
        return Err(unexpected_response());
    };
    if args.json {
        write_stdout(&(json_line(&deliveries) + "\n"))?;
    } else if deliveries.is_empty() {
        let _ = writeln!(stdio::stderr(), "no pending or failed deliveries");
    } else {
        write_stdout(&delivery_table(
            &deliveries,
            now_ms(),
            &TerminalWidth::stdout(),
        ))?;
    }
    if omitted > 0 {
        let _ = writeln!(
            stdio::stderr(),
            "{omitted} more not shown; of failed deliveries, only the newest are listed"
        );
    }
    Ok(())
}

/// The daemon makes the test. If none is running, this process does, unless the user named a socket.
fn test(args: &HookTestArgs, env: &Env) -> Result<(), CommandError> {
    let request = HookTestRequest {
        hook: args.name.clone(),
        event_type: args.event_type.clone(),
        job: args.job,
    };
    let daemon = DaemonClient::find(&args.daemon, env)?;
    let response = client::call(&daemon.address, &Request::TestHook(request.clone()));
    let report = match response {
        Err(ClientError::NotRunning(_)) if args.daemon.socket.is_none() => {
            let file = args.daemon.config.config.as_deref();
            let report = hook_test::run(file, &request, env)?;
            let at = &daemon.at;
            let note = format!("no daemon is running at {at}; this command made the attempt\n");
            let _ = stdio::stderr().write_all(note.as_bytes());
            report
        }
        Err(error) => return Err(daemon.explain(&error)),
        Ok(Response::HookTested(report)) => *report,
        Ok(Response::Error { messages, .. }) => return Err(rejected(&messages)),
        Ok(_) => return Err(unexpected_response()),
    };
    if args.json {
        write_stdout(&(json_line(&report) + "\n"))?;
    } else {
        write_stdout(&test_text(&report))?;
    }
    match (report.delivered, report.error_message) {
        (true, _) => Ok(()),
        (false, error) => {
            let error = sanitized(&error.unwrap_or_default(), LIMIT);
            Err(CommandError::failed(format!("not delivered: {error}")))
        }
    }
}

fn test_text(report: &HookTestReport) -> String {
    let job = report.job.map(|job| format!(" of {job}"));
    let event = format!("{}{}", report.event_type, job.unwrap_or_default());
    let sent = report.sent.as_deref().map(|sent| {
        // As JSON, so that nothing in it acts on the terminal.
        let value: Result<Value, _> = serde_json::from_str(sent);
        value.map_or_else(|_| sanitized(sent, LIMIT), |value| json_line(&value))
    });
    let status = report.http_status.map(|status| format!("HTTP {status}"));
    let exit = report
        .exit_status
        .map(|status| format!("exit status {status}"));
    let lines = [
        ("event", Some(event)),
        ("format", report.content_type.clone()),
        (
            "sent",
            Some(
                sent.unwrap_or_else(|| "nothing; the format has no body for this event".to_owned()),
            ),
        ),
        ("status", status.or(exit)),
        ("time", Some(span(report.elapsed_ms))),
        ("response", report.response.clone()),
        ("output", report.output.clone()),
        (
            "delivered",
            Some(if report.delivered { "yes" } else { "no" }.to_owned()),
        ),
    ];
    let lines = lines
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let lines = lines.flat_map(|(name, value)| {
        let line = |line: &str| match name {
            // The body is harmless already, and must not be cut.
            "sent" => line.to_owned(),
            _ => sanitized(line, LIMIT),
        };
        let values: Vec<String> = value.lines().map(line).collect();
        iter::once(name).chain(iter::repeat("")).zip(values)
    });
    field_lines(lines, 11)
}

/// The table of deliveries.
pub(super) fn delivery_table(
    deliveries: &[DeliverySummary],
    now_ms: i64,
    terminal: &TerminalWidth,
) -> String {
    let head = ["ID", "EVENT", "JOB", "STATE", "ATTEMPTS", "DUE", "ERROR"];
    let rows = deliveries.iter().map(|delivery| {
        let due = delivery.due_at_ms.map(|at| {
            let ms = u64::try_from(at.saturating_sub(now_ms));
            until(ms.unwrap_or(0))
        });
        vec![
            sanitized(&delivery.id, LIMIT),
            sanitized(&delivery.event_type, LIMIT),
            delivery.job.map(|job| job.to_string()).unwrap_or_default(),
            state(delivery.state).to_owned(),
            delivery.attempts.to_string(),
            due.unwrap_or_default(),
            delivery
                .error_message
                .as_deref()
                .map(|error| sanitized(error, LIMIT))
                .unwrap_or_default(),
        ]
    });
    table(&head, rows.collect(), terminal)
}

fn state(state: DeliveryStatus) -> &'static str {
    match state {
        DeliveryStatus::Pending => "pending",
        DeliveryStatus::Running => "running",
        DeliveryStatus::Failed => "failed",
        DeliveryStatus::Delivered => "delivered",
        DeliveryStatus::Discarded => "discarded",
    }
}
