//! Applies a configuration at startup and at a reload, whole or not at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use super::requests::RequestFailure;
use super::watcher::{Watcher, WatcherParts};
use super::{ActiveWatch, Daemon, FIRST_PRUNE_AFTER, NewWatchId, count};
use crate::clanforge::Api;
use crate::engine::{Clock, Throttle};
use crate::hooks::{Executor, HookSpec};
use crate::store::{
    ConfigJob, DaemonStore, Handover, JobListUpdate, SavedWatch, StoreError, StoredState,
};
use forgewatch_core::event::{EventFields, EventType, FinishedCounts, JobMeta, WatchId};
use forgewatch_core::job::{JobRef, JobSpec};
use forgewatch_core::limits::Limits;
use forgewatch_core::measurements::EndedJobs;
use forgewatch_core::reconcile::{AddedBy, Reconciled, reconcile};
use forgewatch_core::schedule::{ServerCalibration, ServerKey};
use forgewatch_core::watch::Watch;

/// Delay before a full disk is tried again.
const STARTUP_RETRY: Duration = Duration::from_secs(1);
/// What a startup can wait for.
pub const DISK_SPACE: &str = "disk space";
pub const LOCKED_FILE: &str = "the state file, which another program has locked";

/// Everything that a reload can change.
pub struct DaemonConfig<A, P> {
    pub api: A,
    /// Whose jobs the calibration learns from; None to learn nothing.
    pub server: Option<ServerKey>,
    pub throttle: Throttle,
    pub limits: Limits,
    /// Each job once.
    pub jobs: Vec<JobSpec>,
    pub hooks: Vec<HookSpec>,
    pub executor: P,
    /// How long ended watches are kept.
    pub retain: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The database is intact, but a row has content that this program does not write.
    #[error("{0}")]
    Row(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Entropy(String),
}

pub struct DaemonParts<A, S, C, P> {
    pub config: DaemonConfig<A, P>,
    pub store: S,
    pub stored: StoredState,
    pub clock: C,
    pub new_watch_id: NewWatchId,
    /// For the jitter.
    pub seed: u64,
}

/// Recorded before a new list of jobs takes effect.
struct ReloadPlan {
    update: JobListUpdate,
    new_watches: Vec<Watch>,
    reconciled: Reconciled,
}

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// Continues from what is stored.
    ///
    /// # Errors
    /// The store has unreadable content, or the new list of jobs cannot be recorded.
    pub async fn start(mut parts: DaemonParts<A, S, C, P>) -> Result<Self, StartupError> {
        let jobs = std::mem::take(&mut parts.config.jobs);
        let mut daemon = Self::assemble(parts)?;
        if let Handover::Gained(gained) = daemon.outbox.store().next_handover().await? {
            daemon.gain(gained).map_err(StartupError::Row)?;
        }
        let plan = daemon.plan(jobs).await?;
        retry_while_unwritable(
            |error| match error {
                StoreError::Unavailable(_) => Some((DISK_SPACE, error.to_string())),
                StoreError::Locked(_) => Some((LOCKED_FILE, error.to_string())),
                _ => None,
            },
            async || daemon.record(&plan).await,
        )
        .await?;
        daemon.apply(plan);
        daemon.emit(EventType::WatchStarted, daemon.jobs());
        daemon.prune_after(FIRST_PRUNE_AFTER);
        Ok(daemon)
    }

    fn assemble(parts: DaemonParts<A, S, C, P>) -> Result<Self, StartupError> {
        let DaemonParts {
            config,
            store,
            stored,
            clock,
            mut new_watch_id,
            seed,
        } = parts;
        let calibration = ServerCalibration::new(config.server, stored.calibration.as_deref());
        let Watcher {
            engine,
            hooks,
            outbox,
            system_events,
        } = Watcher::new(WatcherParts {
            id: new_watch_id().map_err(StartupError::Entropy)?,
            seed,
            api: config.api,
            store,
            clock: clock.clone(),
            limits: config.limits.clone(),
            throttle: config.throttle,
            calibration,
            hooks: &config.hooks,
            executor: config.executor,
        });
        outbox.add_failed_deliveries(stored.failed_deliveries);
        Ok(Self {
            engine,
            hooks,
            outbox,
            system_events,
            started: clock.now(),
            clock,
            new_watch_id,
            limits: config.limits,
            retain: config.retain,
            shards: BTreeSet::new(),
            releasing: BTreeSet::new(),
            active: BTreeMap::new(),
            interrupted_removals: Vec::new(),
            config_jobs: stored.config_jobs,
            background_tasks: FuturesUnordered::new(),
            unrecorded: VecDeque::new(),
            publishable: Vec::new(),
            store_failure: None,
            ended: EndedJobs::default(),
            outcomes: FinishedCounts {
                outcome: FinishedCounts::STOPPED,
                ..FinishedCounts::default()
            },
        })
    }

    /// Applies a new configuration. After an error the old one still holds.
    ///
    /// # Errors
    /// The new list of jobs cannot be recorded; the text is for the user.
    pub async fn reload(&mut self, config: DaemonConfig<A, P>) -> Result<(), String> {
        // A job that is listed again gets a new watch, so its old one has to have ended.
        let is_new = |job: &JobRef| self.config_jobs.iter().all(|listed| listed.job != *job);
        let new: Vec<JobRef> = config
            .jobs
            .iter()
            .map(|spec| spec.job)
            .filter(is_new)
            .collect();
        let ended = self.wait_until_ended(&new).await;
        ended.map_err(|job| RequestFailure::StillEnding(job).to_string())?;
        let plan = self.plan(config.jobs).await;
        let plan = plan.map_err(|error| error.to_string())?;
        if let Err(error) = self.record(&plan).await {
            let message = error.to_string();
            // What was stored is unknown: the next process reads it.
            if matches!(error, StoreError::Fatal(_)) {
                self.store_failure = Some(error);
            }
            return Err(message);
        }
        self.limits = config.limits.clone();
        self.retain = config.retain;
        self.engine
            .configure(config.api, config.server, config.limits, config.throttle);
        self.hooks.configure(&config.hooks, config.executor);
        self.apply(plan);
        self.emit(EventType::WatchReloaded, self.jobs());
        Ok(())
    }

    /// Creates a watch, and what the store keeps of it.
    pub(super) fn new_watch(
        &mut self,
        spec: JobSpec,
        added_by: AddedBy,
    ) -> Result<(Watch, SavedWatch), String> {
        let now = self.clock.now();
        let meta = JobMeta::of_labels(spec.labels);
        let watch = Watch::new((self.new_watch_id)()?, spec.job, meta, now);
        let saved = SavedWatch::new(&watch, None, added_by, now);
        Ok((watch, saved))
    }

    /// Starts a watch that is recorded, if this process serves its job.
    pub(super) fn start_watch(&mut self, watch: Watch, added_by: AddedBy) {
        if !self.serves(watch.job()) {
            return;
        }
        let id = watch.id();
        self.active
            .insert(watch.job(), ActiveWatch::new(id, added_by));
        self.engine.resume(watch);
    }

    /// What a reload with this list of jobs changes.
    ///
    /// # Errors
    /// The store failed.
    pub async fn reconcile(&self, jobs: &[JobSpec]) -> Result<Reconciled, StoreError> {
        Ok(self.reconcile_running(jobs).await?.0)
    }

    /// With the running watches, by job: the active ones and, of new jobs, those of other processes.
    async fn reconcile_running(
        &self,
        jobs: &[JobSpec],
    ) -> Result<(Reconciled, BTreeMap<JobRef, WatchId>), StoreError> {
        let listed: Vec<JobRef> = jobs.iter().map(|spec| spec.job).collect();
        let config_jobs = self.config_jobs.iter().map(|listed| listed.job);
        let config_jobs: BTreeSet<JobRef> = config_jobs.collect();
        let new = listed.iter().copied();
        let new = new.filter(|job| !config_jobs.contains(job));
        let elsewhere = self.running_elsewhere(new).await?;
        let elsewhere = elsewhere
            .iter()
            .map(|(&job, saved)| (job, saved.id, saved.added_by));
        let active = self.active.iter();
        let active = active.map(|(&job, watch)| (job, watch.id, watch.added_by));
        let running: Vec<_> = active.chain(elsewhere).collect();
        let added_by = running.iter().map(|&(job, _, by)| (job, by)).collect();
        let ids = running.iter().map(|&(job, id, _)| (job, id)).collect();
        Ok((reconcile(&listed, &config_jobs, &added_by), ids))
    }

    async fn plan(&mut self, jobs: Vec<JobSpec>) -> Result<ReloadPlan, StartupError> {
        let (reconciled, running) = self.reconcile_running(&jobs).await?;
        let mut update = JobListUpdate {
            config_jobs: Some(jobs.iter().map(config_job).collect()),
            ..JobListUpdate::default()
        };
        let new: BTreeSet<JobRef> = reconciled.watch.iter().copied().collect();
        let mut new_watches = Vec::new();
        for spec in jobs.into_iter().filter(|spec| new.contains(&spec.job)) {
            let (watch, saved) = self
                .new_watch(spec, FROM_CONFIG)
                .map_err(StartupError::Entropy)?;
            new_watches.push(watch);
            update.new_watches.push(saved);
        }
        for (job, by) in &reconciled.added_by {
            update
                .added_by
                .extend(running.get(job).map(|&id| (id, *by)));
        }
        Ok(ReloadPlan {
            update,
            new_watches,
            reconciled,
        })
    }

    async fn record(&self, plan: &ReloadPlan) -> Result<(), StoreError> {
        let JobListUpdate {
            config_jobs: jobs,
            new_watches,
            added_by,
        } = &plan.update;
        let same_list = jobs.as_ref().is_none_or(|jobs| *jobs == self.config_jobs);
        if same_list && new_watches.is_empty() && added_by.is_empty() {
            return Ok(());
        }
        self.outbox.store().update_jobs(plan.update.clone()).await
    }

    fn apply(&mut self, plan: ReloadPlan) {
        self.config_jobs = plan.update.config_jobs.unwrap_or_default();
        for watch in plan.new_watches {
            self.start_watch(watch, FROM_CONFIG);
        }
        for (job, by) in plan.reconciled.added_by {
            if let Some(active) = self.active.get_mut(&job) {
                active.added_by = by;
            }
        }
        for job in plan.reconciled.remove {
            self.stop(job);
        }
    }

    fn jobs(&self) -> EventFields {
        EventFields {
            jobs: Some(count(self.active.len())),
            ..EventFields::default()
        }
    }
}

/// Repeats `attempt` while its error is temporary, for which `waits_for` returns what startup waits for, and
/// the error: a service that
/// failed at startup would stay down when there is disk space again.
pub async fn retry_while_unwritable<T, E>(
    waits_for: impl Fn(&E) -> Option<(&'static str, String)>,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut is_logged = false;
    loop {
        let result = attempt().await;
        let Some((what, error)) = result.as_ref().err().and_then(&waits_for) else {
            return result;
        };
        if !std::mem::replace(&mut is_logged, true) {
            tracing::error!(target: "forgewatch::daemon", error, "startup waits for {what}");
        }
        sleep(STARTUP_RETRY).await;
    }
}

const FROM_CONFIG: AddedBy = AddedBy {
    file: true,
    socket: false,
};

fn config_job(spec: &JobSpec) -> ConfigJob {
    ConfigJob {
        job: spec.job,
        labels: serde_json::to_string(&spec.labels).unwrap_or_default(),
    }
}
