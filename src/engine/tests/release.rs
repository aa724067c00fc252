//! Watches that another process serves from now on.

use super::*;

/// A store whose commits wait while `is_blocked`, and fail once another process serves the watches.
#[derive(Clone, Default)]
struct SharedStore {
    is_blocked: Rc<Cell<bool>>,
    is_lost: Rc<Cell<bool>>,
}

impl Store for SharedStore {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        while self.is_blocked.get() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if self.is_lost.get() {
            return Err(StoreError::Lost("expelled".to_owned()));
        }
        Ok(())
    }

    fn record_poll(&self, _: store::PollSample) {}
}

/// Runs for ten minutes; returns the types of the events, and the jobs that were dropped.
async fn run<A: Api, S: Store, C: Clock>(
    engine: &mut Engine<A, S, C>,
) -> (Vec<&'static str>, Vec<JobRef>) {
    let end = Instant::now() + Duration::from_mins(10);
    let (mut events, mut dropped) = (Vec::new(), Vec::new());
    while let Ok(returned) = tokio::time::timeout_at(end, engine.advance()).await {
        events.extend(returned.unwrap().iter().map(|event| event.kind.as_str()));
        dropped.extend(engine.take_dropped().into_iter().map(|(job, _)| job));
    }
    (events, dropped)
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_lost_is_dropped_and_nothing_is_published() {
    let store = SharedStore::default();
    let api = |now: u64, _| running(if now < 600_000 { 1.0 } else { 50.0 });
    let (mut engine, log) = Setup::of(2).engine(store.clone(), api);
    let watching = (vec!["job.watching"; 2], Vec::new());
    assert_eq!(run(&mut engine).await, watching);
    store.is_lost.set(true);
    let (events, mut dropped) = run(&mut engine).await;
    dropped.sort();
    assert_eq!((events, dropped), (Vec::new(), vec![job(1), job(2)]));
    let polls = log.requests.borrow().len();
    assert_eq!(run(&mut engine).await, (Vec::new(), Vec::new()));
    assert_eq!(log.requests.borrow().len(), polls, "polled after the loss");
    assert!(engine.is_done());
}

#[tokio::test(start_paused = true)]
async fn a_released_watch_is_not_polled_any_more_and_the_others_are() {
    let mut setup = Setup::of(3);
    setup.latency = Duration::from_secs(20);
    let (mut engine, log) = setup.engine(SharedStore::default(), |now, _| {
        running(if now < 300_000 { 1.0 } else { 100.0 })
    });
    let early = tokio::time::timeout(Duration::from_secs(5), engine.advance()).await;
    assert!(early.is_err(), "no event before the first response");
    engine.release(|released| released == job(2));
    assert!(!engine.is_releasing());
    let (events, dropped) = run(&mut engine).await;
    assert_eq!(dropped, [job(2)]);
    let expected = [["job.watching"; 2], ["job.completed"; 2]].concat();
    assert_eq!(events, expected);
    let requests = log.requests.borrow();
    let of_released = requests.iter().filter(|(_, polled)| *polled == job(2));
    assert_eq!(of_released.count(), 1, "the one before the release");
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_commit_is_in_flight_is_published_if_it_is_stored() {
    for is_lost in [false, true] {
        let store = SharedStore::default();
        store.is_blocked.set(true);
        let (mut engine, log) = Setup::of(1).engine(store.clone(), |_, _| running(1.0));
        let early = tokio::time::timeout(Duration::from_secs(5), engine.advance()).await;
        assert!(early.is_err(), "an event before its commit");
        engine.release(|_| true);
        engine.stop_all(Outcome::Removed);
        assert!(engine.is_releasing());
        assert_eq!(engine.take_dropped(), []);
        store.is_lost.set(is_lost);
        store.is_blocked.set(false);
        let (events, dropped) = run(&mut engine).await;
        let expected = if is_lost {
            vec![]
        } else {
            vec!["job.watching"]
        };
        assert_eq!((events, dropped), (expected, vec![job(1)]));
        assert!(!engine.is_releasing());
        assert_eq!(log.requests.borrow().len(), 1);
    }
}
