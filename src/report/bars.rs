//! The bars of `--output progress` as lines, for a screen of any size.
//!
//! ```text
//! diff/1234      running     ████████████░░░░░░░░░░░░░  45%  ETA 2m 10s   poll 12s
//! update/77      queued      ░░░░░░░░░░░░░░░░░░░░░░░░░       ~4-12m       poll 3s
//! … and 2 more: 1 completed, 1 failed · 3m 2s
//! ```
//!
//! No line reaches the last column, where terminals differ in when they wrap. Two lines of the screen stay free: the
//! cursor's, and one for the last line printed above it.

use std::fmt::Write;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::mode::Style;
use forgewatch_core::job::{JobRef, JobState, Outcome};
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::{Moment, millis, span_in_seconds};
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::watch::Watch;

const MAX_BAR: usize = 40;
/// Other columns are dropped before a bar gets shorter than this.
const MIN_BAR: usize = 5;
/// From this width on, columns have words instead of abbreviations.
const WIDE: usize = 140;
/// The longest line on a screen that is not wide: if a terminal of 100 or 120 columns is narrowed to the usual 80,
/// nothing wraps, not even until the next frame.
const COMPACT: usize = 79;
/// The least width of a column of job names.
pub(super) const NAME: usize = 12;
/// The length of "unreachable".
const WORD: usize = 11;
/// The length of "100%".
const PERCENT: usize = 4;

/// A job as the bars and the heartbeat show it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    pub job: JobRef,
    /// None before the first status.
    pub state: Option<JobState>,
    /// Percent, 0 to 100.
    pub progress: Option<f32>,
    pub left: TimeLeft,
    /// The time until the next poll.
    pub next_poll: Option<Duration>,
    pub outcome: Option<Outcome>,
    pub unreachable: bool,
    /// Why the job cannot be polled at the moment. Untrusted text.
    pub poll_error: Option<String>,
    /// The time since the first poll.
    pub elapsed: Duration,
}

impl JobRow {
    pub fn of(watch: &Watch, left: TimeLeft, now: Moment) -> Self {
        let since = watch
            .first_poll_at()
            .map_or(0, |at| now.up_ms.saturating_sub(at));
        Self {
            job: watch.job(),
            state: watch.state(),
            progress: watch.progress(),
            left,
            next_poll: Some(watch.next_poll_in(now)),
            outcome: None,
            unreachable: watch.is_unreachable(),
            poll_error: watch
                .poll_error()
                .map(|(kind, message)| format!("{message} ({kind})")),
            elapsed: Duration::from_millis(since),
        }
    }

    /// A job without a status.
    pub fn starting(job: JobRef) -> Self {
        Self {
            job,
            state: None,
            progress: None,
            left: TimeLeft::default(),
            next_poll: None,
            outcome: None,
            unreachable: false,
            poll_error: None,
            elapsed: Duration::ZERO,
        }
    }

    /// A job that has ended, without further data.
    pub fn ended(job: JobRef, outcome: Outcome) -> Self {
        Self {
            outcome: Some(outcome),
            ..Self::starting(job)
        }
    }

    /// The outcome or state, or `unreachable`.
    pub(super) fn word(&self) -> &'static str {
        match (self.outcome, self.unreachable, self.state) {
            (Some(outcome), _, _) => outcome_word(outcome),
            (None, true, _) => "unreachable",
            (None, false, Some(state)) => state.as_str(),
            (None, false, None) => "starting",
        }
    }

    /// The progress in whole percent.
    pub(super) fn percent(&self) -> Option<u8> {
        self.progress.map(whole_percent)
    }
}

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

/// The `room` most important jobs, in the order given: unreachable ones first, then those nearest to their end, then
/// those with the most progress.
pub(super) fn most_important<'a>(rows: &[&'a JobRow], room: usize) -> Vec<&'a JobRow> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    if rows.len() > room {
        order.sort_by_key(|&i| rows.get(i).map(|row| rank(row)));
        order.truncate(room);
        order.sort_unstable();
    }
    order.iter().filter_map(|&i| rows.get(i).copied()).collect()
}

fn rank(row: &JobRow) -> (u8, u64) {
    let remaining = row
        .progress
        .map_or(100, |p| (100.0 - p).clamp(0.0, 100.0) as u64);
    match (row.unreachable, row.left.latest(), row.state) {
        (true, ..) => (0, remaining),
        (_, Some(left), _) => (1, millis(left)),
        (_, None, Some(JobState::Running)) => (2, remaining),
        (_, None, Some(JobState::Queued)) => (3, remaining),
        (_, None, Some(_)) => (4, remaining),
        (_, None, None) => (5, remaining),
    }
}

/// The number of jobs by state: `20 running, 5 queued, 3 completed`.
pub(super) fn counts<'a>(rows: impl Iterator<Item = &'a JobRow>) -> String {
    const ORDER: [&str; 16] = [
        "unreachable",
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

/// The number of jobs without a bar, and the elapsed time if there is room.
fn last_line(
    rows: &[JobRow],
    shown: &[&JobRow],
    elapsed: Duration,
    style: Style,
    room: usize,
) -> String {
    let ellipsis = style.ellipsis();
    let dot = if style.unicode { "·" } else { "-" };
    let hidden = rows.len() - shown.len();
    let is_shown = |row: &JobRow| shown.iter().any(|other| std::ptr::eq(*other, row));
    let counts = counts(rows.iter().filter(|row| !is_shown(row)));
    let line = match (hidden, shown.len()) {
        (0, shown) => format!("{shown} jobs"),
        (hidden, 0) => format!("{hidden} jobs: {counts}"),
        (hidden, _) => format!("{ellipsis} and {hidden} more: {counts}"),
    };
    let timed = format!("{line} {dot} {}", span_in_seconds(millis(elapsed)));
    if timed.width() <= room {
        timed
    } else {
        cut_to_width(&line, room, ellipsis)
    }
}

/// The width of a column with the names of these jobs.
pub(super) fn name_width(rows: &[&JobRow]) -> usize {
    let names = rows.iter().map(|row| row.job.to_string().len());
    names.max().unwrap_or(0).max(NAME)
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
        let percent = row.percent().map_or_else(String::new, |p| format!("{p}%"));
        let _ = write!(out, "{percent:>PERCENT$}");
        if self.left > 0 {
            let left = self.left(row.left).unwrap_or_default();
            let _ = write!(out, "  {left:<width$}", width = self.left);
        }
        if self.next > 0 {
            let next = row
                .next_poll
                .map_or_else(String::new, |next| self.next(next));
            let _ = write!(out, "  {next:<width$}", width = self.next);
        }
        cut_to_width(out.trim_end(), self.room, style.ellipsis())
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

/// A duration in at most five columns: `45s`, `9m59s`, `59m`, `9h59m`, `23h`, `9d23h`, `99d`.
fn short(span: Duration) -> String {
    let text = span_in_seconds(millis(span));
    match text.split_once(' ') {
        Some((first, second)) if first.len() < 3 => format!("{first}{second}"),
        Some((first, _)) => first.to_owned(),
        None => text,
    }
}

/// The text, cut to `room` columns with `mark` at its end.
pub(crate) fn cut_to_width(text: &str, room: usize, mark: &str) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let fits = prefix_of_width(text, room.saturating_sub(mark.width()));
    let cut = text.get(..fits).unwrap_or_default();
    // On a screen too narrow for the mark, an empty line is better than one that wraps.
    let mark = if mark.width() <= room { mark } else { "" };
    format!("{cut}{mark}")
}

/// The number of bytes that fit into `room` columns.
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
