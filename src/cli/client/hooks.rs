//! `forgewatch hooks`.

use std::io::{self, Write};

use super::args::{DaemonArgs, HooksArgs, HooksCommand, HooksListArgs};
use super::list::next;
use super::table::{Paper, table};
use super::{CommandError, Daemon, now_ms, print};
use crate::config::Env;
use crate::control::protocol::{Answer, DeliveryLine, Request, Stands};
use crate::report::json;
use crate::report::sanitize::{LIMIT, neutral};

/// Does what is asked with deliveries.
pub(in crate::cli) fn run(args: &HooksArgs, env: &Env) -> Result<(), CommandError> {
    match &args.command {
        HooksCommand::List(args) => list(args, env),
        HooksCommand::Retry(args) => {
            let retry = |delivery| Request::RetryHook { delivery };
            decide(&args.id, &args.daemon, env, retry, "is tried again")
        }
        HooksCommand::Discard(args) => match &args.id {
            Some(id) => {
                let discard = |delivery| Request::DiscardHook { delivery };
                decide(id, &args.daemon, env, discard, "was discarded")
            }
            None => discard_all(&args.daemon, env),
        },
    }
}

fn decide(
    id: &str,
    daemon: &DaemonArgs,
    env: &Env,
    request: impl FnOnce(String) -> Request,
    what: &str,
) -> Result<(), CommandError> {
    let request = request(id.to_owned());
    match Daemon::find(daemon, env).ask_once(&request)? {
        Answer::Done => print(&format!("{} {what}\n", neutral(id, LIMIT))).map(drop),
        _ => Err(CommandError::beside_the_point()),
    }
}

/// The daemon does some at a time, and other things in between.
fn discard_all(daemon: &DaemonArgs, env: &Env) -> Result<(), CommandError> {
    let daemon = Daemon::find(daemon, env);
    let mut discarded = 0;
    loop {
        match daemon.ask_once(&Request::DiscardGivenUp)? {
            Answer::Discarded(0) => break,
            Answer::Discarded(some) => discarded += some,
            _ => return Err(CommandError::beside_the_point()),
        }
    }
    print(&format!("{discarded} deliveries were discarded\n")).map(drop)
}

fn list(args: &HooksListArgs, env: &Env) -> Result<(), CommandError> {
    let answer = Daemon::find(&args.daemon, env).ask_once(&Request::Hooks)?;
    let Answer::Deliveries {
        lines: deliveries,
        more,
    } = answer
    else {
        return Err(CommandError::beside_the_point());
    };
    if args.json {
        print(&(json::line(&deliveries) + "\n"))?;
    } else if deliveries.is_empty() {
        let _ = writeln!(io::stderr(), "no deliveries wait, and none was given up");
    } else {
        print(&lines(&deliveries, now_ms(), &Paper::stdout()))?;
    }
    if more > 0 {
        let _ = writeln!(
            io::stderr(),
            "{more} more are not shown; of those given up these are the newest"
        );
    }
    Ok(())
}

/// A line a delivery, under a head.
pub(super) fn lines(deliveries: &[DeliveryLine], now_ms: i64, paper: &Paper) -> String {
    let head = ["ID", "EVENT", "JOB", "STANDING", "ATTEMPTS", "DUE", "ERROR"];
    let rows = deliveries.iter().map(|delivery| {
        let due = delivery.due_ms.map(|at| {
            let ms = u64::try_from(at.saturating_sub(now_ms));
            next(ms.unwrap_or(0))
        });
        vec![
            neutral(&delivery.id, LIMIT),
            neutral(&delivery.event_type, LIMIT),
            delivery.job.map(|job| job.to_string()).unwrap_or_default(),
            standing(delivery.standing).to_owned(),
            delivery.attempts.to_string(),
            due.unwrap_or_default(),
            delivery
                .error
                .as_deref()
                .map(|error| neutral(error, LIMIT))
                .unwrap_or_default(),
        ]
    });
    table(&head, rows.collect(), paper)
}

fn standing(standing: Stands) -> &'static str {
    match standing {
        Stands::Pending => "waiting",
        Stands::Running => "running",
        Stands::Failed => "given up",
        Stands::Delivered => "delivered",
        Stands::Discarded => "discarded",
    }
}
