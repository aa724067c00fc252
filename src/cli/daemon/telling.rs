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
    confessed: bool,
}

impl Telling {
    pub(super) fn new(report: Report) -> Self {
        Self {
            report,
            lag: None,
            confessed: false,
        }
    }

    /// Tells them, as far as the reader goes along. Returns what is to be announced as `watch.lagged`.
    pub(super) fn tell(&mut self, events: &[Event]) -> Option<Lag> {
        let mut to_confess = None;
        for event in events {
            let is_lagged = event.kind == EventType::WatchLagged;
            // Unconstrained: the queue is full or not, and the runtime's sense of fairness does not come into it.
            let told = unconstrained(self.report.event(event)).now_or_never();
            match told {
                Some(()) if is_lagged => self.confessed = false,
                Some(()) => {
                    // There is room again: what is missing before this line is told of now.
                    if let Some(lag) = self.lag.take_if(|_| !self.confessed) {
                        self.confessed = true;
                        to_confess = Some(lag);
                    }
                }
                None => {
                    self.confessed &= !is_lagged;
                    self.drop_one(event);
                }
            }
        }
        to_confess
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
