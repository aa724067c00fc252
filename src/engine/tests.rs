//! The engine in virtual time, with an API made of a closure and a store that can fail.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::core::job::{JobState, Reason};
use crate::core::time::millis;
use crate::core::verdict::ErrorKind;
use crate::core::watch::tests_support::{EPOCH_S, error, limits};
use crate::store;
use crate::store::Commit;

/// tokio's paused clock as both clocks.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        let up_ms = millis(self.0.elapsed());
        Moment {
            up_ms,
            wall_ms: EPOCH_S * 1000 + up_ms.cast_signed(),
        }
    }
}

type Answer = Result<Status, PollError>;

/// What the world did: every request with its time, and how many were under way at once.
#[derive(Default)]
struct Seen {
    requests: RefCell<Vec<(u64, JobRef)>>,
    under_way: RefCell<HashMap<JobRef, usize>>,
    most_under_way: Cell<usize>,
}

impl Seen {
    /// Requests in each second.
    fn per_second(&self, seconds: usize) -> Vec<usize> {
        let mut counts = vec![0; seconds];
        for (at, _) in self.requests.borrow().iter() {
            if let Some(count) = counts.get_mut((at / 1000) as usize) {
                *count += 1;
            }
        }
        counts
    }
}

struct World<F> {
    start: Instant,
    latency: Duration,
    seen: Rc<Seen>,
    answer: F,
}

impl<F: Fn(u64, JobRef) -> Answer> Api for World<F> {
    async fn ask(&self, job: JobRef, _: bool) -> Result<Fetched, PollError> {
        let now = millis(self.start.elapsed());
        self.seen.requests.borrow_mut().push((now, job));
        let busy = {
            let mut under_way = self.seen.under_way.borrow_mut();
            *under_way.entry(job).or_default() += 1;
            assert_eq!(under_way[&job], 1, "two requests at once for {job}");
            under_way.values().sum::<usize>()
        };
        self.seen
            .most_under_way
            .set(self.seen.most_under_way.get().max(busy));
        tokio::time::sleep(self.latency).await;
        *self.seen.under_way.borrow_mut().entry(job).or_default() -= 1;
        let at_least = Duration::ZERO;
        match (self.answer)(now, job) {
            Ok(status) => Ok(Fetched {
                status,
                date: None,
                at_least,
            }),
            Err(error) => Err(error),
        }
    }
}

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

    fn note(&self, _: store::Note) {}
}

/// Every commit takes a second.
struct Slow;

impl Store for Slow {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    fn note(&self, _: store::Note) {}
}

struct Bench {
    throttle: Throttle,
    limits: Limits,
    latency: Duration,
    jobs: u64,
}

impl Bench {
    fn of(jobs: u64) -> Self {
        Self {
            throttle: Throttle {
                max_in_flight: 32,
                max_requests_per_second: 20.0,
            },
            limits: limits(),
            latency: Duration::from_millis(5),
            jobs,
        }
    }

    fn engine<S: Store + 'static, F: Fn(u64, JobRef) -> Answer + 'static>(
        self,
        store: S,
        answer: F,
    ) -> (Engine<World<F>, S, VirtualClock>, Rc<Seen>) {
        let start = Instant::now();
        let seen = Rc::new(Seen::default());
        let api = World {
            start,
            latency: self.latency,
            seen: Rc::clone(&seen),
            answer,
        };
        let dice = SeededDice::new(7);
        let clock = VirtualClock(start);
        let memory = Memory::default();
        let mut engine = Engine::new(api, store, clock, dice, self.limits, self.throttle, memory);
        for id in 1..=self.jobs {
            engine.watch(WatchId(u128::from(id).to_be_bytes()), job(id), None);
        }
        (engine, seen)
    }
}

fn job(id: u64) -> JobRef {
    format!("update/{id}").parse().unwrap()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands beside answers that fail"
)]
fn running(progress: f32) -> Answer {
    Ok(Status {
        state: Some(JobState::Running),
        progress: Some(progress),
        ..Status::default()
    })
}

/// Runs to the end; every event with its virtual time.
async fn finish<A: Api + 'static, S: Store + 'static, C: Clock>(
    engine: &mut Engine<A, S, C>,
) -> Vec<(u64, Event)> {
    let mut told = Vec::new();
    while !engine.is_done() {
        let events = engine.advance().await.unwrap();
        let now = engine.now().up_ms;
        told.extend(events.into_iter().map(|e| (now, e)));
    }
    told
}

/// Runs until that virtual time; every event with its own.
async fn run_until<A: Api + 'static, S: Store + 'static, C: Clock>(
    engine: &mut Engine<A, S, C>,
    up_ms: u64,
) -> Vec<(u64, Event)> {
    let mut told = Vec::new();
    let left = Duration::from_millis(up_ms.saturating_sub(engine.now().up_ms));
    let end = Instant::now() + left;
    while let Ok(events) = tokio::time::timeout_at(end, engine.advance()).await {
        let now = engine.now().up_ms;
        told.extend(events.unwrap().into_iter().map(|e| (now, e)));
    }
    told
}

fn types(told: &[(u64, Event)]) -> Vec<&'static str> {
    told.iter().map(|(_, e)| e.kind.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn jobs_are_watched_to_their_ends() {
    let (mut engine, _) = Bench::of(3).engine(store::Memory, |now, job| {
        let ends = job.id.get() * 20_000;
        running(if now >= ends {
            100.0
        } else {
            (now * 100 / ends) as f32
        })
    });
    let told = finish(&mut engine).await;
    let ends: Vec<_> = told
        .iter()
        .filter(|(_, e)| matches!(e.kind, crate::core::event::EventType::Ended(_)))
        .map(|(_, e)| (e.kind.as_str(), e.job.unwrap().id.get()))
        .collect();
    assert_eq!(
        ends,
        [
            ("job.completed", 1),
            ("job.completed", 2),
            ("job.completed", 3)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn neither_the_rate_nor_the_number_in_flight_is_exceeded() {
    let mut bench = Bench::of(200);
    bench.latency = Duration::from_secs(3);
    let (mut engine, seen) = bench.engine(store::Memory, |now, _| {
        running(if now > 60_000 { 100.0 } else { 1.0 })
    });
    finish(&mut engine).await;
    assert_eq!(seen.most_under_way.get(), 32);
    assert!(
        seen.per_second(120).iter().all(|&n| n <= 30),
        "{:?}",
        seen.per_second(120)
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_api_is_down_only_a_probe_asks_and_the_return_is_gentle() {
    let mut bench = Bench::of(300);
    bench.limits.give_up_after = None;
    let (mut engine, seen) = bench.engine(store::Memory, |now, _| match now {
        0..60_000 => running(1.0),
        60_000..660_000 => Err(error(ErrorKind::Server)),
        660_000..1_200_000 => running(2.0),
        _ => running(100.0),
    });
    let told = finish(&mut engine).await;
    let seconds = seen.per_second(1_400);
    // Five seconds without a success it takes to be sure.
    let down: usize = seconds[66..660].iter().sum();
    assert!(down < 20, "{down} requests in ten minutes of outage");
    let back = seconds[660..].iter().position(|&n| n > 1).unwrap() + 660;
    assert!(back < 660 + 301, "back {back}");
    assert!(
        seconds[back..back + 10].iter().all(|&n| n <= 15),
        "{:?}",
        &seconds[back..back + 10]
    );
    assert!(seconds.iter().all(|&n| n <= 30));
    let count = |name| types(&told).iter().filter(|&&t| t == name).count();
    assert_eq!(
        count("job.unreachable"),
        300,
        "each is told, though few asked"
    );
    assert_eq!((count("job.reachable"), count("job.completed")), (300, 300));
}

#[tokio::test(start_paused = true)]
async fn a_one_shot_gives_all_of_them_up_though_only_a_probe_asks() {
    let (mut engine, seen) =
        Bench::of(40).engine(store::Memory, |_, _| Err(error(ErrorKind::Connect)));
    let told = finish(&mut engine).await;
    assert_eq!(
        types(&told).iter().filter(|&&t| t == "job.gave_up").count(),
        40
    );
    assert!(
        seen.requests.borrow().len() < 100,
        "{}",
        seen.requests.borrow().len()
    );
    assert!(told.iter().all(|(at, _)| *at <= 610_000));
}

#[tokio::test(start_paused = true)]
async fn one_job_that_fails_among_others_slows_nobody() {
    let (mut engine, seen) = Bench::of(9).engine(store::Memory, |now, job| {
        if job.id.get() == 1 {
            Err(error(ErrorKind::Server))
        } else {
            running((now / 1000) as f32)
        }
    });
    let told = finish(&mut engine).await;
    assert_eq!(
        types(&told)
            .iter()
            .filter(|&&t| t == "job.completed")
            .count(),
        8
    );
    assert_eq!(types(&told).last(), Some(&"job.gave_up"));
    let asked = |id| {
        seen.requests
            .borrow()
            .iter()
            .filter(|(_, j)| j.id.get() == id)
            .count()
    };
    assert!(asked(2) > 2 && asked(1) < 40, "{} {}", asked(2), asked(1));
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
async fn a_probe_asks_for_no_job_that_the_server_wants_left_alone() {
    let mut bench = Bench::of(3);
    bench.limits.give_up_after = None;
    // Two jobs are to be left alone for half an hour each time; the third may ask for all.
    let (mut engine, seen) = bench.engine(store::Memory, |now, job| match job.id.get() {
        _ if now > 7_200_000 => running(100.0),
        3 => Err(error(ErrorKind::Server)),
        _ => Err(PollError {
            http_status: Some(503),
            retry_after: Some(Duration::from_mins(30)),
            ..error(ErrorKind::Server)
        }),
    });
    finish(&mut engine).await;
    for id in [1, 2] {
        let requests = seen.requests.borrow();
        let asked: Vec<u64> = requests
            .iter()
            .filter(|(_, j)| j.id.get() == id)
            .map(|(at, _)| *at)
            .collect();
        assert!(asked.is_sorted_by(|a, b| b - a >= 1_800_000), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_each_watch_once_even_while_it_is_asked() {
    let mut bench = Bench::of(4);
    bench.latency = Duration::from_secs(20);
    let (mut engine, _) = bench.engine(store::Memory, |_, _| running(1.0));
    let early = tokio::time::timeout(Duration::from_secs(5), engine.advance()).await;
    assert!(early.is_err(), "nothing is known yet");
    engine.stop_all(Outcome::Abandoned(Reason::Interrupted));
    let told = finish(&mut engine).await;
    assert_eq!(types(&told), ["job.abandoned"; 4]);
    assert!(
        told.iter().all(|(at, _)| *at == 5_000),
        "at once, without waiting for the answers"
    );
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
async fn the_same_seed_gives_the_same_trace() {
    let trace = || async {
        let (mut engine, seen) =
            Bench::of(20).engine(store::Memory, |now, job| match now / 1000 % 7 {
                3 => Err(error(ErrorKind::Timeout)),
                _ => running((now / (500 + 20 * job.id.get())) as f32),
            });
        let told = finish(&mut engine).await;
        (told, seen.requests.borrow().clone())
    };
    assert_eq!(trace().await, trace().await);
}
