//! The engine in virtual time, with an API made from a closure and a store that can fail.

mod measured;
mod outage;
mod release;
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
use forgewatch_core::schedule::{ServerCalibration, ServerKey};
use forgewatch_core::status::Status;
use forgewatch_core::time::millis;
use forgewatch_core::verdict::ErrorKind;
use forgewatch_core::watch::fixtures::{EPOCH_S, error, limits};

/// Both clocks follow tokio's paused one.
#[derive(Clone)]
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

type FakeResponse = Result<Status, PollError>;

#[derive(Default)]
struct ApiLog {
    requests: RefCell<Vec<(u64, JobRef)>>,
    in_flight: RefCell<HashMap<JobRef, usize>>,
    max_in_flight_seen: Cell<usize>,
}

impl ApiLog {
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

struct FakeApi<F> {
    start: Instant,
    latency: Duration,
    log: Rc<ApiLog>,
    respond: F,
}

impl<F: Fn(u64, JobRef) -> FakeResponse + 'static> Api for FakeApi<F> {
    async fn poll(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
        let now = millis(self.start.elapsed());
        self.log.requests.borrow_mut().push((now, job));
        let total = {
            let mut in_flight = self.log.in_flight.borrow_mut();
            *in_flight.entry(job).or_default() += 1;
            assert_eq!(in_flight[&job], 1, "two requests at once for {job}");
            in_flight.values().sum::<usize>()
        };
        self.log
            .max_in_flight_seen
            .set(self.log.max_in_flight_seen.get().max(total));
        tokio::time::sleep(self.latency).await;
        *self.log.in_flight.borrow_mut().entry(job).or_default() -= 1;
        let min_wait = Duration::ZERO;
        match (self.respond)(now, job) {
            Ok(status) => Ok(StatusResponse {
                status,
                date: None,
                min_wait,
            }),
            Err(error) => Err(error),
        }
    }
}

struct Setup {
    throttle: Throttle,
    limits: Limits,
    latency: Duration,
    jobs: u64,
}

impl Setup {
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

    fn engine<S: Store, F: Fn(u64, JobRef) -> FakeResponse + 'static>(
        self,
        store: S,
        respond: F,
    ) -> (Engine<FakeApi<F>, S, VirtualClock>, Rc<ApiLog>) {
        let start = Instant::now();
        let log = Rc::new(ApiLog::default());
        let api = FakeApi {
            start,
            latency: self.latency,
            log: Rc::clone(&log),
            respond,
        };
        let mut engine = Engine::new(EngineParts {
            api,
            store,
            clock: VirtualClock(start),
            rng: SeededRng::new(7),
            limits: self.limits,
            throttle: self.throttle,
            calibration: ServerCalibration::new(Some(server()), None),
        });
        for id in 1..=self.jobs {
            engine.watch(WatchId(u128::from(id).to_be_bytes()), job(id), None);
        }
        (engine, log)
    }
}

fn server() -> ServerKey {
    ServerKey {
        api: "https://api.test".to_owned(),
        account_service_id: 1,
    }
}

fn job(id: u64) -> JobRef {
    format!("update/{id}").parse().unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "used next to responses that fail")]
fn running(progress: f32) -> FakeResponse {
    Ok(Status {
        state: Some(JobState::Running),
        progress: Some(progress),
        ..Status::default()
    })
}

/// Runs until all watches have ended; returns the events with their times.
async fn finish<A: Api, S: Store, C: Clock>(engine: &mut Engine<A, S, C>) -> Vec<(u64, Event)> {
    let mut all = Vec::new();
    while !engine.is_done() {
        let events = engine.advance().await.unwrap();
        let now = engine.now().up_ms;
        all.extend(events.into_iter().map(|e| (now, e)));
    }
    all
}

/// Runs until this time; returns the events with their times.
async fn run_until<A: Api, S: Store, C: Clock>(
    engine: &mut Engine<A, S, C>,
    up_ms: u64,
) -> Vec<(u64, Event)> {
    let mut all = Vec::new();
    let left = Duration::from_millis(up_ms.saturating_sub(engine.now().up_ms));
    let end = Instant::now() + left;
    while let Ok(events) = tokio::time::timeout_at(end, engine.advance()).await {
        let now = engine.now().up_ms;
        all.extend(events.unwrap().into_iter().map(|e| (now, e)));
    }
    all
}

fn types(events: &[(u64, Event)]) -> Vec<&'static str> {
    events.iter().map(|(_, e)| e.kind.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn jobs_are_watched_until_they_end() {
    let (mut engine, _) = Setup::of(3).engine(store::NoStore, |now, job| {
        let ends = job.id.get() * 20_000;
        running(if now >= ends {
            100.0
        } else {
            (now * 100 / ends) as f32
        })
    });
    let events = finish(&mut engine).await;
    let ends: Vec<_> = events
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
async fn request_rate_and_requests_in_flight_stay_within_their_limits() {
    let mut setup = Setup::of(200);
    setup.latency = Duration::from_secs(3);
    let (mut engine, log) = setup.engine(store::NoStore, |now, _| {
        running(if now > 60_000 { 100.0 } else { 1.0 })
    });
    finish(&mut engine).await;
    assert_eq!(log.max_in_flight_seen.get(), 32);
    assert!(
        log.per_second(120).iter().all(|&n| n <= 30),
        "{:?}",
        log.per_second(120)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_each_watch_once_even_during_its_poll() {
    let mut setup = Setup::of(4);
    setup.latency = Duration::from_secs(20);
    let (mut engine, _) = setup.engine(store::NoStore, |_, _| running(1.0));
    let early = tokio::time::timeout(Duration::from_secs(5), engine.advance()).await;
    assert!(early.is_err(), "no event before the first response");
    engine.stop_all(Outcome::Abandoned(Reason::Interrupted));
    let events = finish(&mut engine).await;
    assert_eq!(types(&events), ["job.abandoned"; 4]);
    assert!(
        events.iter().all(|(at, _)| *at == 5_000),
        "at once, without waiting for the responses"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    let trace = || async {
        let (mut engine, log) =
            Setup::of(20).engine(store::NoStore, |now, job| match now / 1000 % 7 {
                3 => Err(error(ErrorKind::Timeout)),
                _ => running((now / (500 + 20 * job.id.get())) as f32),
            });
        let events = finish(&mut engine).await;
        (events, log.requests.borrow().clone())
    };
    assert_eq!(trace().await, trace().await);
}
