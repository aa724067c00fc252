//! A line that `wait` is to report.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::report::Report;
use forgewatch_core::event::Event;

/// A line that the report has not accepted yet.
pub(super) enum Line {
    /// Of the daemon: printed in `json` as it came.
    Recorded(Box<RawValue>, Box<Event>),
    Own(Box<Event>),
}

impl Line {
    pub(super) async fn report(&self, report: &mut Report) {
        match self {
            Self::Recorded(record, event) => report.recorded(record, event).await,
            Self::Own(event) => report.event(event).await,
        }
    }
}

/// Reports the first of the lines. Cancel-safe.
pub(super) async fn report_first(report: &mut Report, lines: &VecDeque<Line>) {
    if let Some(line) = lines.front() {
        line.report(report).await;
    }
}
