//! The bars on screens of every size.

use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::samples::{MODERN, PLAIN, forty, handful};
use crate::report::bars::frame;
use crate::report::{Row, Style};
use forgewatch_core::job::Outcome;

fn show(rows: &[Row], width: usize, height: usize, style: Style) -> String {
    frame(rows, width, height, Duration::from_secs(182), style).join("\n")
}

#[test]
fn a_handful_of_jobs_on_60_80_and_200_columns() {
    let shown = [60, 80, 200].map(|width| show(&handful(), width, 24, MODERN));
    assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn without_utf8_the_bars_are_ascii() {
    let shown = show(&handful(), 80, 24, PLAIN);
    assert!(shown.is_ascii(), "{shown}");
    assert_snapshot!(shown);
}

#[test]
fn of_forty_jobs_on_a_small_screen_those_that_matter_and_a_count_of_the_rest() {
    assert_snapshot!(show(&forty(), 60, 10, MODERN));
}

#[test]
fn long_names_take_the_room_of_what_matters_less() {
    let mut rows = handful();
    rows[0].job = "update/18446744073709551615".parse().unwrap();
    let shown = [40, 60, 80].map(|width| show(&rows, width, 24, MODERN));
    assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn one_job_needs_no_count() {
    assert_snapshot!(show(&handful()[..1], 80, 24, MODERN));
}

#[test]
fn when_all_have_ended_no_bar_is_left() {
    let mut rows = handful();
    for row in &mut rows {
        row.outcome = Some(Outcome::Completed);
    }
    assert_eq!(show(&rows, 80, 24, MODERN), "");
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
        let lines = frame(&rows, width, height, Duration::from_secs(182), style);
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
        let lines = frame(&rows, 200, height, Duration::ZERO, MODERN);
        if let Some((last, bars)) = lines.split_last() {
            let numbers: Vec<usize> = last
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|n| n.parse().ok())
                .collect();
            let counted = if last.starts_with('…') { numbers[0] } else { numbers[0] - bars.len() };
            prop_assert_eq!(bars.len() + counted, jobs, "{}", last);
        }
    }
}
