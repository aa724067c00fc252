//! Serves the requests of clients.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::config_apply::still_ending;
use super::{ActiveWatch, Daemon};
use crate::clanforge::Api;
use crate::control::protocol::{
    AddOutcome, AddedJob, DeliveryStatus, DeliverySummary, JobDetails, JobSummary, Response,
};
use crate::engine::Clock;
use crate::hooks::payload::EventPayload;
use crate::hooks::queue::{OpenDelivery, OpenState};
use crate::hooks::{DeliveryActionResult, Executor};
use crate::store::{DaemonStore, JobListUpdate, SavedWatch, StoreError};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::job::JobRef;
use forgewatch_core::job::JobSpec;
use forgewatch_core::poll_log::{PollRecord, WaitReason};
use forgewatch_core::reconcile::AddedBy;
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::millis;
use forgewatch_core::watch::{Watch, outcome_of};

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// Watches these jobs, all or none. A watched job stays as it is; so does one whose watch ended within `retain`,
    /// unless `again` is set.
    pub async fn add(
        &mut self,
        jobs: Vec<JobRef>,
        labels: BTreeMap<String, String>,
        again: bool,
    ) -> Response {
        let mut update = JobListUpdate::default();
        let (mut new_watches, mut added) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for job in jobs.into_iter().filter(|&job| seen.insert(job)) {
            let (id, outcome) = match self.active.get(&job) {
                Some(active) if active.is_ending => return Response::error(still_ending(job)),
                Some(active) => {
                    let by_client = AddedBy {
                        socket: true,
                        ..active.added_by
                    };
                    update.added_by.push((active.id, by_client));
                    (active.id, AddOutcome::AlreadyWatched)
                }
                None => match self.recently_ended(job).await {
                    Err(error) => return store_error(&error),
                    Ok(Some((saved, outcome))) if !again => (saved.id, AddOutcome::Ended(outcome)),
                    Ok(_) => {
                        let labels = if labels.is_empty() {
                            self.configured_labels(job)
                        } else {
                            labels.clone()
                        };
                        match self.new_watch(JobSpec { job, labels }, FROM_CLIENT) {
                            Err(error) => return Response::error(error),
                            Ok((watch, saved)) => {
                                update.new_watches.push(saved);
                                let id = watch.id();
                                new_watches.push(watch);
                                (id, AddOutcome::Started)
                            }
                        }
                    }
                },
            };
            let watch = id.to_string();
            added.push(AddedJob {
                job,
                watch,
                outcome,
            });
        }
        if update != JobListUpdate::default()
            && let Err(error) = self.outbox.store().update_jobs(update).await
        {
            return store_error(&error);
        }
        for line in added
            .iter()
            .filter(|line| line.outcome == AddOutcome::AlreadyWatched)
        {
            if let Some(ActiveWatch { added_by, .. }) = self.active.get_mut(&line.job) {
                added_by.socket = true;
            }
        }
        for watch in new_watches {
            self.start_watch(watch, FROM_CLIENT);
        }
        Response::Added(added)
    }

    /// Ends the watches of these jobs with `job.removed`, which [`Daemon::advance`] returns once recorded. Returns the
    /// jobs that are ending and those that are not watched.
    pub fn remove(&mut self, jobs: Vec<JobRef>) -> (Vec<JobRef>, Vec<JobRef>) {
        let (removed, unknown): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|&job| self.active.contains_key(&job));
        for &job in &removed {
            self.stop(job);
        }
        (removed, unknown)
    }

    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.engine.watches()
    }

    /// With `all`, the watches that ended within `retain` too.
    pub async fn list(&self, all: bool) -> Response {
        let mut lines: Vec<JobSummary> = self.engine.watches().map(|w| self.running(w)).collect();
        if all {
            match self
                .outbox
                .store()
                .ended_watches(self.retention_cutoff())
                .await
            {
                Ok(ended) => lines.extend(ended.iter().filter_map(|saved| self.ended(saved))),
                Err(error) => return store_error(&error),
            }
        }
        let order = |line: &JobSummary| {
            (
                line.started_at_ms.unwrap_or(i64::MAX),
                line.job,
                line.watch.clone(),
            )
        };
        lines.sort_by_cached_key(order);
        Response::Jobs(lines)
    }

    /// The details of a job's newest watch.
    pub async fn show(&self, job: JobRef) -> Response {
        let running = self.engine.watches().find(|watch| watch.job() == job);
        let store = self.outbox.store();
        let shown = async {
            let line = match running {
                Some(watch) => self.running(watch),
                None => match store
                    .newest_watch(job)
                    .await?
                    .and_then(|saved| self.ended(&saved))
                {
                    Some(line) => line,
                    None => return Ok(None),
                },
            };
            let Ok(id) = line.watch.parse() else {
                return Ok(None);
            };
            let events = store.events_of(id).await?;
            let polls = store.polls_of(id).await?;
            let polls: Vec<PollRecord> = polls
                .iter()
                .filter_map(|poll| serde_json::from_str(poll).ok())
                .collect();
            // A suspended watch is not polled when its last poll planned it.
            let suspended = running
                .is_some_and(Watch::is_suspended)
                .then_some(WaitReason::Outage);
            let planned = running.and_then(|_| Some(polls.last()?.next_poll_reason));
            Ok(Some(JobDetails {
                next_poll_reason: suspended.or(planned),
                summary: line,
                events: events
                    .into_iter()
                    .filter_map(|event| RawValue::from_string(event.record).ok())
                    .collect(),
                polls,
                deliveries: self.deliveries(store.deliveries_of(id).await?),
            }))
        };
        match shown.await {
            Ok(Some(shown)) => Response::Job(Box::new(shown)),
            Ok(None) => Response::error(format!(
                "{job} is not watched; list watched jobs with: forgewatch list"
            )),
            Err(error) => store_error(&error),
        }
    }

    /// Open deliveries: pending and running ones, and the newest failed ones.
    pub async fn hooks(&self) -> Response {
        let (failed, all) = match self.outbox.store().failed_deliveries(MAX_LISTED).await {
            Ok(found) => found,
            Err(error) => return store_error(&error),
        };
        let mut lines: Vec<DeliverySummary> = self
            .hooks
            .list(MAX_LISTED)
            .iter()
            .map(open_delivery)
            .collect();
        // A failure that is stored and not yet applied is still listed by the hooks.
        let failed = failed
            .into_iter()
            .filter(|row| self.hooks.find(&row.id).is_none());
        lines.extend(failed.filter_map(stored_delivery));
        let beyond = |count: usize| count.saturating_sub(MAX_LISTED);
        Response::Deliveries {
            deliveries: lines,
            omitted: beyond(self.hooks.open_count()) + beyond(all),
        }
    }

    /// Retries a failed delivery.
    pub async fn retry_hook(&mut self, id: &str) -> Response {
        match id.parse::<DeliveryId>() {
            Ok(delivery) => admin_response(id, self.hooks.retry(delivery).await),
            Err(_) => no_delivery(id),
        }
    }

    /// Discards a failed delivery.
    pub async fn discard_hook(&mut self, id: &str) -> Response {
        match id.parse::<DeliveryId>() {
            Ok(delivery) => admin_response(id, self.hooks.discard(delivery).await),
            Err(_) => no_delivery(id),
        }
    }

    /// Discards some of the failed deliveries.
    pub async fn discard_failed(&mut self) -> Response {
        match self.hooks.discard_some().await {
            Ok(discarded) => Response::Discarded(discarded),
            Err(error) => store_error(&error),
        }
    }

    fn configured_labels(&self, job: JobRef) -> BTreeMap<String, String> {
        let listed = self.config_jobs.iter().find(|listed| listed.job == job);
        listed
            .and_then(|listed| serde_json::from_str(&listed.labels).ok())
            .unwrap_or_default()
    }

    /// The newest watch of a job and its outcome, if it ended within `retain`.
    async fn recently_ended(
        &self,
        job: JobRef,
    ) -> Result<Option<(SavedWatch, String)>, StoreError> {
        let saved = self.outbox.store().newest_watch(job).await?;
        let after = self.retention_cutoff();
        let saved = saved.filter(|s| s.ended_wall_ms.is_some_and(|at| at >= after));
        Ok(saved.and_then(|saved| {
            let outcome = outcome_of(&saved.snapshot)?;
            Some((saved, outcome))
        }))
    }

    fn running(&self, watch: &Watch) -> JobSummary {
        let now = self.clock.now();
        JobSummary {
            remaining_ms: watch.estimated_left(now).map(millis),
            next_poll_ms: Some(millis(watch.next_poll_in(now))),
            unreachable: watch.is_unreachable(),
            ..Self::line(watch)
        }
    }

    /// None if the row is unreadable.
    fn ended(&self, saved: &SavedWatch) -> Option<JobSummary> {
        let watch = Watch::load(&saved.snapshot, self.clock.now(), &self.limits).ok()?;
        Some(JobSummary {
            outcome: outcome_of(&saved.snapshot),
            ended_at_ms: saved.ended_wall_ms,
            ..Self::line(&watch)
        })
    }

    fn line(watch: &Watch) -> JobSummary {
        JobSummary {
            job: watch.job(),
            watch: watch.id().to_string(),
            labels: watch.meta().map(|a| a.labels.clone()).unwrap_or_default(),
            state: watch.state().map(|state| state.as_str().to_owned()),
            progress: watch.progress().map(whole_percent),
            remaining_ms: None,
            next_poll_ms: None,
            requests: watch.requests(),
            unreachable: false,
            outcome: None,
            started_at_ms: watch.first_poll_wall_ms(),
            ended_at_ms: None,
        }
    }

    /// As the hooks have them, because the store does not know which attempts are running.
    fn deliveries(&self, rows: Vec<DeliveryRow>) -> Vec<DeliverySummary> {
        let line = |row: DeliveryRow| match self.hooks.find(&row.id) {
            Some(open) => Some(open_delivery(&open)),
            None => stored_delivery(row),
        };
        rows.into_iter().filter_map(line).collect()
    }
}

/// Most open and most failed deliveries in one response.
const MAX_LISTED: usize = 256;

const FROM_CLIENT: AddedBy = AddedBy {
    file: false,
    socket: true,
};

fn store_error(error: &StoreError) -> Response {
    // Otherwise only the client would see it.
    tracing::error!(target: "forgewatch::daemon", %error, "a client's request failed");
    Response::error(error.to_string())
}

fn admin_response(id: &str, result: Result<DeliveryActionResult, StoreError>) -> Response {
    match result {
        Ok(DeliveryActionResult::Done) => Response::Done,
        Ok(DeliveryActionResult::NotFailed) => no_delivery(id),
        Ok(DeliveryActionResult::UnknownHook) => Response::error(format!(
            "{id}: the hook is no longer in the configuration; discard it with: forgewatch hooks discard {id}"
        )),
        Err(error) => store_error(&error),
    }
}

fn no_delivery(id: &str) -> Response {
    Response::error(format!(
        "no failed delivery {id}; list them with: forgewatch hooks list"
    ))
}

fn open_delivery(delivery: &OpenDelivery) -> DeliverySummary {
    let (state, due_at_ms) = match delivery.state {
        OpenState::Pending { due_ms } => (DeliveryStatus::Pending, Some(due_ms)),
        OpenState::Running => (DeliveryStatus::Running, None),
    };
    DeliverySummary {
        state,
        due_at_ms,
        error_message: delivery.last_failure.as_ref().map(|why| why.error.clone()),
        ..line(&delivery.id, &delivery.payload, delivery.attempts)
    }
}

fn stored_delivery(row: DeliveryRow) -> Option<DeliverySummary> {
    let payload = EventPayload::parse(row.body).ok()?;
    let (state, due_at_ms, error_message) = match row.state {
        DeliveryState::Pending { due_ms } => (DeliveryStatus::Pending, Some(due_ms), None),
        DeliveryState::Failed(why) => (DeliveryStatus::Failed, None, Some(why.error)),
        DeliveryState::Delivered => (DeliveryStatus::Delivered, None, None),
        DeliveryState::Discarded => (DeliveryStatus::Discarded, None, None),
    };
    Some(DeliverySummary {
        state,
        due_at_ms,
        error_message,
        ..line(&row.id, &payload, row.attempts)
    })
}

fn line(id: &DeliveryId, payload: &EventPayload, attempts: u32) -> DeliverySummary {
    DeliverySummary {
        id: id.to_string(),
        hook: id.hook.to_string(),
        event_type: payload.kind().to_owned(),
        job: payload.job(),
        attempts,
        state: DeliveryStatus::Pending,
        due_at_ms: None,
        error_message: None,
    }
}
