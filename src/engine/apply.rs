//! From a decision to its effects: committed first where something is told, and only then in force.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};

use super::watch_table::Phase;
use super::{Clock, Committed, Engine, Polled};
use crate::clanforge::Api;
use crate::store::{AddedBy, Commit, PollSample, SavedWatch, Store, StoreError};
use forgewatch_core::poll_log::Poll;
use forgewatch_core::retry;
use forgewatch_core::schedule::Samples;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::{Context, Effects, Input, Next, Rng, Watch};

/// What a full store undid is tried again after this long at the most.
const STORE_AGAIN: Duration = Duration::from_secs(30);

impl<A: Api + 'static, S: Store + 'static, C: Clock> Engine<A, S, C> {
    /// Lets the core decide, and carries it out: at once where nothing is told, after the commit otherwise.
    pub(super) fn step(&mut self, slot: u32, input: Input, now: Moment) {
        self.disarm(slot);
        let Some(watch) = self.watch_table.watch(slot) else {
            return;
        };
        let cx = Context {
            now,
            server_now_ms: self.server_clock.now_ms(now.wall_ms),
            limits: &self.limits,
            memory: &self.memory,
            backoff: retry::ceiling,
            alone: self.watch_table.nobody_else_is_answered(slot),
        };
        let (watch, effects) = watch.step(input, &cx, &mut self.rng);
        if effects.events.is_empty() {
            self.take_over(slot, watch, effects, now);
            return;
        }
        self.watch_table.set_phase(slot, Phase::Committing);
        let row = self
            .store
            .keeps_watches()
            .then(|| row(&watch, &effects, now));
        let store = Rc::clone(&self.store);
        self.commits.push(Box::pin(async move {
            let result = store
                .commit(Commit {
                    watch: row,
                    events: &effects.events,
                    ..Commit::default()
                })
                .await;
            Committed {
                slot,
                watch,
                effects,
                result,
            }
        }));
    }

    /// Has the store keep a poll, where it keeps any.
    fn record_poll(&self, watch: &Watch, poll: Option<Poll>, now: Moment) {
        if !self.store.keeps_watches() {
            return;
        }
        if let Some(Ok(poll)) = poll.map(|poll| serde_json::to_string(&poll)) {
            self.store.record_poll(PollSample {
                watch: watch.id(),
                row: watch.save(now, None),
                poll,
            });
        }
    }

    pub(super) fn committed(&mut self, done: Committed) {
        let Committed {
            slot,
            watch,
            effects,
            result,
        } = done;
        match result {
            Ok(()) => {
                self.watch_table.kept(slot);
                let stop = self.watch_table.take_stop(slot);
                self.take_over(slot, watch, effects, self.clock.now());
                if let Some(outcome) = stop {
                    self.stop(slot, outcome);
                }
            }
            Err(error @ StoreError::Fatal(_)) => self.fatal = Some(error),
            Err(error) => {
                // Debug: a store that fails every step tells of it once.
                tracing::debug!(%error, job = %watch.job(), "a step is taken back; the job is asked again");
                // What the core decided it will decide again; what came from outside must not be forgotten.
                if let Next::End { outcome, .. } = effects.next
                    && !outcome.is_the_servers()
                {
                    self.watch_table.stop_later(slot, outcome);
                }
                self.take_back(slot, &watch);
            }
        }
    }

    /// The step to `lost` never was. A store that is full may be so for hours: the job is asked again, but each time
    /// less soon.
    fn take_back(&mut self, slot: u32, lost: &Watch) {
        let now = self.clock.now();
        let ceiling = retry::ceiling(self.watch_table.lost(slot)).min(STORE_AGAIN);
        let wait = ceiling.mul_f64(self.rng.roll());
        let again = now.plus(wait.max(self.limits.schedule.min_interval)).up_ms;
        let Some(mut watch) = self.watch_table.watch(slot).cloned() else {
            return;
        };
        let asks_at = watch.take_back(lost, again);
        self.watch_table.replace(slot, watch);
        // An end asks nothing of the API, and so waits for nothing but the store.
        let is_to_end = self.watch_table.is_to_end(slot);
        self.arm(slot, if is_to_end { again } else { asks_at });
    }

    /// The step is in force from here on.
    fn take_over(&mut self, slot: u32, watch: Watch, effects: Effects, now: Moment) {
        let (job, id) = (watch.job(), watch.id());
        self.record_poll(&watch, effects.poll, now);
        let held = watch.is_held();
        self.watch_table.replace(slot, watch);
        self.tellable.extend(effects.events);
        match effects.next {
            // It is on record only now that the API is back, which it was not told then.
            Next::Wait { .. } if held && !self.circuit_breaker.is_down() => {
                if let Some(watch) = self.watch_table.watch_mut(slot) {
                    watch.ask_at(now.up_ms);
                }
                self.arm(slot, now.up_ms);
            }
            Next::Wait { until } => self.arm(slot, until),
            Next::Poll { .. } if self.winding_up => {}
            Next::Poll { diff_info } => {
                self.rate_limiter.take(now.up_ms);
                self.watch_table.set_phase(slot, Phase::Asking);
                let api = Rc::clone(&self.api);
                let (handle, registration) = AbortHandle::new_pair();
                self.asking.insert(slot, handle);
                let asked = async move { api.ask(job, diff_info).await };
                let asked = Abortable::new(asked, registration);
                self.polls.push(Box::pin(async move {
                    Polled {
                        slot,
                        id,
                        result: asked.await.ok(),
                    }
                }));
            }
            Next::End { samples, .. } => {
                // An end in the first answer teaches nothing.
                if let Some(samples) = samples.filter(|samples| *samples != Samples::default()) {
                    self.memory.learn(job.kind, &samples);
                    self.has_learnt = true;
                }
                self.circuit_breaker.not_asking(slot);
                self.watch_table.remove(slot);
            }
        }
    }
}

/// The watch as the store keeps it.
fn row(watch: &Watch, effects: &Effects, now: Moment) -> SavedWatch {
    let outcome = match effects.next {
        Next::End { outcome, .. } => Some(outcome),
        Next::Poll { .. } | Next::Wait { .. } => None,
    };
    SavedWatch {
        id: watch.id(),
        job: watch.job(),
        row: watch.save(now, outcome),
        ended_wall_ms: outcome.map(|_| now.wall_ms),
        added_by: AddedBy::default(),
    }
}
