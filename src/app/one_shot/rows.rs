//! The rows of the bars and of the heartbeat, one per job.

use std::time::Duration;

use futures_util::FutureExt;

use super::OneShotRun;
use crate::report::JobRow;
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::{JobRef, Outcome};

impl OneShotRun {
    pub(super) fn show(&mut self) {
        if self.report.has_bars() {
            let rows = self.rows();
            self.report
                .update_bars(&rows, Duration::from_millis(self.elapsed_ms()));
        }
    }

    /// Reports a heartbeat, unless the reader is behind.
    pub(super) fn heartbeat(&mut self) {
        let (rows, now) = (self.rows(), self.engine.now());
        let _ = self.report.heartbeat(&rows, now.wall_ms).now_or_never();
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        self.engine.now().up_ms.saturating_sub(self.began.up_ms)
    }

    pub(super) fn rows(&self) -> Vec<JobRow> {
        let now = self.engine.now();
        let live = self.engine.watches().map(|watch| JobRow::of(watch, now));
        self.ended.iter().cloned().chain(live).collect()
    }
}

pub(super) fn ended(event: &Event, job: JobRef, outcome: Outcome) -> JobRow {
    JobRow {
        job,
        state: event.fields.state,
        progress: event.fields.progress.map(f32::from),
        left: None,
        next_poll: None,
        outcome: Some(outcome),
        unreachable: false,
        elapsed: Duration::from_millis(event.fields.elapsed_ms.unwrap_or(0)),
    }
}

/// The row of a job that ended in an earlier run.
pub(super) fn ended_before(job: JobRef, outcome: Outcome) -> JobRow {
    JobRow {
        job,
        state: None,
        progress: None,
        left: None,
        next_poll: None,
        outcome: Some(outcome),
        unreachable: false,
        elapsed: Duration::ZERO,
    }
}

/// Logs the jobs that ended in an earlier run, because this run emits no event for them.
pub(super) fn log_ended_before(ended: &[JobRow]) {
    for row in ended {
        let name = row
            .outcome
            .map_or("job.unknown", |o| EventType::Ended(o).as_str());
        let outcome = name.strip_prefix("job.").unwrap_or(name);
        tracing::warn!(
            target: "forgewatch::watch",
            job = %row.job,
            outcome,
            "{} ended in an earlier run: {outcome}",
            row.job
        );
    }
}
