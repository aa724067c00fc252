//! The bars of `--output progress`, as lines: pure, so that any screen can be tried.
//!
//! ```text
//! diff/1234      running     ████████████░░░░░░░░░░░░░░░  45 %  ~2m10s   poll 12s
//! update/77      queued      ░░░░░░░░░░░░░░░░░░░░░░░░░░░                 poll 3s
//! … and 2 more: 1 completed, 1 failed · 3m 2s
//! ```
//!
//! No line reaches the last column: there a terminal's cursor is neither on this line nor on the next. Two lines of
//! the screen stay free: the cursor's, and one for the last thing said above it.

use std::fmt::Write;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::text::seconds;
use super::{Row, Style};
use forgewatch_core::job::JobState;
use forgewatch_core::time::millis;

/// A bar longer than this is no clearer.
const LONGEST_BAR: usize = 40;
/// A bar shorter than this says nothing: other columns give way.
const SHORTEST_BAR: usize = 5;
/// From this many columns on, words instead of signs.
const WIDE: usize = 140;
/// Short of that, no line is longer: where a terminal of 100 or 120 columns is narrowed to the usual 80, nothing
/// wraps, not even until the next frame.
const COMPACT: usize = 79;
/// As wide as in the final lines above, so that the columns meet.
const NAME: usize = 12;
/// The longest word of a row, "unreachable".
const WORD: usize = 11;
/// "100 %".
const PERCENT: usize = 5;

/// The bars for these jobs, on a screen of `width` columns and `height` lines. Ended jobs have no bar: their final
/// lines stand above. Jobs that find no room, and ended ones, are counted in the last line.
pub(super) fn frame(
    rows: &[Row],
    width: usize,
    height: usize,
    elapsed: Duration,
    style: Style,
) -> Vec<String> {
    let going: Vec<&Row> = rows.iter().filter(|row| row.outcome.is_none()).collect();
    if going.is_empty() {
        return Vec::new();
    }
    let single = rows.len() == 1;
    let lines = height.saturating_sub(2).max(1);
    let room = if single { 1 } else { lines - 1 };
    let shown = foremost(&going, room);
    let columns = Columns::fit(&shown, width.saturating_sub(1));
    let mut out: Vec<String> = shown.iter().map(|row| columns.line(row, style)).collect();
    if !single {
        out.push(last_line(
            rows,
            &shown,
            elapsed,
            style,
            width.saturating_sub(1),
        ));
    }
    out
}

/// The `room` jobs that matter most, in the order given: first what cannot be asked, then what is nearest to its
/// end, then what is furthest on.
pub(super) fn foremost<'a>(rows: &[&'a Row], room: usize) -> Vec<&'a Row> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    if rows.len() > room {
        // Stable: of equals the first stay.
        order.sort_by_key(|&i| rows.get(i).map(|row| remoteness(row)));
        order.truncate(room);
        order.sort_unstable();
    }
    order.iter().filter_map(|&i| rows.get(i).copied()).collect()
}

fn remoteness(row: &Row) -> (u8, u64) {
    let todo = row
        .progress
        .map_or(100, |p| (100.0 - p).clamp(0.0, 100.0) as u64);
    match (row.unreachable, row.left, row.state) {
        (true, ..) => (0, todo),
        (_, Some(left), _) => (1, millis(left)),
        (_, None, Some(JobState::Running)) => (2, todo),
        (_, None, Some(JobState::Queued)) => (3, todo),
        (_, None, Some(_)) => (4, todo),
        (_, None, None) => (5, todo),
    }
}

/// How many jobs stand where: `20 running, 5 queued, 3 completed`.
pub(super) fn counts<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    const ORDER: [&str; 16] = [
        "unreachable",
        "running",
        "queued",
        "pending",
        "created",
        "unknown",
        "asking",
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
        // A state whose end is being confirmed keeps its own word: "failed", "completed".
        let place = ORDER.iter().position(|&w| w == word);
        if let Some(count) = place.and_then(|i| counts.get_mut(i)) {
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

/// What has no bar, counted, and the time so far where there is room for it.
fn last_line(rows: &[Row], shown: &[&Row], elapsed: Duration, style: Style, room: usize) -> String {
    let more = style.more();
    let dot = if style.unicode { "·" } else { "-" };
    let hidden = rows.len() - shown.len();
    let is_shown = |row: &Row| shown.iter().any(|other| std::ptr::eq(*other, row));
    let counts = counts(rows.iter().filter(|row| !is_shown(row)));
    let line = match (hidden, shown.len()) {
        (0, shown) => format!("{shown} jobs"),
        (hidden, 0) => format!("{hidden} jobs: {counts}"),
        (hidden, _) => format!("{more} and {hidden} more: {counts}"),
    };
    let timed = format!("{line} {dot} {}", seconds(millis(elapsed)));
    if timed.width() <= room {
        timed
    } else {
        cut_to_width(&line, room, style.more())
    }
}

/// How wide each column is; 0 where there is no room for it.
#[derive(Debug, Default)]
struct Columns {
    room: usize,
    name: usize,
    bar: usize,
    left: usize,
    next: usize,
    wide: bool,
}

impl Columns {
    /// Shares `room` columns out. Where it is tight the next poll goes first, then the time left, then the bar.
    fn fit(rows: &[&Row], room: usize) -> Self {
        let wide = room + 1 >= WIDE;
        let room = if wide { room } else { room.min(COMPACT) };
        let names = rows.iter().map(|row| row.job.to_string().len());
        let name = names.max().unwrap_or(0).max(NAME);
        let fixed = name + 2 + WORD + 1 + 1 + PERCENT;
        let (left, next) = if wide { (20, 22) } else { (6, 10) };
        let all = Self {
            room,
            name,
            bar: 0,
            left,
            next,
            wide,
        };
        for (left, next) in [(all.left, all.next), (all.left, 0), (0, 0)] {
            let used = fixed
                + [left, next]
                    .iter()
                    .filter(|&&w| w > 0)
                    .map(|w| w + 2)
                    .sum::<usize>();
            if let Some(bar) = room.checked_sub(used).filter(|&bar| bar >= SHORTEST_BAR) {
                let bar = bar.min(LONGEST_BAR);
                return Self {
                    bar,
                    left,
                    next,
                    ..all
                };
            }
        }
        Self {
            left: 0,
            next: 0,
            ..all
        }
    }

    fn line(&self, row: &Row, style: Style) -> String {
        let mut out = format!(
            "{:<name$}  {:<WORD$} ",
            row.job.to_string(),
            row.word(),
            name = self.name
        );
        if self.bar > 0 {
            out.push_str(&bar(row.progress.unwrap_or(0.0), self.bar, style));
            out.push(' ');
        }
        let percent = row.percent().map_or_else(String::new, |p| format!("{p} %"));
        let _ = write!(out, "{percent:>PERCENT$}");
        if self.left > 0 {
            let left = row.left.map_or_else(String::new, |left| self.left(left));
            let _ = write!(out, "  {left:<width$}", width = self.left);
        }
        if self.next > 0 {
            let next = row
                .next_poll
                .map_or_else(String::new, |next| self.next(next));
            let _ = write!(out, "  {next:<width$}", width = self.next);
        }
        cut_to_width(out.trim_end(), self.room, style.more())
    }

    fn left(&self, left: Duration) -> String {
        if self.wide {
            format!("about {} left", seconds(millis(left)))
        } else {
            format!("~{}", short(left))
        }
    }

    fn next(&self, next: Duration) -> String {
        match (next.is_zero(), self.wide) {
            (true, _) => "polling".to_owned(),
            (false, true) => format!("next poll in {}", seconds(millis(next))),
            (false, false) => format!("poll {}", short(next)),
        }
    }
}

fn bar(progress: f32, width: usize, style: Style) -> String {
    let (full, empty) = if style.unicode {
        ("█", "░")
    } else {
        ("#", ".")
    };
    let filled = (progress.clamp(0.0, 100.0) / 100.0 * width as f32) as usize;
    let filled = filled.min(width);
    full.repeat(filled) + &empty.repeat(width - filled)
}

/// A span in at most five columns: `45s`, `9m59s`, `59m`, `9h59m`, `23h`, `9d23h`, `99d`, `>99d`.
fn short(span: Duration) -> String {
    let s = millis(span).div_ceil(1_000);
    let (m, h, d) = (s / 60, s / 3_600, s / 86_400);
    match s {
        0..60 => format!("{s}s"),
        60..600 => format!("{m}m{}s", s % 60),
        600..3_600 => format!("{m}m"),
        3_600..36_000 => format!("{h}h{}m", m % 60),
        36_000..86_400 => format!("{h}h"),
        86_400..864_000 => format!("{d}d{}h", h % 24),
        864_000..8_640_000 => format!("{d}d"),
        _ => ">99d".to_owned(),
    }
}

/// The text, or as much of it as fits into `room` columns with `mark` at its end.
pub(crate) fn cut_to_width(text: &str, room: usize, mark: &str) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let fits = prefix_of_width(text, room.saturating_sub(mark.width()));
    let cut = text.get(..fits).unwrap_or_default();
    // On a screen too narrow even for the mark, nothing is better than a line that wraps.
    let mark = if mark.width() <= room { mark } else { "" };
    format!("{cut}{mark}")
}

/// How many bytes of the text fit into `room` columns.
pub(super) fn prefix_of_width(text: &str, room: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > room {
            return at;
        }
    }
    text.len()
}
