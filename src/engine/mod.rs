//! The loop that acts: asks when a watch is due, carries out what each step decided, and hands over what is to
//! be told.
//!
//! [`Engine::advance`] drives everything and returns the next events that are safe to tell; the command that
//! owns the engine selects over it and over its own concerns (signals, deadlines, the screen). Everything runs
//! in the caller's task: a poll under way is a future in a set, an idle watch is a row and a timer entry.
//!
//! The order that nothing is lost by: a step's result stays aside until the store has committed it. Only then is
//! the new watch in force and only then are its events returned. If the commit fails, the old watch stays and
//! the job is asked again. While a job is asked or committed it has no timer, so it never has two requests.

mod apply;
mod clock;
mod dispatch;
mod system_events;
#[cfg(test)]
mod tests;
mod timer_queue;
mod watch_table;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};

pub use clock::{Clock, SystemClock};
use forgewatch_core::rng::SeededRng;
use forgewatch_core::throttle::circuit_breaker::CircuitBreaker;
use forgewatch_core::throttle::rate_limiter::RateLimiter;
pub use system_events::SystemEvents;
use timer_queue::TimerQueue;
use watch_table::{Phase, WatchTable};

use crate::clanforge::{Api, StatusResponse};
use crate::store::{Store, StoreError};
use forgewatch_core::event::{Event, JobMeta, WatchId};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::limits::Limits;
use forgewatch_core::schedule::{Calibration, ServerClock};
use forgewatch_core::time::Moment;
use forgewatch_core::verdict::PollError;
use forgewatch_core::watch::{Answer, Effects, Input, Watch};

/// How hard the API may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Requests under way at once, at least 1.
    pub max_in_flight: usize,
    /// Requests begun in a second, on average; above zero.
    pub max_requests_per_second: f64,
}

/// Timers wake the engine no sooner than this after they last did: what falls due in between is taken together, since
/// waking costs more than what is done then. A timer by itself is not held up.
const TICK_MS: u64 = 10;

/// Watches jobs. See the module's page.
pub struct Engine<A, S, C> {
    api: Rc<A>,
    store: Rc<S>,
    clock: C,
    rng: SeededRng,
    limits: Limits,
    max_in_flight: usize,
    memory: Calibration,
    has_learnt: bool,
    /// The store can't be trusted any more, and why.
    fatal: Option<StoreError>,
    /// Nothing more is asked; only what is being committed is waited for.
    winding_up: bool,
    server_clock: ServerClock,
    circuit_breaker: CircuitBreaker,
    rate_limiter: RateLimiter,
    watch_table: WatchTable,
    timer_queue: TimerQueue,
    /// It was said that jobs wait for their turn.
    is_late: bool,
    /// When a timer last woke it.
    woke_at: u64,
    polls: FuturesUnordered<LocalBoxFuture<'static, Polled>>,
    /// By their slots, the means to drop the requests under way.
    asking: BTreeMap<u32, AbortHandle>,
    commits: FuturesUnordered<LocalBoxFuture<'static, Committed>>,
    /// Committed and not yet handed over.
    tellable: VecDeque<Event>,
}

struct Polled {
    slot: u32,
    id: WatchId,
    /// None where it was dropped.
    result: Option<Result<StatusResponse, PollError>>,
}

struct Committed {
    slot: u32,
    watch: Watch,
    effects: Effects,
    result: Result<(), StoreError>,
}

impl<A: Api + 'static, S: Store + 'static, C: Clock> Engine<A, S, C> {
    /// An engine that watches nothing yet.
    pub fn new(
        api: A,
        store: S,
        clock: C,
        rng: SeededRng,
        limits: Limits,
        throttle: Throttle,
        memory: Calibration,
    ) -> Self {
        let now = clock.now().up_ms;
        Self {
            api: Rc::new(api),
            store: Rc::new(store),
            clock,
            rng,
            limits,
            max_in_flight: throttle.max_in_flight.max(1),
            memory,
            has_learnt: false,
            fatal: None,
            winding_up: false,
            server_clock: ServerClock::default(),
            circuit_breaker: CircuitBreaker::default(),
            rate_limiter: RateLimiter::new(throttle.max_requests_per_second, now),
            watch_table: WatchTable::default(),
            timer_queue: TimerQueue::default(),
            is_late: false,
            woke_at: now.saturating_sub(TICK_MS),
            polls: FuturesUnordered::new(),
            asking: BTreeMap::new(),
            commits: FuturesUnordered::new(),
            tellable: VecDeque::new(),
        }
    }

    /// Begins to watch `job`, which is due at once. The caller sees to it that it is not watched already.
    pub fn watch(&mut self, id: WatchId, job: JobRef, about: Option<Arc<JobMeta>>) {
        self.resume(Watch::new(id, job, about, self.clock.now()));
    }

    /// Goes on with a watch where it was. The caller sees to it that its job is not watched already.
    pub fn resume(&mut self, watch: Watch) {
        let at = watch.wake_at(&self.limits);
        let slot = self.watch_table.insert(watch);
        self.arm(slot, at);
    }

    /// Ends one watch, if it is there. [`Engine::advance`] returns the event.
    pub fn stop_one(&mut self, id: WatchId, outcome: Outcome) {
        if let Some(slot) = self.watch_table.find(id) {
            self.stop(slot, outcome);
        }
    }

    /// Ends every watch, in the order in which they began. [`Engine::advance`] returns the events.
    pub fn stop_all(&mut self, outcome: Outcome) {
        for slot in self.watch_table.all() {
            self.stop(slot, outcome);
        }
    }

    /// Takes over another client, other limits, another throttle. What is under way goes on as it began.
    pub fn configure(&mut self, api: A, limits: Limits, throttle: Throttle) {
        self.api = Rc::new(api);
        self.limits = limits;
        self.max_in_flight = throttle.max_in_flight.max(1);
        let now = self.clock.now().up_ms;
        self.rate_limiter
            .configure(throttle.max_requests_per_second);
        // Credentials and addresses may be mended by it; what the server asked for still holds.
        if self.circuit_breaker.reopen() {
            self.rate_limiter.return_gently(now);
        }
        self.ask_now(self.watch_table.refused());
        self.ask_now(self.watch_table.held());
        self.bring_forward();
    }

    /// Ends no watch, but asks nothing more and drops the requests under way. [`Engine::advance`] goes on to return
    /// what is being committed; [`Engine::is_settled`] says when that is over.
    pub fn wind_up(&mut self) {
        self.winding_up = true;
        self.polls.clear();
        self.asking.clear();
    }

    /// Whether nothing is being committed and everything has been told.
    pub fn is_settled(&self) -> bool {
        self.commits.is_empty() && self.tellable.is_empty()
    }

    /// Whether nothing is watched and everything has been told.
    pub fn is_done(&self) -> bool {
        self.watch_table.is_empty() && self.tellable.is_empty()
    }

    /// The watches that have not ended, in the order in which they began.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watch_table.watches()
    }

    /// Whether any end has taught something yet.
    pub fn has_learnt(&self) -> bool {
        self.has_learnt
    }

    /// What ends have taught so far, and what was known before.
    pub fn memory(&self) -> &Calibration {
        &self.memory
    }

    /// Now, by the engine's clock.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Drives everything until there is something to tell, and returns it; never empty. Pends for ever when
    /// nothing is watched. Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The store can't be trusted any more ([`StoreError::Fatal`]): the process has to end.
    pub async fn advance(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            if !self.tellable.is_empty() {
                return Ok(self.tellable.drain(..).collect());
            }
            if let Some(error) = &self.fatal {
                return Err(error.clone());
            }
            let wake = self.start_due().map(|at| at.max(self.woke_at + TICK_MS));
            let sleep = wake.map(|at| at.saturating_sub(self.clock.now().up_ms));
            tokio::select! {
                biased;
                Some(done) = self.commits.next() => self.committed(done),
                Some(done) = self.polls.next() => self.polled(done),
                () = tokio::time::sleep(Duration::from_millis(sleep.unwrap_or(0))), if sleep.is_some() => {
                    self.woke_at = self.clock.now().up_ms;
                }
                else => std::future::pending().await,
            }
        }
    }

    fn stop(&mut self, slot: u32, outcome: Outcome) {
        match self.watch_table.phase(slot) {
            Some(Phase::Waiting(_) | Phase::Asking) => {
                // It may have been on its way to an end already.
                self.watch_table.take_stop(slot);
                // Nobody wants its answer: whoever watches the job next asks anew.
                if let Some(request) = self.asking.remove(&slot) {
                    request.abort();
                }
                self.step(slot, Input::Stop(outcome), self.clock.now());
            }
            Some(Phase::Committing) => self.watch_table.stop_later(slot, outcome),
            None => {}
        }
    }

    fn polled(&mut self, done: Polled) {
        let Polled { slot, id, result } = done;
        let Some(result) = result else {
            return;
        };
        self.asking.remove(&slot);
        let now = self.clock.now();
        self.hear(now.up_ms, slot, result.as_ref().map(|_| ()));
        // A watch that was to end while it was being asked hears no answer any more: its end is being committed, or it
        // is gone, and its slot may be another's by now.
        let is_it = self.watch_table.watch(slot).is_some_and(|w| w.id() == id);
        if !is_it || self.watch_table.phase(slot) != Some(Phase::Asking) {
            return;
        }
        let input = match result {
            Ok(StatusResponse {
                status,
                date,
                at_least,
            }) => {
                let server_now_ms = self.server_clock.hear(now.wall_ms, date, &status);
                Input::Answered(Box::new(Answer {
                    status,
                    server_now_ms,
                    at_least,
                }))
            }
            Err(error) => {
                tracing::debug!(job = %self.job_name(slot), kind = %error.kind, "{error}");
                Input::Failed(error)
            }
        };
        self.step(slot, input, now);
    }

    fn arm(&mut self, slot: u32, at: u64) {
        self.circuit_breaker.not_asking(slot);
        self.timer_queue.insert(at, slot);
        self.watch_table.set_phase(slot, Phase::Waiting(at));
    }

    fn disarm(&mut self, slot: u32) {
        if let Some(Phase::Waiting(at)) = self.watch_table.phase(slot) {
            self.timer_queue.remove(at, slot);
        }
    }

    fn job_name(&self, slot: u32) -> String {
        self.watch_table
            .watch(slot)
            .map_or_else(String::new, |w| w.job().to_string())
    }
}
