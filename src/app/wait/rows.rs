//! The status of the jobs as bars and heartbeats show it: from the daemon's list, kept current by its events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::control::protocol::JobSummary;
use crate::report::JobRow;
use forgewatch_core::event::{Event, EventType, WatchId, labels_text};
use forgewatch_core::job::{JobRef, JobState, Outcome};
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::wait::ListedJob;

#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<JobRef, ReceivedRow>);

#[derive(Debug)]
struct ReceivedRow {
    row: JobRow,
    /// When the daemon sent its times.
    at: Instant,
}

impl ReceivedRow {
    fn new(row: JobRow) -> Self {
        let at = Instant::now();
        Self { row, at }
    }

    /// The row as it is now.
    fn current(&self) -> JobRow {
        let passed = match self.row.outcome {
            Some(_) => Duration::ZERO,
            None => self.at.elapsed(),
        };
        JobRow {
            left: self.row.left.after(passed),
            since_status: self.row.since_status + passed,
            next_poll: (self.row.next_poll).map(|until| until.saturating_sub(passed)),
            elapsed: self.row.elapsed + passed,
            ..self.row.clone()
        }
    }
}

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
            self.0.insert(row.job, ReceivedRow::new(row));
        }
        listed
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        let Some(job) = event.job else {
            return;
        };
        let fields = &event.fields;
        self.change(job, |row| {
            row.state = fields.state.or(row.state);
            row.progress = fields.progress.map(f32::from).or(row.progress);
            row.elapsed = fields.elapsed_ms.map_or(row.elapsed, Duration::from_millis);
            if fields.state.is_some() {
                row.since_status = Duration::ZERO;
            }
            row.next_poll = (fields.next_poll_ms)
                .map(Duration::from_millis)
                .or(row.next_poll);
            let left = fields.left;
            if left != TimeLeft::default() {
                row.left = left;
            }
            match event.kind {
                EventType::Stalled => row.stalled = true,
                EventType::Resumed => row.stalled = false,
                EventType::Unreachable => row.unreachable = true,
                EventType::Reachable => row.unreachable = false,
                EventType::Ended(outcome) => row.outcome = Some(outcome),
                _ => {}
            }
        });
    }

    /// A job has ended without an event.
    pub(super) fn end(&mut self, job: JobRef, outcome: Outcome) {
        self.change(job, |row| row.outcome = Some(outcome));
    }

    pub(super) fn all(&self) -> Vec<JobRow> {
        self.0.values().map(ReceivedRow::current).collect()
    }

    fn change(&mut self, job: JobRef, change: impl FnOnce(&mut JobRow)) {
        let current = self.0.get(&job).map(ReceivedRow::current);
        let mut row = current.unwrap_or_else(|| JobRow::starting(job));
        change(&mut row);
        self.0.insert(job, ReceivedRow::new(row));
    }
}

fn row(summary: &JobSummary, wall_ms: i64) -> JobRow {
    let since = |at: i64| u64::try_from(wall_ms.saturating_sub(at)).unwrap_or(0);
    let name = |name: &String| JobState::from_name(name).unwrap_or(JobState::Unknown(0));
    JobRow {
        state: summary.state.as_ref().map(name),
        progress: summary.progress.map(f32::from),
        left: summary.left,
        labels: labels_text(&summary.labels),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_down_from_what_the_daemon_said_until_its_job_ends() {
        let left = TimeLeft {
            eta_seconds: Some(100),
            ..TimeLeft::default()
        };
        let received = |outcome| ReceivedRow {
            row: JobRow {
                left,
                next_poll: Some(Duration::from_secs(20)),
                outcome,
                ..JobRow::starting("diff/1".parse().unwrap())
            },
            at: Instant::now().checked_sub(Duration::from_secs(30)).unwrap(),
        };
        let running = received(None).current();
        assert_eq!(running.left.eta_seconds, Some(70));
        assert_eq!(running.next_poll, Some(Duration::ZERO));
        assert!(running.since_status >= Duration::from_secs(30));
        let ended = received(Some(Outcome::Completed)).current();
        assert_eq!(ended.left, left);
    }
}
