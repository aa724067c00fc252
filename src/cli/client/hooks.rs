//! `forgewatch hooks`.

use std::io::Write;

use super::list::until;
use super::table::{TerminalWidth, table};
use super::{DaemonClient, now_ms, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::client::{DaemonArgs, HooksArgs, HooksCommand, HooksListArgs};
use crate::config::Env;
use crate::control::protocol::{DeliveryStatus, DeliverySummary, Request, Response};
use crate::report::sanitize::{LIMIT, json_line, sanitized};
use crate::report::stdio;

pub(in crate::cli) fn run(args: &HooksArgs, env: &Env) -> Result<(), CommandError> {
    match &args.command {
        HooksCommand::List(args) => list(args, env),
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
    match DaemonClient::find(daemon, env).call(&request)? {
        Response::Done => write_stdout(&format!("{done} {}\n", sanitized(id, LIMIT))).map(drop),
        _ => Err(unexpected_response()),
    }
}

/// The daemon discards a batch per request, so that it stays responsive.
fn discard_all(daemon: &DaemonArgs, env: &Env) -> Result<(), CommandError> {
    let daemon = DaemonClient::find(daemon, env);
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
    let response = DaemonClient::find(&args.daemon, env).call(&Request::ListDeliveries)?;
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
