//! The engine in virtual time, with an API made of a closure and a store that can fail.

mod outage;
mod unrecorded;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::store;
use crate::store::Commit;
use forgewatch_core::job::{JobState, Reason};
use forgewatch_core::status::Status;
use forgewatch_core::time::millis;
use forgewatch_core::verdict::ErrorKind;
use forgewatch_core::watch::tests_support::{EPOCH_S, error, limits};

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
    async fn ask(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
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
            Ok(status) => Ok(StatusResponse {
                status,
                date: None,
                at_least,
            }),
            Err(error) => Err(error),
        }
    }
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
        let rng = SeededRng::new(7);
        let clock = VirtualClock(start);
        let memory = Calibration::default();
        let mut engine = Engine::new(api, store, clock, rng, self.limits, self.throttle, memory);
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
    let (mut engine, _) = Bench::of(3).engine(store::NoStore, |now, job| {
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
        .filter(|(_, e)| matches!(e.kind, forgewatch_core::event::EventType::Ended(_)))
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
    let (mut engine, seen) = bench.engine(store::NoStore, |now, _| {
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
async fn stopping_ends_each_watch_once_even_while_it_is_asked() {
    let mut bench = Bench::of(4);
    bench.latency = Duration::from_secs(20);
    let (mut engine, _) = bench.engine(store::NoStore, |_, _| running(1.0));
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
async fn the_same_seed_gives_the_same_trace() {
    let trace = || async {
        let (mut engine, seen) =
            Bench::of(20).engine(store::NoStore, |now, job| match now / 1000 % 7 {
                3 => Err(error(ErrorKind::Timeout)),
                _ => running((now / (500 + 20 * job.id.get())) as f32),
            });
        let told = finish(&mut engine).await;
        (told, seen.requests.borrow().clone())
    };
    assert_eq!(trace().await, trace().await);
}
