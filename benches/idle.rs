//! The cost of a job between polls: `cargo bench --bench idle`.
//!
//! Memory: one process watches 100,000 jobs and another 1,000,000. Each job has been polled once, by an API that
//! responds at once, and waits for its next poll. The difference of their resident memory, divided by 900,000, is the
//! memory of one job: row, index and timer, without labels. Timers: jobs are polled 10,000 times a second in real time,
//! without network; the processor time is that of wake-ups, timers and steps.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch::config::for_simulator;
use forgewatch::engine::{Engine, EngineParts, SystemClock, Throttle};
use forgewatch::store;
use forgewatch_core::event::WatchId;
use forgewatch_core::job::{JobId, JobKind, JobRef, JobState};
use forgewatch_core::limits::Limits;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::schedule::{Policy, ServerCalibration};
use forgewatch_core::status::Status;
use forgewatch_core::verdict::PollError;
use forgewatch_core::watch::Watch;
use support::cpu::main_thread_ns;
use support::rss::memory;
use tokio::time::timeout;

mod support {
    pub(crate) mod cpu;
    pub(crate) mod rss;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The argument that runs this program as a process that watches a number of jobs.
const HOLD: &str = "hold";
const FEW: u64 = 100_000;
const MANY: u64 = 1_000_000;
const AN_HOUR: Duration = Duration::from_hours(1);
/// The interval of the jobs whose timers are measured.
const INTERVAL: Duration = Duration::from_secs(1);
const DUE_A_SECOND: u64 = 10_000;
const MEASURED: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if args.next().as_deref() == Some(HOLD) {
        let jobs = args.next().ok_or("no number of jobs")?.parse()?;
        println!("{}", runtime.block_on(hold(jobs))?);
        return Ok(());
    }
    let (few, many) = (resident(FEW)?, resident(MANY)?);
    println!(
        "an idle job takes {:.0} bytes, of them the watch {}; {FEW} jobs {} MiB, {MANY} jobs {} MiB",
        (many - few) / (MANY - FEW) as f64,
        size_of::<Watch>(),
        few as u64 >> 20,
        many as u64 >> 20,
    );
    runtime.block_on(timers())
}

/// The resident memory of a new process that watches `jobs`, in bytes.
fn resident(jobs: u64) -> Outcome<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args([HOLD, &jobs.to_string()])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Watches until each job has been polled once, and returns the resident memory.
async fn hold(jobs: u64) -> Outcome<u64> {
    let mut engine = engine(AN_HOUR)?;
    for id in 1..=jobs {
        watch(&mut engine, id)?;
    }
    let mut events = 0;
    while events < jobs {
        events += engine.advance().await.map_or(0, |new| new.len()) as u64;
    }
    memory("self", "VmRSS:")
}

/// Prints the processor time of 10,000 timers a second.
async fn timers() -> Outcome<()> {
    let mut engine = engine(INTERVAL)?;
    // Ten per millisecond, so that they become due evenly from then on.
    for id in 1..=DUE_A_SECOND * INTERVAL.as_secs() {
        watch(&mut engine, id)?;
        if id % 10 == 0 {
            drive(&mut engine, Duration::from_millis(1)).await;
        }
    }
    drive(&mut engine, INTERVAL).await;

    let (requests_before, before, begin) = (requests(&engine), main_thread_ns()?, Instant::now());
    drive(&mut engine, MEASURED).await;
    let (spent, seconds) = (main_thread_ns()? - before, begin.elapsed().as_secs_f64());
    println!(
        "{:.0} timers a second, each with a step: {:.1} % of a core",
        (requests(&engine) - requests_before) as f64 / seconds,
        spent / 1e7 / seconds,
    );
    Ok(())
}

async fn drive(engine: &mut InstantEngine, span: Duration) {
    let work = async {
        loop {
            let _ = engine.advance().await;
        }
    };
    // The work never ends by itself.
    let _: Result<(), _> = timeout(span, work).await;
}

fn requests(engine: &InstantEngine) -> u64 {
    engine.watches().map(|w| u64::from(w.requests())).sum()
}

type InstantEngine = Engine<InstantApi, store::NoStore, SystemClock>;

/// An engine that polls every job once per `interval`.
fn engine(interval: Duration) -> Outcome<InstantEngine> {
    let throttle = Throttle {
        max_in_flight: 64,
        max_requests_per_second: 1e6,
    };
    Ok(Engine::new(EngineParts {
        api: InstantApi,
        store: store::NoStore,
        clock: SystemClock::start(),
        rng: SeededRng::new(1),
        limits: limits(interval)?,
        throttle,
        calibration: ServerCalibration::default(),
    }))
}

fn watch(engine: &mut InstantEngine, id: u64) -> Outcome<()> {
    let job = JobRef {
        kind: JobKind::Update,
        id: JobId::try_from(id)?,
    };
    engine.watch(WatchId(u128::from(id).to_ne_bytes()), job, None);
    Ok(())
}

fn limits(interval: Duration) -> Outcome<Limits> {
    let loaded = for_simulator("http://127.0.0.1", 1, &["update/1".parse()?]);
    let mut limits = loaded.map_err(|e| e.to_string())?.settings.limits;
    limits.schedule.policy = Policy::Exponential;
    limits.schedule.min_interval = interval;
    limits.schedule.max_interval = interval;
    Ok(limits)
}

/// An API that responds at once, without network.
struct InstantApi;

impl Api for InstantApi {
    async fn poll(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
        let now = 1_760_000_000 + i64::try_from(job.id.get() % 1000).unwrap_or(0);
        Ok(StatusResponse {
            status: Status {
                state: Some(JobState::Running),
                state_name: Some("Running".to_owned()),
                progress: Some(42.5),
                eta: Some(now + 3600),
                created: Some(now - 1900),
                start: Some(now - 1800),
                updated: Some(now - 5),
                ..Status::default()
            },
            date: Some(now),
            min_wait: Duration::ZERO,
        })
    }
}
