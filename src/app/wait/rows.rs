//! The status of the jobs as bars and heartbeats show it: from the daemon's list, kept current by its events.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::protocol::JobSummary;
use crate::report::JobRow;
use forgewatch_core::event::{Event, EventType, WatchId};
use forgewatch_core::job::{JobRef, JobState, Outcome};
use forgewatch_core::wait::ListedJob;

#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<JobRef, JobRow>);

impl Rows {
    /// Takes the daemon's list at this wall time. Returns it as the rules of waiting read it.
    pub(super) fn on_list(&mut self, list: &[JobSummary], wall_ms: i64) -> Vec<ListedJob> {
        let mut listed = Vec::new();
        for summary in list {
            let row = row(summary, wall_ms);
            if let Ok(watch) = summary.watch.parse::<WatchId>() {
                listed.push(ListedJob {
                    job: row.job,
                    watch,
                    outcome: row.outcome,
                });
            }
            self.0.insert(row.job, row);
        }
        listed
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        let Some(job) = event.job else {
            return;
        };
        let row = self.0.entry(job).or_insert_with(|| JobRow::starting(job));
        let fields = &event.fields;
        row.state = fields.state.or(row.state);
        row.progress = fields.progress.map(f32::from).or(row.progress);
        row.elapsed = fields.elapsed_ms.map_or(row.elapsed, Duration::from_millis);
        match event.kind {
            EventType::Unreachable => row.unreachable = true,
            EventType::Reachable => row.unreachable = false,
            EventType::Ended(outcome) => row.outcome = Some(outcome),
            _ => {}
        }
    }

    /// A job has ended without an event.
    pub(super) fn end(&mut self, job: JobRef, outcome: Outcome) {
        let row = self.0.entry(job).or_insert_with(|| JobRow::starting(job));
        row.outcome = Some(outcome);
    }

    pub(super) fn all(&self) -> Vec<JobRow> {
        self.0.values().cloned().collect()
    }
}

fn row(summary: &JobSummary, wall_ms: i64) -> JobRow {
    let since = |at: i64| u64::try_from(wall_ms.saturating_sub(at)).unwrap_or(0);
    let name = |name: &String| JobState::from_name(name).unwrap_or(JobState::Unknown(0));
    JobRow {
        state: summary.state.as_ref().map(name),
        progress: summary.progress.map(f32::from),
        left: summary.remaining_ms.map(Duration::from_millis),
        next_poll: summary.next_poll_ms.map(Duration::from_millis),
        outcome: (summary.outcome.as_deref()).and_then(Outcome::from_name),
        unreachable: summary.unreachable,
        poll_error: (summary
            .error_message
            .as_ref()
            .zip(summary.error_kind.as_ref()))
        .map(|(message, kind)| format!("{message} ({kind})")),
        elapsed: Duration::from_millis(summary.started_at_ms.map_or(0, since)),
        ..JobRow::starting(summary.job)
    }
}
