//! The bars of `--output progress` as lines, for a screen of any size.
//!
//! ```text
//! diff/1234      running     ████████████░░░░░░░░░░░░░  45%  ETA 2m 10s   poll 12s
//! update/77      queued      ░░░░░░░░░░░░░░░░░░░░░░░░░       ~4-12m       poll 3s
//! 12/40 done · 1 failed · about 4-6m left · 26 more: 20 running, 6 queued · 3m 2s
//! ```
//!
//! No line reaches the last column, where terminals differ in when they wrap. Two lines of the screen stay free: the
//! cursor's, and one for the last line printed above it.

use std::fmt::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Effects};
use unicode_width::UnicodeWidthStr;

use super::job_row::{JobRow, most_important, name_width};
use super::mode::Style;
use super::totals;
use super::width::prefix_of_width;
use forgewatch_core::time::{millis, span_in_seconds};
use forgewatch_core::time_left::TimeLeft;

const MAX_BAR: usize = 40;
/// Other columns are dropped before a bar gets shorter than this.
const MIN_BAR: usize = 5;
/// From this width on, columns have words instead of abbreviations.
const WIDE: usize = 140;
/// The longest line on a screen that is not wide: if a terminal of 100 or 120 columns is narrowed to the usual 80,
/// nothing wraps, not even until the next frame.
const COMPACT: usize = 79;
/// The length of "unreachable".
const WORD: usize = 11;
/// The length of "100%".
const PERCENT: usize = 4;

/// The bars on a screen of `width` columns and `height` lines. Ended jobs have no bar, because their final lines are
/// printed above. The last line counts ended jobs and jobs without room.
pub(super) fn render_bars(
    rows: &[JobRow],
    width: usize,
    height: usize,
    elapsed: Duration,
    style: Style,
) -> Vec<String> {
    let active: Vec<&JobRow> = rows.iter().filter(|row| row.outcome.is_none()).collect();
    if active.is_empty() {
        return Vec::new();
    }
    let single = rows.len() == 1;
    let lines = height.saturating_sub(2).max(1);
    let room = if single { 1 } else { lines - 1 };
    let shown = most_important(&active, room);
    let columns = Columns::fit(&shown, width.saturating_sub(1));
    let mut out: Vec<String> = shown.iter().map(|row| columns.line(row, style)).collect();
    if !single {
        let room = width.saturating_sub(1);
        out.push(totals::line(rows, &shown, elapsed, style, room));
    }
    out
}

/// The width of each column; 0 for columns without room.
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
    /// Distributes `room` columns. If they do not suffice, drops the next poll, then the time left, then the bar.
    fn fit(rows: &[&JobRow], room: usize) -> Self {
        let wide = room + 1 >= WIDE;
        let room = if wide { room } else { room.min(COMPACT) };
        let name = name_width(rows);
        let fixed = name + 2 + WORD + 1 + 1 + PERCENT;
        let (left, next) = if wide { (20, 22) } else { (11, 10) };
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
            if let Some(bar) = room.checked_sub(used).filter(|&bar| bar >= MIN_BAR) {
                let bar = bar.min(MAX_BAR);
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

    fn line(&self, row: &JobRow, style: Style) -> String {
        let has_trouble = row.unreachable || row.stalled;
        let mut line = PaintedLine::new(self.room, style);
        let name = row.job.to_string();
        line.push(
            &format!("{name:<width$}  ", width = self.name),
            Paint::Plain,
        );
        let word = if has_trouble {
            Paint::Yellow
        } else {
            Paint::Plain
        };
        line.push(&format!("{:<WORD$} ", row.word()), word);
        if self.bar > 0 {
            for (text, paint) in bar(row, self.bar, style) {
                line.push(&text, paint);
            }
            line.push(" ", Paint::Plain);
        }
        let percent = row.percent().map_or_else(String::new, |p| format!("{p}%"));
        line.push(&format!("{percent:>PERCENT$}"), Paint::Plain);
        if self.left > 0 {
            let left = self.left(row.left).unwrap_or_default();
            line.push(
                &format!("  {left:<width$}", width = self.left),
                Paint::Plain,
            );
        }
        if self.next > 0 {
            let next = row.next_poll.map(|next| self.next(next));
            let next = next.unwrap_or_default();
            line.push(&format!("  {next:<width$}", width = self.next), Paint::Dim);
        }
        if self.wide && !row.labels.is_empty() {
            line.push(&format!("  {}", row.labels), Paint::Dim);
        }
        line.finish()
    }

    fn left(&self, left: TimeLeft) -> Option<String> {
        if self.wide {
            left.text()
        } else {
            left.short_text()
        }
    }

    fn next(&self, next: Duration) -> String {
        match (next.is_zero(), self.wide) {
            (true, _) => "polling".to_owned(),
            (false, true) => format!("next poll in {}", span_in_seconds(millis(next))),
            (false, false) => format!("poll {}", short(next)),
        }
    }
}

/// The bar: what the server reported, what the job may have done since then, and the rest.
fn bar(row: &JobRow, width: usize, style: Style) -> [(String, Paint); 3] {
    let [full, likely, empty] = if style.unicode {
        ["█", "▒", "░"]
    } else {
        ["#", "-", "."]
    };
    let columns = |percent: f32| {
        let share = percent.clamp(0.0, 100.0) / 100.0;
        ((share * width as f32) as usize).min(width)
    };
    let reported = columns(row.progress.unwrap_or(0.0));
    let estimated = columns(row.estimated_progress()).max(reported);
    [
        (full.repeat(reported), Paint::Plain),
        (likely.repeat(estimated - reported), Paint::Dim),
        (empty.repeat(width - estimated), Paint::Dim),
    ]
}

#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Dim,
    Yellow,
}

/// A line of parts in different colors, cut to a number of columns.
struct PaintedLine {
    text: String,
    /// The number of blanks at the end, which are written only if something follows.
    blanks: usize,
    room: usize,
    style: Style,
    is_cut: bool,
}

impl PaintedLine {
    fn new(room: usize, style: Style) -> Self {
        Self {
            text: String::new(),
            blanks: 0,
            room,
            style,
            is_cut: false,
        }
    }

    fn push(&mut self, part: &str, paint: Paint) {
        let text = part.trim_end_matches(' ');
        let after = part.len() - text.len();
        if text.is_empty() || self.is_cut {
            self.blanks += after;
            return;
        }
        let used = self.blanks + text.width();
        if used > self.room {
            self.is_cut = true;
            let mark = self.style.ellipsis();
            let room = self.room.saturating_sub(self.blanks + mark.width());
            let fits = prefix_of_width(text, room);
            let cut = text.get(..fits).unwrap_or_default().trim_end();
            if self.blanks + cut.width() + mark.width() <= self.room {
                self.write(&format!("{cut}{mark}"), paint);
            }
            return;
        }
        self.room -= used;
        self.write(text, paint);
        self.blanks = after;
    }

    fn write(&mut self, text: &str, paint: Paint) {
        self.text.extend(std::iter::repeat_n(' ', self.blanks));
        let style = match paint {
            _ if !self.style.color => anstyle::Style::new(),
            Paint::Plain => anstyle::Style::new(),
            Paint::Dim => anstyle::Style::new() | Effects::DIMMED,
            Paint::Yellow => AnsiColor::Yellow.on_default(),
        };
        let _ = write!(self.text, "{style}{text}{style:#}");
    }

    fn finish(self) -> String {
        self.text
    }
}

/// A duration in at most five columns: `45s`, `9m59s`, `59m`, `9h59m`, `23h`, `9d23h`, `99d`.
fn short(span: Duration) -> String {
    let text = span_in_seconds(millis(span));
    match text.split_once(' ') {
        Some((first, second)) if first.len() < 3 => format!("{first}{second}"),
        Some((first, _)) => first.to_owned(),
        None => text,
    }
}
