//! Bugs that are planted around the daemon, to test that the checker finds them.
//!
//! Wrappers of store, hooks and API make the daemon behave as if it had the bug; without a bug they do nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch::hooks::{AttemptFuture, Executor, StopSignal};
use forgewatch::store::{
    Commit, DaemonStore, Handover, JobListUpdate, PollSample, SavedWatch, Shard, Store, StoreError,
    StoredEvent, StoredState,
};
use forgewatch_core::delivery::{
    Attempt, AttemptResult, DeliveryChange, DeliveryId, DeliveryRow, EventPayload,
};
use forgewatch_core::event::{EventType, WatchId};
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::PollError;

use crate::api::SimApi;
use crate::disk::SimDisk;
use crate::hooks::SimHooks;
use crate::log::StoreOp;

/// A bug of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A commit counts as done before it is on disk.
    PublishedBeforeCommit,
    /// Watch ids are counted in memory, so they repeat after a restart.
    SequentialIds,
    /// A delivery is delivered as soon as its attempt begins.
    DeliveredBeforeAttempt,
    /// A retry has another event id.
    RetryWithNewId,
    /// A watch has two ending events.
    SecondEnding,
    /// The time of the next poll is not limited.
    DeadlineNotClamped,
    /// A receiver's `Retry-After` does not delay the next attempt.
    RetryAfterIgnored,
    /// After the API's first `Retry-After`, polling never resumes.
    PauseNeverLifted,
    /// A new process does not know the job list of the previous one.
    EndedJobsRewatched,
    /// A failed commit counts as done.
    CommitErrorIgnored,
    /// Polls and hooks continue after their shard was lost.
    LossIgnored,
    /// A job that another process watches is not found.
    OthersUnlisted,
}

/// The disk, as used by a daemon with the bug.
#[derive(Clone)]
pub(crate) struct PlantedStore {
    disk: SimDisk,
    bug: Option<Bug>,
}

impl PlantedStore {
    pub(crate) fn new(disk: SimDisk, bug: Option<Bug>) -> Self {
        Self { disk, bug }
    }

    pub(crate) fn load(&self) -> StoredState {
        let mut loaded = self.disk.load();
        if self.bug == Some(Bug::EndedJobsRewatched) {
            loaded.config_jobs.clear();
        }
        loaded
    }
}

impl Store for PlantedStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let mut op = StoreOp::of(&commit);
        let StoreOp::Commit {
            events, changes, ..
        } = &mut op
        else {
            return Ok(());
        };
        match self.bug {
            Some(Bug::SecondEnding) => {
                if let Some(mut again) = events
                    .last()
                    .filter(|e| matches!(e.kind, EventType::Ended(_)))
                    .cloned()
                {
                    again.id.seq += 1;
                    events.push(again);
                }
            }
            Some(Bug::DeliveredBeforeAttempt) => {
                if let Some(DeliveryChange::Begin { id, .. }) = changes.last() {
                    changes.push(DeliveryChange::Deliver { id: id.clone() });
                }
            }
            _ => {}
        }
        let queued = self.disk.submit(op);
        if self.bug == Some(Bug::PublishedBeforeCommit) {
            return Ok(());
        }
        match self.disk.await_write(queued).await {
            Err(StoreError::Unavailable(_)) if self.bug == Some(Bug::CommitErrorIgnored) => Ok(()),
            result => result,
        }
    }

    fn record_poll(&self, sample: PollSample) {
        self.disk.record_poll(sample);
    }
}

impl DaemonStore for PlantedStore {
    async fn next_handover(&self) -> Result<Handover, StoreError> {
        loop {
            match self.disk.next_handover().await {
                Ok(Handover::Lost(_)) if self.bug == Some(Bug::LossIgnored) => {}
                handover => return handover,
            }
        }
    }

    fn shard_of(&self, job: JobRef) -> Shard {
        self.disk.shard_of(job)
    }

    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.disk.deliveries_of(watch).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.disk.delivery(id).await
    }

    async fn failed_deliveries(
        &self,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.disk.failed_deliveries(limit).await
    }

    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.disk.events_since(after, limit).await
    }

    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError> {
        self.disk.offset_before(wall_ms).await
    }

    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        self.disk.events_of(watch).await
    }

    async fn polls_of(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.disk.polls_of(watch).await
    }

    async fn newest_watch(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.disk.newest_watch(job).await
    }

    async fn other_watches(
        &self,
        ended_since: Option<i64>,
        after: Option<WatchId>,
        limit: usize,
    ) -> Result<Vec<SavedWatch>, StoreError> {
        let mut watches = self.disk.other_watches(ended_since, after, limit).await?;
        if self.bug == Some(Bug::OthersUnlisted) {
            watches.retain(|watch| watch.ended_wall_ms.is_some());
        }
        Ok(watches)
    }

    async fn last_ended(&self, wall_ms: i64, limit: usize) -> Result<Vec<SavedWatch>, StoreError> {
        self.disk.last_ended(wall_ms, limit).await
    }

    async fn update_jobs(&self, update: JobListUpdate) -> Result<(), StoreError> {
        self.disk.update_jobs(update).await
    }

    async fn save_calibration(&self, json: String) -> Result<(), StoreError> {
        self.disk.save_calibration(json).await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        self.disk.prune(before_wall_ms).await
    }
}

/// The API client, as used by a daemon with the bug.
pub(crate) struct PlantedApi {
    api: SimApi,
    bug: Option<Bug>,
    is_paused: Cell<bool>,
}

impl PlantedApi {
    pub(crate) fn new(api: SimApi, bug: Option<Bug>) -> Self {
        Self {
            api,
            bug,
            is_paused: Cell::new(false),
        }
    }
}

impl Api for PlantedApi {
    async fn poll(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        if self.is_paused.get() {
            std::future::pending::<()>().await;
        }
        let answer = self.api.poll(job, diff_info).await;
        let has_retry_after = answer
            .as_ref()
            .is_err_and(|error| error.retry_after.is_some());
        if has_retry_after && self.bug == Some(Bug::PauseNeverLifted) {
            self.is_paused.set(true);
        }
        answer
    }
}

/// The hooks, as run by a daemon with the bug.
pub(crate) struct PlantedHooks {
    hooks: SimHooks,
    bug: Option<Bug>,
}

impl PlantedHooks {
    pub(crate) fn new(hooks: SimHooks, bug: Option<Bug>) -> Self {
        Self { hooks, bug }
    }
}

impl Executor for PlantedHooks {
    fn attempt(&self, attempt: Attempt, wall_ms: i64, stop: StopSignal) -> Option<AttemptFuture> {
        if self.bug == Some(Bug::RetryWithNewId) && attempt.number > 1 {
            return self.hooks.attempt(renamed(attempt), wall_ms, stop);
        }
        let attempt_result = self.hooks.attempt(attempt, wall_ms, stop)?;
        if self.bug != Some(Bug::RetryAfterIgnored) {
            return Some(attempt_result);
        }
        Some(Box::pin(async move {
            match attempt_result.await {
                AttemptResult::Failed { why, .. } => AttemptResult::Failed {
                    why,
                    not_before: Duration::ZERO,
                },
                attempt => attempt,
            }
        }))
    }
}

/// The same event under another id.
fn renamed(mut attempt: Attempt) -> Attempt {
    let watch = &mut attempt.id.event.watch;
    let old = watch.to_string();
    watch.0[0] ^= attempt.number as u8;
    let body = attempt.payload.body().replace(&old, &watch.to_string());
    attempt.payload = Arc::new(EventPayload::parse(body).unwrap());
    attempt
}

mod tests {
    use super::Bug;
    use crate::checker::Rule;
    use crate::lifetime::run_lifetime;
    use crate::world::TraceMode;

    /// The bug must be found within so many lifetimes.
    const SEEDS: u64 = 3_000;

    /// Runs lifetimes with this bug until one of these rules is broken.
    fn assert_caught(bug: Bug, by: &[Rule]) {
        let mut found = Vec::new();
        for seed in 0..SEEDS {
            let report = run_lifetime(seed, Some(bug), TraceMode::Off);
            if let Some(violation) = report.violations.iter().find(|v| by.contains(&v.rule)) {
                println!("{bug:?}: found with seed {seed}: {violation}");
                return;
            }
            found.extend(
                report
                    .violations
                    .into_iter()
                    .map(|violation| violation.rule),
            );
        }
        panic!("{bug:?} was not found by {by:?} in {SEEDS} lifetimes, only: {found:?}");
    }

    #[test]
    fn publishing_before_the_commit_is_caught() {
        assert_caught(Bug::PublishedBeforeCommit, &[Rule::PublishedUncommitted]);
    }

    #[test]
    fn running_a_hook_before_the_commit_is_caught() {
        assert_caught(Bug::PublishedBeforeCommit, &[Rule::AttemptUncommitted]);
    }

    #[test]
    fn sequential_watch_ids_are_caught() {
        assert_caught(Bug::SequentialIds, &[Rule::DuplicateId]);
    }

    #[test]
    fn marking_a_delivery_as_delivered_before_its_attempt_is_caught() {
        assert_caught(
            Bug::DeliveredBeforeAttempt,
            &[Rule::DeliveredWithoutSuccess],
        );
    }

    #[test]
    fn a_retry_with_another_event_id_is_caught() {
        assert_caught(Bug::RetryWithNewId, &[Rule::AttemptUncommitted]);
    }

    #[test]
    fn a_second_ending_event_is_caught() {
        assert_caught(Bug::SecondEnding, &[Rule::SecondEnding]);
    }

    #[test]
    fn an_unlimited_poll_deadline_is_caught() {
        assert_caught(Bug::DeadlineNotClamped, &[Rule::PolledTooLate]);
    }

    #[test]
    fn ignoring_retry_after_is_caught() {
        assert_caught(Bug::RetryAfterIgnored, &[Rule::RetriedTooSoon]);
    }

    #[test]
    fn a_pause_that_never_ends_is_caught() {
        assert_caught(Bug::PauseNeverLifted, &[Rule::PolledTooLate]);
    }

    #[test]
    fn watching_ended_jobs_again_at_startup_is_caught() {
        assert_caught(Bug::EndedJobsRewatched, &[Rule::UnrequestedWatch]);
    }

    #[test]
    fn serving_a_lost_shard_is_caught() {
        assert_caught(Bug::LossIgnored, &[Rule::ServedLostShard]);
    }

    #[test]
    fn hiding_the_watches_of_other_processes_is_caught() {
        assert_caught(Bug::OthersUnlisted, &[Rule::WronglyListed]);
    }

    #[test]
    fn ignoring_commit_errors_is_caught() {
        assert_caught(Bug::CommitErrorIgnored, &[Rule::PublishedUncommitted]);
    }
}
