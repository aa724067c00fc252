//! The final lines of `--output progress`: one per job, with its error or files below.
//!
//! When a job ends, its bar goes and its final line is printed above the bars. Other events show in the bars alone.

use unicode_width::UnicodeWidthStr;

use super::mode::Style;
use super::text;
use super::width::{prefix_of_width, unbroken, wrapped};
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::Outcome;

/// On narrower screens lines wrap: no room is left beside the job's name.
const MIN_WIDTH: usize = 40;

/// The width of details that are not broken.
const SHORT: usize = 28;

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
        (_, EventType::WatchFinished) => Some(wrapped(&event.message(), room, "", "").join("\n")),
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
    let details: Vec<String> = percent.into_iter().chain(text::details(event)).collect();
    // Those that do not fit on the first line go below, before error and files, but not a short one alone.
    let mut used = job.len() + 1 + word.len();
    let fits = |detail: &&String| {
        used += 2 + detail.width();
        used <= room
    };
    let mut beside = details.iter().take_while(fits).count();
    if beside + 1 == details.len() && details[beside].width() <= SHORT {
        beside = beside.saturating_sub(1);
    }
    let (beside, below) = details.split_at(beside);
    let word = text::paint(&word, event.kind, style.color);
    let line = format!("{job} {word}  {}", beside.join(", "));
    let below: Vec<String> = below.iter().map(|part| unbroken_if_short(part)).collect();
    let files = text::files(event);
    let files = files.map(|files| {
        files
            .split(", ")
            .map(unbroken_if_short)
            .collect::<Vec<_>>()
            .join(", ")
    });
    let below = std::iter::once(below.join(", "))
        .filter(|below| !below.is_empty())
        .chain(text::error(event))
        .chain(files);
    let below = below.flat_map(|text| wrap(&text, room, style));
    std::iter::once(line.trim_end().to_owned())
        .chain(below)
        .collect::<Vec<String>>()
        .join("\n")
}

fn unbroken_if_short(part: &str) -> String {
    if part.width() <= SHORT {
        unbroken(part)
    } else {
        part.to_owned()
    }
}

/// Wraps a text between words. Every line has a prefix, so that untrusted text never begins one.
fn wrap(text: &str, room: usize, style: Style) -> Vec<String> {
    const INDENT: &str = "    | ";
    let mut lines = wrapped(text, room, INDENT, INDENT);
    if lines.len() > MAX_ERROR_LINES {
        lines.truncate(MAX_ERROR_LINES);
        if let Some(last) = lines.last_mut() {
            let mark = style.ellipsis();
            let fits = prefix_of_width(last, room.saturating_sub(mark.width()));
            last.replace_range(fits.., mark);
        }
    }
    lines
}
