//! The bars on screens of several sizes.

use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::samples::{MODERN, PLAIN, forty, handful, row};
use crate::report::bars::render_bars;
use crate::report::{JobRow, Style};
use forgewatch_core::job::{JobState, Outcome};

fn render(rows: &[JobRow], width: usize, height: usize, style: Style) -> String {
    render_bars(rows, width, height, Duration::from_secs(182), style).join("\n")
}

#[test]
fn a_handful_of_jobs_on_60_80_and_200_columns() {
    let shown = [60, 80, 200].map(|width| render(&handful(), width, 24, MODERN));
    assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn without_utf8_the_bars_are_ascii() {
    let shown = render(&handful(), 80, 24, PLAIN);
    assert!(shown.is_ascii(), "{shown}");
    assert_snapshot!(shown);
}

#[test]
fn a_small_screen_shows_the_most_important_jobs_and_counts_the_others() {
    assert_snapshot!(render(&forty(), 60, 10, MODERN));
}

#[test]
fn long_names_take_the_room_of_less_important_columns() {
    let mut rows = handful();
    rows[0].job = "update/18446744073709551615".parse().unwrap();
    let shown = [40, 60, 80].map(|width| render(&rows, width, 24, MODERN));
    assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn one_job_needs_no_count() {
    assert_snapshot!(render(&handful()[..1], 80, 24, MODERN));
}

/// Two jobs a while after their last status, one of them stalled; both have an estimate.
fn estimated() -> Vec<JobRow> {
    let polled = row("diff/1234", JobState::Running, 40.0, 100);
    let stalled = JobRow {
        stalled: true,
        ..row("update/77", JobState::Running, 40.0, 300)
    };
    [polled, stalled]
        .map(|row| JobRow {
            since_status: Duration::from_secs(50),
            labels: "build=8812".to_owned(),
            ..row
        })
        .into()
}

#[test]
fn the_part_of_a_bar_that_is_estimated_is_lighter_and_the_totals_say_how_long_it_takes() {
    let shown = [80, 200].map(|width| render(&estimated(), width, 24, MODERN));
    assert_snapshot!(shown.join("\n\n"));
    let ascii = render(&estimated(), 80, 24, PLAIN);
    assert!(ascii.contains("#----"), "{ascii}");
}

#[test]
fn trouble_is_yellow_and_secondary_text_is_dim() {
    let style = Style {
        color: true,
        ..MODERN
    };
    let shown = render(&estimated(), 200, 24, style);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].contains("\u{1b}[33mstalled\u{1b}[0m"), "{lines:?}");
    assert!(!lines[0].contains("\u{1b}[33m"), "{lines:?}");
    for dim in ["next poll in 10s", "build=8812"] {
        let painted = format!("{dim}\u{1b}[0m");
        let (before, _) = lines[0].split_once(&painted).unwrap();
        let (_, style) = before.rsplit_once('\u{1b}').unwrap();
        assert!(style.starts_with("[2m"), "{dim}: {lines:?}");
    }
}

#[test]
fn there_are_no_bars_after_the_last_end() {
    let mut rows = handful();
    for row in &mut rows {
        row.outcome = Some(Outcome::Completed);
    }
    assert_eq!(render(&rows, 80, 24, MODERN), "");
}

proptest! {
    #[test]
    fn no_line_reaches_the_last_column_and_the_screen_is_never_full(
        jobs in 0usize..46, width in 0usize..250, height in 0usize..60, unicode: bool
    ) {
        let mut rows = forty();
        rows.extend(handful());
        rows.truncate(jobs);
        let style = Style { unicode, ..MODERN };
        let lines = render_bars(&rows, width, height, Duration::from_secs(182), style);
        prop_assert!(lines.len() <= height.saturating_sub(2).max(1));
        for line in &lines {
            prop_assert!(line.width() < width.max(1), "{line:?} at {width}");
        }
    }

    #[test]
    fn every_job_has_a_bar_or_is_counted(jobs in 2usize..46, height in 3usize..60) {
        let mut rows = forty();
        rows.extend(handful());
        rows.truncate(jobs);
        let lines = render_bars(&rows, 200, height, Duration::ZERO, MODERN);
        if let Some((last, bars)) = lines.split_last() {
            let number_before = |word: &str| {
                let words: Vec<&str> = last.split_whitespace().collect();
                let at = words.iter().position(|w| *w == word);
                at.map_or(0, |at| words[at - 1].split('/').next().unwrap().parse().unwrap())
            };
            let counted: usize = number_before("done") + number_before("more:");
            prop_assert_eq!(bars.len() + counted, jobs, "{}", last);
        }
    }
}
