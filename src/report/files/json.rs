//! The report as JSON: the fields of events, one object per job.

use serde::Serialize;

use crate::report::results::{RunEnd, RunResults};
use crate::report::sanitize::json_line;
use forgewatch_core::event::{Event, LogRecord};
use forgewatch_core::job::{JobKind, JobRef, Outcome};

#[derive(Serialize)]
struct JsonReport<'a> {
    version: &'static str,
    message: &'a str,
    outcome: &'static str,
    exit_status: u8,
    elapsed_ms: u64,
    jobs: Vec<JsonJob<'a>>,
}

/// A job and its last event. Without an event it is named by the first three fields.
#[derive(Serialize)]
struct JsonJob<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_kind: Option<JobKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(flatten)]
    last: Option<LogRecord<'a>>,
}

pub fn json(results: &RunResults, end: &RunEnd) -> String {
    let jobs = results.jobs.iter().map(|(&job, result)| {
        let unnamed = result.last.is_none().then_some(job);
        JsonJob {
            job: unnamed,
            job_kind: unnamed.map(|job| job.kind),
            job_id: unnamed.map(|job| job.id.get()),
            outcome: result.outcome.map(Outcome::as_str),
            last: result.last.as_ref().map(Event::record),
        }
    });
    let report = JsonReport {
        version: env!("CARGO_PKG_VERSION"),
        message: &end.message,
        outcome: end.outcome,
        exit_status: end.exit_status,
        elapsed_ms: forgewatch_core::time::millis(end.elapsed),
        jobs: jobs.collect(),
    };
    json_line(&report) + "\n"
}
