//! The lines of text, json and progress for every event type.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::samples::{HOSTILE, MODERN, every_event, failure, forty, handful};
use crate::report::job_row::NAME;
use crate::report::sanitize::{is_harmful, json_line};
use crate::report::{progress, text};

fn all(line: impl Fn(&forgewatch_core::event::Event) -> Option<String>) -> String {
    let lines: Vec<String> = every_event().iter().filter_map(line).collect();
    lines.join("\n")
}

#[test]
fn text_has_a_line_for_every_event() {
    assert_snapshot!(all(|event| Some(text::event(event, NAME, false))));
}

#[test]
fn only_outcomes_are_colored() {
    let colored = all(|event| Some(text::event(event, NAME, true)));
    assert_snapshot!(colored.replace('\x1b', "ESC"));
}

#[test]
fn json_has_one_object_per_line_for_every_event() {
    assert_snapshot!(all(|event| Some(json_line(&event.record()))));
}

#[test]
fn progress_has_a_final_line_for_every_outcome_that_fits_60_columns() {
    let lines = all(|event| progress::event(event, 60, NAME, MODERN));
    assert!(lines.lines().all(|line| line.width() < 60), "{lines}");
    assert_snapshot!(lines);
}

#[test]
fn a_continuation_is_never_a_single_detail_nor_begins_within_one() {
    for width in 41..=120 {
        for event in every_event() {
            let lines = progress::event(&event, width, NAME, MODERN).unwrap_or_default();
            for line in lines.lines().skip(1) {
                assert!(line.width() < width, "{width}: {lines}");
                let rest = line.trim_start_matches([' ', '|']);
                assert_ne!(rest, "7 requests", "{width}: {lines}");
                let (open, closed) = (rest.matches('(').count(), rest.matches(')').count());
                let is_error = event.kind.level() == "ERROR";
                assert!(open == closed || is_error, "{width}: {lines}");
            }
        }
    }
}

#[test]
fn a_heartbeat_names_the_most_important_jobs_and_counts_the_others() {
    assert_snapshot!(
        [
            text::heartbeat(&handful(), 1_767_323_045_678),
            text::heartbeat(&forty(), 1_767_323_045_678),
            text::heartbeat(&handful()[..1], 1_767_323_045_678),
            text::heartbeat(&[], 1_767_323_045_678),
        ]
        .join("\n")
    );
}

#[test]
fn a_timeout_lists_every_active_job() {
    assert_snapshot!(text::deadline(&handful(), 1_767_323_045_678).join("\n"));
}

#[test]
fn untrusted_text_neither_begins_a_line_nor_controls_anything() {
    let event = failure(&format!("{HOSTILE}{}", "::x ".repeat(5_000)));
    for lines in [
        text::event(&event, NAME, false),
        json_line(&event.record()),
        progress::event(&event, 60, NAME, MODERN).unwrap(),
        progress::event(&event, 200, NAME, MODERN).unwrap(),
    ] {
        for line in lines.lines() {
            assert!(!line.chars().any(is_harmful), "{line:?}");
            assert!(!line.trim_start().starts_with("::"), "{line:?}");
            assert!(!line.trim_start().starts_with('<'), "{line:?}");
            assert!(
                !line.contains("##[") && !line.contains("##teamcity["),
                "{line:?}"
            );
        }
    }
}
