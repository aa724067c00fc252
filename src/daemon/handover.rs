//! The shards of jobs that this process serves: it gains and loses them while it runs, at startup as at any other time.

use std::collections::BTreeMap;

use super::{ActiveWatch, BackgroundResult, Daemon};
use crate::clanforge::Api;
use crate::engine::Clock;
use crate::hooks::Executor;
use crate::store::{DaemonStore, Gained, Handover, JobListUpdate, SavedWatch, StoreError};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::reconcile::reconcile;

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// Whether this process polls the job and makes the deliveries of its events.
    pub fn serves(&self, job: JobRef) -> bool {
        self.shards.contains(&self.outbox.store().shard_of(job))
    }

    /// The watches that were lost while they ended, since the last call: their new process continues them.
    pub fn take_interrupted_removals(&mut self) -> Vec<WatchId> {
        std::mem::take(&mut self.interrupted_removals)
    }

    /// Those of these jobs that run at another process.
    pub(super) async fn running_elsewhere(
        &self,
        jobs: impl Iterator<Item = JobRef>,
    ) -> Result<BTreeMap<JobRef, SavedWatch>, StoreError> {
        let mut elsewhere = BTreeMap::new();
        for job in jobs.filter(|&job| !self.serves(job)) {
            let newest = self.outbox.store().newest_watch(job).await?;
            let running = newest.filter(|saved| saved.ended_wall_ms.is_none());
            elsewhere.extend(running.map(|saved| (job, saved)));
        }
        Ok(elsewhere)
    }

    pub(super) fn on_handover(&mut self, handover: Handover) -> Result<(), StoreError> {
        match handover {
            Handover::Gained(gained) => {
                self.gain(gained).map_err(StoreError::Fatal)?;
                self.apply_config_jobs();
            }
            Handover::Lost(lost) => {
                self.shards.retain(|shard| !lost.contains(shard));
                self.releasing = lost;
                self.release_lost();
                let active = self.active.iter();
                let active = active.map(|(&job, active)| (job, active.id));
                let left: Vec<_> = active.filter(|&(job, _)| !self.serves(job)).collect();
                self.forget(left);
            }
        }
        Ok(())
    }

    /// Continues what is stored. Fails if that is unreadable.
    pub(super) fn gain(&mut self, gained: Gained) -> Result<(), String> {
        self.shards.extend(gained.shards);
        for saved in gained.watches {
            self.engine
                .resume_saved(&saved)
                .map_err(|error| format!("{}: {error}", saved.job))?;
            self.active
                .insert(saved.job, ActiveWatch::new(saved.id, saved.added_by));
        }
        self.hooks
            .load(gained.deliveries)
            .map_err(|error| error.to_string())
    }

    /// Completes a loss. Until then no shard is gained, so that no late result meets a watch that came back.
    pub(super) fn complete_release(&mut self) {
        if self.releasing.is_empty() || self.engine.is_releasing() {
            return;
        }
        // The last commits may have brought deliveries.
        self.release_lost();
        if !self.hooks.is_releasing() {
            self.releasing.clear();
        }
    }

    /// The engine has dropped watches. If a commit came too late, their shards are lost, as a handover will say.
    pub(super) fn on_dropped(&mut self) {
        let dropped = self.engine.take_dropped();
        for &(job, _) in &dropped {
            self.shards.remove(&self.outbox.store().shard_of(job));
        }
        self.forget(dropped);
    }

    fn forget(&mut self, left: Vec<(JobRef, WatchId)>) {
        for (job, id) in left {
            if self.watch_of(job) == Some(id) {
                let active = self.active.remove(&job);
                let is_ending = active.is_some_and(|active| active.is_ending);
                self.interrupted_removals.extend(is_ending.then_some(id));
            }
        }
    }

    fn release_lost(&mut self) {
        let (store, lost) = (self.outbox.store().clone(), &self.releasing);
        let is_lost = |job| lost.contains(&store.shard_of(job));
        self.engine.release(is_lost);
        self.hooks.release(|_, job| job.is_some_and(is_lost));
    }

    /// Jobs may have left the configuration while another process served them.
    fn apply_config_jobs(&mut self) {
        let listed: Vec<JobRef> = self.config_jobs.iter().map(|listed| listed.job).collect();
        let active = self.active.iter();
        let active = active.map(|(&job, active)| (job, active.added_by));
        let applied = listed.iter().copied().collect();
        let changes = reconcile(&listed, &applied, &active.collect());
        let mut update = JobListUpdate::default();
        for (job, by) in changes.added_by {
            if let Some(active) = self.active.get_mut(&job) {
                active.added_by = by;
                update.added_by.push((active.id, by));
            }
        }
        for job in changes.remove {
            self.stop(job);
        }
        if update != JobListUpdate::default() {
            let store = self.outbox.store().clone();
            self.background_tasks.push(Box::pin(async move {
                // Debug, because the next handover repeats it.
                if let Err(error) = store.update_jobs(update).await {
                    tracing::debug!(target: "forgewatch::daemon", %error, "failed to update the origin of watches");
                }
                BackgroundResult::Done
            }));
        }
    }
}
