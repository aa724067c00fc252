//! The dispatcher, with stores that are slow or full.

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
    /// The next result finds the disk full.
    rejects_once: Cell<bool>,
    rejected: Cell<u32>,
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
        if commit.changes.iter().any(|c| change_name(c) != "begin") {
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

#[tokio::test(start_paused = true)]
async fn a_stop_ends_even_if_nothing_can_be_committed() {
    let store = FakeStore::default();
    store.0.is_full.set(true);
    let mut dispatcher = with_pending(&[1], rejected(), &store).await;
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 2).await;
    let stopped = tokio::time::timeout(Duration::from_mins(1), dispatcher.stop()).await;
    assert!(stopped.is_ok(), "it retries forever");
    assert!(
        !dispatcher.is_idle(),
        "the attempt is repeated after the next startup"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_on_a_full_disk_is_committed_and_published_once_there_is_space() {
    let store = FakeStore::default();
    store.0.is_full.set(true);
    let mut dispatcher = with_pending(&[1], rejected(), &store).await;
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 3).await;
    assert_eq!(store.committed(), ["1 begin"]);
    assert_eq!(dispatcher.list(1)[0].state, OpenState::Running);
    store.0.is_full.set(false);
    let events = dispatcher.advance().await.unwrap();
    assert_eq!(
        deliveries(&events),
        [format!("{}/h", event(1, "job.failed").id)]
    );
    assert_eq!(
        dispatcher.list(1),
        [],
        "failed deliveries are in the store alone"
    );
    let more = tokio::time::timeout(Duration::from_hours(1), dispatcher.advance()).await;
    assert!(more.is_err(), "published twice: {more:?}");
    assert_eq!(store.committed(), ["1 begin", "1 fail", "hook.failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_being_committed_survives_fail_all() {
    let store = FakeStore::default();
    let permits = Rc::new(Semaphore::new(0));
    *store.0.permits.borrow_mut() = Some(Rc::clone(&permits));
    let mut dispatcher = with_pending(&[1, 2], AttemptResult::Delivered, &store).await;
    advance_until(&mut dispatcher, || store.0.waiting.get() == 1).await;
    permits.add_permits(2);
    let events = dispatcher.fail_all("shutdown").await;
    assert_eq!(
        deliveries(&events),
        [format!("{}/h", event(2, "job.failed").id)]
    );
    assert_eq!(
        store.committed(),
        ["1 begin", "1 deliver", "2 fail", "hook.failed"]
    );
    assert!(dispatcher.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_delivered_event_does_not_fail_because_the_disk_is_full() {
    let store = FakeStore::default();
    store.0.is_full.set(true);
    let mut dispatcher = with_pending(&[1], AttemptResult::Delivered, &store).await;
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 1).await;
    let fail_all = dispatcher.fail_all("shutdown");
    let events = tokio::time::timeout(Duration::from_mins(1), fail_all).await;
    assert_eq!(events.expect("it retries forever"), []);
    store.0.is_full.set(false);
    assert_eq!(dispatcher.fail_all("shutdown").await, []);
    assert_eq!(store.committed(), ["1 begin"]);
}

#[tokio::test(start_paused = true)]
async fn failed_deliveries_are_retried_or_discarded_by_the_state_in_the_store() {
    let mut dispatcher = dispatcher_with(
        FixedExecutor(Duration::ZERO, rejected()),
        InMemoryStore::default(),
    );
    let events: Vec<Event> = (1..=4).map(|seq| event(seq, "job.failed")).collect();
    commit_events(&dispatcher, &events).await;
    while !dispatcher.is_idle() {
        dispatcher.advance().await.unwrap();
    }
    assert_eq!(
        (dispatcher.open_count(), dispatcher.list(9)),
        (0, Vec::new())
    );
    assert_eq!(
        dispatcher.retry(id(2)).await,
        Ok(DeliveryActionResult::Done)
    );
    let listed = dispatcher.find(&id(2)).unwrap();
    assert_eq!(
        (dispatcher.open_count(), listed.attempts),
        (1, 0),
        "as if new"
    );
    assert_eq!(
        dispatcher.retry(id(2)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it is pending"
    );
    assert_eq!(
        dispatcher.discard(id(2)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it is pending"
    );
    assert_eq!(
        dispatcher.discard(id(1)).await,
        Ok(DeliveryActionResult::Done)
    );
    assert_eq!(
        dispatcher.discard(id(1)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it is discarded"
    );
    assert_eq!(
        dispatcher.retry(id(5)).await,
        Ok(DeliveryActionResult::NotFailed),
        "it does not exist"
    );
    let events = dispatcher.advance().await.unwrap();
    assert_eq!(deliveries(&events), [id(2).to_string()]);
    assert_eq!(dispatcher.discard_some().await, Ok(3));
    assert_eq!(dispatcher.discard_some().await, Ok(0));
    let counted = DeliveryCounts {
        failed_total: 5,
        discarded_total: 4,
        ..DeliveryCounts::default()
    };
    assert_eq!(dispatcher.delivery_counts(), counted);
    assert_eq!(dispatcher.measured()["h"].failed.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_deliveries_are_counted_as_they_go() {
    let store = FakeStore::default();
    let attempt = FixedExecutor(Duration::from_secs(3), AttemptResult::Delivered);
    let mut dispatcher = dispatcher_with(attempt, store.clone());
    let events: Vec<Event> = (1..=2).map(|seq| event(seq, "job.failed")).collect();
    commit_events(&dispatcher, &events).await;
    let open = |pending, running| DeliveryCounts {
        pending,
        running,
        ..DeliveryCounts::default()
    };
    assert_eq!(dispatcher.delivery_counts(), open(2, 0));
    let committed = || store.committed().iter().any(|change| change == "1 begin");
    advance_until(&mut dispatcher, committed).await;
    assert_eq!(dispatcher.delivery_counts(), open(1, 1));
    while !dispatcher.is_idle() {
        dispatcher.advance().await.unwrap();
    }
    let counted = DeliveryCounts {
        delivered_total: 2,
        ..DeliveryCounts::default()
    };
    assert_eq!(dispatcher.delivery_counts(), counted);
    let attempts = dispatcher.measured()["h"].clone();
    assert_eq!(
        (attempts.delivered.count(), attempts.failed.count()),
        (2, 0)
    );
    assert!((attempts.delivered.sum() - 6.0).abs() < 0.1);
    dispatcher.configure(&[], FixedExecutor(Duration::ZERO, AttemptResult::Delivered));
    assert!(
        dispatcher.measured().is_empty(),
        "a removed hook has no label"
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_without_disk_space_is_measured_while_it_lasts() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[1], rejected(), &store).await;
    let disk_full = |dispatcher: &Dispatcher<_, _, _>| dispatcher.outbox.commits().disk_full;
    assert_eq!(disk_full(&dispatcher), Duration::ZERO);
    store.0.is_full.set(true);
    advance_until(&mut dispatcher, || store.0.rejected.get() >= 1).await;
    let began = Instant::now();
    let until = |seconds| sleep_until(began + Duration::from_secs(seconds));
    while began.elapsed() < Duration::from_secs(30) {
        tokio::select! {
            events = dispatcher.advance() => assert_eq!(events.unwrap(), []),
            () = until(30) => {}
        }
    }
    let during = disk_full(&dispatcher);
    assert!(
        during.abs_diff(Duration::from_secs(30)) <= Duration::from_secs(1),
        "{during:?}"
    );
    store.0.is_full.set(false);
    dispatcher.advance().await.unwrap();
    let after = disk_full(&dispatcher);
    sleep_until(Instant::now() + Duration::from_mins(5)).await;
    assert_eq!(disk_full(&dispatcher), after, "it is over");
    assert!(after >= during);
    assert!(dispatcher.outbox.commits().duration.count() >= 2);
}

#[tokio::test]
async fn a_failure_that_is_not_yet_applied_cannot_be_retried_or_discarded() {
    let store = InMemoryStore::default();
    let mut dispatcher = dispatcher_with(FixedExecutor(Duration::ZERO, rejected()), store.clone());
    commit_events(&dispatcher, &[event(1, "job.failed")]).await;
    let (id, why) = (id(1), DeliveryFailure::new("HTTP 410"));
    let commit = Commit {
        changes: &[DeliveryChange::Fail {
            id: id.clone(),
            why,
        }],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    assert_eq!(
        dispatcher.retry(id.clone()).await,
        Ok(DeliveryActionResult::NotFailed)
    );
    assert_eq!(
        dispatcher.discard(id).await,
        Ok(DeliveryActionResult::NotFailed)
    );
}

#[tokio::test]
async fn events_committed_after_fail_all_are_delivered() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[], AttemptResult::Delivered, &store).await;
    assert_eq!(dispatcher.fail_all("shutdown").await, []);
    commit_events(&dispatcher, &[event(1, "job.failed")]).await;
    advance_until(&mut dispatcher, || store.committed().len() == 3).await;
    assert_eq!(store.committed(), ["job.failed", "1 begin", "1 deliver"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_while_draining_is_repeated_after_the_next_startup() {
    let failed = AttemptResult::Failed {
        why: DeliveryFailure::new("connection refused"),
        not_before: Duration::ZERO,
    };
    for (result, expected) in [
        (failed, vec!["1 begin"]),
        (AttemptResult::Delivered, vec!["1 begin", "1 deliver"]),
        (rejected(), vec!["1 begin", "1 fail", "hook.failed"]),
    ] {
        let store = FakeStore::default();
        let mut dispatcher =
            dispatcher_with(FixedExecutor(Duration::from_secs(3), result), store.clone());
        commit_events(&dispatcher, &[event(1, "job.failed")]).await;
        store.0.committed.borrow_mut().clear();
        advance_until(&mut dispatcher, || !store.committed().is_empty()).await;
        dispatcher.drain();
        while !dispatcher.is_drained() {
            tokio::select! {
                events = dispatcher.advance() => drop(events.unwrap()),
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
        assert_eq!(store.committed(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_committed_and_published_in_the_order_of_their_numbers() {
    let store = FakeStore::default();
    let mut dispatcher = with_pending(&[], rejected(), &store).await;
    let mut of_other_watch = event(2, "job.failed");
    of_other_watch.id.watch = WatchId([2; 16]);
    commit_events(&dispatcher, &[event(1, "job.failed"), of_other_watch]).await;
    store.0.committed.borrow_mut().clear();
    store.0.rejects_once.set(true);
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(dispatcher.advance().await.unwrap());
    }
    assert_eq!(store.0.rejected.get(), 1);
    assert!(events[0].id.seq < events[1].id.seq, "{events:#?}");
}
