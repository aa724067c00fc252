//! Polls jobs when they are due, applies the results and returns the events to publish.
//!
//! [`Engine::advance`] drives everything; its owner selects over it and over signals, deadlines and output.
//! Everything runs in the caller's task: a poll in flight is a future in a set, an idle watch is a row and a timer.
//!
//! The path of a poll: `dispatch` takes the due watch, checks the throttle and starts the poll; `apply` takes the response,
//! steps the watch ([`Watch::step`]), has the store commit the result and puts it into effect.
//!
//! Commit before publish: the result of a step takes effect, and its events are returned, only once the store has
//! committed it. If the commit fails, the old watch stays and the job is polled again. A watch that is being polled
//! or committed has no timer, so a job never has two requests.

mod apply;
mod clock;
mod dispatch;
mod release;
mod system_events;
#[cfg(test)]
mod tests;
mod watch_table;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};

pub use clock::{Clock, SystemClock};
pub use dispatch::Throttle;
use dispatch::ThrottleState;
use forgewatch_core::rng::SeededRng;
pub use system_events::SystemEvents;
use watch_table::{Phase, WatchTable};

use crate::clanforge::{Api, StatusResponse};
use crate::store::{SavedWatch, Store, StoreError};
use forgewatch_core::event::{Event, JobMeta, WatchId};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::limits::Limits;
use forgewatch_core::measurements::{ApiAvailability, PollMeasurements};
use forgewatch_core::schedule::{ServerCalibration, ServerClock, ServerKey};
use forgewatch_core::time::Moment;
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::verdict::PollError;
use forgewatch_core::watch::{Effects, Input, InvalidSavedWatch, Watch};

/// Least time between two wake-ups by timers: polls that fall due in between start together, because a wake-up costs
/// more than the work it finds. A timer on its own is not delayed.
const MIN_WAKE_INTERVAL_MS: u64 = 10;

/// What an engine works with.
pub struct EngineParts<A, S, C> {
    pub api: A,
    pub store: S,
    pub clock: C,
    pub rng: SeededRng,
    pub limits: Limits,
    pub throttle: Throttle,
    pub calibration: ServerCalibration,
}

pub struct Engine<A, S, C> {
    api: Rc<A>,
    store: Rc<S>,
    clock: C,
    rng: SeededRng,
    limits: Limits,
    calibration: ServerCalibration,
    /// Set once the store cannot be trusted any more.
    store_failure: Option<StoreError>,
    /// No poll starts; the commits in flight are awaited.
    shutting_down: bool,
    server_clock: ServerClock,
    throttle: ThrottleState,
    watches: WatchTable,
    last_wake_ms: u64,
    polls: FuturesUnordered<LocalBoxFuture<'static, PollDone>>,
    /// Of the polls in flight, by slot.
    poll_aborts: BTreeMap<u32, AbortHandle>,
    commits: FuturesUnordered<LocalBoxFuture<'static, CommitDone>>,
    /// Committed, not yet returned.
    publishable: VecDeque<Event>,
    /// Watches in [`Phase::Releasing`].
    releasing: usize,
    /// Not yet taken.
    dropped: Vec<(JobRef, WatchId)>,
    measured: PollMeasurements,
}

struct PollDone {
    slot: u32,
    id: WatchId,
    /// When it started, by `up_ms`.
    started: u64,
    /// None if it was aborted.
    result: Option<Result<StatusResponse, PollError>>,
}

struct CommitDone {
    slot: u32,
    watch: Watch,
    effects: Effects,
    result: Result<(), StoreError>,
}

impl<A: Api, S: Store, C: Clock> Engine<A, S, C> {
    pub fn new(parts: EngineParts<A, S, C>) -> Self {
        let now = parts.clock.now().up_ms;
        Self {
            api: Rc::new(parts.api),
            store: Rc::new(parts.store),
            clock: parts.clock,
            rng: parts.rng,
            limits: parts.limits,
            calibration: parts.calibration,
            store_failure: None,
            shutting_down: false,
            server_clock: ServerClock::default(),
            throttle: ThrottleState::new(parts.throttle, now),
            watches: WatchTable::default(),
            last_wake_ms: now.saturating_sub(MIN_WAKE_INTERVAL_MS),
            polls: FuturesUnordered::new(),
            poll_aborts: BTreeMap::new(),
            commits: FuturesUnordered::new(),
            publishable: VecDeque::new(),
            releasing: 0,
            dropped: Vec::new(),
            measured: PollMeasurements::default(),
        }
    }

    /// Starts a watch that is due at once. The job must not be watched already.
    pub fn watch(&mut self, id: WatchId, job: JobRef, meta: Option<Arc<JobMeta>>) {
        self.resume(Watch::new(id, job, meta, self.clock.now()));
    }

    /// Continues a watch as it was stored. Its job must not be watched already.
    ///
    /// # Errors
    /// It is unreadable.
    pub fn resume_saved(&mut self, saved: &SavedWatch) -> Result<(), InvalidSavedWatch> {
        self.resume(saved.load(self.clock.now(), &self.limits)?);
        Ok(())
    }

    /// Continues a watch. Its job must not be watched already.
    pub fn resume(&mut self, watch: Watch) {
        let phase = Phase::Waiting {
            poll_at: watch.poll_at(),
            deadline: watch.deadline(&self.limits),
        };
        self.watches.insert(watch, phase);
    }

    /// Ends one watch, if it exists. [`Engine::advance`] returns the event.
    pub fn stop_one(&mut self, id: WatchId, outcome: Outcome) {
        if let Some(slot) = self.watches.find(id) {
            self.stop(slot, outcome);
        }
    }

    /// Ends every watch. [`Engine::advance`] returns the events.
    pub fn stop_all(&mut self, outcome: Outcome) {
        for slot in self.watches.all_slots() {
            self.stop(slot, outcome);
        }
    }

    /// Replaces client, limits and throttle. Polls in flight continue with the old ones. Another server has a
    /// calibration of its own.
    pub fn configure(
        &mut self,
        api: A,
        server: Option<ServerKey>,
        limits: Limits,
        throttle: Throttle,
    ) {
        self.api = Rc::new(api);
        self.calibration.configure(server);
        self.limits = limits;
        self.throttle.configure(throttle, self.clock.now().up_ms);
        self.step_waiting(Watch::is_refused, &Input::PollNow);
        self.step_waiting(Watch::is_suspended, &Input::PollNow);
        self.step_waiting(|_| true, &Input::LimitsChanged);
    }

    /// Aborts the polls in flight and starts no more; no watch ends. [`Engine::advance`] still returns the events that
    /// are being committed, until [`Engine::is_drained`].
    pub fn drain(&mut self) {
        self.shutting_down = true;
        self.polls.clear();
        self.poll_aborts.clear();
    }

    /// Whether all commits are done and all events returned.
    pub fn is_drained(&self) -> bool {
        self.commits.is_empty() && self.publishable.is_empty()
    }

    /// Whether all watches have ended and all events were returned.
    pub fn is_done(&self) -> bool {
        self.watches.is_empty() && self.publishable.is_empty()
    }

    /// The watches that have not ended.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.watches()
    }

    /// The polls since the start.
    pub fn measured(&self) -> &PollMeasurements {
        &self.measured
    }

    pub fn api_availability(&self, now: Moment) -> ApiAvailability {
        let breaker = &self.throttle.circuit_breaker;
        let (is_down, paused_until) = (breaker.is_down(), breaker.paused_until(now.up_ms));
        let left = |until: u64| now.plus(Duration::from_millis(until - now.up_ms)).wall_ms;
        ApiAvailability {
            is_down,
            paused_until_wall_ms: paused_until.map(left),
            error: (is_down || paused_until.is_some())
                .then(|| breaker.last_error().cloned())
                .flatten(),
        }
    }

    /// The client in use.
    pub fn api(&self) -> &A {
        &self.api
    }

    pub fn calibration(&self) -> &ServerCalibration {
        &self.calibration
    }

    /// The time left of a watched job.
    pub fn time_left(&self, watch: &Watch, now: Moment) -> TimeLeft {
        let server_now_ms = self.server_clock.now_ms(now.wall_ms);
        watch.time_left(self.calibration.get(), now.up_ms, server_now_ms)
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Drives everything until there are events to publish, and returns them, or until [`Engine::take_dropped`] has
    /// something. Pends forever without watches. Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The store cannot be trusted any more ([`StoreError::Fatal`]): the process has to end.
    pub async fn advance(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            if !self.publishable.is_empty() || !self.dropped.is_empty() {
                return Ok(self.publishable.drain(..).collect());
            }
            if let Some(error) = &self.store_failure {
                return Err(error.clone());
            }
            let wake = self
                .start_due()
                .map(|at| at.max(self.last_wake_ms + MIN_WAKE_INTERVAL_MS));
            let sleep = wake.map(|at| at.saturating_sub(self.clock.now().up_ms));
            tokio::select! {
                biased;
                Some(done) = self.commits.next() => self.on_commit_done(done),
                Some(done) = self.polls.next() => self.on_poll_done(done),
                () = tokio::time::sleep(Duration::from_millis(sleep.unwrap_or(0))), if sleep.is_some() => {
                    self.last_wake_ms = self.clock.now().up_ms;
                }
                else => std::future::pending().await,
            }
        }
    }

    fn stop(&mut self, slot: u32, outcome: Outcome) {
        match self.watches.phase(slot) {
            Some(Phase::Waiting { .. } | Phase::Polling { .. }) => {
                // An earlier stop may be waiting for its next attempt to commit.
                self.watches.take_pending_stop(slot);
                self.abort_poll(slot);
                self.step(slot, Input::Stop(outcome), self.clock.now());
            }
            Some(Phase::Committing) => self.watches.defer_stop(slot, outcome),
            Some(Phase::Releasing) | None => {}
        }
    }

    fn abort_poll(&mut self, slot: u32) {
        if let Some(poll) = self.poll_aborts.remove(&slot) {
            poll.abort();
        }
    }

    fn wait_until(&mut self, slot: u32, poll_at: u64, deadline: u64) {
        self.throttle.circuit_breaker.cancel_probe(slot);
        let phase = Phase::Waiting { poll_at, deadline };
        self.watches.set_phase(slot, phase);
    }
}
