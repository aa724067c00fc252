//! Decides which watch is polled now: takes the due ones, as far as circuit breaker and rate limiter allow, and starts
//! their polls.

use std::rc::Rc;

use forgewatch_core::throttle::circuit_breaker::Admission;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Input;
use futures_util::future::{AbortHandle, Abortable};

use super::watch_table::Phase;
use super::{Clock, Engine, PollDone};
use crate::clanforge::Api;
use crate::store::Store;

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    /// Starts every poll that is due and allowed. Returns when to call it again; None if only a poll or a commit in
    /// flight can change anything.
    pub(super) fn start_due(&mut self) -> Option<u64> {
        if self.shutting_down {
            return None;
        }
        loop {
            let (due, slot) = self.watches.next_due()?;
            let moment = self.clock.now();
            let now = moment.up_ms;
            // A stop makes no request, so the throttle does not apply.
            if due <= now
                && let Some(outcome) = self.watches.take_pending_stop(slot)
            {
                self.step(slot, Input::Stop(outcome), moment);
                continue;
            }
            return Some(match self.throttle.circuit_breaker.admit(now) {
                Admission::Down { kind, probe_at } => {
                    if probe_at.is_some_and(|at| at <= now) {
                        self.probe(moment);
                        continue;
                    }
                    if due <= now {
                        self.step(slot, Input::Suspended(kind), moment);
                        continue;
                    }
                    probe_at.map_or(due, |at| at.min(due))
                }
                _ if due > now => due,
                Admission::PausedUntil(at) => at,
                Admission::Allowed if self.polls.len() >= self.throttle.max_in_flight => {
                    return None;
                }
                Admission::Allowed => {
                    let waited_ms = now.saturating_sub(due);
                    self.throttle.report_lag(self.watches.len(), waited_ms);
                    let ready_at = self.throttle.rate_limiter.ready_at(now);
                    if ready_at <= now {
                        self.step(slot, Input::Due, moment);
                        continue;
                    }
                    ready_at
                }
            });
        }
    }

    /// Polls one job to find out whether the API is back, unless the server has demanded a pause for each of them.
    fn probe(&mut self, now: Moment) {
        let Some((not_before, slot)) = self.watches.probe_candidate(now.up_ms) else {
            return self.throttle.circuit_breaker.delay_probe(now.up_ms);
        };
        if not_before > now.up_ms {
            return self.throttle.circuit_breaker.delay_probe(now.up_ms);
        }
        self.throttle.circuit_breaker.start_probe(slot);
        self.step(slot, Input::Probe, now);
    }

    /// The watch itself decided that it is polled now.
    pub(super) fn start_poll(&mut self, slot: u32, diff_info: bool, now: Moment) {
        let Some((id, job)) = self.watches.watch(slot).map(|w| (w.id(), w.job())) else {
            return;
        };
        self.throttle.rate_limiter.take(now.up_ms);
        self.watches.set_phase(slot, Phase::Polling);
        let (abort, registration) = AbortHandle::new_pair();
        self.poll_aborts.insert(slot, abort);
        let api = Rc::clone(&self.api);
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

    /// Makes these watches due now.
    pub(super) fn poll_now(&mut self, slots: Vec<u32>) {
        let now = self.clock.now();
        for slot in slots {
            self.step(slot, Input::PollNow, now);
        }
    }

    /// Polls each waiting watch no later than the new limits allow.
    pub(super) fn reschedule_waiting(&mut self) {
        let now = self.clock.now();
        for slot in self.watches.all_waiting() {
            self.step(slot, Input::LimitsChanged, now);
        }
    }
}
