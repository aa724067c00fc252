//! A store that commits late, or fails to.

use super::*;

/// Fails the commits that the closure selects by their number.
struct FailingStore<F>(Cell<usize>, F);

impl<F: Fn(usize) -> bool + 'static> Store for FailingStore<F> {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        self.0.set(self.0.get() + 1);
        tokio::task::yield_now().await;
        if (self.1)(self.0.get()) {
            Err(StoreError::Unavailable("no space left".to_owned()))
        } else {
            Ok(())
        }
    }

    fn record_poll(&self, _: store::PollSample) {}
}

/// Every commit takes a second.
struct SlowStore;

/// Commits wait while this is true.
struct BlockedStore(Rc<Cell<bool>>);

impl Store for BlockedStore {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        while self.0.get() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn record_poll(&self, _: store::PollSample) {}
}

impl Store for SlowStore {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    fn record_poll(&self, _: store::PollSample) {}
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_neither_loses_nor_repeats_an_event() {
    let api = |now: u64, _| running((now / 500).min(100) as f32);
    let (mut engine, _) = Setup::of(5).engine(FailingStore(Cell::new(0), |n| n % 3 != 0), api);
    let events = finish(&mut engine).await;
    for id in 1..=5 {
        let own: Vec<_> = events
            .iter()
            .filter(|(_, e)| e.job == Some(job(id)))
            .collect();
        let seqs: Vec<u32> = own.iter().map(|(_, e)| e.id.seq).collect();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u32), "{seqs:?}");
        assert_eq!(own.first().unwrap().1.kind.as_str(), "job.watching");
        assert_eq!(own.last().unwrap().1.kind.as_str(), "job.completed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_commit_failed_is_tried_again() {
    let (mut engine, _) =
        Setup::of(1).engine(FailingStore(Cell::new(0), |n| n == 2), |_, _| running(1.0));
    let watching = engine.advance().await.unwrap();
    engine.stop_all(Outcome::TimedOut);
    let events = finish(&mut engine).await;
    assert_eq!(watching[0].kind.as_str(), "job.watching");
    assert_eq!(types(&events), ["job.timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_no_polling_even_during_an_outage() {
    let full = Rc::new(Cell::new(false));
    let is_full = Rc::clone(&full);
    let mut setup = Setup::of(3);
    setup.limits.give_up_after = None;
    let store = FailingStore(Cell::new(0), move |_| is_full.get());
    let (mut engine, log) = setup.engine(store, |now, _| match now {
        20_000..900_000 => Err(error(ErrorKind::Server)),
        _ => running((now / 100_000).min(100) as f32),
    });
    run_until(&mut engine, 30_000).await;
    full.set(true);
    let events = run_until(&mut engine, 3_600_000).await;
    assert_eq!(types(&events), Vec::<&str>::new());
    let polls_between = |id, from: u64, to: u64| {
        let requests = log.requests.borrow();
        let own = |&&(at, j): &&(u64, JobRef)| j == job(id) && (from..to).contains(&at);
        requests.iter().filter(own).count()
    };
    let probes: usize = (1..=3).map(|id| polls_between(id, 30_000, 900_000)).sum();
    assert!((3..60).contains(&probes), "{probes} while down");
    for id in 1..=3 {
        // After the outage each job is polled again, and those with an uncommitted event not too often.
        let back = polls_between(id, 1_300_000, 3_600_000);
        assert!((10..400).contains(&back), "{id}: {back} after the return");
    }
    full.set(false);
    let events = finish(&mut engine).await;
    assert_eq!(
        types(&events)
            .iter()
            .filter(|&&t| t == "job.completed")
            .count(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_does_not_override_retry_after() {
    let is_full = |n| n > 1;
    let mut setup = Setup::of(2);
    setup.limits.give_up_after = None;
    let (mut engine, log) = setup.engine(FailingStore(Cell::new(0), is_full), |_, j| {
        match j.id.get() {
            1 => running(1.0),
            _ => Err(PollError {
                http_status: Some(503),
                retry_after: Some(Duration::from_mins(30)),
                ..error(ErrorKind::Server)
            }),
        }
    });
    run_until(&mut engine, 20_000_000).await;
    let requests = log.requests.borrow();
    let own = requests.iter().filter(|(_, j)| *j == job(2));
    let polled_at: Vec<u64> = own.map(|(at, _)| *at).collect();
    assert!(polled_at.len() > 9, "{polled_at:?}");
    assert!(
        polled_at.is_sorted_by(|a, b| b - a >= 1_800_000),
        "{polled_at:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_with_a_pending_stop_is_not_the_probe() {
    let mut setup = Setup::of(2);
    setup.limits.give_up_after = None;
    let full = Rc::new(Cell::new(false));
    let is_full = Rc::clone(&full);
    let store = FailingStore(Cell::new(0), move |_| is_full.get());
    let (mut engine, log) = setup.engine(store, |now, _| match now {
        0..20_000 => running(1.0),
        _ => Err(error(ErrorKind::Server)),
    });
    run_until(&mut engine, 60_000).await;
    full.set(true);
    let removed = engine.watches().next().unwrap().id();
    engine.stop_one(removed, Outcome::Removed);
    run_until(&mut engine, 3_600_000).await;
    let requests = log.requests.borrow();
    let late = |id| {
        requests
            .iter()
            .filter(|&&(at, j)| at > 60_000 && j == job(id))
            .count()
    };
    assert!(late(1) == 0 && late(2) > 5, "{} {}", late(1), late(2));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_arrives_while_the_end_is_being_committed_is_ignored() {
    for without_events in [false, true] {
        let mut setup = Setup::of(1);
        setup.latency = Duration::from_secs(5);
        let (mut engine, log) = setup.engine(SlowStore, |_, _| running(1.0));
        let mut all = Vec::new();
        // The second response is the same as the first, so that nothing is committed for it.
        while log.requests.borrow().len() < if without_events { 2 } else { 1 } {
            let events = tokio::time::timeout(Duration::from_millis(100), engine.advance()).await;
            all.extend(events.map_or_else(|_| Vec::new(), Result::unwrap));
        }
        let more = tokio::time::timeout(Duration::from_millis(4_500), engine.advance()).await;
        assert!(more.is_err(), "no event before the response");
        engine.stop_all(Outcome::Removed);
        let more = tokio::time::timeout(Duration::from_mins(10), finish(&mut engine)).await;
        all.extend(more.unwrap().into_iter().map(|(_, event)| event));
        let types: Vec<&str> = all.iter().map(|event| event.kind.as_str()).collect();
        let before: &[&str] = if without_events {
            &["job.watching"]
        } else {
            &[]
        };
        assert_eq!(types, [before, &["job.removed"]].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_stop_still_backs_off() {
    let full = Rc::new(Cell::new(false));
    let is_full = Rc::clone(&full);
    let attempts = Rc::new(Cell::new(0));
    let count = Rc::clone(&attempts);
    let store = FailingStore(Cell::new(0), move |n| {
        count.set(n);
        is_full.get()
    });
    let (mut engine, _) = Setup::of(1).engine(store, |_, _| running(1.0));
    run_until(&mut engine, 1_000).await;
    full.set(true);
    let id = engine.watches().next().unwrap().id();
    for at in [10_000, 20_000, 30_000] {
        engine.stop_one(id, Outcome::Removed);
        // Once more while the first is being committed.
        engine.stop_one(id, Outcome::Removed);
        run_until(&mut engine, at).await;
    }
    run_until(&mut engine, 600_000).await;
    assert!((10..150).contains(&attempts.get()), "{}", attempts.get());
    full.set(false);
    assert_eq!(types(&finish(&mut engine).await), ["job.removed"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_in_commit_when_the_outage_ends_is_polled_with_the_others() {
    let blocked = Rc::new(Cell::new(false));
    let mut setup = Setup::of(3);
    setup.limits.give_up_after = None;
    // The first job's error is committed before the store blocks, so that it can be the probe.
    let (mut engine, log) = setup.engine(BlockedStore(Rc::clone(&blocked)), |now, j| match now {
        _ if j == job(1) && now < 150_000 => Err(error(ErrorKind::Server)),
        20_000..150_000 => Err(error(ErrorKind::Server)),
        _ => running(1.0),
    });
    run_until(&mut engine, 130_000).await;
    blocked.set(true);
    run_until(&mut engine, 400_000).await;
    blocked.set(false);
    run_until(&mut engine, 405_000).await;
    let requests = log.requests.borrow();
    let is_polled = |id, from| requests.iter().any(|&(at, j)| j == job(id) && at >= from);
    assert!(
        is_polled(1, 150_000),
        "its probe ends the outage: {requests:?}"
    );
    for id in [2, 3] {
        assert!(is_polled(id, 400_000), "{id}: {requests:?}");
    }
}
