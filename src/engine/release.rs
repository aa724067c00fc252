//! Watches that this process no longer serves: they leave without an event.

use super::watch_table::Phase;
use super::{Clock, CommitDone, Engine};
use crate::clanforge::Api;
use crate::store::{Store, StoreError};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::watch::Watch;

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    /// Drops the watches of these jobs and aborts their polls. A watch whose commit is in flight leaves once that is
    /// done, because its events must be published if they were stored; [`Engine::is_releasing`] until then.
    pub fn release(&mut self, which: impl Fn(JobRef) -> bool) {
        for slot in self.watches.all_slots() {
            let job = self.watches.watch(slot).map(Watch::job);
            match self.watches.phase(slot) {
                Some(_) if !job.is_some_and(&which) => {}
                Some(Phase::Committing) => {
                    self.watches.set_phase(slot, Phase::Releasing);
                    self.releasing += 1;
                }
                Some(Phase::Waiting { .. } | Phase::Polling { .. }) => self.drop_watch(slot),
                Some(Phase::Releasing) | None => {}
            }
        }
    }

    /// Whether a commit of a released watch is in flight.
    pub fn is_releasing(&self) -> bool {
        self.releasing > 0
    }

    /// The watches that were dropped since the last call.
    pub fn take_dropped(&mut self) -> Vec<(JobRef, WatchId)> {
        std::mem::take(&mut self.dropped)
    }

    pub(super) fn drop_watch(&mut self, slot: u32) {
        self.abort_poll(slot);
        self.throttle.circuit_breaker.cancel_probe(slot);
        let watch = self.watches.watch(slot);
        self.dropped
            .extend(watch.map(|watch| (watch.job(), watch.id())));
        self.watches.remove(slot);
    }

    /// The last commit of a released watch.
    pub(super) fn on_released(&mut self, done: CommitDone) {
        match done.result {
            Ok(()) => self.publishable.extend(done.effects.events),
            Err(error @ StoreError::Fatal(_)) => self.store_failure = Some(error),
            Err(_) => {}
        }
        self.releasing -= 1;
        self.drop_watch(done.slot);
    }
}
