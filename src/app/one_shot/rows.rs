//! What the screen shows of each job.

use std::time::Duration;

use futures_util::FutureExt;

use super::Run;
use crate::report::Row;
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::{JobRef, Outcome};

impl Run {
    pub(super) fn show(&mut self) {
        if self.report.wants_rows() {
            let rows = self.rows();
            self.report
                .rows(&rows, Duration::from_millis(self.elapsed_ms()));
        }
    }

    /// Says that it is still there. Where the reader is behind there is enough to read already.
    pub(super) fn heartbeat(&mut self) {
        let (rows, now) = (self.rows(), self.engine.now());
        let _ = self.report.heartbeat(&rows, now.wall_ms).now_or_never();
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        self.engine.now().up_ms.saturating_sub(self.began.up_ms)
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let now = self.engine.now();
        let live = self.engine.watches().map(|watch| Row::of(watch, now));
        self.ended.iter().cloned().chain(live).collect()
    }
}

/// How a job ended.
pub(super) fn ended(event: &Event, job: JobRef, outcome: Outcome) -> Row {
    Row {
        job,
        state: event.facts.state,
        progress: event.facts.progress.map(f32::from),
        left: None,
        next_poll: None,
        outcome: Some(outcome),
        unreachable: false,
        elapsed: Duration::from_millis(event.facts.elapsed_ms.unwrap_or(0)),
    }
}

/// How a job ended in an earlier run, of which nothing else is shown.
pub(super) fn ended_before(job: JobRef, outcome: Outcome) -> Row {
    Row {
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

/// Says of each of these that it ended in an earlier run, of which there is no event any more.
pub(super) fn tell_ended_before(ended: &[Row]) {
    for row in ended {
        let name = row
            .outcome
            .map_or("job.unknown", |o| EventType::Ended(o).as_str());
        let outcome = name.strip_prefix("job.").unwrap_or(name);
        tracing::warn!(job = %row.job, outcome, "{} had ended before this run: {outcome}", row.job);
    }
}
