//! `--output text`: one line per event, for people who read the log of a build.
//!
//! ```text
//! 12:34:56Z  diff/1234     running      40%  about 2m 10s left
//! 12:42:59Z  diff/1234     COMPLETED   100%  after 8m 3s, 14 requests
//! ```
//!
//! Times are UTC, as in the server's logs. Outcomes are in capitals: they stand out without color, and `grep FAILED` finds
//! them. A line never begins with untrusted text.

use std::fmt::Write;

use anstyle::AnsiColor;

use super::job_row::{JobRow, NAME, most_important, name_width, outcome_word};
use super::sanitize::sanitized;
use super::totals::counts;
use forgewatch_core::event::{Event, EventFields, EventType, ParsedRecord};
use forgewatch_core::job::{JobState, Outcome, Reason};
use forgewatch_core::status::FileSum;
use forgewatch_core::time::{rfc3339_ms, rough, span, span_in_seconds};

/// The longest error message in a line, in bytes; json has all of it.
const MAX_ERROR: usize = 1_000;
/// The longest reason in a heartbeat why a job cannot be polled, in bytes.
const MAX_POLL_ERROR: usize = 200;
/// The longest name or label in a line, in bytes.
const MAX_NAME: usize = 100;
/// The most jobs that a heartbeat names.
const HEARTBEAT_JOBS: usize = 3;

/// The event as one line, without the newline. `names` is the width of the longest job name.
pub(super) fn event(event: &Event, names: usize, color: bool) -> String {
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
        .fields
        .progress
        .map_or_else(String::new, |p| format!("{p}%"));
    let mut details = details(event);
    details.extend(files(event));
    let mut details = details.join(", ");
    if let Some(error) = error(event) {
        if !details.is_empty() {
            details.push_str(": ");
        }
        details.push_str(&error);
    }
    let line = format!("{time}  {job:<names$}  {word} {percent:>4}  {details}");
    line.trim_end().to_owned()
}

/// An event of another process as one line, with its date.
pub fn recorded(parsed: &ParsedRecord, color: bool) -> String {
    let ParsedRecord { event, message } = parsed;
    let line = match event.job {
        Some(_) => self::event(event, NAME, color),
        None => format!(
            "{}  {}",
            clock(event.wall_ms),
            sanitized(message, MAX_ERROR)
        ),
    };
    format!("{} {line}", date(event.wall_ms))
}

/// One line with the number of active jobs and the status of the most important ones.
pub(super) fn heartbeat(rows: &[JobRow], wall_ms: i64) -> String {
    let active: Vec<&JobRow> = rows.iter().filter(|row| row.outcome.is_none()).collect();
    if active.is_empty() && !rows.is_empty() {
        return format!("{}  every job has ended; waiting for hooks", clock(wall_ms));
    }
    let named = most_important(&active, HEARTBEAT_JOBS);
    let mut line = format!(
        "{}  {} of {} still active",
        clock(wall_ms),
        active.len(),
        jobs(rows.len())
    );
    if active.len() > named.len() {
        let _ = write!(line, " ({})", counts(active.iter().copied()));
    }
    let named: Vec<String> = named.iter().map(|row| summary(row)).collect();
    if !named.is_empty() {
        line.push_str(": ");
        line.push_str(&named.join("; "));
    }
    line
}

/// The jobs that were active at a timeout: their number, then one line per job.
pub(super) fn deadline(rows: &[JobRow], wall_ms: i64) -> Vec<String> {
    let active: Vec<&JobRow> = rows.iter().filter(|row| row.outcome.is_none()).collect();
    let time = clock(wall_ms);
    let head = format!(
        "{time}  timeout expired: {} of {} still active",
        active.len(),
        jobs(rows.len())
    );
    let names = name_width(&active);
    let line = |row: &&JobRow| {
        let percent = row.percent().map_or_else(String::new, |p| format!("{p}%"));
        let left = row.left.text().unwrap_or_default();
        let job = row.job.to_string();
        format!(
            "{time}  {job:<names$}  {:<11} {percent:>4}  {left}",
            row.word()
        )
        .trim_end()
        .to_owned()
    };
    std::iter::once(head)
        .chain(active.iter().map(line))
        .collect()
}

/// The event in one word; outcomes are in capitals.
pub(super) fn word(event: &Event) -> String {
    let word = match event.kind {
        EventType::Ended(outcome) => return outcome_word(outcome).to_uppercase(),
        EventType::EtaSlipped => "slipped",
        EventType::Stalled => "stalled",
        EventType::Resumed => "resumed",
        EventType::Slow => "slow",
        EventType::Unreachable => "unreachable",
        EventType::Reachable => "reachable",
        _ => event.fields.state.map_or("unknown", JobState::as_str),
    };
    word.to_owned()
}

/// Colors the word of an outcome.
pub(super) fn paint(word: &str, kind: EventType, color: bool) -> String {
    let style = match kind {
        EventType::Ended(Outcome::Completed) => AnsiColor::Green.on_default(),
        EventType::Ended(_) if kind.level() == "ERROR" => AnsiColor::Red.on_default().bold(),
        EventType::Ended(_) => AnsiColor::Yellow.on_default(),
        _ => return word.to_owned(),
    };
    if color {
        format!("{style}{word}{style:#}")
    } else {
        word.to_owned()
    }
}

/// The details of a job's event, without error and files.
pub(super) fn details(event: &Event) -> Vec<String> {
    let fields = &event.fields;
    let mut out = Vec::new();
    match event.kind {
        EventType::Watching => {
            out.extend(fields.left.text());
            out.extend(names_and_labels(event));
        }
        EventType::StateChanged => {
            if let Some(before) = fields.previous_state {
                out.push(format!("was {before}"));
            }
            if let (Some(JobState::Unknown(_)), Some(name)) = (fields.state, &fields.state_name) {
                out.push(format!("server state \"{}\"", sanitized(name, MAX_NAME)));
            }
            out.extend(fields.left.text());
        }
        EventType::EtaSlipped => {
            out.push("ETA moved later".to_owned());
            out.extend(fields.left.text());
        }
        EventType::Stalled => {
            let time = fields
                .stalled_ms
                .map(|ms| format!(" for {}", span_in_seconds(ms)));
            out.push(format!("no progress{}", time.unwrap_or_default()));
        }
        EventType::Slow => {
            let (run, usual) = (fields.run_ms.map(rough), fields.usual_ms.map(rough));
            out.extend(run.map(|time| format!("running for {time}")));
            out.extend(usual.map(|time| format!("usually {time}")));
        }
        EventType::Resumed => out.push("progressing again".to_owned()),
        EventType::Unreachable => {
            out.push("cannot be polled".to_owned());
            if let Some(ms) = fields.next_poll_ms {
                out.push(format!("next poll in {}", span_in_seconds(ms)));
            }
        }
        EventType::Reachable => out.push("can be polled again".to_owned()),
        EventType::Ended(outcome) => {
            out.extend(outcome_details(outcome, fields));
            if let (Some(_), Some(usual)) = (fields.unusual, fields.usual_ms) {
                out.push(format!("usually {}", rough(usual)));
            }
        }
        _ => out.extend(fields.left.text()),
    }
    out
}

/// The event's message and error.
pub(super) fn sentence(event: &Event) -> String {
    match error(event) {
        Some(error) => format!("{}: {error}", event.message()),
        None => event.message(),
    }
}

/// `joberror`, or the error of polling.
pub(super) fn error(event: &Event) -> Option<String> {
    error_with(event, |error| sanitized(error, MAX_ERROR))
}

/// The same as it came: untrusted text.
pub(super) fn untrusted_error(event: &Event) -> Option<String> {
    error_with(event, |error| error.trim().to_owned())
}

fn error_with(event: &Event, convert: impl Fn(&str) -> String) -> Option<String> {
    let error = event.fields.error_message.as_deref().map(convert);
    let error = error.filter(|e| !e.is_empty());
    match event.fields.error_kind {
        Some(kind) => Some(error.map_or_else(|| kind.to_string(), |e| format!("{e} ({kind})"))),
        None => error,
    }
}

fn outcome_details(outcome: Outcome, fields: &EventFields) -> Vec<String> {
    let mut out = Vec::new();
    let state = match fields.state {
        Some(state) => format!("still {state}"),
        None => "no status yet".to_owned(),
    };
    match outcome {
        Outcome::Squashed => out.push("superseded by another job".to_owned()),
        Outcome::TimedOut => out.push(state),
        Outcome::Abandoned(Reason::FailFast) => {
            out.push(format!(
                "{state}; not waited for: another job did not complete (--fail-fast)"
            ));
        }
        Outcome::Abandoned(Reason::Interrupted) => {
            out.push(format!("{state}; not waited for: interrupted"));
        }
        _ => {}
    }
    out.extend(fields.elapsed_ms.map(|ms| format!("after {}", span(ms))));
    out.extend(fields.requests.map(|n| match n {
        1 => "1 request".to_owned(),
        n => format!("{n} requests"),
    }));
    out
}

/// The files of a completed diff.
pub(super) fn files(event: &Event) -> Option<String> {
    let part = |sum: FileSum, word: &str| format!("{} {word} ({})", sum.count, size(sum.bytes));
    event.fields.files.map(|files| {
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

fn names_and_labels(event: &Event) -> Vec<String> {
    let Some(about) = event.meta.as_deref() else {
        return Vec::new();
    };
    let names = [&about.names.game, &about.names.image, &about.names.machine];
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|name| sanitized(name, MAX_NAME))
        .collect();
    let mut out = Vec::new();
    if !names.is_empty() {
        out.push(names.join(" / "));
    }
    let label = |(key, value): (&String, &String)| {
        format!(
            "{}={}",
            sanitized(key, MAX_NAME),
            sanitized(value, MAX_NAME)
        )
    };
    out.extend(about.labels.iter().map(label));
    out
}

/// One job of a heartbeat.
fn summary(row: &JobRow) -> String {
    let mut out = format!("{} {}", row.job, row.word());
    if let Some(percent) = row.percent() {
        let _ = write!(out, " {percent}%");
    }
    if let Some(left) = row.left.text() {
        let _ = write!(out, ", {left}");
    }
    if let Some(error) = &row.poll_error {
        let _ = write!(
            out,
            ", cannot be polled: {}",
            sanitized(error, MAX_POLL_ERROR)
        );
    }
    out
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
