//! What `--output progress` leaves on the screen: a final line for each job, its error or its files below it.
//!
//! A job that has ended leaves the bars and its final line is printed above them, so that the lines stand in the
//! order of the ends, and stay whatever happens to the bars. Other transitions show in the bars alone.

use super::frame::cut_to_width;
use super::text;
use crate::core::event::{Event, EventType};

/// The most lines of error below a final line; json has it whole.
const ERROR_LINES: usize = 6;

/// The lines for the event, where it leaves any, for a terminal of this width; none of them wraps.
pub fn event(event: &Event, width: usize, color: bool) -> Option<String> {
    let room = width.saturating_sub(1).max(20);
    match (event.job, event.kind) {
        (Some(job), EventType::Ended(_)) => {
            let word = format!("{:<9}", text::word(event));
            let job = job.to_string();
            let head = format!("{job:<13} ");
            let rest = room.saturating_sub(head.len() + word.len() + 2);
            let details = cut_to_width(&text::details(event).join(", "), rest);
            let word = text::paint(&word, event.kind, color);
            let mut lines = vec![format!("{head}{word}  {details}").trim_end().to_owned()];
            let below = text::error(event).into_iter().chain(text::files(event));
            lines.extend(below.flat_map(|text| fold(&text, room)));
            Some(lines.join("\n"))
        }
        (_, EventType::WatchFinished) => Some(event.message()),
        _ => None,
    }
}

/// Breaks a text between words. Every line has a bar in front: somebody else's text never begins one.
fn fold(text: &str, room: usize) -> Vec<String> {
    const INDENT: &str = "    | ";
    let room = room.saturating_sub(INDENT.len());
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && lines.len() < ERROR_LINES {
        let last = lines.len() + 1 == ERROR_LINES;
        let (line, after) = if last {
            (cut_to_width(rest, room), "")
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
    let fits = super::frame::prefix_of_width(text, room);
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
