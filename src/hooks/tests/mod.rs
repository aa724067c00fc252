//! The dispatcher, with stores that are slow or full.

mod admin;
mod full_disk;
mod measured;
mod release;
mod shutdown;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use crate::engine::{SystemClock, SystemEvents};
use crate::store::{Commit, InMemoryStore, PollSample, Store, StoreError};
use forgewatch_core::delivery::fixtures::{event, hook};
use forgewatch_core::delivery::{
    Attempt, AttemptResult, DeliveryChange, DeliveryFailure, DeliveryId, OpenState,
};
use forgewatch_core::event::{Event, EventOrigin, WatchId};
use forgewatch_core::measurements::DeliveryCounts;
use forgewatch_core::rng::SeededRng;

/// A store that can delay or reject the results of attempts; it accepts all other commits.
#[derive(Clone, Default)]
struct FakeStore(Rc<FakeStoreState>);

#[derive(Default)]
struct FakeStoreState {
    is_full: Cell<bool>,
    /// Another process makes the deliveries.
    is_lost: Cell<bool>,
    /// The next result finds the disk full.
    rejects_once: Cell<bool>,
    rejected: Cell<u32>,
    /// Beginnings of attempts are treated as results are.
    holds_begin: Cell<bool>,
    /// If set, each result waits for a permit.
    permits: RefCell<Option<Rc<Semaphore>>>,
    waiting: Cell<u32>,
    /// All committed changes in order, as `seq change`, and the types of committed events.
    committed: RefCell<Vec<String>>,
}

impl FakeStore {
    fn committed(&self) -> Vec<String> {
        self.0.committed.borrow().clone()
    }
}

impl Store for FakeStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let state = &self.0;
        let is_result = commit.changes.iter().any(|c| change_name(c) != "begin");
        if is_result || state.holds_begin.get() && !commit.changes.is_empty() {
            let permits = state.permits.borrow().clone();
            if let Some(permits) = permits {
                state.waiting.set(state.waiting.get() + 1);
                permits.acquire().await.unwrap().forget();
            }
            if state.is_full.get() || state.rejects_once.take() {
                state.rejected.set(state.rejected.get() + 1);
                return Err(StoreError::Unavailable("no space left".to_owned()));
            }
        }
        if state.is_lost.get() {
            return Err(StoreError::Lost("expelled".to_owned()));
        }
        let changes = commit.changes.iter();
        let changes =
            changes.map(|change| format!("{} {}", change.id().event.seq, change_name(change)));
        let events = commit.events.iter().map(|e| e.kind.as_str().to_owned());
        state.committed.borrow_mut().extend(changes.chain(events));
        Ok(())
    }

    fn record_poll(&self, _: PollSample) {}
}

fn change_name(change: &DeliveryChange) -> &'static str {
    match change {
        DeliveryChange::Begin { .. } => "begin",
        DeliveryChange::Deliver { .. } => "deliver",
        DeliveryChange::Reschedule { .. } => "reschedule",
        DeliveryChange::Fail { .. } => "fail",
        DeliveryChange::Retry { .. } | DeliveryChange::Discard { .. } => "by client",
    }
}

/// Every attempt takes this long and has this result.
struct FixedExecutor(Duration, AttemptResult);

impl Executor for FixedExecutor {
    fn attempt(&self, _: Attempt, _: i64, _: StopSignal) -> Option<AttemptFuture> {
        let (duration, result) = (self.0, self.1.clone());
        Some(Box::pin(async move {
            sleep(duration).await;
            result
        }))
    }
}

fn rejected() -> AttemptResult {
    AttemptResult::Rejected(DeliveryFailure::new("HTTP 410"))
}

/// A dispatcher with pending deliveries of these events, all of one watch, to one hook.
async fn with_pending(
    numbers: &[u32],
    attempt: AttemptResult,
    store: &FakeStore,
) -> Dispatcher<FakeStore, SystemClock, FixedExecutor> {
    let dispatcher = dispatcher_with(FixedExecutor(Duration::ZERO, attempt), store.clone());
    let events: Vec<Event> = numbers
        .iter()
        .map(|&seq| event(seq, "job.failed"))
        .collect();
    commit_events(&dispatcher, &events).await;
    store.0.committed.borrow_mut().clear();
    dispatcher
}

/// A dispatcher with one hook.
fn dispatcher_with<S: Store + Clone>(
    executor: FixedExecutor,
    store: S,
) -> Dispatcher<S, SystemClock, FixedExecutor> {
    let clock = SystemClock::start();
    let outbox = Outbox::new(store, clock, "test");
    let system_events = Rc::new(SystemEvents::new(
        WatchId([1; 16]),
        EventOrigin::default(),
        clock,
    ));
    let specs = [HookSpec {
        rules: hook("h", &["job.*"], 0, 2),
        action: HookAction::Run(HookProgram {
            path: "/bin/true".into(),
            args: Vec::new(),
            env: Vec::new(),
        }),
        timeout: Duration::from_mins(5),
    }];
    Dispatcher::new(&specs, executor, outbox, system_events, SeededRng::new(1))
}

async fn commit_events<S: Store + Clone>(
    dispatcher: &Dispatcher<S, SystemClock, FixedExecutor>,
    events: &[Event],
) {
    let commit = Commit {
        events,
        ..Commit::default()
    };
    dispatcher.outbox.commit(commit).await.unwrap();
}

/// Advances until the condition holds; no event is returned meanwhile.
async fn advance_until(
    dispatcher: &mut Dispatcher<FakeStore, SystemClock, FixedExecutor>,
    condition: impl Fn() -> bool,
) {
    let end = Instant::now() + Duration::from_hours(1);
    while !condition() {
        assert!(Instant::now() < end, "the condition was never met");
        tokio::select! {
            events = dispatcher.advance() => assert_eq!(events.unwrap(), [], "an event before its commit"),
            () = sleep(Duration::from_millis(100)) => {}
        }
    }
}

fn id(seq: u32) -> DeliveryId {
    DeliveryId {
        event: event(seq, "job.failed").id,
        hook: "h".into(),
    }
}

fn deliveries(events: &[Event]) -> Vec<&str> {
    let failed = events.iter().filter_map(|e| e.fields.delivery.as_deref());
    failed.map(|d| d.delivery.as_str()).collect()
}
