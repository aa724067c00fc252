//! An API outage of ten minutes with a thousand jobs: the request rate during the outage and after it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch::daemon::{Daemon, DaemonConfig, DaemonParts};
use forgewatch::engine::{Clock, Throttle};
use forgewatch::hooks::{AttemptFuture, Executor, StopSignal};
use forgewatch::store::{
    Commit, DaemonStore, Handover, InMemoryStore, JobListUpdate, PollSample, SavedWatch, Store,
    StoreError, StoredEvent, StoredState,
};
use forgewatch_core::delivery::{Attempt, DeliveryId, DeliveryRow};
use forgewatch_core::event::{Event, EventOrigin, EventType, WatchId};
use forgewatch_core::job::JobSpec;
use forgewatch_core::job::{JobRef, JobState};
use forgewatch_core::limits::{JobFailed, Limits};
use forgewatch_core::schedule::{Policy, ScheduleSettings};
use forgewatch_core::status::Status;
use forgewatch_core::time::Moment;
use forgewatch_core::verdict::{ErrorKind, PollError};
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::server_key;
use crate::clock::EPOCH_MS;
use crate::rng::SimRng;

const JOBS: u64 = 1_000;
/// The default rate limit.
const REQUESTS_PER_SECOND: f64 = 20.0;
/// Warm-up before that. All times are seconds.
const NORMAL_FROM: u64 = 600;
const DOWN_FROM: u64 = 1_200;
const DOWN_UNTIL: u64 = 1_800;
const END: u64 = 2_400;

/// The API of a thousand jobs; counts requests per second.
#[derive(Clone)]
struct OutageApi {
    start: Instant,
    by_second: Rc<RefCell<Vec<u64>>>,
    rng: Rc<RefCell<SimRng>>,
    job_starts: Rc<RefCell<BTreeMap<JobRef, u64>>>,
}

impl OutageApi {
    fn between(&self, from: u64, to: u64) -> u64 {
        self.by_second.borrow()[from as usize..to as usize]
            .iter()
            .sum()
    }
}

impl OutageApi {
    /// A job starts with the first request for it and takes 5 to 30 minutes.
    fn status(&self, job: JobRef) -> Status {
        let now = self.start.elapsed().as_secs();
        let start = *self.job_starts.borrow_mut().entry(job).or_insert(now);
        let mut rng = SimRng::new(job.id.get());
        let lasts = rng.between(300, 1_800);
        // The ETA is wrong by up to 20 %.
        let reported = lasts * rng.between(80, 120) / 100;
        let age = now - start;
        let at = |second: u64| EPOCH_MS / 1000 + second.cast_signed();
        let has_ended = age >= lasts;
        Status {
            state: Some(if has_ended {
                JobState::Completed
            } else {
                JobState::Running
            }),
            progress: Some(if has_ended {
                100.0
            } else {
                age as f32 / lasts as f32 * 99.0
            }),
            start: Some(at(start)),
            updated: Some(at(now)),
            eta: Some(at(start + reported)),
            ..Status::default()
        }
    }
}

impl Api for OutageApi {
    async fn poll(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
        let second = self.start.elapsed().as_secs();
        self.by_second.borrow_mut()[second as usize] += 1;
        let latency = self.rng.borrow_mut().between(20, 400);
        sleep(Duration::from_millis(latency)).await;
        if (DOWN_FROM..DOWN_UNTIL).contains(&second) {
            return Err(PollError {
                kind: ErrorKind::Connect,
                http_status: None,
                message: "simulated: refused".to_owned(),
                retry_after: None,
            });
        }
        Ok(StatusResponse {
            status: self.status(job),
            date: None,
            min_wait: Duration::ZERO,
        })
    }
}

impl Clock for OutageApi {
    fn now(&self) -> Moment {
        let up_ms = self.start.elapsed().as_millis() as u64;
        Moment {
            up_ms,
            wall_ms: EPOCH_MS + up_ms.cast_signed(),
        }
    }
}

/// A store that keeps nothing, as the daemon does not restart here.
#[derive(Clone, Default)]
struct DiscardingStore(InMemoryStore);

impl Store for DiscardingStore {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_poll(&self, _: PollSample) {}
}

impl DaemonStore for DiscardingStore {
    async fn next_handover(&self) -> Result<Handover, StoreError> {
        self.0.next_handover().await
    }

    async fn deliveries_of(&self, _: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn delivery(&self, _: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(None)
    }

    async fn failed_deliveries(&self, _: usize) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        Ok((Vec::new(), 0))
    }

    async fn events_since(&self, _: u64, _: usize) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(Vec::new())
    }

    async fn offset_before(&self, _: i64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn events_of(&self, _: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(Vec::new())
    }

    async fn polls_of(&self, _: WatchId) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn newest_watch(&self, _: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        Ok(None)
    }

    async fn other_watches(
        &self,
        _: Option<i64>,
        _: Option<WatchId>,
        _: usize,
    ) -> Result<Vec<SavedWatch>, StoreError> {
        Ok(Vec::new())
    }

    async fn last_ended(&self, _: i64, _: usize) -> Result<Vec<SavedWatch>, StoreError> {
        Ok(Vec::new())
    }

    async fn update_jobs(&self, _: JobListUpdate) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_calibration(&self, _: String) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prune(&self, _: i64) -> Result<usize, StoreError> {
        Ok(0)
    }
}

struct NoHooks;

impl Executor for NoHooks {
    fn attempt(&self, _: Attempt, _: i64, _: StopSignal) -> Option<AttemptFuture> {
        None
    }
}

fn job(n: u64) -> JobRef {
    format!("update/{n}").parse().unwrap()
}

/// The default configuration.
fn daemon_config(api: OutageApi) -> DaemonConfig<OutageApi, NoHooks> {
    let spec = |n: u64| JobSpec {
        job: job(n),
        labels: BTreeMap::new(),
    };
    DaemonConfig {
        api,
        server: Some(server_key()),
        throttle: Throttle {
            max_in_flight: 32,
            max_requests_per_second: REQUESTS_PER_SECOND,
        },
        limits: Limits {
            origin: EventOrigin::default(),
            schedule: ScheduleSettings {
                policy: Policy::Inspection,
                request_cost: Duration::from_secs(1),
                min_interval: Duration::from_secs(1),
                max_interval: Duration::from_mins(10),
            },
            progress_step: 10,
            stalled_after: Duration::from_mins(30),
            unreachable_after: Duration::from_mins(2),
            not_found_grace: Duration::from_mins(1),
            give_up_after: None,
            jobfailed: JobFailed::Flag,
            diff_info: true,
            refusal_ends: false,
        },
        jobs: (1..=JOBS).map(spec).collect(),
        hooks: Vec::new(),
        executor: NoHooks,
        retain: Duration::from_hours(720),
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_causes_no_request_storm_during_it_or_after_it() {
    let api = OutageApi {
        start: Instant::now(),
        by_second: Rc::new(RefCell::new(vec![0; END as usize + 60])),
        rng: Rc::new(RefCell::new(SimRng::new(1))),
        job_starts: Rc::default(),
    };
    let unreachable = run_daemon(&api).await;
    let normal = api.between(NORMAL_FROM, DOWN_FROM);
    let down = api.between(DOWN_FROM, DOWN_UNTIL);
    let rate = normal as f64 / (DOWN_FROM - NORMAL_FROM) as f64;
    let after = api.by_second.borrow()[DOWN_UNTIL as usize..END as usize].to_vec();
    let peak = after.iter().copied().max().unwrap_or_default();
    let resumed = after
        .iter()
        .position(|&count| count > 1)
        .unwrap_or(after.len());
    println!(
        "outage: {JOBS} jobs, normally {rate:.1} requests per second; {down} requests during the outage, {normal} in the \
         same time before it; resumed {resumed} s after it, then at most {peak} per second"
    );
    assert!(
        down <= normal,
        "{down} requests during the outage, {normal} normally"
    );
    assert!(
        peak as f64 <= 2.0 * rate,
        "{peak} requests in a second, normally {rate:.1}"
    );
    assert_eq!(unreachable, 0, "polling must resume for all jobs");
}

/// Runs a daemon with always the same number of jobs until the end of the test; returns how many are unreachable then.
async fn run_daemon(api: &OutageApi) -> usize {
    let mut ids = 0_u128;
    let new_id = Box::new(move || {
        ids += 1;
        Ok(WatchId(ids.to_be_bytes()))
    });
    let (store, loaded) = (DiscardingStore::default(), StoredState::default());
    let daemon = Daemon::start(DaemonParts {
        config: daemon_config(api.clone()),
        store,
        stored: loaded,
        clock: api.clone(),
        new_watch_id: new_id,
        seed: 1,
    });
    let mut daemon = daemon.await.unwrap();
    let end = api.start + Duration::from_secs(END);
    let mut last_job = JOBS;
    while let Ok(events) = timeout_at(end, daemon.advance()).await {
        let events = events.unwrap();
        let has_ended = |event: &&Event| matches!(event.kind, EventType::Ended(_));
        for _ in events.iter().filter(has_ended) {
            last_job += 1;
            let added = daemon.add(vec![job(last_job)], BTreeMap::new(), false);
            added.await.unwrap();
        }
    }
    daemon.summary().unreachable
}
