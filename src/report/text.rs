//! `--output text`: a line for each event, for people who read a build's log.
//!
//! ```text
//! 12:34:56Z  diff/1234     running      40 %  about 2m 10s left
//! 12:42:59Z  diff/1234     COMPLETED   100 %  after 8m 3s, 14 requests
//! ```
//!
//! Time is UTC, as in the server's own logs. Words of ends are in capitals: they stand out without colours, and
//! `grep FAILED` finds them. A line never begins with somebody else's text.

use std::fmt::Write;
use std::time::Duration;

use super::Row;
use super::bars;
use super::sanitize::neutral;
use forgewatch_core::event::{Event, EventFields, EventType};
use forgewatch_core::job::{JobState, Outcome, Reason};
use forgewatch_core::status::FileSum;
use forgewatch_core::time::{millis, rfc3339_ms, span};

/// The most bytes of somebody else's text in one line; json has it whole.
const QUOTE: usize = 1_000;
/// Of names and labels.
const NAME: usize = 100;
/// How many jobs a heartbeat names.
const NAMED: usize = 3;

/// The event as one line, without the line's end.
pub(super) fn event(event: &Event, color: bool) -> String {
    let time = clock(event.wall_ms);
    let Some(job) = event.job else {
        let date = match event.kind {
            EventType::WatchStarted => format!(" ({})", date(event.wall_ms)),
            _ => String::new(),
        };
        return format!("{time}  {}{date}", sentence(event));
    };
    let job = job.to_string();
    let word = paint(&format!("{:<11}", word(event)), event.kind, color);
    let percent = event
        .facts
        .progress
        .map_or_else(String::new, |p| format!("{p} %"));
    let mut details = details(event);
    details.extend(files(event));
    let mut details = details.join(", ");
    if let Some(error) = error(event) {
        if !details.is_empty() {
            details.push_str(": ");
        }
        details.push_str(&error);
    }
    let line = format!("{time}  {job:<13} {word} {percent:>5}  {details}");
    line.trim_end().to_owned()
}

/// One line that says how many jobs are going, and how those stand that matter most.
pub(super) fn heartbeat(rows: &[Row], wall_ms: i64) -> String {
    let going: Vec<&Row> = rows.iter().filter(|row| row.outcome.is_none()).collect();
    if going.is_empty() && !rows.is_empty() {
        // All that a watch waits for after the last end.
        return format!("{}  every job has ended; waiting for hooks", clock(wall_ms));
    }
    let named = bars::foremost(&going, NAMED);
    let mut line = format!(
        "{}  {} of {} still going",
        clock(wall_ms),
        going.len(),
        jobs(rows.len())
    );
    if going.len() > named.len() {
        let _ = write!(line, " ({})", bars::counts(going.iter().copied()));
    }
    let named: Vec<String> = named.iter().map(|row| standing(row)).collect();
    if !named.is_empty() {
        line.push_str(": ");
        line.push_str(&named.join("; "));
    }
    line
}

/// Which jobs were still going when time ran out: a line that counts them, then a line each.
pub(super) fn deadline(rows: &[Row], wall_ms: i64) -> Vec<String> {
    let going: Vec<&Row> = rows.iter().filter(|row| row.outcome.is_none()).collect();
    let time = clock(wall_ms);
    let head = format!(
        "{time}  time is up: {} of {} still going",
        going.len(),
        jobs(rows.len())
    );
    let line = |row: &&Row| {
        let percent = row.percent().map_or_else(String::new, |p| format!("{p} %"));
        let left = row.left.map_or_else(String::new, about);
        let job = row.job.to_string();
        format!(
            "{time}    {job:<11} {:<11} {percent:>5}  {left}",
            row.word()
        )
        .trim_end()
        .to_owned()
    };
    std::iter::once(head)
        .chain(going.iter().map(line))
        .collect()
}

/// What an end is called.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::Squashed => "squashed",
        Outcome::NotFound => "not found",
        Outcome::Refused => "refused",
        Outcome::TimedOut => "timed out",
        Outcome::GaveUp => "gave up",
        Outcome::Removed => "removed",
        Outcome::Abandoned(_) => "abandoned",
    }
}

/// What happened, in a word: capitals for ends.
pub(super) fn word(event: &Event) -> String {
    let word = match event.kind {
        EventType::Ended(outcome) => return outcome_word(outcome).to_uppercase(),
        EventType::EtaSlipped => "slipped",
        EventType::Stalled => "stalled",
        EventType::Resumed => "resumed",
        EventType::Unreachable => "unreachable",
        EventType::Reachable => "reachable",
        _ => event.facts.state.map_or("unknown", JobState::as_str),
    };
    word.to_owned()
}

/// The word in the colour of its meaning: only ends have one.
pub(super) fn paint(word: &str, kind: EventType, color: bool) -> String {
    let code = match kind {
        EventType::Ended(Outcome::Completed) => "32",
        EventType::Ended(_) if kind.level() == "ERROR" => "1;31",
        EventType::Ended(_) => "33",
        _ => return word.to_owned(),
    };
    if color {
        format!("\x1b[{code}m{word}\x1b[0m")
    } else {
        word.to_owned()
    }
}

/// What else there is to say of a job's event, but for error and files.
pub(super) fn details(event: &Event) -> Vec<String> {
    let facts = &event.facts;
    let mut out = Vec::new();
    match event.kind {
        EventType::Watching => {
            out.extend(expected(facts));
            out.extend(about_it(event));
        }
        EventType::StateChanged => {
            if let Some(before) = facts.previous_state {
                out.push(format!("was {before}"));
            }
            if let (Some(JobState::Unknown(_)), Some(name)) = (facts.state, &facts.state_name) {
                out.push(format!("the server says \"{}\"", neutral(name, NAME)));
            }
            out.extend(expected(facts));
        }
        EventType::EtaSlipped => {
            out.push("expected later than before".to_owned());
            out.extend(expected(facts));
        }
        EventType::Stalled => out.push("has not moved".to_owned()),
        EventType::Resumed => out.push("moves again".to_owned()),
        EventType::Unreachable => {
            out.push("cannot be asked".to_owned());
            if let Some(ms) = facts.next_poll_ms {
                out.push(format!("asked again in {}", seconds(ms)));
            }
        }
        EventType::Reachable => out.push("can be asked again".to_owned()),
        EventType::Ended(outcome) => out.extend(end(outcome, facts)),
        _ => out.extend(expected(facts)),
    }
    out
}

/// The event's sentence, and what went wrong.
pub(super) fn sentence(event: &Event) -> String {
    match error(event) {
        Some(error) => format!("{}: {error}", event.message()),
        None => event.message(),
    }
}

/// What went wrong: `joberror`, or why the job could not be asked.
pub(super) fn error(event: &Event) -> Option<String> {
    let error = event.facts.error.as_deref().map(|e| neutral(e, QUOTE));
    let error = error.filter(|e| !e.is_empty());
    match event.facts.error_kind {
        Some(kind) => Some(error.map_or_else(|| kind.to_string(), |e| format!("{e} ({kind})"))),
        None => error,
    }
}

fn end(outcome: Outcome, facts: &EventFields) -> Vec<String> {
    let mut out = Vec::new();
    let standing = match facts.state {
        Some(state) => format!("still {state}"),
        None => "not answered yet".to_owned(),
    };
    match outcome {
        Outcome::Squashed => out.push("set aside in favour of another job".to_owned()),
        Outcome::TimedOut => out.push(standing),
        Outcome::Abandoned(Reason::FailFast) => {
            out.push(format!("{standing}, left as another job did not complete"));
        }
        Outcome::Abandoned(Reason::Interrupted) => out.push(format!("{standing}, interrupted")),
        _ => {}
    }
    out.extend(facts.elapsed_ms.map(|ms| format!("after {}", span(ms))));
    out.extend(facts.requests.map(|n| match n {
        1 => "1 request".to_owned(),
        n => format!("{n} requests"),
    }));
    out
}

/// What a finished diff found.
pub(super) fn files(event: &Event) -> Option<String> {
    let part = |sum: FileSum, word: &str| format!("{} {word} ({})", sum.count, size(sum.bytes));
    event.facts.files.map(|files| {
        format!(
            "files: {}, {}, {}",
            part(files.added, "added"),
            part(files.modified, "modified"),
            part(files.removed, "removed")
        )
    })
}

/// Bytes in decimal units, as disks and the server's own pages count.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

fn about_it(event: &Event) -> Vec<String> {
    let Some(about) = event.about.as_deref() else {
        return Vec::new();
    };
    let names = [&about.names.game, &about.names.image, &about.names.machine];
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|name| neutral(name, NAME))
        .collect();
    let mut out = Vec::new();
    if !names.is_empty() {
        out.push(names.join(" / "));
    }
    let label = |(key, value): (&String, &String)| {
        format!("{}={}", neutral(key, NAME), neutral(value, NAME))
    };
    out.extend(about.labels.iter().map(label));
    out
}

/// When the server expects the end.
fn expected(facts: &EventFields) -> Option<String> {
    facts.eta_seconds.map(|s| match s {
        1.. => about(Duration::from_secs(s.unsigned_abs())),
        0 => "expected now".to_owned(),
        _ => format!(
            "overdue by {}",
            seconds(s.unsigned_abs().saturating_mul(1_000))
        ),
    })
}

/// One job in a list.
fn standing(row: &Row) -> String {
    let mut out = format!("{} {}", row.job, row.word());
    if let Some(percent) = row.percent() {
        let _ = write!(out, " {percent} %");
    }
    if let Some(left) = row.left {
        let _ = write!(out, ", {}", about(left));
    }
    out
}

fn about(left: Duration) -> String {
    format!("about {} left", seconds(millis(left)))
}

/// A span in whole seconds at least: half a second more or less tells people nothing.
pub(super) fn seconds(ms: u64) -> String {
    span(ms.div_ceil(1_000).saturating_mul(1_000))
}

fn jobs(count: usize) -> String {
    match count {
        1 => "1 job".to_owned(),
        n => format!("{n} jobs"),
    }
}

fn clock(wall_ms: i64) -> String {
    let stamp = rfc3339_ms(wall_ms);
    format!("{}Z", stamp.get(11..19).unwrap_or_default())
}

fn date(wall_ms: i64) -> String {
    let mut stamp = rfc3339_ms(wall_ms);
    stamp.truncate(10);
    stamp
}
