//! `forgewatch show`.

use std::fmt::Write;
use std::iter;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::args::ShowArgs;
use super::list::{labels, state, whole_seconds};
use super::table::Paper;
use super::{CommandError, Daemon, hooks, now_ms, print};
use crate::config::Env;
use crate::control::protocol::{Answer, JobShown, Request};
use crate::report::json;
use crate::report::sanitize::{LIMIT, neutral};
use forgewatch_core::poll_log::{Poll, PollResult, WaitReason};
use forgewatch_core::time::rfc3339_ms;

/// How many polls are shown to people, the newest.
const POLLS: usize = 10;

/// Prints all that is known of a job.
pub(in crate::cli) fn run(args: &ShowArgs, env: &Env) -> Result<(), CommandError> {
    let request = Request::Show { job: args.job };
    let Answer::Job(shown) = Daemon::find(&args.daemon, env).ask_once(&request)? else {
        return Err(CommandError::beside_the_point());
    };
    let text = if args.json {
        json::line(&shown) + "\n"
    } else {
        page(&shown, now_ms(), &Paper::stdout())
    };
    print(&text).map(drop)
}

/// A page for people: where it stands, then what led there.
fn page(shown: &JobShown, now_ms: i64, paper: &Paper) -> String {
    let mut page = standing(shown);
    if !shown.events.is_empty() {
        page.push_str("\nHistory:\n");
        for record in &shown.events {
            let _ = writeln!(page, "  {}", told(record));
        }
    }
    let hidden = shown.polls.len().saturating_sub(POLLS);
    if !shown.polls.is_empty() {
        page.push_str("\nLast polls:\n");
        for poll in shown.polls.iter().skip(hidden) {
            let _ = writeln!(page, "  {}", polled(poll));
        }
    }
    if !shown.deliveries.is_empty() {
        page.push_str("\nDeliveries:\n");
        let indented = Paper {
            width: paper.width.map(|width| width.saturating_sub(2)),
            more: paper.more,
        };
        for line in hooks::lines(&shown.deliveries, now_ms, &indented).lines() {
            let _ = writeln!(page, "  {line}");
        }
    }
    page
}

/// Where it stands, a line a fact.
fn standing(shown: &JobShown) -> String {
    let line = &shown.line;
    let mut facts = vec![
        ("Job", line.job.to_string()),
        ("Watch", neutral(&line.watch, LIMIT)),
        ("State", state(line)),
    ];
    let progress = line.progress.map(|percent| format!("{percent}%"));
    facts.extend(progress.map(|percent| ("Progress", percent)));
    let left = line
        .left_ms
        .map(|ms| format!("about {}", whole_seconds(ms)));
    facts.extend(left.map(|left| ("Left", left)));
    if !line.labels.is_empty() {
        facts.push(("Labels", labels(line)));
    }
    let since = line.began_ms.map(|at| format!(" since {}", rfc3339_ms(at)));
    let since = since.unwrap_or_default();
    facts.push(("Requests", format!("{}{since}", line.requests)));
    facts.extend(line.ended_ms.map(|at| ("Ended", rfc3339_ms(at))));
    if let Some(ms) = line.next_poll_ms {
        let when = match ms {
            0 => "now".to_owned(),
            _ => format!("in {}", whole_seconds(ms)),
        };
        let why = shown.why.map(|why| format!(": {}", why.sentence()));
        facts.push(("Next poll", when + &why.unwrap_or_default()));
        let estimates = shown.why.iter().flat_map(WaitReason::estimates);
        let names = iter::once("Estimates").chain(iter::repeat(""));
        facts.extend(names.zip(estimates));
    }
    let mut text = String::new();
    for (name, fact) in facts {
        let colon = if name.is_empty() { "" } else { ":" };
        let _ = writeln!(text, "{:<11}{fact}", format!("{name}{colon}"));
    }
    text
}

/// What a history needs of a record.
#[derive(Deserialize)]
struct Told {
    timestamp: String,
    event_type: String,
    message: String,
    error: Option<String>,
}

/// A record as a line. One that is none of ours is shown as it is.
fn told(record: &RawValue) -> String {
    let Ok(told) = serde_json::from_str::<Told>(record.get()) else {
        return neutral(record.get(), LIMIT);
    };
    let error = told.error.map(|error| format!(": {error}"));
    let line = format!(
        "{}  {:<18} {}{}",
        told.timestamp,
        told.event_type,
        told.message,
        error.unwrap_or_default()
    );
    neutral(&line, LIMIT)
}

/// A poll as a line: what it brought, and why the next one was when it was.
fn polled(poll: &Poll) -> String {
    let mut brought = Vec::new();
    match &poll.brought {
        // What went wrong names an HTTP status itself.
        PollResult::Failure {
            error, error_kind, ..
        } => brought.push(format!("{error_kind}: {error}")),
        PollResult::Status {
            state,
            progress,
            eta_seconds,
        } => {
            brought.push(state.as_deref().unwrap_or("unknown").to_owned());
            brought.extend(progress.map(|percent| format!("{percent}%")));
            brought.extend(eta_seconds.map(eta));
        }
    }
    let then = match poll.next_poll_ms {
        0 => "at once".to_owned(),
        ms => format!("after {}", whole_seconds(ms)),
    };
    let line = format!(
        "{}  {}; the next {then}: {}",
        rfc3339_ms(poll.wall_ms),
        brought.join(", "),
        poll.why.sentence()
    );
    neutral(&line, LIMIT)
}

fn eta(seconds: i64) -> String {
    let ms = seconds.unsigned_abs().saturating_mul(1_000);
    if seconds < 0 {
        format!("ETA {} ago", whole_seconds(ms))
    } else {
        format!("ETA in {}", whole_seconds(ms))
    }
}
