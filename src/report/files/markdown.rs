//! The report as Markdown: a table of the jobs.

use std::fmt::Write;

use crate::report::results::{BuildResult, JobResult, RunEnd, RunResults};
use crate::report::sanitize::{LIMIT, sanitized};
use forgewatch_core::job::JobRef;
use forgewatch_core::time::{millis, span};

/// The table in at most about `limit` bytes: problems first, then a line with the number of rows left out.
pub(super) fn table(results: &RunResults, end: &RunEnd, limit: usize) -> String {
    let mut out = format!(
        "### forgewatch: {}\n\n| job | outcome | time | error |\n|---|---|---|---|\n",
        end.message
    );
    let mut jobs: Vec<(&JobRef, &JobResult)> = results.jobs.iter().collect();
    jobs.sort_by_key(|(_, result)| results.build_result(result) == BuildResult::Passed);
    for (at, (job, result)) in jobs.iter().enumerate() {
        let row = row(**job, result);
        if out.len() + row.len() > limit {
            let _ = writeln!(out, "\n… and {} more", jobs.len() - at);
            break;
        }
        out.push_str(&row);
    }
    out
}

fn row(job: JobRef, result: &JobResult) -> String {
    let time = result.elapsed().map(|elapsed| span(millis(elapsed)));
    let error = result.error().map(|error| code(&error));
    format!(
        "| {job} | {} | {} | {} |\n",
        result.word(),
        time.unwrap_or_default(),
        error.unwrap_or_default()
    )
}

/// The text as a code span in a cell, where Markdown, HTML, links and mentions mean nothing. Only `|` has a meaning there,
/// and backticks, which the span's own outnumber.
fn code(text: &str) -> String {
    // A backslash right before the `|` would escape the escape.
    let text = sanitized(text, LIMIT)
        .replace("\\|", "\\ |")
        .replace('|', "\\|");
    if text.is_empty() {
        return text;
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    format!("{fence} {text} {fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_has_more_backticks_than_its_text_and_no_bare_pipe() {
        for (text, expected) in [
            ("disk full", "` disk full `"),
            ("a|b", "` a\\|b `"),
            ("a\\|b", "` a\\ \\|b `"),
            ("`` ` x", "``` `` ` x ```"),
            ("<b>@all</b>\nhttps://x", "` <b>@all</b>\\nhttps://x `"),
            (" ", ""),
        ] {
            assert_eq!(code(text), expected);
        }
    }

    #[test]
    fn a_table_with_a_limit_has_problems_first_and_says_how_many_rows_are_missing() {
        let mut results = RunResults::new(BuildResult::Skipped);
        for n in 1..=9 {
            let outcome = if n == 9 { "failed" } else { "completed" };
            let job = format!("diff/{n}").parse().unwrap();
            results.end(
                job,
                forgewatch_core::job::Outcome::from_name(outcome).unwrap(),
                None,
            );
        }
        let end = RunEnd {
            outcome: "failed",
            exit_status: 1,
            began_ms: 0,
            elapsed: std::time::Duration::ZERO,
            message: "m".to_owned(),
        };
        let text = table(&results, &end, 130);
        let rows: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "| diff/9 | failed |  |  |",
                "| diff/1 | completed |  |  |",
                "",
                "… and 7 more"
            ]
        );
    }
}
