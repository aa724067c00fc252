//! The list of jobs: those that run by name, then those that ended, newest first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{DeliveryCells, RenderError, inert, render};
use crate::control::protocol::{DeliverySummary, JobSummary};
use forgewatch_core::event::{has_labels, labels_text};
use forgewatch_core::job::JobRef;
use forgewatch_core::time::{rfc3339_ms, span_in_seconds};
use forgewatch_core::user_input::parse_label;

/// Most rows of the table: beyond it, the filter finds a job sooner than the eye.
const MAX_ROWS: usize = 1_000;

/// Which jobs are shown, from the query of the URL. Empty parts pass all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::http_api) struct Filter {
    /// Part of the job's name, a label or the error.
    pub(in crate::http_api) text: String,
    /// `NAME=VALUE`.
    pub(in crate::http_api) label: String,
    /// A state or an outcome.
    pub(in crate::http_api) state: String,
    /// What is wrong with it.
    pub(in crate::http_api) error: String,
    #[serde(skip)]
    labels: BTreeMap<String, String>,
}

impl Filter {
    /// By the parameters `q`, `label` and `state`. A label that is invalid passes no job, and is an error in words.
    pub(in crate::http_api) fn new(text: &str, label: &str, state: &str) -> Self {
        let mut filter = Self {
            text: inert(text.trim()).to_lowercase(),
            label: inert(label.trim()),
            state: inert(state),
            ..Self::default()
        };
        if !filter.label.is_empty() {
            match parse_label(&filter.label) {
                Ok((name, value)) => drop(filter.labels.insert(name, value)),
                Err(error) => filter.error = error,
            }
        }
        filter
    }

    fn passes(&self, job: &JobSummary) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(&self.text);
        self.error.is_empty()
            && (self.state.is_empty() || self.state == job.state_or_outcome())
            && has_labels(&job.labels, &self.labels)
            && (self.text.is_empty()
                || contains(&job.job.to_string())
                || contains(&labels_text(&job.labels))
                || job.error_message.as_deref().is_some_and(contains))
    }
}

/// Whether the daemon can do its work, in a sentence.
#[derive(Debug, Default)]
pub(in crate::http_api) struct DaemonHealth {
    pub(in crate::http_api) text: String,
    pub(in crate::http_api) is_bad: bool,
}

/// What the page shows.
#[derive(Debug, Default)]
pub(in crate::http_api) struct ListPage {
    pub(in crate::http_api) instance: String,
    /// All jobs that run.
    pub(in crate::http_api) running: Vec<JobSummary>,
    /// The jobs that ended last, newest first.
    pub(in crate::http_api) ended: Vec<JobSummary>,
    /// The errors of the jobs that failed, by job.
    pub(in crate::http_api) failures: BTreeMap<JobRef, String>,
    /// Deliveries that are not finished, and how many more there are.
    pub(in crate::http_api) deliveries: Vec<DeliverySummary>,
    pub(in crate::http_api) omitted: usize,
    pub(in crate::http_api) health: DaemonHealth,
    pub(in crate::http_api) now_ms: i64,
}

impl ListPage {
    /// The whole page.
    ///
    /// # Errors
    /// The template is wrong.
    pub(in crate::http_api) fn render(mut self, filter: &Filter) -> Result<String, RenderError> {
        self.running.sort_unstable_by_key(|job| job.job);
        let totals = totals(&self.running, &self.ended);
        let states: BTreeSet<String> = (self.jobs())
            .map(|job| inert(job.state_or_outcome()))
            .collect();
        let passing: Vec<&JobSummary> = self.jobs().filter(|job| filter.passes(job)).collect();
        let shown = &passing[..passing.len().min(MAX_ROWS)];
        let failures = (self.ended.iter())
            .filter_map(|job| Failure::of(job, self.failures.get(&job.job)?))
            .collect();
        let deliveries = self.deliveries.iter();
        render(&ListVariables {
            rows_only: false,
            job: None,
            instance: inert(&self.instance),
            version: env!("CARGO_PKG_VERSION"),
            health: inert(&self.health.text),
            health_is_bad: self.health.is_bad,
            totals,
            caption: caption(shown.len(), passing.len()),
            states,
            filter,
            jobs: shown.iter().map(|job| JobCells::of(job)).collect(),
            failures,
            deliveries: deliveries
                .map(|delivery| DeliveryCells::of(delivery, self.now_ms))
                .collect(),
            omitted: self.omitted,
        })
    }

    fn jobs(&self) -> impl Iterator<Item = &JobSummary> {
        self.running.iter().chain(&self.ended)
    }
}

/// Only the rows of these jobs that pass the filter.
///
/// # Errors
/// The template is wrong.
pub(in crate::http_api) fn rows(
    jobs: &[JobSummary],
    filter: &Filter,
) -> Result<String, RenderError> {
    #[derive(Serialize)]
    struct ListRows {
        rows_only: bool,
        jobs: Vec<JobCells>,
    }
    let jobs = jobs.iter().filter(|job| filter.passes(job));
    render(&ListRows {
        rows_only: true,
        jobs: jobs.map(JobCells::of).collect(),
    })
}

/// The variables of the template.
#[derive(Serialize)]
struct ListVariables<'a> {
    rows_only: bool,
    /// The page of one job has it.
    job: Option<()>,
    instance: String,
    version: &'static str,
    health: String,
    health_is_bad: bool,
    totals: String,
    caption: String,
    states: BTreeSet<String>,
    filter: &'a Filter,
    jobs: Vec<JobCells>,
    failures: Vec<Failure>,
    deliveries: Vec<DeliveryCells>,
    omitted: usize,
}

/// A row of the table, and the head of the page of one job.
#[derive(Serialize)]
pub(super) struct JobCells {
    kind: &'static str,
    id: u64,
    pub(super) class: &'static str,
    pub(super) state: String,
    /// As the server reported it, and as it probably is by now; whole percent.
    pub(super) percent: Option<u8>,
    pub(super) estimated: Option<u8>,
    pub(super) left: String,
    pub(super) next: String,
    pub(super) labels: String,
}

impl JobCells {
    pub(super) fn of(job: &JobSummary) -> Self {
        let next = |ms| match ms {
            0 => "now".to_owned(),
            _ => span_in_seconds(ms),
        };
        Self {
            kind: job.job.kind.as_str(),
            id: job.job.id.get(),
            class: class(job),
            state: inert(job.state_or_outcome()),
            percent: job.progress,
            estimated: job.estimated_progress.or(job.progress),
            left: job.left.text().unwrap_or_default(),
            next: job.next_poll_ms.map_or_else(String::new, next),
            labels: labels_text(&job.labels),
        }
    }
}

/// The name of the row's style.
fn class(job: &JobSummary) -> &'static str {
    match job.outcome.as_deref() {
        Some("completed") => "completed",
        Some("failed") => "failed",
        Some(_) => "warn",
        None if job.unreachable || job.stalled => "warn",
        None => "",
    }
}

#[derive(Serialize)]
struct Failure {
    name: String,
    time: String,
    error: String,
}

impl Failure {
    fn of(job: &JobSummary, error: &str) -> Option<Self> {
        Some(Self {
            name: job.job.to_string(),
            time: rfc3339_ms(job.ended_at_ms?),
            error: inert(error),
        })
    }
}

/// `12 jobs: 9 running, 3 queued. Ended last: 2 failed, 40 completed.`
fn totals(running: &[JobSummary], ended: &[JobSummary]) -> String {
    let mut text = format!("{} {}", running.len(), plural(running.len()));
    let counted = |jobs: &[JobSummary]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for job in jobs {
            *counts.entry(inert(job.state_or_outcome())).or_default() += 1;
        }
        let counts = counts.into_iter();
        let counts: Vec<String> = counts.map(|(state, n)| format!("{n} {state}")).collect();
        counts.join(", ")
    };
    if !running.is_empty() {
        text.push_str(": ");
        text.push_str(&counted(running));
    }
    if !ended.is_empty() {
        text.push_str(". Ended last: ");
        text.push_str(&counted(ended));
    }
    text + "."
}

fn caption(shown: usize, passing: usize) -> String {
    if shown < passing {
        return format!("The first {shown} of {passing} jobs; filter to see others");
    }
    format!("{shown} {}", plural(shown))
}

fn plural(jobs: usize) -> &'static str {
    if jobs == 1 { "job" } else { "jobs" }
}
