//! Tells events and shows the bars without ever waiting for the reader: events that it does not take are counted, and
//! told of once it reads again.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::unconstrained;

use crate::engine::{Clock, SystemClock};
use crate::report::{Report, Row};
use forgewatch_core::event::{Event, EventType, Lag};
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Watch;

/// A report that drops rather than waits.
pub(super) struct EventOutput {
    pub(super) report: Report,
    clock: SystemClock,
    began: Moment,
    /// What was dropped since the reader last took something.
    lag: Option<Lag>,
    /// A `watch.lagged` is on its way to the reader.
    confessing: bool,
}

impl EventOutput {
    /// `clock` is the one that the watches go by.
    pub(super) fn new(report: Report, clock: SystemClock) -> Self {
        Self {
            report,
            clock,
            began: clock.now(),
            lag: None,
            confessing: false,
        }
    }

    /// Shows where these jobs stand, where bars are wanted at all.
    pub(super) fn show<'a>(&mut self, watches: impl Iterator<Item = &'a Watch>) {
        if self.report.wants_rows() {
            let now = self.clock.now();
            let rows: Vec<Row> = watches.map(|watch| Row::of(watch, now)).collect();
            let elapsed = now.up_ms.saturating_sub(self.began.up_ms);
            self.report.rows(&rows, Duration::from_millis(elapsed));
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
