//! A store that takes a step late, or not.

use super::*;

/// Fails the commits for which the closure says so.
struct Flaky<F>(Cell<usize>, F);

impl<F: Fn(usize) -> bool> Store for Flaky<F> {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        self.0.set(self.0.get() + 1);
        tokio::task::yield_now().await;
        if (self.1)(self.0.get()) {
            Err(StoreError::Full("no space left".to_owned()))
        } else {
            Ok(())
        }
    }

    fn record_poll(&self, _: store::PollSample) {}
}

/// Every commit takes a second.
struct Slow;

/// Commits wait as long as this says so.
struct Stuck(Rc<Cell<bool>>);

impl Store for Stuck {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        while self.0.get() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn record_poll(&self, _: store::PollSample) {}
}

impl Store for Slow {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    fn record_poll(&self, _: store::PollSample) {}
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_loses_nothing_and_repeats_nothing() {
    let world = |now: u64, _| running((now / 500).min(100) as f32);
    let (mut engine, _) = Bench::of(5).engine(Flaky(Cell::new(0), |n| n % 3 != 0), world);
    let told = finish(&mut engine).await;
    for id in 1..=5 {
        let own: Vec<_> = told
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
async fn a_stop_that_could_not_be_committed_is_not_forgotten() {
    let (mut engine, _) = Bench::of(1).engine(Flaky(Cell::new(0), |n| n == 2), |_, _| running(1.0));
    let watching = engine.advance().await.unwrap();
    engine.stop_all(Outcome::TimedOut);
    let told = finish(&mut engine).await;
    assert_eq!(watching[0].kind.as_str(), "job.watching");
    assert_eq!(types(&told), ["job.timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_keeps_nobody_from_asking_even_while_the_api_is_down() {
    let full = Rc::new(Cell::new(false));
    let is_full = Rc::clone(&full);
    let mut bench = Bench::of(3);
    bench.limits.give_up_after = None;
    let store = Flaky(Cell::new(0), move |_| is_full.get());
    let (mut engine, seen) = bench.engine(store, |now, _| match now {
        20_000..900_000 => Err(error(ErrorKind::Server)),
        _ => running((now / 100_000).min(100) as f32),
    });
    run_until(&mut engine, 30_000).await;
    full.set(true);
    let told = run_until(&mut engine, 3_600_000).await;
    assert_eq!(types(&told), Vec::<&str>::new());
    let asked = |id, from: u64, to: u64| {
        let requests = seen.requests.borrow();
        let own = |&&(at, j): &&(u64, JobRef)| j == job(id) && (from..to).contains(&at);
        requests.iter().filter(own).count()
    };
    let probes: usize = (1..=3).map(|id| asked(id, 30_000, 900_000)).sum();
    assert!((3..60).contains(&probes), "{probes} while down");
    for id in 1..=3 {
        // Back, each is asked again, and those with something to tell not all the time.
        let back = asked(id, 1_300_000, 3_600_000);
        assert!((10..400).contains(&back), "{id}: {back} after the return");
    }
    full.set(false);
    let told = finish(&mut engine).await;
    assert_eq!(
        types(&told)
            .iter()
            .filter(|&&t| t == "job.completed")
            .count(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_makes_nobody_ask_sooner_than_the_server_wants() {
    let is_full = |n| n > 1;
    let mut bench = Bench::of(2);
    bench.limits.give_up_after = None;
    let (mut engine, seen) = bench.engine(Flaky(Cell::new(0), is_full), |_, j| match j.id.get() {
        1 => running(1.0),
        _ => Err(PollError {
            http_status: Some(503),
            retry_after: Some(Duration::from_mins(30)),
            ..error(ErrorKind::Server)
        }),
    });
    run_until(&mut engine, 20_000_000).await;
    let requests = seen.requests.borrow();
    let own = requests.iter().filter(|(_, j)| *j == job(2));
    let asked: Vec<u64> = own.map(|(at, _)| *at).collect();
    assert!(asked.len() > 9, "{asked:?}");
    assert!(asked.is_sorted_by(|a, b| b - a >= 1_800_000), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_its_end_asks_for_nobody() {
    let mut bench = Bench::of(2);
    bench.limits.give_up_after = None;
    let full = Rc::new(Cell::new(false));
    let is_full = Rc::clone(&full);
    let store = Flaky(Cell::new(0), move |_| is_full.get());
    let (mut engine, seen) = bench.engine(store, |now, _| match now {
        0..20_000 => running(1.0),
        _ => Err(error(ErrorKind::Server)),
    });
    run_until(&mut engine, 60_000).await;
    full.set(true);
    let removed = engine.watches().next().unwrap().id();
    engine.stop_one(removed, Outcome::Removed);
    run_until(&mut engine, 3_600_000).await;
    let requests = seen.requests.borrow();
    let late = |id| {
        requests
            .iter()
            .filter(|&&(at, j)| at > 60_000 && j == job(id))
            .count()
    };
    assert!(late(1) == 0 && late(2) > 5, "{} {}", late(1), late(2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_while_the_end_is_being_committed_is_not_heard() {
    for silent in [false, true] {
        let mut bench = Bench::of(1);
        bench.latency = Duration::from_secs(5);
        let (mut engine, seen) = bench.engine(Slow, |_, _| running(1.0));
        let mut told = Vec::new();
        // The second answer brings nothing new, so that there is no second commit either.
        while seen.requests.borrow().len() < if silent { 2 } else { 1 } {
            let events = tokio::time::timeout(Duration::from_millis(100), engine.advance()).await;
            told.extend(events.map_or_else(|_| Vec::new(), Result::unwrap));
        }
        let more = tokio::time::timeout(Duration::from_millis(4_500), engine.advance()).await;
        assert!(more.is_err(), "nothing is known yet");
        engine.stop_all(Outcome::Removed);
        let more = tokio::time::timeout(Duration::from_mins(10), finish(&mut engine)).await;
        told.extend(more.unwrap().into_iter().map(|(_, event)| event));
        let told: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
        let before: &[&str] = if silent { &["job.watching"] } else { &[] };
        assert_eq!(told, [before, &["job.removed"]].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_said_twice_is_not_tried_all_the_time() {
    let full = Rc::new(Cell::new(false));
    let is_full = Rc::clone(&full);
    let tried = Rc::new(Cell::new(0));
    let count = Rc::clone(&tried);
    let store = Flaky(Cell::new(0), move |n| {
        count.set(n);
        is_full.get()
    });
    let (mut engine, _) = Bench::of(1).engine(store, |_, _| running(1.0));
    run_until(&mut engine, 1_000).await;
    full.set(true);
    let id = engine.watches().next().unwrap().id();
    for at in [10_000, 20_000, 30_000] {
        engine.stop_one(id, Outcome::Removed);
        // Once more while that one is on its way.
        engine.stop_one(id, Outcome::Removed);
        run_until(&mut engine, at).await;
    }
    run_until(&mut engine, 600_000).await;
    assert!((10..150).contains(&tried.get()), "{}", tried.get());
    full.set(false);
    assert_eq!(types(&finish(&mut engine).await), ["job.removed"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_being_recorded_when_the_api_came_back_is_asked_with_the_others() {
    let stuck = Rc::new(Cell::new(false));
    let mut bench = Bench::of(3);
    bench.limits.give_up_after = None;
    // The first job's trouble is told before the store gets stuck: so it can ask for all.
    let (mut engine, seen) = bench.engine(Stuck(Rc::clone(&stuck)), |now, j| match now {
        _ if j == job(1) && now < 150_000 => Err(error(ErrorKind::Server)),
        20_000..150_000 => Err(error(ErrorKind::Server)),
        _ => running(1.0),
    });
    run_until(&mut engine, 130_000).await;
    stuck.set(true);
    run_until(&mut engine, 400_000).await;
    stuck.set(false);
    run_until(&mut engine, 405_000).await;
    let requests = seen.requests.borrow();
    let asked = |id, from| requests.iter().any(|&(at, j)| j == job(id) && at >= from);
    assert!(
        asked(1, 150_000),
        "it finds that the API is back: {requests:?}"
    );
    for id in [2, 3] {
        assert!(asked(id, 400_000), "{id}: {requests:?}");
    }
}
