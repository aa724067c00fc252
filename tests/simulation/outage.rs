//! Ten minutes without an API, with a thousand jobs: what it is asked while it is down, and when it is back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch::daemon::{Daemon, DaemonConfig};
use forgewatch::engine::{Clock, Throttle};
use forgewatch::hooks::payload::EventPayload;
use forgewatch::hooks::{AttemptFuture, Executor};
use forgewatch::store::{
    Archive, Commit, JobListUpdate, Loaded, PollSample, SavedWatch, Store, StoreError, StoredEvent,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow};
use forgewatch_core::event::{EventType, WatchId};
use forgewatch_core::job::JobSpec;
use forgewatch_core::job::{JobRef, JobState};
use forgewatch_core::limits::{JobFailed, Limits};
use forgewatch_core::schedule::{Policy, Rules};
use forgewatch_core::status::Status;
use forgewatch_core::time::Moment;
use forgewatch_core::verdict::{ErrorKind, PollError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::EPOCH_MS;
use crate::rng::Rng;

const JOBS: u64 = 1_000;
/// The default.
const REQUESTS_PER_SECOND: f64 = 20.0;
/// Before it everything finds its pace. Seconds, as all that follows.
const NORMAL_FROM: u64 = 600;
const DOWN_FROM: u64 = 1_200;
const DOWN_UNTIL: u64 = 1_800;
const OVER: u64 = 2_400;
/// The API of a thousand jobs, and a count of what it was asked by second.
#[derive(Clone)]
struct PendingRequest {
    born: Instant,
    by_second: Rc<RefCell<Vec<u64>>>,
    rng: Rc<RefCell<Rng>>,
    began: Rc<RefCell<BTreeMap<JobRef, u64>>>,
}

impl PendingRequest {
    fn between(&self, from: u64, to: u64) -> u64 {
        self.by_second.borrow()[from as usize..to as usize]
            .iter()
            .sum()
    }
}

impl PendingRequest {
    /// Where a job stands: it began when it was asked for first, and takes from five minutes to half an hour.
    fn status(&self, job: JobRef) -> Status {
        let now = self.born.elapsed().as_secs();
        let began = *self.began.borrow_mut().entry(job).or_insert(now);
        let mut rng = Rng::new(job.id.get());
        let lasts = rng.between(300, 1_800);
        // What the server expects is wrong by up to a fifth.
        let expected = lasts * rng.between(80, 120) / 100;
        let age = now - began;
        let at = |second: u64| EPOCH_MS / 1000 + second.cast_signed();
        let is_over = age >= lasts;
        Status {
            state: Some(if is_over {
                JobState::Completed
            } else {
                JobState::Running
            }),
            progress: Some(if is_over {
                100.0
            } else {
                age as f32 / lasts as f32 * 99.0
            }),
            start: Some(at(began)),
            updated: Some(at(now)),
            eta: Some(at(began + expected)),
            ..Status::default()
        }
    }
}

impl Api for PendingRequest {
    async fn ask(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
        let second = self.born.elapsed().as_secs();
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
            at_least: Duration::ZERO,
        })
    }
}

impl Clock for PendingRequest {
    fn now(&self) -> Moment {
        let up_ms = self.born.elapsed().as_millis() as u64;
        Moment {
            up_ms,
            wall_ms: EPOCH_MS + up_ms.cast_signed(),
        }
    }
}

/// A store that takes everything and keeps nothing: nobody dies in this story.
#[derive(Clone)]
struct Nowhere;

impl Store for Nowhere {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_poll(&self, _: PollSample) {}
}

impl Archive for Nowhere {
    async fn deliveries_of(&self, _: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn delivery(&self, _: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(None)
    }

    async fn given_up(&self, _: usize) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
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

    async fn polls(&self, _: WatchId) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn newest_of(&self, _: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        Ok(None)
    }

    async fn ended_since(&self, _: i64) -> Result<Vec<SavedWatch>, StoreError> {
        Ok(Vec::new())
    }

    async fn accept(&self, _: JobListUpdate) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_calibrations(&self, _: String) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prune(&self, _: i64) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// There are no hooks.
struct NoHooks;

impl Executor for NoHooks {
    fn attempt(
        &self,
        _: &DeliveryId,
        _: &Arc<EventPayload>,
        _: u32,
        _: i64,
        _: watch::Receiver<bool>,
    ) -> Option<AttemptFuture> {
        None
    }
}

fn job(n: u64) -> JobRef {
    format!("update/{n}").parse().unwrap()
}

/// The defaults of the configuration, but for the rate.
fn orders(api: PendingRequest) -> DaemonConfig<PendingRequest, NoHooks> {
    let spec = |n: u64| JobSpec {
        job: job(n),
        labels: BTreeMap::new(),
    };
    DaemonConfig {
        api,
        throttle: Throttle {
            max_in_flight: 32,
            max_requests_per_second: REQUESTS_PER_SECOND,
        },
        limits: Limits {
            schedule: Rules {
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
        perform: NoHooks,
        retain: Duration::from_hours(720),
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_ten_minutes_brings_no_storm_while_it_lasts_nor_when_it_ends() {
    let asked = PendingRequest {
        born: Instant::now(),
        by_second: Rc::new(RefCell::new(vec![0; OVER as usize + 60])),
        rng: Rc::new(RefCell::new(Rng::new(1))),
        began: Rc::default(),
    };
    let mut ids = 0_u128;
    let new_id = Box::new(move || {
        ids += 1;
        Ok(WatchId(ids.to_be_bytes()))
    });
    let (store, loaded) = (Nowhere, Loaded::default());
    let daemon = Daemon::start(
        orders(asked.clone()),
        store,
        loaded,
        asked.clone(),
        new_id,
        1,
    )
    .await;
    let mut daemon = daemon.unwrap();
    let end = asked.born + Duration::from_secs(OVER);
    let mut next = JOBS;
    while let Ok(told) = timeout_at(end, daemon.advance()).await {
        // There are always a thousand: one that ends is followed by another.
        for _ in told
            .unwrap()
            .iter()
            .filter(|event| matches!(event.kind, EventType::Ended(_)))
        {
            next += 1;
            daemon.add(vec![job(next)], BTreeMap::new(), false).await;
        }
    }
    let normal = asked.between(NORMAL_FROM, DOWN_FROM);
    let down = asked.between(DOWN_FROM, DOWN_UNTIL);
    let rate = normal as f64 / (DOWN_FROM - NORMAL_FROM) as f64;
    let after = asked.by_second.borrow()[DOWN_UNTIL as usize..OVER as usize].to_vec();
    let most = after.iter().copied().max().unwrap_or_default();
    let back = after
        .iter()
        .position(|&many| many > 1)
        .unwrap_or(after.len());
    println!(
        "outage: {JOBS} jobs, normally {rate:.1} requests a second; {down} in ten minutes without an API, {normal} in \
         the ten before; back after {back} s, then at most {most} in a second"
    );
    assert!(
        down <= normal,
        "{down} requests while down, {normal} normally"
    );
    assert!(
        most as f64 <= 2.0 * rate,
        "{most} requests in a second, normally {rate:.1}"
    );
    assert_eq!(
        daemon.standing().unreachable,
        0,
        "all of them are asked again"
    );
}
