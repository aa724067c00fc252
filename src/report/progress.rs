//! The final lines of `--output progress`: one per job, with its error or files below.
//!
//! When a job ends, its bar goes and its final line is printed above the bars. Other events show in the bars alone.

use unicode_width::UnicodeWidthStr;

use super::mode::Style;
use super::text;
use super::width::{cut_to_width, prefix_of_width};
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::Outcome;

/// On narrower screens lines wrap: no room is left beside the job's name.
const MIN_WIDTH: usize = 40;

/// The most lines of an error below a final line; json has all of it.
const MAX_ERROR_LINES: usize = 6;

/// The lines of the event, if any, for a terminal of this width. `names` is the width of the longest job name.
pub(super) fn event(event: &Event, width: usize, names: usize, style: Style) -> Option<String> {
    let room = width.saturating_sub(1).max(MIN_WIDTH);
    match (event.job, event.kind) {
        (Some(job), EventType::Ended(outcome)) => {
            let job = format!("{:<names$} ", job.to_string());
            Some(final_lines(event, &job, outcome, room, style))
        }
        (_, EventType::WatchFinished) => Some(event.message()),
        (_, EventType::HookFailed) => {
            let below = wrap(&text::sentence(event), room, style);
            Some(format!("HOOK FAILED\n{}", below.join("\n")))
        }
        _ => None,
    }
}

fn final_lines(event: &Event, job: &str, outcome: Outcome, room: usize, style: Style) -> String {
    let word = format!("{:<9}", text::word(event));
    let percent = event
        .fields
        .progress
        .filter(|_| outcome != Outcome::Completed)
        .map(|p| format!("at {p}%"));
    // Details that do not fit on the first line go below, before error and files.
    let mut used = job.len() + 1 + word.len();
    let (beside, below): (Vec<String>, Vec<String>) = percent
        .into_iter()
        .chain(text::details(event))
        .partition(|detail| {
            used += 2 + detail.width();
            used <= room
        });
    let word = text::paint(&word, event.kind, style.color);
    let line = format!("{job} {word}  {}", beside.join(", "));
    let below = Some(below.join(", "))
        .into_iter()
        .chain(text::error(event))
        .chain(text::files(event));
    let below = below.flat_map(|text| wrap(&text, room, style));
    std::iter::once(line.trim_end().to_owned())
        .chain(below)
        .collect::<Vec<String>>()
        .join("\n")
}

/// Wraps a text between words. Every line has a prefix, so that untrusted text never begins one.
fn wrap(text: &str, room: usize, style: Style) -> Vec<String> {
    const INDENT: &str = "    | ";
    let room = room.saturating_sub(INDENT.len());
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && lines.len() < MAX_ERROR_LINES {
        let last = lines.len() + 1 == MAX_ERROR_LINES;
        let (line, after) = if last {
            (cut_to_width(rest, room, style.ellipsis()), "")
        } else {
            let (line, after) = split(rest, room);
            (line.to_owned(), after)
        };
        lines.push(format!("{INDENT}{line}"));
        rest = after;
    }
    lines
}

/// The first line of at most `room` columns, and the rest; split at the last blank, if there is one.
fn split(text: &str, room: usize) -> (&str, &str) {
    let fits = prefix_of_width(text, room);
    if fits == text.len() {
        return (text, "");
    }
    let (head, tail) = text.split_at(fits);
    if tail.starts_with(' ') {
        return (head.trim_end(), tail.trim_start());
    }
    match head.rfind(' ').filter(|&blank| blank > 0) {
        Some(blank) => {
            let (line, after) = text.split_at(blank);
            (line.trim_end(), after.trim_start())
        }
        None if head.is_empty() => (text, ""),
        None => (head, tail),
    }
}
