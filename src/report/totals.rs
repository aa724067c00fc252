//! The jobs as a whole: counts, the time left of all, and the progress for the terminal's title.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::job_row::JobRow;
use super::mode::Style;
use super::width::cut_to_width;
use forgewatch_core::job::Outcome;
use forgewatch_core::time::{millis, span_in_seconds};
use forgewatch_core::time_left::TimeLeft;

/// The number of jobs by state: `20 running, 5 queued, 3 completed`.
pub(super) fn counts<'a>(rows: impl Iterator<Item = &'a JobRow>) -> String {
    const ORDER: [&str; 17] = [
        "unreachable",
        "stalled",
        "running",
        "queued",
        "pending",
        "created",
        "unknown",
        "starting",
        "completed",
        "failed",
        "squashed",
        "not found",
        "refused",
        "timed out",
        "gave up",
        "removed",
        "abandoned",
    ];
    let mut counts = [0usize; ORDER.len()];
    for row in rows {
        let word = row.word();
        let index = ORDER.iter().position(|&w| w == word);
        if let Some(count) = index.and_then(|i| counts.get_mut(i)) {
            *count += 1;
        }
    }
    let parts: Vec<String> = ORDER
        .iter()
        .zip(counts)
        .filter(|&(_, count)| count > 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

/// `12/40 done · 1 failed · about 4-6m left · 25 more: 20 running, 5 queued · 3m 2s`. What does not fit is left out from the end.
pub(super) fn line(
    rows: &[JobRow],
    shown: &[&JobRow],
    elapsed: Duration,
    style: Style,
    room: usize,
) -> String {
    let dot = if style.unicode { " · " } else { " - " };
    let is_hidden = |row: &JobRow| {
        row.outcome.is_none() && !shown.iter().any(|other| std::ptr::eq(*other, row))
    };
    let hidden: Vec<&JobRow> = rows.iter().filter(|row| is_hidden(row)).collect();
    let ended = rows.iter().filter(|row| row.outcome.is_some());
    let not_completed: Vec<&JobRow> = ended
        .filter(|row| row.outcome != Some(Outcome::Completed))
        .collect();
    let mut parts = vec![format!("{}/{} done", done(rows), rows.len())];
    if !not_completed.is_empty() {
        parts.push(counts(not_completed.iter().copied()));
    }
    parts.extend(time_left(rows));
    if !hidden.is_empty() {
        let counts = counts(hidden.iter().copied());
        parts.push(format!("{} more: {counts}", hidden.len()));
    }
    parts.push(span_in_seconds(millis(elapsed)));
    let mut line = String::new();
    for part in parts {
        let dot = if line.is_empty() { "" } else { dot };
        if !line.is_empty() && line.width() + dot.width() + part.width() > room {
            break;
        }
        line.push_str(dot);
        line.push_str(&part);
    }
    cut_to_width(&line, room, style.ellipsis())
}

/// The number of jobs that have ended.
fn done(rows: &[JobRow]) -> usize {
    rows.iter().filter(|row| row.outcome.is_some()).count()
}

/// `about 4-6m left`, until the last job ends; None if that is unknown for any job.
fn time_left(rows: &[JobRow]) -> Option<String> {
    let active = rows.iter().filter(|row| row.outcome.is_none());
    let left: Option<Vec<TimeLeft>> = active
        .map(|row| Some(row.left).filter(|left| left.latest().is_some()))
        .collect();
    TimeLeft::of_last(&left?)
}

/// The progress of all jobs together in whole percent; an ended job counts as 100.
pub(super) fn percent(rows: &[JobRow]) -> u8 {
    let of = |row: &JobRow| match row.outcome {
        Some(_) => 100.0,
        None => row.estimated_progress(),
    };
    let sum: f32 = rows.iter().map(of).sum();
    (sum / rows.len().max(1) as f32).clamp(0.0, 100.0) as u8
}

/// The title of the terminal: `3/40 done · forgewatch`.
pub(super) fn title(rows: &[JobRow]) -> String {
    format!("{}/{} done - forgewatch", done(rows), rows.len())
}
