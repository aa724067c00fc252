//! What `--output progress` leaves on the screen: a final line for each job, its error or its files below it.
//!
//! A job that has ended leaves the bars and its final line is printed above them, so that the lines stand in the
//! order of the ends, and stay whatever happens to the bars. Other transitions show in the bars alone.

use unicode_width::UnicodeWidthStr;

use super::bars::{cut_to_width, prefix_of_width};
use super::{Style, text};
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::{JobRef, Outcome};

/// On narrower screens lines wrap after all: there is no room left beside the job's name.
const SMALLEST: usize = 40;

/// The most lines of error below a final line; json has it whole.
const ERROR_LINES: usize = 6;

/// The lines for the event, where it leaves any, for a terminal of this width; none of them wraps.
pub(super) fn event(event: &Event, width: usize, style: Style) -> Option<String> {
    let room = width.saturating_sub(1).max(SMALLEST);
    match (event.job, event.kind) {
        (Some(job), EventType::Ended(outcome)) => Some(end(event, job, outcome, room, style)),
        (_, EventType::WatchFinished) => Some(event.message()),
        (_, EventType::HookFailed) => {
            let below = fold(&text::sentence(event), room, style);
            Some(format!("HOOK FAILED\n{}", below.join("\n")))
        }
        _ => None,
    }
}

fn end(event: &Event, job: JobRef, outcome: Outcome, room: usize, style: Style) -> String {
    let job = format!("{:<13}", job.to_string());
    let word = format!("{:<9}", text::word(event));
    let percent = event
        .facts
        .progress
        .filter(|_| outcome != Outcome::Completed)
        .map(|p| format!("at {p} %"));
    // As many details as fit behind the word; the others go below, like the error and the files.
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
    let below = below.flat_map(|text| fold(&text, room, style));
    std::iter::once(line.trim_end().to_owned())
        .chain(below)
        .collect::<Vec<String>>()
        .join("\n")
}

/// Breaks a text between words. Every line has a bar in front: somebody else's text never begins one.
fn fold(text: &str, room: usize, style: Style) -> Vec<String> {
    const INDENT: &str = "    | ";
    let room = room.saturating_sub(INDENT.len());
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && lines.len() < ERROR_LINES {
        let last = lines.len() + 1 == ERROR_LINES;
        let (line, after) = if last {
            (cut_to_width(rest, room, style.more()), "")
        } else {
            let (line, after) = split(rest, room);
            (line.to_owned(), after)
        };
        lines.push(format!("{INDENT}{line}"));
        rest = after;
    }
    lines
}

/// The first line of at most `room` columns, and what remains: after the last blank, where there is one.
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
