//! The loop of a one-shot: first until every job has ended, then until hooks have received their events.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::run::OneShotRun;
use crate::app::closing::{at, deadline_after};
use crate::app::exit_status::is_failure;
use crate::app::{READER_GRACE, ticks};
use crate::os::signals::TerminationSignal;
use crate::report::{FRAME_INTERVAL, JobRow, Report};
use crate::store::StoreError;
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::{Outcome, Reason};

/// After this wait a line says that the run waits for hooks.
const NOTICE_AFTER: Duration = Duration::from_secs(2);
/// The least time that hooks get at the end.
const MIN_HOOKS_WAIT: Duration = Duration::from_mins(1);

/// What the loop waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoopPhase {
    Jobs,
    Hooks,
}

impl OneShotRun {
    /// Runs the engine until every watch has ended.
    pub(super) async fn watch_jobs(&mut self) {
        self.drive(LoopPhase::Jobs).await;
    }

    /// Waits for hooks, up to the rest of `--timeout` or a minute, whichever is longer. What is not delivered by then has
    /// failed. A second signal ends the wait.
    pub(super) async fn wait_for_hooks(&mut self) {
        let least = Instant::now() + MIN_HOOKS_WAIT;
        let limit = self.deadline.map_or(least, |deadline| deadline.max(least));
        self.hooks_until.get_or_insert(limit);
        self.drive(LoopPhase::Hooks).await;
        if self.hooks_time_is_over() {
            // No time is left to deliver `hook.failed`.
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

    /// Reports events on the way. Once the run is stopping it does not wait for the reader: the exit status must not
    /// depend on one.
    async fn drive(&mut self, phase: LoopPhase) {
        let watching = phase == LoopPhase::Jobs;
        let job_deadline = deadline_after(self.options.job_timeout);
        let deadline = [self.deadline, job_deadline].into_iter().flatten().min();
        let mut frames = ticks(FRAME_INTERVAL);
        let mut heartbeats = ticks(self.options.heartbeat.unwrap_or(FRAME_INTERVAL));
        let has_heartbeat = self.options.heartbeat.is_some();
        let mut notice = pin!(sleep(NOTICE_AFTER));
        while !self.is_complete(phase) {
            let stopping = self.stop_deadline.is_some();
            tokio::select! {
                biased;
                stop = self.stops.next() => self.stop(stop),
                () = at(deadline), if watching && !stopping => self.time_out(),
                events = self.engine.advance(), if watching && (stopping || self.unreported.is_empty()) => {
                    for event in self.unless_failed(events) {
                        self.on_event(event);
                    }
                    // The bar of an ended job goes before its final line is printed.
                    self.show();
                }
                () = at(self.hooks_until), if !watching => self.stop_hooks().await,
                () = &mut notice, if !watching && !notice.is_elapsed() => {
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
                // The disk is full or hangs.
                () = at(self.stop_deadline), if watching && stopping => {
                    tracing::error!(
                        target: "forgewatch::watch",
                        "the outcomes could not be stored in time"
                    );
                    self.errors.state_unusable = true;
                }
                _ = frames.tick(), if self.report.has_bars() => self.show(),
                _ = heartbeats.tick(), if has_heartbeat => self.heartbeat(),
            }
        }
    }

    fn is_complete(&self, phase: LoopPhase) -> bool {
        self.errors.state_unusable
            || match phase {
                LoopPhase::Jobs => self.engine.is_done(),
                LoopPhase::Hooks => self.hooks.is_idle() || self.hooks_time_is_over(),
            }
    }

    fn hooks_time_is_over(&self) -> bool {
        self.hooks_until
            .is_some_and(|until| until <= Instant::now())
    }

    fn hooks_failed(&mut self, failed: Vec<Event>) {
        self.errors.hook_failed |= !failed.is_empty();
        self.unreported.extend(failed);
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

    /// The events; none after an error, which ends the run.
    fn unless_failed(&mut self, events: Result<Vec<Event>, StoreError>) -> Vec<Event> {
        events.unwrap_or_else(|error| {
            tracing::error!(target: "forgewatch::watch", %error, "the state failed; stopping");
            self.errors.state_unusable = true;
            Vec::new()
        })
    }

    /// Stops the run after a signal. The second signal does not wait for reader or hooks.
    pub(super) fn stop(&mut self, stop: TerminationSignal) {
        let grace = if self.stop.is_some() {
            self.hooks_until = Some(Instant::now());
            Duration::ZERO
        } else {
            READER_GRACE
        };
        self.stop_within(grace);
        self.stop.get_or_insert(stop);
        self.engine
            .stop_all(Outcome::Abandoned(Reason::Interrupted));
    }

    /// Reports the jobs that are still running, and ends their watches.
    fn time_out(&mut self) {
        self.stop_within(READER_GRACE);
        let (rows, now) = (self.rows(), self.engine.now());
        self.engine.stop_all(Outcome::TimedOut);
        // These lines belong before the ending events. If the reader is behind, the ending events must do.
        if self.unreported.is_empty() {
            let _ = self.report.deadline(&rows, now.wall_ms).now_or_never();
        }
    }

    fn stop_within(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        self.stop_deadline = Some(self.stop_deadline.map_or(until, |set| set.min(until)));
    }

    /// Counts an outcome, and stops the other watches if `--fail-fast` says so.
    fn on_event(&mut self, event: Event) {
        self.ci.on_event(&event);
        if let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) {
            self.counts.add(outcome);
            self.ended.push(JobRow {
                state: event.fields.state,
                progress: event.fields.progress.map(f32::from),
                elapsed: Duration::from_millis(event.fields.elapsed_ms.unwrap_or(0)),
                ..JobRow::ended(job, outcome)
            });
            if self.options.fail_fast && is_failure(outcome, self.options.squashed_as) {
                self.engine.stop_all(Outcome::Abandoned(Reason::FailFast));
            }
        }
        self.unreported.push_back(event);
    }

    fn show(&mut self) {
        if self.report.has_bars() {
            let rows = self.rows();
            self.report
                .update_bars(&rows, Duration::from_millis(self.elapsed_ms()));
        }
    }

    /// Reports a heartbeat, unless the reader is behind.
    fn heartbeat(&mut self) {
        let (rows, now) = (self.rows(), self.engine.now());
        let _ = self.report.heartbeat(&rows, now.wall_ms).now_or_never();
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        self.engine.now().up_ms.saturating_sub(self.began.up_ms)
    }

    fn rows(&self) -> Vec<JobRow> {
        let now = self.engine.now();
        let live = self.engine.watches();
        let live = live.map(|watch| JobRow::of(watch, self.engine.time_left(watch, now), now));
        self.ended.iter().cloned().chain(live).collect()
    }
}

/// Reports the first of the events; returns how many were reported. Cancel-safe.
async fn report_first(report: &mut Report, events: &VecDeque<Event>) -> usize {
    match events.front() {
        Some(event) => {
            report.event(event).await;
            1
        }
        None => 0,
    }
}
