//! Reports events and bars without waiting for the reader: events that it does not accept are dropped, counted and
//! announced by `watch.lagged` once it reads again.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::unconstrained;

use super::load_config::SqliteDaemon;
use crate::engine::{Clock, SystemClock};
use crate::report::{JobRow, Report};
use forgewatch_core::event::{Event, EventFields, EventType, Lag};
use forgewatch_core::time::Moment;
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::watch::Watch;

pub(super) struct EventOutput {
    pub(super) report: Report,
    clock: SystemClock,
    began: Moment,
    /// The lines dropped since the last `watch.lagged`.
    lag: Option<Lag>,
    /// A `watch.lagged` was requested and has not been reported yet.
    announcing: bool,
}

impl EventOutput {
    pub(super) fn new(report: Report, clock: SystemClock) -> Self {
        Self {
            report,
            clock,
            began: clock.now(),
            lag: None,
            announcing: false,
        }
    }

    pub(super) fn show<'a>(&mut self, watches: impl Iterator<Item = (&'a Watch, TimeLeft)>) {
        if self.report.has_bars() {
            let now = self.clock.now();
            let rows = watches.map(|(watch, left)| JobRow::of(watch, left, now));
            let rows: Vec<JobRow> = rows.collect();
            let elapsed = now.up_ms.saturating_sub(self.began.up_ms);
            self.report
                .update_bars(&rows, Duration::from_millis(elapsed));
        }
    }

    /// Reports the events that the reader accepts, and counts the others.
    pub(super) fn publish(&mut self, events: &[Event]) {
        for event in events {
            let is_lagged = event.kind == EventType::WatchLagged;
            self.announcing &= !is_lagged;
            // Unconstrained: the task budget of the runtime must not look like a full queue.
            let reported = unconstrained(self.report.event(event)).now_or_never();
            if reported.is_none() {
                self.drop_one(event);
            }
        }
    }

    /// Whether dropped lines have not been announced.
    pub(super) fn has_lag(&self) -> bool {
        self.lag.is_some() && !self.announcing
    }

    /// The lag to announce, once the reader reads again.
    pub(super) fn take_lag(&mut self) -> Option<Lag> {
        if !self.has_lag() || !self.report.has_room() {
            return None;
        }
        self.announcing = true;
        self.lag.take()
    }

    /// The lag to announce before the daemon ends, whether the reader reads or not.
    pub(super) fn take_final_lag(&mut self) -> Option<Lag> {
        self.lag.take()
    }

    /// Reports the last events, and waits until everything is written.
    pub(super) async fn close(mut self, last: &[Event]) {
        for event in last {
            self.report.event(event).await;
        }
        self.report.close().await;
    }

    fn drop_one(&mut self, event: &Event) {
        // A dropped `watch.lagged` is part of the next one.
        let (lines, first, last) = match event.fields.lag.as_deref() {
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

pub(super) fn announce_lag(daemon: &mut SqliteDaemon, lag: Lag) {
    let fields = EventFields {
        lag: Some(Box::new(lag)),
        ..EventFields::default()
    };
    daemon.emit(EventType::WatchLagged, fields);
}
