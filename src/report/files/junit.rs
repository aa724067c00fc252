//! The report as JUnit XML: one test case per job.

use std::time::Duration;

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::report::results::{BuildResult, JobResult, RunEnd, RunResults};
use crate::report::sanitize::is_harmful;
use forgewatch_core::job::{JobRef, Outcome};

const NAME: &str = "forgewatch";

pub fn junit(results: &RunResults, end: &RunEnd) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(NAME);
    suite.set_time(end.elapsed);
    if let Some(began) = DateTime::from_timestamp_millis(end.began_ms) {
        suite.set_timestamp(began.fixed_offset());
    }
    for (&job, result) in &results.jobs {
        let mut case = TestCase::new(
            job.to_string(),
            status(job, result, results.build_result(result)),
        );
        case.set_classname(format!("{NAME}.{}", job.kind.as_str()));
        case.set_time(result.elapsed().unwrap_or(Duration::ZERO));
        suite.add_test_case(case);
    }
    let mut report = Report::new(NAME);
    report.set_time(end.elapsed).add_test_suite(suite);
    // The schemas of the field do not allow this attribute here. Nothing before it depends on a job.
    let skipped = format!(" skipped=\"{}\"", report.skipped);
    Ok(report.to_string()?.replacen(&skipped, "", 1))
}

fn status(job: JobRef, result: &JobResult, build_result: BuildResult) -> TestCaseStatus {
    let mut status = match build_result {
        BuildResult::Passed => return TestCaseStatus::success(),
        BuildResult::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        BuildResult::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        BuildResult::Skipped => TestCaseStatus::skipped(),
    };
    let sentence = result.sentence(job);
    let error = result.error().map(|error| valid(&error));
    status.set_type(result.outcome.map_or("not_waited_for", Outcome::as_str));
    status.set_description(match &error {
        Some(error) => format!("{sentence}: {error}"),
        None => sentence.clone(),
    });
    status.set_message(error.unwrap_or(sentence));
    status
}

/// The text without characters that XML does not allow, or that viewers act on.
fn valid(text: &str) -> String {
    let is_valid = |&c: &char| match c {
        '\n' | '\t' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => !is_harmful(c),
    };
    text.chars().filter(is_valid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_everything_that_xml_allows() {
        assert_eq!(
            valid("a\0\x1b[2J\u{9b}\u{fffe}\u{ffff}\u{202e} <ü>\n\t\u{1f600}"),
            "a[2J <ü>\n\t\u{1f600}"
        );
    }
}
