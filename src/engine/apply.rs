//! Applies what a step decided: commits it first if it has events, then puts it into effect.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};

use super::watch_table::Phase;
use super::{Clock, CommitDone, Engine, PollDone};
use crate::clanforge::Api;
use crate::store::{AddedBy, Commit, PollSample, SavedWatch, Store, StoreError};
use forgewatch_core::poll_log::PollRecord;
use forgewatch_core::retry;
use forgewatch_core::schedule::CalibrationUpdate;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::{Context, Effects, Input, Next, Watch};

/// Longest delay before a step is tried again whose commit failed.
const MAX_COMMIT_RETRY: Duration = Duration::from_secs(30);

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    /// Steps the watch and applies the result: at once if it has no events, after the commit otherwise.
    pub(super) fn step(&mut self, slot: u32, input: Input, now: Moment) {
        self.clear_timer(slot);
        let Some(watch) = self.watch_table.watch(slot) else {
            return;
        };
        let cx = Context {
            now,
            server_now_ms: self.server_clock.now_ms(now.wall_ms),
            limits: &self.limits,
            calibration: &self.calibration,
            refusal_is_global: self.watch_table.refusal_is_global(slot),
        };
        let (watch, effects) = watch.step(input, &cx, &mut self.rng);
        if effects.events.is_empty() {
            self.adopt(slot, watch, effects, now);
            return;
        }
        self.watch_table.set_phase(slot, Phase::Committing);
        let row = self
            .store
            .is_persistent()
            .then(|| saved_watch(&watch, &effects, now));
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
        let CommitDone {
            slot,
            watch,
            effects,
            result,
        } = done;
        match result {
            Ok(()) => {
                self.watch_table.reset_failed_commits(slot);
                let stop = self.watch_table.take_pending_stop(slot);
                // If the API came back while the suspension was being committed, `Transition::Up` missed this watch.
                let missed_return = watch.is_suspended() && !self.circuit_breaker.is_down();
                self.adopt(slot, watch, effects, self.clock.now());
                if let Some(outcome) = stop {
                    self.stop(slot, outcome);
                } else if missed_return {
                    self.poll_now(vec![slot]);
                }
            }
            Err(error @ StoreError::Fatal(_)) => self.store_failure = Some(error),
            Err(error) => {
                // Debug, because the store itself warns once that it fails.
                tracing::debug!(
                    target: "forgewatch::engine", %error, job = %watch.job(), "commit failed; the job is polled again"
                );
                // The core repeats its own decisions; a stop that came from outside must be kept.
                if let Next::End { outcome, .. } = effects.next
                    && !outcome.is_from_polling()
                {
                    self.watch_table.defer_stop(slot, outcome);
                }
                self.roll_back(slot, &watch);
            }
        }
    }

    /// Keeps the old watch, because the step to `failed` could not be committed. The job is polled again, after longer
    /// and longer delays: a disk may stay full for hours.
    fn roll_back(&mut self, slot: u32, failed: &Watch) {
        let now = self.clock.now();
        let failed_commits = self.watch_table.count_failed_commit(slot);
        let wait = retry::wait(failed_commits, MAX_COMMIT_RETRY, &mut self.rng);
        let retry_at = now.plus(wait.max(self.limits.schedule.min_interval)).up_ms;
        if self.watch_table.has_pending_stop(slot) {
            // A stop makes no request, so that no pause of the API applies.
            self.set_timer(slot, retry_at);
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
        let (job, id) = (watch.job(), watch.id());
        self.record_poll(&watch, effects.poll, now);
        self.watch_table.replace(slot, watch);
        self.publishable.extend(effects.events);
        match effects.next {
            Next::Wait { until } => self.set_timer(slot, until),
            Next::Poll { .. } if self.shutting_down => {}
            Next::Poll { diff_info } => {
                self.rate_limiter.take(now.up_ms);
                self.watch_table.set_phase(slot, Phase::Polling);
                let api = Rc::clone(&self.api);
                let (handle, registration) = AbortHandle::new_pair();
                self.poll_aborts.insert(slot, handle);
                let poll = async move { api.poll(job, diff_info).await };
                let poll = Abortable::new(poll, registration);
                self.polls.push(Box::pin(async move {
                    PollDone {
                        slot,
                        id,
                        result: poll.await.ok(),
                    }
                }));
            }
            Next::End {
                calibration_update, ..
            } => {
                // A job that had ended before its first poll gives no samples.
                let update = calibration_update.filter(|it| *it != CalibrationUpdate::default());
                if let Some(update) = update {
                    self.calibration.update(job.kind, &update);
                    self.has_learned = true;
                }
                self.circuit_breaker.cancel_probe(slot);
                self.watch_table.remove(slot);
            }
        }
    }
}

fn saved_watch(watch: &Watch, effects: &Effects, now: Moment) -> SavedWatch {
    let outcome = match effects.next {
        Next::End { outcome, .. } => Some(outcome),
        Next::Poll { .. } | Next::Wait { .. } => None,
    };
    SavedWatch {
        id: watch.id(),
        job: watch.job(),
        snapshot: watch.save(now, outcome),
        ended_wall_ms: outcome.map(|_| now.wall_ms),
        added_by: AddedBy::default(),
    }
}
