//! Takes the result of a poll: steps the watch, commits the step if it has events, then puts it into effect.

use std::rc::Rc;
use std::time::Duration;

use super::watch_table::Phase;
use super::{Clock, CommitDone, Engine, PollDone};
use crate::clanforge::{Api, StatusResponse};
use crate::store::{AddedBy, Commit, PollSample, SavedWatch, Store, StoreError};
use forgewatch_core::circuit_breaker::PollOutcome;
use forgewatch_core::job::Outcome;
use forgewatch_core::poll_log::PollRecord;
use forgewatch_core::retry;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::{Context, Effects, FreshStatus, Input, Next, Watch};

/// Longest delay before a step is tried again whose commit failed.
const MAX_COMMIT_RETRY: Duration = Duration::from_secs(30);

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    pub(super) fn on_poll_done(&mut self, done: PollDone) {
        let PollDone {
            slot,
            id,
            started,
            result,
        } = done;
        let Some(result) = result else {
            return;
        };
        self.poll_aborts.remove(&slot);
        let now = self.clock.now();
        self.measured
            .on_result(started, now, result.as_ref().map(|_| ()));
        let outcome = PollOutcome {
            refusal_opens: !self.limits.refusal_ends,
            slot,
            result: result.as_ref().map(|_| ()),
            watched: self.watches.len(),
            in_flight: self.polls.len(),
        };
        if self.throttle.observe(now.up_ms, outcome, &mut self.rng) {
            self.step_waiting(Watch::is_suspended, &Input::PollNow);
        }
        // The watch may have been stopped meanwhile: its end is being committed, or its slot belongs to another watch.
        let watch = self.watches.watch(slot).filter(|watch| watch.id() == id);
        let Some(job) = watch.map(Watch::job) else {
            return;
        };
        if !self.watches.phase(slot).is_some_and(Phase::is_polling) {
            return;
        }
        let input = match result {
            Ok(StatusResponse {
                status,
                date,
                min_wait,
            }) => {
                let server_now_ms = self.server_clock.observe(now, date, &status);
                Input::Status(Box::new(FreshStatus {
                    status,
                    server_now_ms,
                    min_wait,
                }))
            }
            Err(error) => {
                tracing::debug!(target: "forgewatch::engine", %job, kind = %error.kind, "{error}");
                Input::Error(error)
            }
        };
        self.step(slot, input, now);
    }

    /// Steps the watch and applies the result: at once if it has no events, after the commit otherwise.
    pub(super) fn step(&mut self, slot: u32, input: Input, now: Moment) {
        let Some(watch) = self.watches.watch(slot) else {
            return;
        };
        let cx = Context {
            now,
            server_now_ms: self.server_clock.now_ms(now.wall_ms),
            limits: &self.limits,
            calibration: self.calibration.get(),
            refusal_is_global: self.watches.refusal_is_global(slot),
        };
        let (watch, effects) = watch.step(input, &cx, &mut self.rng);
        if effects.events.is_empty() {
            self.adopt(slot, watch, effects, now);
            return;
        }
        self.watches.set_phase(slot, Phase::Committing);
        let row = self
            .store
            .is_persistent()
            .then(|| SavedWatch::new(&watch, outcome(&effects), AddedBy::default(), now));
        let store = Rc::clone(&self.store);
        self.commits.push(Box::pin(async move {
            let result = store
                .commit(Commit {
                    watch: row,
                    events: &effects.events,
                    ..Commit::default()
                })
                .await;
            CommitDone {
                slot,
                watch,
                effects,
                result,
            }
        }));
    }

    fn record_poll(&self, watch: &Watch, poll: Option<PollRecord>, now: Moment) {
        if !self.store.is_persistent() {
            return;
        }
        if let Some(Ok(poll)) = poll.map(|poll| serde_json::to_string(&poll)) {
            self.store.record_poll(PollSample {
                watch: watch.id(),
                snapshot: watch.save(now, None),
                poll,
            });
        }
    }

    pub(super) fn on_commit_done(&mut self, done: CommitDone) {
        if self.watches.phase(done.slot) == Some(Phase::Releasing) {
            return self.on_released(done);
        }
        let CommitDone {
            slot,
            watch,
            effects,
            result,
        } = done;
        match result {
            Ok(()) => {
                self.watches.reset_failed_commits(slot);
                let stop = self.watches.take_pending_stop(slot);
                // If the API came back while the suspension was being committed, `Transition::Up` missed this watch.
                let missed_return =
                    watch.is_suspended() && !self.throttle.circuit_breaker.is_down();
                self.adopt(slot, watch, effects, self.clock.now());
                if let Some(outcome) = stop {
                    self.stop(slot, outcome);
                } else if missed_return {
                    self.step(slot, Input::PollNow, self.clock.now());
                }
            }
            Err(error @ StoreError::Fatal(_)) => self.store_failure = Some(error),
            Err(StoreError::Lost(_)) => self.drop_watch(slot),
            Err(error) => {
                // Debug, because the outbox logs errors of the store.
                tracing::debug!(
                    target: "forgewatch::engine", %error, job = %watch.job(), "commit failed; the job is polled again"
                );
                // The core repeats its own decisions; a stop that came from outside must be kept.
                if let Next::End { outcome, .. } = effects.next
                    && !outcome.is_from_polling()
                {
                    self.watches.defer_stop(slot, outcome);
                }
                self.roll_back(slot, &watch);
            }
        }
    }

    /// Keeps the old watch, because the step to `failed` could not be committed. The job is polled again, after longer
    /// and longer delays: a disk may stay full for hours.
    fn roll_back(&mut self, slot: u32, failed: &Watch) {
        let now = self.clock.now();
        let failed_commits = self.watches.count_failed_commit(slot);
        let wait = retry::wait(failed_commits, MAX_COMMIT_RETRY, &mut self.rng);
        let retry_at = now.plus(wait.max(self.limits.schedule.min_interval)).up_ms;
        if self.watches.has_pending_stop(slot) {
            // A stop makes no request, so that no pause of the API applies.
            self.wait_until(slot, retry_at, retry_at);
            return;
        }
        let input = Input::CommitFailed {
            retry_at,
            not_before: failed.not_before(),
        };
        self.step(slot, input, now);
    }

    /// Puts a step into effect.
    fn adopt(&mut self, slot: u32, watch: Watch, effects: Effects, now: Moment) {
        let kind = watch.job().kind;
        self.record_poll(&watch, effects.poll, now);
        self.watches.replace(slot, watch);
        self.publishable.extend(effects.events);
        match effects.next {
            Next::Wait { until, deadline } => self.wait_until(slot, until, deadline),
            Next::Poll { .. } if self.shutting_down => {}
            Next::Poll {
                diff_info,
                deadline,
            } => self.start_poll(slot, diff_info, deadline, now),
            Next::End {
                calibration_update, ..
            } => {
                if let Some(update) = calibration_update {
                    let image = self.watches.watch(slot).and_then(Watch::image);
                    self.calibration.update(kind, image, &update);
                }
                self.throttle.circuit_breaker.cancel_probe(slot);
                self.watches.remove(slot);
            }
        }
    }
}

fn outcome(effects: &Effects) -> Option<Outcome> {
    match effects.next {
        Next::End { outcome, .. } => Some(outcome),
        Next::Poll { .. } | Next::Wait { .. } => None,
    }
}
