//! The files of GitHub Actions: the summary of a step, and its outputs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::markdown;
use crate::report::results::{RunEnd, RunResults};
use crate::report::sanitize::json_line;
use forgewatch_core::job::Outcome;

/// The variable with the file of the summary.
pub const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";
/// The variable with the file of the outputs.
pub const GITHUB_OUTPUT: &str = "GITHUB_OUTPUT";

/// GitHub rejects the summary of a step beyond 1 MiB.
const MAX_SUMMARY: usize = 900 * 1024;

pub fn append_summary(path: &Path, results: &RunResults, end: &RunEnd) -> io::Result<()> {
    append(path, &markdown::table(results, end, MAX_SUMMARY))
}

/// Appends `outcome`, and `jobs`: a JSON object of outcomes by job. Both consist of forgewatch's own words: workflows paste
/// outputs into scripts, where text of the server could become a command.
pub fn append_output(path: &Path, results: &RunResults, end: &RunEnd) -> io::Result<()> {
    let outcome = |outcome: Option<Outcome>| outcome.map_or("not_waited_for", Outcome::as_str);
    let jobs = results.jobs.iter();
    let jobs: BTreeMap<String, &str> = jobs
        .map(|(job, result)| (job.to_string(), outcome(result.outcome)))
        .collect();
    let jobs = json_line(&jobs);
    append(path, &format!("outcome={}\njobs={jobs}\n", end.outcome))
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}
