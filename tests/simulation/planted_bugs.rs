//! Bugs, planted around the daemon from outside, to see that the checker finds them.
//!
//! Store, hooks, API and the start are wrapped; without a bug the wrappers do nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch::hooks::payload::EventPayload;
use forgewatch::hooks::queue::Attempt;
use forgewatch::hooks::{AttemptFuture, Executor};
use forgewatch::store::{
    Archive, Commit, JobListUpdate, Loaded, PollSample, SavedWatch, Store, StoreError, StoredEvent,
};
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow};
use forgewatch_core::event::{EventType, WatchId};
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::PollError;
use tokio::sync::watch;

use crate::api::SimApi;
use crate::disk::Disk;
use crate::hooks::SimHooks;
use crate::log::Op;

/// What a daemon could get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A commit counts before the disk has it.
    ToldBeforeCommit,
    /// The ids of watches are counted in memory.
    IdFromACounter,
    /// A delivery is done as soon as its attempt begins.
    DoneBeforeItRan,
    /// A second attempt carries another event id.
    RetryWithNewId,
    /// An ending is told twice.
    SecondEnding,
    /// The next poll, as a start reads it or a step decides it, may lie anywhere.
    DeadlineNotClamped,
    /// A receiver's `Retry-After` is no floor.
    RetryAfterAsCeiling,
    /// Once the API wanted a pause it is never asked again.
    PauseNeverLifted,
    /// A start forgets what the file's list was.
    EndedWatchedAgain,
    /// A commit that failed counts as done.
    FailureSwallowed,
}

/// The disk, as a daemon with the bug would use it.
#[derive(Clone)]
pub(crate) struct PlantedStore {
    disk: Disk,
    bug: Option<Bug>,
}

impl PlantedStore {
    pub(crate) fn new(disk: Disk, bug: Option<Bug>) -> Self {
        Self { disk, bug }
    }

    pub(crate) fn load(&self) -> Loaded {
        let mut loaded = self.disk.load();
        if self.bug == Some(Bug::EndedWatchedAgain) {
            loaded.config_jobs.clear();
        }
        loaded
    }
}

impl Store for PlantedStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        let mut op = Op::of(&commit);
        let Op::Commit {
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
            Some(Bug::DoneBeforeItRan) => {
                if let Some(DeliveryChange::Begin { id, .. }) = changes.last() {
                    changes.push(DeliveryChange::Deliver { id: id.clone() });
                }
            }
            _ => {}
        }
        let place = self.disk.submit(op);
        if self.bug == Some(Bug::ToldBeforeCommit) {
            return Ok(());
        }
        match self.disk.written(place).await {
            Err(StoreError::Full(_)) if self.bug == Some(Bug::FailureSwallowed) => Ok(()),
            result => result,
        }
    }

    fn record_poll(&self, record_poll: PollSample) {
        self.disk.record_poll(record_poll);
    }
}

impl Archive for PlantedStore {
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        self.disk.deliveries_of(watch).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.disk.delivery(id).await
    }

    async fn given_up(&self, limit: usize) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        self.disk.given_up(limit).await
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

    async fn polls(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        self.disk.polls(watch).await
    }

    async fn newest_of(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        self.disk.newest_of(job).await
    }

    async fn ended_since(&self, wall_ms: i64) -> Result<Vec<SavedWatch>, StoreError> {
        self.disk.ended_since(wall_ms).await
    }

    async fn accept(&self, accept: JobListUpdate) -> Result<(), StoreError> {
        self.disk.accept(accept).await
    }

    async fn save_calibrations(&self, json: String) -> Result<(), StoreError> {
        self.disk.save_calibrations(json).await
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        self.disk.prune(before_wall_ms).await
    }
}

/// The way to the API, as a daemon with the bug would use it.
pub(crate) struct PlantedApi {
    api: SimApi,
    bug: Option<Bug>,
    /// The pause that is never lifted has begun.
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
    async fn ask(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        if self.is_paused.get() {
            std::future::pending::<()>().await;
        }
        let answer = self.api.ask(job, diff_info).await;
        let wants_pause = answer
            .as_ref()
            .is_err_and(|error| error.retry_after.is_some());
        if wants_pause && self.bug == Some(Bug::PauseNeverLifted) {
            self.is_paused.set(true);
        }
        answer
    }
}

/// The hooks, as a daemon with the bug would run them.
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
    fn attempt(
        &self,
        id: &DeliveryId,
        told: &Arc<EventPayload>,
        attempt: u32,
        wall_ms: i64,
        stop: watch::Receiver<bool>,
    ) -> Option<AttemptFuture> {
        if self.bug == Some(Bug::RetryWithNewId) && attempt > 1 {
            let (id, told) = renamed(id, told, attempt);
            return self.hooks.attempt(&id, &told, attempt, wall_ms, stop);
        }
        let trying = self.hooks.attempt(id, told, attempt, wall_ms, stop)?;
        if self.bug != Some(Bug::RetryAfterAsCeiling) {
            return Some(trying);
        }
        Some(Box::pin(async move {
            match trying.await {
                Attempt::Failed { why, .. } => Attempt::Failed {
                    why,
                    not_before: Duration::ZERO,
                },
                attempt => attempt,
            }
        }))
    }
}

/// The same event under another id.
fn renamed(id: &DeliveryId, told: &EventPayload, attempt: u32) -> (DeliveryId, Arc<EventPayload>) {
    let mut bytes = id.event.watch.0;
    bytes[0] ^= attempt as u8;
    let mut id = id.clone();
    let old = id.event.watch.to_string();
    id.event.watch = WatchId(bytes);
    let body = told.body().replace(&old, &id.event.watch.to_string());
    (id, Arc::new(EventPayload::parse(body).unwrap()))
}

mod tests {
    use super::Bug;
    use crate::checker::Rule;
    use crate::lifetime::live;
    use crate::world::Tracing;

    /// How many lifetimes may go by before a bug has shown.
    const SEEDS: u64 = 300;

    /// Lives lifetimes with this bug until one of these rules is broken.
    fn is_caught(bug: Bug, by: &[Rule]) {
        let mut found = Vec::new();
        for seed in 0..SEEDS {
            let story = live(seed, Some(bug), Tracing::Off);
            if let Some(violation) = story.violations.iter().find(|v| by.contains(&v.rule)) {
                println!("{bug:?}: found with seed {seed}: {violation}");
                return;
            }
            found.extend(story.violations.into_iter().map(|violation| violation.rule));
        }
        panic!("{bug:?} was not found by {by:?} in {SEEDS} lifetimes, only: {found:?}");
    }

    #[test]
    fn an_event_told_before_its_commit_is_caught() {
        is_caught(Bug::ToldBeforeCommit, &[Rule::ToldUncommitted]);
    }

    #[test]
    fn a_hook_that_runs_for_an_event_before_its_commit_is_caught() {
        is_caught(Bug::ToldBeforeCommit, &[Rule::RanUncommitted]);
    }

    #[test]
    fn ids_from_a_counter_in_memory_are_caught() {
        is_caught(Bug::IdFromACounter, &[Rule::DuplicateId]);
    }

    #[test]
    fn a_delivery_marked_done_before_it_ran_is_caught() {
        is_caught(Bug::DoneBeforeItRan, &[Rule::DoneWithoutSuccess]);
    }

    #[test]
    fn a_retry_with_a_new_id_is_caught() {
        is_caught(Bug::RetryWithNewId, &[Rule::RanUncommitted]);
    }

    #[test]
    fn a_second_ending_event_is_caught() {
        is_caught(Bug::SecondEnding, &[Rule::SecondEnding]);
    }

    #[test]
    fn a_stored_deadline_that_is_not_clamped_is_caught() {
        is_caught(Bug::DeadlineNotClamped, &[Rule::AskedTooLate]);
    }

    #[test]
    fn retry_after_as_a_ceiling_is_caught() {
        is_caught(Bug::RetryAfterAsCeiling, &[Rule::RetriedTooSoon]);
    }

    #[test]
    fn a_pause_that_is_never_lifted_is_caught() {
        is_caught(Bug::PauseNeverLifted, &[Rule::AskedTooLate]);
    }

    #[test]
    fn an_ended_job_watched_again_at_start_is_caught() {
        is_caught(Bug::EndedWatchedAgain, &[Rule::WatchedUnasked]);
    }

    #[test]
    fn a_commit_failure_swallowed_is_caught() {
        is_caught(Bug::FailureSwallowed, &[Rule::ToldUncommitted]);
    }
}
