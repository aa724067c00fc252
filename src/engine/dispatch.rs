//! Who asks now: what is due, as the gate and the pace let it; and what results say about both.

use super::{Clock, Engine};
use crate::clanforge::Api;
use crate::store::Store;
use forgewatch_core::retry;
use forgewatch_core::throttle::circuit_breaker::{Admission, PollOutcome, Transition};
use forgewatch_core::time::Moment;
use forgewatch_core::verdict::{ErrorKind, PollError};
use forgewatch_core::watch::{Input, Rng, Watch};

/// From so long a wait on, jobs are said to wait for the rate, and below the other no more.
const LATE_MS: u64 = 10_000;
const IN_TIME_MS: u64 = 1_000;

impl<A: Api + 'static, S: Store + 'static, C: Clock> Engine<A, S, C> {
    /// Steps with every watch that is due, as far as asking is allowed. Returns when to look again; None where
    /// only something under way can change anything.
    pub(super) fn start_due(&mut self) -> Option<u64> {
        if self.winding_up {
            return None;
        }
        loop {
            let (due, slot) = self.timer_queue.first()?;
            let moment = self.clock.now();
            let now = moment.up_ms;
            // An end asks nothing of the API.
            if due <= now
                && let Some(outcome) = self.watch_table.take_stop(slot)
            {
                self.step(slot, Input::Stop(outcome), moment);
                continue;
            }
            return Some(match self.circuit_breaker.admit(now) {
                Admission::Down { kind, probe_at } => {
                    if probe_at.is_some_and(|at| at <= now) {
                        self.probe(moment);
                        continue;
                    }
                    if due <= now {
                        self.hold(slot, kind, moment);
                        continue;
                    }
                    probe_at.map_or(due, |at| at.min(due))
                }
                _ if due > now => due,
                Admission::At(at) => at,
                Admission::Open if self.polls.len() >= self.max_in_flight => return None,
                Admission::Open => {
                    self.judge_wait(now.saturating_sub(due));
                    let ready_at = self.rate_limiter.ready_at(now);
                    if ready_at <= now {
                        self.step(slot, Input::Due, moment);
                        continue;
                    }
                    ready_at
                }
            });
        }
    }

    /// Says when jobs want to be asked more often than is allowed, and when they do no more. `waited_ms`: how long the
    /// first of those that are due has been.
    fn judge_wait(&mut self, waited_ms: u64) {
        if !self.is_late && waited_ms >= LATE_MS && !self.rate_limiter.is_crowded() {
            self.is_late = true;
            tracing::warn!(
                jobs = self.watch_table.len(),
                waited_ms,
                "jobs wait longer than planned: they want more than api.max_requests_per_second"
            );
        } else if self.is_late && waited_ms <= IN_TIME_MS {
            self.is_late = false;
            tracing::info!("jobs are asked as planned again");
        }
    }

    /// Sends one request to see whether the API is back, if the server lets anybody ask.
    fn probe(&mut self, now: Moment) {
        let Some((free, slot)) = self.watch_table.prober(now.up_ms) else {
            return self.circuit_breaker.put_off_probe(now.up_ms);
        };
        if free > now.up_ms {
            return self.circuit_breaker.put_off_probe(now.up_ms);
        }
        self.circuit_breaker.probe(slot);
        if let Some(watch) = self.watch_table.watch_mut(slot) {
            watch.ask_at(now.up_ms);
        }
        self.step(slot, Input::Due, now);
    }

    /// The API is down: a watch that is due has failed without asking; one that only wakes to tell does so.
    fn hold(&mut self, slot: u32, kind: ErrorKind, now: Moment) {
        let is_due = |watch: &Watch| watch.next_poll(now).is_zero();
        let input = if self.watch_table.watch(slot).is_some_and(is_due) {
            Input::Held(kind)
        } else {
            Input::Due
        };
        self.step(slot, input, now);
    }

    /// What one result says about the API as a whole.
    pub(super) fn hear(&mut self, now: u64, slot: u32, result: Result<(), &PollError>) {
        let heard = PollOutcome {
            refusal_pauses: !self.limits.refusal_ends,
            slot,
            result,
            watched: self.watch_table.len(),
            in_flight: self.polls.len(),
        };
        let rng = &mut self.rng;
        let turn = self.circuit_breaker.heard(now, heard, |failures| {
            retry::ceiling(failures).mul_f64(rng.roll())
        });
        match turn {
            Transition::None => {}
            Transition::Held { until, again } => {
                let for_ms = until.saturating_sub(now);
                if again {
                    tracing::debug!(for_ms, "the API asks for a longer pause");
                } else {
                    tracing::warn!(for_ms, "the API asks for a pause");
                }
                // While it is down nobody returns from anything.
                if !self.circuit_breaker.is_down() {
                    self.rate_limiter.return_gently(until);
                }
            }
            Transition::Down => {
                self.rate_limiter.down(now);
                let refused = result.is_err_and(|e| e.kind == ErrorKind::Unauthorized);
                let what = if refused {
                    "the API refuses the credentials: one request every five minutes until they are mended"
                } else {
                    "the API is down: one request at a time until it is back"
                };
                tracing::warn!("{what}");
            }
            Transition::Up => {
                tracing::info!("the API is back");
                self.rate_limiter.return_gently(now);
                self.ask_now(self.watch_table.held());
            }
        }
    }

    /// Lets these ask as soon as the gate and the pace let them.
    pub(super) fn ask_now(&mut self, watch_table: Vec<u32>) {
        let now = self.clock.now().up_ms;
        for slot in watch_table {
            self.disarm(slot);
            if let Some(watch) = self.watch_table.watch_mut(slot) {
                watch.ask_at(now);
            }
            self.arm(slot, now);
        }
    }

    /// Asks for nobody later than the limits now allow.
    pub(super) fn bring_forward(&mut self) {
        let now = self.clock.now();
        for slot in self.watch_table.all_waiting() {
            let Some(watch) = self.watch_table.watch_mut(slot) else {
                continue;
            };
            watch.bring_forward(now, &self.limits);
            let at = watch.wake_at(&self.limits);
            self.disarm(slot);
            self.arm(slot, at);
        }
    }
}
