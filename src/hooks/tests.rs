//! The shell around the queue, with a record that is slow, or full.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::tests_support::{event, hook};
use super::*;
use crate::engine::SystemClock;
use crate::hooks::payload::EventPayload;
use crate::hooks::queue::Stands;
use crate::store::{InMemoryStore, PollSample};
use forgewatch_core::delivery::DeliveryFailure;
use forgewatch_core::event::WatchId;

/// What a store does with the outcomes of deliveries; events and beginnings it always takes.
#[derive(Clone, Default)]
struct Ledger(Rc<Pages>);

#[derive(Default)]
struct Pages {
    is_full: Cell<bool>,
    /// The next outcome finds no room.
    refuses_once: Cell<bool>,
    refused: Cell<u32>,
    /// Where there is one, each outcome waits for its permit.
    permits: RefCell<Option<Rc<Semaphore>>>,
    waiting: Cell<u32>,
    /// All that was taken, in order: `seq word`, and the types of events told with it.
    taken: RefCell<Vec<String>>,
}

impl Ledger {
    fn taken(&self) -> Vec<String> {
        self.0.taken.borrow().clone()
    }
}

impl Store for Ledger {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let pages = &self.0;
        if commit.changes.iter().any(|c| word(c) != "begin") {
            let permits = pages.permits.borrow().clone();
            if let Some(permits) = permits {
                pages.waiting.set(pages.waiting.get() + 1);
                permits.acquire().await.unwrap().forget();
            }
            if pages.is_full.get() || pages.refuses_once.take() {
                pages.refused.set(pages.refused.get() + 1);
                return Err(StoreError::Full("no space left".to_owned()));
            }
        }
        let changes = commit.changes.iter();
        let changes = changes.map(|change| format!("{} {}", change.id().event.seq, word(change)));
        let events = commit.events.iter().map(|e| e.kind.as_str().to_owned());
        pages.taken.borrow_mut().extend(changes.chain(events));
        Ok(())
    }

    fn record_poll(&self, _: PollSample) {}
}

fn word(change: &DeliveryChange) -> &'static str {
    match change {
        DeliveryChange::Begin { .. } => "begin",
        DeliveryChange::Deliver { .. } => "deliver",
        DeliveryChange::Wait { .. } => "wait",
        DeliveryChange::GiveUp { .. } => "give up",
        DeliveryChange::Retry { .. } | DeliveryChange::Discard { .. } => "decide",
    }
}

/// Every attempt takes as long, and goes like this.
struct Always(Duration, Attempt);

impl Executor for Always {
    fn attempt(
        &self,
        _: &DeliveryId,
        _: &std::sync::Arc<EventPayload>,
        _: u32,
        _: i64,
        _: watch::Receiver<bool>,
    ) -> Option<AttemptFuture> {
        let (takes, attempt) = (self.0, self.1.clone());
        Some(Box::pin(async move {
            sleep(takes).await;
            attempt
        }))
    }
}

fn refused() -> Attempt {
    Attempt::Refused(DeliveryFailure::new("HTTP 410"))
}

/// Hooks that owe the events of these numbers, all of one watch, to one hook whose attempts go like this.
async fn owing(
    numbers: &[u32],
    attempt: Attempt,
    ledger: &Ledger,
) -> Hooks<Ledger, SystemClock, Always> {
    let hooks = with(Always(Duration::ZERO, attempt), ledger.clone());
    let events: Vec<Event> = numbers
        .iter()
        .map(|&seq| event(seq, "job.failed"))
        .collect();
    owe(&hooks, &events).await;
    ledger.0.taken.borrow_mut().clear();
    hooks
}

/// One hook whose attempts go like this, recorded there.
fn with<S: Store + Clone + 'static>(perform: Always, store: S) -> Hooks<S, SystemClock, Always> {
    let clock = SystemClock::start();
    let outbox = Outbox::new(store, clock, "test");
    let system_events = Rc::new(SystemEvents::new(WatchId([1; 16]), clock));
    let specs = [hook("h", &["job.*"], 0, 2)];
    Hooks::new(
        &specs,
        perform,
        outbox,
        system_events,
        clock,
        SeededRng::new(1),
    )
}

async fn owe<S: Store + Clone + 'static>(hooks: &Hooks<S, SystemClock, Always>, events: &[Event]) {
    let commit = Commit {
        events,
        ..Commit::default()
    };
    hooks.outbox.commit(commit).await.unwrap();
}

/// Goes on until it is so; nothing is told meanwhile.
async fn until(hooks: &mut Hooks<Ledger, SystemClock, Always>, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_hours(1);
    while !so() {
        assert!(Instant::now() < end, "it does not come to pass");
        tokio::select! {
            told = hooks.advance() => assert_eq!(told.unwrap(), [], "nothing is true before it is recorded"),
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

fn deliveries(told: &[Event]) -> Vec<&str> {
    let given_up = told.iter().filter_map(|e| e.facts.delivery.as_deref());
    given_up.map(|d| d.delivery.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_where_nothing_can_be_recorded_any_more() {
    let ledger = Ledger::default();
    ledger.0.is_full.set(true);
    let mut hooks = owing(&[1], refused(), &ledger).await;
    until(&mut hooks, || ledger.0.refused.get() >= 2).await;
    let stopped = tokio::time::timeout(Duration::from_mins(1), hooks.stop()).await;
    assert!(stopped.is_ok(), "it tries for ever");
    assert!(
        !hooks.is_idle(),
        "the attempt is made again after the start"
    );
}

#[tokio::test(start_paused = true)]
async fn a_giving_up_that_finds_the_disk_full_is_recorded_and_told_once_when_there_is_room() {
    let ledger = Ledger::default();
    ledger.0.is_full.set(true);
    let mut hooks = owing(&[1], refused(), &ledger).await;
    until(&mut hooks, || ledger.0.refused.get() >= 3).await;
    assert_eq!(ledger.taken(), ["1 begin"]);
    assert_eq!(hooks.list(1)[0].stands, Stands::Running);
    ledger.0.is_full.set(false);
    let told = hooks.advance().await.unwrap();
    assert_eq!(
        deliveries(&told),
        [format!("{}/h", event(1, "job.failed").id)]
    );
    assert_eq!(hooks.list(1), [], "from here on it is the store's");
    let more = tokio::time::timeout(Duration::from_hours(1), hooks.advance()).await;
    assert!(more.is_err(), "it is told again: {more:?}");
    assert_eq!(ledger.taken(), ["1 begin", "1 give up", "hook.failed"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_recorded_while_all_is_given_up_keeps_its_one_outcome() {
    let ledger = Ledger::default();
    let permits = Rc::new(Semaphore::new(0));
    *ledger.0.permits.borrow_mut() = Some(Rc::clone(&permits));
    let mut hooks = owing(&[1, 2], Attempt::Delivered, &ledger).await;
    until(&mut hooks, || ledger.0.waiting.get() == 1).await;
    permits.add_permits(2);
    let told = hooks.give_up_all("it is over").await;
    assert_eq!(
        deliveries(&told),
        [format!("{}/h", event(2, "job.failed").id)]
    );
    assert_eq!(
        ledger.taken(),
        ["1 begin", "1 deliver", "2 give up", "hook.failed"]
    );
    assert!(hooks.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_not_given_up_for_want_of_room_on_the_disk() {
    let ledger = Ledger::default();
    ledger.0.is_full.set(true);
    let mut hooks = owing(&[1], Attempt::Delivered, &ledger).await;
    until(&mut hooks, || ledger.0.refused.get() >= 1).await;
    let give_up = hooks.give_up_all("it is over");
    let told = tokio::time::timeout(Duration::from_mins(1), give_up).await;
    assert_eq!(told.expect("it tries for ever"), []);
    ledger.0.is_full.set(false);
    assert_eq!(hooks.give_up_all("it is over").await, []);
    assert_eq!(ledger.taken(), ["1 begin"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_tried_again_or_discarded_as_the_store_has_it() {
    let mut hooks = with(Always(Duration::ZERO, refused()), InMemoryStore::default());
    let events: Vec<Event> = (1..=4).map(|seq| event(seq, "job.failed")).collect();
    owe(&hooks, &events).await;
    while !hooks.is_idle() {
        hooks.advance().await.unwrap();
    }
    assert_eq!((hooks.waiting(), hooks.list(9)), (0, Vec::new()));
    assert_eq!(hooks.retry(id(2)).await, Ok(DeliveryAction::Granted));
    let listed = hooks.find(&id(2)).unwrap();
    assert_eq!((hooks.waiting(), listed.attempts), (1, 0), "it is as new");
    assert_eq!(
        hooks.retry(id(2)).await,
        Ok(DeliveryAction::NotGivenUp),
        "it waits"
    );
    assert_eq!(
        hooks.discard(id(2)).await,
        Ok(DeliveryAction::NotGivenUp),
        "it waits"
    );
    assert_eq!(hooks.discard(id(1)).await, Ok(DeliveryAction::Granted));
    assert_eq!(
        hooks.discard(id(1)).await,
        Ok(DeliveryAction::NotGivenUp),
        "it is gone"
    );
    assert_eq!(
        hooks.retry(id(5)).await,
        Ok(DeliveryAction::NotGivenUp),
        "there is none"
    );
    let told = hooks.advance().await.unwrap();
    assert_eq!(deliveries(&told), [id(2).to_string()]);
    assert_eq!(hooks.discard_some().await, Ok(3));
    assert_eq!(hooks.discard_some().await, Ok(0));
}

#[tokio::test]
async fn nothing_is_decided_about_a_giving_up_that_is_not_yet_in_force() {
    let store = InMemoryStore::default();
    let mut hooks = with(Always(Duration::ZERO, refused()), store.clone());
    owe(&hooks, &[event(1, "job.failed")]).await;
    let (id, why) = (id(1), DeliveryFailure::new("HTTP 410"));
    let commit = Commit {
        changes: &[DeliveryChange::GiveUp {
            id: id.clone(),
            why,
        }],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    assert_eq!(
        hooks.retry(id.clone()).await,
        Ok(DeliveryAction::NotGivenUp)
    );
    assert_eq!(hooks.discard(id).await, Ok(DeliveryAction::NotGivenUp));
}

#[tokio::test]
async fn what_is_told_after_all_was_given_up_is_delivered() {
    let ledger = Ledger::default();
    let mut hooks = owing(&[], Attempt::Delivered, &ledger).await;
    assert_eq!(hooks.give_up_all("it is over").await, []);
    owe(&hooks, &[event(1, "job.failed")]).await;
    until(&mut hooks, || ledger.taken().len() == 3).await;
    assert_eq!(ledger.taken(), ["job.failed", "1 begin", "1 deliver"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_while_all_winds_up_is_made_again_after_the_next_start() {
    let failed = Attempt::Failed {
        why: DeliveryFailure::new("nobody listens"),
        not_before: Duration::ZERO,
    };
    for (attempt, becomes) in [
        (failed, vec!["1 begin"]),
        (Attempt::Delivered, vec!["1 begin", "1 deliver"]),
        (refused(), vec!["1 begin", "1 give up", "hook.failed"]),
    ] {
        let ledger = Ledger::default();
        let mut hooks = with(Always(Duration::from_secs(3), attempt), ledger.clone());
        owe(&hooks, &[event(1, "job.failed")]).await;
        ledger.0.taken.borrow_mut().clear();
        until(&mut hooks, || !ledger.taken().is_empty()).await;
        hooks.wind_up();
        while !hooks.is_settled() {
            tokio::select! {
                told = hooks.advance() => drop(told.unwrap()),
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
        assert_eq!(ledger.taken(), becomes);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_on_record_and_told_in_the_order_of_their_numbers() {
    let ledger = Ledger::default();
    let mut hooks = owing(&[], refused(), &ledger).await;
    let mut of_another = event(2, "job.failed");
    of_another.id.watch = WatchId([2; 16]);
    owe(&hooks, &[event(1, "job.failed"), of_another]).await;
    ledger.0.taken.borrow_mut().clear();
    ledger.0.refuses_once.set(true);
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(hooks.advance().await.unwrap());
    }
    assert_eq!(ledger.0.refused.get(), 1);
    assert!(told[0].id.seq < told[1].id.seq, "{told:#?}");
}
