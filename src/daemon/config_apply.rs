//! What the configuration orders, at the start and at a reload: taken over whole or not at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use super::{ActiveWatch, Daemon, FIRST_PRUNE, Ids, RECORD_AGAIN, count};
use crate::clanforge::Api;
use crate::engine::{Clock, Engine, SystemEvents, Throttle};
use crate::hooks::HookSpec;
use crate::hooks::{Executor, Hooks, Outbox};
use crate::store::{Archive, ConfigJob, JobListUpdate, Loaded, SavedWatch, StoreError};
use forgewatch_core::event::{EventFields, EventType, FinishedCounts, JobMeta};
use forgewatch_core::job::JobRef;
use forgewatch_core::job::JobSpec;
use forgewatch_core::limits::Limits;
use forgewatch_core::reconcile::{AddedBy, Reconciled, reconcile};
use forgewatch_core::rng::SeededRng;
use forgewatch_core::schedule::Calibration;
use forgewatch_core::status::Names;
use forgewatch_core::watch::Watch;

/// What a configuration comes to: everything that a reload can change.
pub struct DaemonConfig<A, P> {
    /// Asks the API.
    pub api: A,
    /// How hard it may be asked.
    pub throttle: Throttle,
    /// By what bounds jobs are watched.
    pub limits: Limits,
    /// The list of the file, each job once.
    pub jobs: Vec<JobSpec>,
    /// The hooks.
    pub hooks: Vec<HookSpec>,
    /// Makes their attempts.
    pub perform: P,
    /// How long ended watches are remembered.
    pub retain: Duration,
}

/// Why a daemon can't go on from what the store kept.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A row is sound, and still is nothing that this program wrote.
    #[error("{0}")]
    Row(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine gives no random numbers.
    #[error("{0}")]
    Entropy(String),
}

/// What is to be recorded before the orders are in force.
struct Planned {
    accept: JobListUpdate,
    /// The watches that begin.
    begin: Vec<Watch>,
    reconciled: Reconciled,
}

impl<A, S, C, P> Daemon<A, S, C, P>
where
    A: Api + 'static,
    S: Archive + Clone + 'static,
    C: Clock + Clone + 'static,
    P: Executor,
{
    /// Goes on from what the store has kept, by these orders. `seed` is for the jitter.
    ///
    /// # Errors
    /// What was kept can't be read, or the new list can't be recorded.
    pub async fn start(
        orders: DaemonConfig<A, P>,
        store: S,
        loaded: Loaded,
        clock: C,
        mut ids: Ids,
        seed: u64,
    ) -> Result<Self, StartError> {
        let began = clock.now();
        let system_events = Rc::new(SystemEvents::new(
            ids().map_err(StartError::Entropy)?,
            clock.clone(),
        ));
        let outbox = Outbox::new(store, clock.clone(), &system_events.id().to_string());
        let rng = |n: u64| SeededRng::new(seed.wrapping_add(n));
        let mut hooks = Hooks::new(
            &orders.hooks,
            orders.perform,
            outbox.clone(),
            Rc::clone(&system_events),
            clock.clone(),
            rng(0),
        );
        hooks
            .load(loaded.deliveries)
            .map_err(|error| StartError::Row(error.to_string()))?;
        let memory: Option<Calibration> = loaded
            .calibrations
            .and_then(|json| serde_json::from_str(&json).ok());
        let mut engine = Engine::new(
            orders.api,
            outbox.clone(),
            clock.clone(),
            rng(1),
            orders.limits.clone(),
            orders.throttle,
            memory.unwrap_or_default(),
        );
        let mut live = BTreeMap::new();
        for saved in loaded.watches {
            let watch = Watch::load(&saved.row, began, &orders.limits)
                .map_err(|error| StartError::Row(format!("{}: {error}", saved.job)))?;
            let id = watch.id();
            live.insert(saved.job, ActiveWatch::new(id, saved.added_by));
            engine.resume(watch);
        }
        let mut daemon = Self {
            engine,
            hooks,
            outbox,
            system_events,
            clock,
            ids,
            limits: orders.limits,
            retain: orders.retain,
            live,
            config_jobs: loaded.config_jobs,
            chores: FuturesUnordered::new(),
            announced: VecDeque::new(),
            tellable: Vec::new(),
            failed: None,
            ends: FinishedCounts {
                outcome: FinishedCounts::STOPPED,
                ..FinishedCounts::default()
            },
            began,
        };
        let planned = daemon.plan(orders.jobs).map_err(StartError::Entropy)?;
        let mut is_told = false;
        while let Err(error) = daemon.record(&planned).await {
            if !matches!(error, StoreError::Full(_)) {
                return Err(error.into());
            }
            if !is_told {
                tracing::error!(%error, "the start waits for room");
            }
            is_told = true;
            sleep(RECORD_AGAIN).await;
        }
        daemon.carry_out(planned);
        daemon.announce(EventType::WatchStarted, daemon.jobs());
        daemon.prune_after(FIRST_PRUNE);
        Ok(daemon)
    }

    /// Takes over new orders. On an error everything is as it was.
    ///
    /// # Errors
    /// The new list can't be recorded, for the user.
    pub async fn reload(&mut self, orders: DaemonConfig<A, P>) -> Result<(), String> {
        // What runs now and what is about to end can't be one watch: a job that is listed anew begins anew.
        let is_new = |job: &JobRef| {
            self.config_jobs
                .iter()
                .all(|config_jobs| config_jobs.job != *job)
        };
        let new: Vec<JobRef> = orders
            .jobs
            .iter()
            .map(|spec| spec.job)
            .filter(is_new)
            .collect();
        self.have_left(&new).await.map_err(not_left)?;
        let planned = self.plan(orders.jobs)?;
        self.record(&planned).await.map_err(|e| e.to_string())?;
        self.limits = orders.limits.clone();
        self.retain = orders.retain;
        self.engine
            .configure(orders.api, orders.limits, orders.throttle);
        self.hooks.configure(&orders.hooks, orders.perform);
        self.carry_out(planned);
        self.announce(EventType::WatchReloaded, self.jobs());
        Ok(())
    }

    /// A new watch, and how it is kept.
    pub(super) fn new_watch(
        &mut self,
        spec: JobSpec,
        added_by: AddedBy,
    ) -> Result<(Watch, SavedWatch), String> {
        let now = self.clock.now();
        let about = (!spec.labels.is_empty()).then(|| {
            Arc::new(JobMeta {
                labels: spec.labels,
                names: Names::default(),
            })
        });
        let watch = Watch::new((self.ids)()?, spec.job, about, now);
        let saved = SavedWatch {
            id: watch.id(),
            job: spec.job,
            row: watch.save(now, None),
            ended_wall_ms: None,
            added_by,
        };
        Ok((watch, saved))
    }

    /// Begins a watch that is on record.
    pub(super) fn begin(&mut self, watch: Watch, added_by: AddedBy) {
        let id = watch.id();
        self.live
            .insert(watch.job(), ActiveWatch::new(id, added_by));
        self.engine.resume(watch);
    }

    fn plan(&mut self, jobs: Vec<JobSpec>) -> Result<Planned, String> {
        let listed: Vec<JobRef> = jobs.iter().map(|spec| spec.job).collect();
        let config_jobs: BTreeSet<JobRef> = self.config_jobs.iter().map(|a| a.job).collect();
        let live = self.live.iter().map(|(&job, l)| (job, l.added_by));
        let reconciled = reconcile(&listed, &config_jobs, &live.collect());
        let mut accept = JobListUpdate {
            jobs: Some(jobs.iter().map(accepted_job).collect()),
            ..JobListUpdate::default()
        };
        let new: BTreeSet<JobRef> = reconciled.watch.iter().copied().collect();
        let mut begin = Vec::new();
        for spec in jobs.into_iter().filter(|spec| new.contains(&spec.job)) {
            let (watch, saved) = self.new_watch(spec, OF_THE_FILE)?;
            begin.push(watch);
            accept.begin.push(saved);
        }
        for (job, by) in &reconciled.added_by {
            let id = self.live.get(job).map(|live| (live.id, *by));
            accept.added_by.extend(id);
        }
        Ok(Planned {
            accept,
            begin,
            reconciled,
        })
    }

    async fn record(&self, planned: &Planned) -> Result<(), StoreError> {
        let JobListUpdate {
            jobs,
            begin,
            added_by,
        } = &planned.accept;
        let same_list = jobs.as_ref().is_none_or(|jobs| *jobs == self.config_jobs);
        if same_list && begin.is_empty() && added_by.is_empty() {
            return Ok(());
        }
        self.outbox.store().accept(planned.accept.clone()).await
    }

    fn carry_out(&mut self, planned: Planned) {
        self.config_jobs = planned.accept.jobs.unwrap_or_default();
        for watch in planned.begin {
            self.begin(watch, OF_THE_FILE);
        }
        for (job, by) in planned.reconciled.added_by {
            if let Some(live) = self.live.get_mut(&job) {
                live.added_by = by;
            }
        }
        for job in planned.reconciled.remove {
            self.stop(job);
        }
    }

    fn jobs(&self) -> EventFields {
        EventFields {
            jobs: Some(count(self.live.len())),
            ..EventFields::default()
        }
    }
}

/// Why a job can't be watched now.
pub(super) fn not_left(job: JobRef) -> String {
    format!(
        "{job} is being removed, and that is not on record yet; try again once forgewatch list shows it no more"
    )
}

const OF_THE_FILE: AddedBy = AddedBy {
    file: true,
    socket: false,
};

fn accepted_job(spec: &JobSpec) -> ConfigJob {
    ConfigJob {
        job: spec.job,
        labels: serde_json::to_string(&spec.labels).unwrap_or_default(),
    }
}
