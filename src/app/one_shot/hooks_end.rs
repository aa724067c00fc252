//! Waits for hooks at the end of a one-shot, and reports failed deliveries.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{OneShotRun, report_first};
use crate::app::ticks;
use crate::report::FRAME_INTERVAL;
use forgewatch_core::event::Event;

/// After this wait a line says that the run waits for hooks.
const NOTICE_AFTER: Duration = Duration::from_secs(2);
/// The least time that hooks get at the end.
const MIN_HOOKS_WAIT: Duration = Duration::from_mins(1);

impl OneShotRun {
    pub(super) fn hooks_failed(&mut self, failed: Vec<Event>) {
        self.errors.hook_failed |= !failed.is_empty();
        self.unreported.extend(failed);
    }

    /// Waits for hooks, up to the rest of `--timeout` or a minute, whichever is longer. What is not delivered by then has
    /// failed. A second signal ends the wait.
    pub(super) async fn end_hooks(&mut self) {
        let least = Instant::now() + MIN_HOOKS_WAIT;
        let limit = self.deadline.map_or(least, |deadline| deadline.max(least));
        let limit = *self.hooks_until.get_or_insert(limit);
        let mut frames = ticks(FRAME_INTERVAL);
        let mut heartbeats = ticks(self.options.heartbeat.unwrap_or(FRAME_INTERVAL));
        let has_heartbeat = self.options.heartbeat.is_some();
        let mut notice = pin!(sleep(NOTICE_AFTER));
        while !self.hooks.is_idle() && !self.errors.state_unusable && Instant::now() < limit {
            tokio::select! {
                biased;
                stop = self.stops.next() => {
                    self.stop(stop);
                    // A second signal has changed it.
                    if self.hooks_until != Some(limit) {
                        break;
                    }
                }
                () = sleep_until(limit) => self.stop_hooks().await,
                () = &mut notice, if !notice.is_elapsed() => {
                    let deliveries = self.hooks.open_count();
                    tracing::info!(
                        target: "forgewatch::hooks",
                        deliveries,
                        "every job has ended; waiting for hooks"
                    );
                }
                count = report_first(&mut self.report, &self.unreported), if !self.unreported.is_empty() => {
                    self.unreported.drain(..count);
                }
                failed = self.hooks.advance() => {
                    let failed = self.unless_failed(failed);
                    self.hooks_failed(failed);
                }
                _ = frames.tick(), if self.report.has_bars() => self.show(),
                _ = heartbeats.tick(), if has_heartbeat => self.heartbeat(),
            }
        }
        // No time is left to deliver `hook.failed`.
        if self
            .hooks_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.hooks.suppress_failure_events();
        }
        let failed = self
            .hooks
            .fail_all("not delivered before the watch ended")
            .await;
        self.hooks_failed(failed);
        // The rest could not be stored: the next run with this state delivers it, possibly again.
        self.errors.state_unusable |= !self.hooks.is_idle();
    }

    /// Stops running hooks, without a grace period after a signal.
    async fn stop_hooks(&mut self) {
        tracing::warn!(target: "forgewatch::hooks", "hooks exceeded their time; stopping them");
        tokio::select! {
            biased;
            stop = self.stops.next() => self.stop(stop),
            () = self.hooks.stop() => {}
        }
    }
}
