//! Tells events without ever waiting for the reader: what it does not take is counted, and told of once it reads again.

use futures_util::FutureExt;
use tokio::task::unconstrained;

use crate::core::event::{Event, EventType, Lag};
use crate::report::Report;

/// A report that drops rather than waits.
pub(super) struct Telling {
    pub(super) report: Report,
    /// What was dropped since the reader last took something.
    lag: Option<Lag>,
    /// A `watch.lagged` is on its way to the reader.
    confessing: bool,
}

impl Telling {
    pub(super) fn new(report: Report) -> Self {
        Self {
            report,
            lag: None,
            confessing: false,
        }
    }

    /// Tells them, as far as the reader goes along.
    pub(super) fn tell(&mut self, events: &[Event]) {
        for event in events {
            let is_confession = event.kind == EventType::WatchLagged;
            self.confessing &= !is_confession;
            // Unconstrained: the queue is full or not, and the runtime's sense of fairness does not come into it.
            let told = unconstrained(self.report.event(event)).now_or_never();
            if told.is_none() {
                self.drop_one(event);
            }
        }
    }

    /// Whether lines are missing that nobody was told of.
    pub(super) fn owes(&self) -> bool {
        self.lag.is_some() && !self.confessing
    }

    /// What is to be announced as `watch.lagged`, once the reader goes along again.
    pub(super) fn confession(&mut self) -> Option<Lag> {
        if !self.owes() || !self.report.has_room() {
            return None;
        }
        self.confessing = true;
        self.lag.take()
    }

    /// The same where nothing more is told after it but the end: it has to be said, whether anybody reads or not.
    pub(super) fn last_confession(&mut self) -> Option<Lag> {
        self.lag.take()
    }

    /// Tells the last events of all, and waits until everything is written: as long as the reader takes.
    pub(super) async fn end(mut self, last: &[Event]) {
        for event in last {
            self.report.event(event).await;
        }
        self.report.close().await;
    }

    fn drop_one(&mut self, event: &Event) {
        // A confession that was dropped confesses in the next one what it would have.
        let (lines, first, last) = match event.facts.lag.as_deref() {
            Some(lag) => (
                lag.lines_dropped,
                lag.first_dropped.clone(),
                lag.last_dropped.clone(),
            ),
            None => (1, event.id.to_string(), event.id.to_string()),
        };
        let lag = self.lag.get_or_insert_with(|| Lag {
            lines_dropped: 0,
            first_dropped: first,
            last_dropped: String::new(),
        });
        lag.lines_dropped += lines;
        lag.last_dropped = last;
    }
}
