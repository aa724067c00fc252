//! Serves the requests of clients.

use std::collections::{BTreeMap, BTreeSet};

use super::watch_list::WatchReport;
use super::{ActiveWatch, Daemon};
use crate::clanforge::Api;
use crate::engine::Clock;
use crate::hooks::{DeliveryActionResult, Executor};
use crate::store::{DaemonStore, JobListUpdate, SavedWatch, StoreError, StoredEvent};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow, OpenDelivery};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::{JobRef, JobSpec};
use forgewatch_core::poll_log::{PollRecord, WaitReason};
use forgewatch_core::reconcile::AddedBy;
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::watch::{Watch, outcome_of};

/// Most open and most failed deliveries in one list.
const MAX_LISTED: usize = 256;

const FROM_CLIENT: AddedBy = AddedBy {
    file: false,
    socket: true,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedWatch {
    pub job: JobRef,
    pub watch: WatchId,
    pub result: AddResult,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddResult {
    Started,
    AlreadyWatched,
    /// The watch ended within `retain` with this outcome and stays as it is.
    Ended(String),
}

#[derive(Debug)]
pub struct WatchDetails {
    pub report: WatchReport,
    /// None before the first status and after the end.
    pub next_poll_reason: Option<WaitReason>,
    pub events: Vec<StoredEvent>,
    /// The last polls, oldest first.
    pub polls: Vec<PollRecord>,
    /// Of all events of the watch, oldest first.
    pub deliveries: Vec<DeliveryReport>,
}

#[derive(Debug)]
pub enum DeliveryReport {
    /// Pending or running, as the hooks have it: the store does not know which attempts are running.
    Open(OpenDelivery),
    Stored(DeliveryRow),
}

#[derive(Debug)]
pub struct DeliveryList {
    /// The open ones, and the newest failed ones, oldest first.
    pub deliveries: Vec<DeliveryReport>,
    /// How many more there are.
    pub omitted: usize,
}

/// A watch that keeps `add` from starting another one.
enum KnownWatch {
    Running(WatchId, AddedBy),
    /// With its outcome.
    Ended(WatchId, String),
}

impl KnownWatch {
    /// None if the row is unreadable.
    fn of(saved: &SavedWatch) -> Option<Self> {
        Some(match saved.ended_wall_ms {
            None => Self::Running(saved.id, saved.added_by),
            Some(_) => Self::Ended(saved.id, outcome_of(&saved.snapshot)?),
        })
    }
}

/// Why a request failed. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailure {
    #[error("{0} is still being removed; try again when `forgewatch list` no longer shows it")]
    StillEnding(JobRef),
    #[error("another process watches {0}; try again")]
    ServedElsewhere(JobRef),
    #[error("{0} is not watched; list watched jobs with: forgewatch list")]
    NotWatched(JobRef),
    #[error("no failed delivery {0}; list them with: forgewatch hooks list")]
    NoFailedDelivery(String),
    #[error(
        "{0}: the hook is no longer in the configuration; discard it with: forgewatch hooks discard {0}"
    )]
    UnknownHook(String),
    #[error("invalid place to continue a list: {0:?}")]
    InvalidCursor(String),
    #[error("{0}")]
    Entropy(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// Watches these jobs, all or none. A watched job stays as it is; so does one whose watch ended within `retain`,
    /// unless `again` is set.
    ///
    /// # Errors
    /// An old watch of a job is still ending, or the store failed.
    pub async fn add(
        &mut self,
        jobs: Vec<JobRef>,
        labels: BTreeMap<String, String>,
        again: bool,
    ) -> Result<Vec<AddedWatch>, RequestFailure> {
        let mut update = JobListUpdate::default();
        let (mut new_watches, mut added) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for job in jobs.into_iter().filter(|&job| seen.insert(job)) {
            let known = match self.active.get(&job) {
                Some(active) if active.is_ending => return Err(RequestFailure::StillEnding(job)),
                Some(active) => Some(KnownWatch::Running(active.id, active.added_by)),
                None => self.newest(job).await?.as_ref().and_then(KnownWatch::of),
            };
            let (watch, result) = match known {
                Some(KnownWatch::Running(id, added_by)) => {
                    let by_client = AddedBy {
                        socket: true,
                        ..added_by
                    };
                    update.added_by.push((id, by_client));
                    (id, AddResult::AlreadyWatched)
                }
                Some(KnownWatch::Ended(id, outcome)) if !again => (id, AddResult::Ended(outcome)),
                _ => {
                    let labels = self.labels_for(job, &labels);
                    let (watch, saved) = self
                        .new_watch(JobSpec { job, labels }, FROM_CLIENT)
                        .map_err(RequestFailure::Entropy)?;
                    let id = watch.id();
                    update.new_watches.push(saved);
                    new_watches.push(watch);
                    (id, AddResult::Started)
                }
            };
            added.push(AddedWatch { job, watch, result });
        }
        if update != JobListUpdate::default() {
            self.outbox.store().update_jobs(update).await?;
        }
        for known in added
            .iter()
            .filter(|added| added.result == AddResult::AlreadyWatched)
        {
            if let Some(ActiveWatch { added_by, .. }) = self.active.get_mut(&known.job) {
                added_by.socket = true;
            }
        }
        for watch in new_watches {
            self.start_watch(watch, FROM_CLIENT);
        }
        Ok(added)
    }

    /// Ends the watches of these jobs with `job.removed`, which [`Daemon::advance`] returns once recorded. Returns the
    /// jobs that are ending and those that are not watched.
    ///
    /// # Errors
    /// Another process serves one of the jobs, or the store failed.
    pub async fn remove(
        &mut self,
        jobs: Vec<JobRef>,
    ) -> Result<(Vec<JobRef>, Vec<JobRef>), RequestFailure> {
        let (removed, unknown): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|&job| self.active.contains_key(&job));
        let elsewhere = self.running_elsewhere(unknown.iter().copied()).await?;
        if let Some((&job, _)) = elsewhere.first_key_value() {
            return Err(RequestFailure::ServedElsewhere(job));
        }
        for &job in &removed {
            self.stop(job);
        }
        Ok((removed, unknown))
    }

    /// The running watches, with the time left of their jobs.
    pub fn watches(&self) -> impl Iterator<Item = (&Watch, TimeLeft)> {
        let now = self.clock.now();
        let watches = self.engine.watches();
        watches.map(move |watch| (watch, self.engine.time_left(watch, now)))
    }

    /// The details of a job's newest watch.
    ///
    /// # Errors
    /// The job has none, or the store failed.
    pub async fn show(&self, job: JobRef) -> Result<WatchDetails, RequestFailure> {
        let running = self.engine.watches().find(|watch| watch.job() == job);
        let store = self.outbox.store();
        let report = if let Some(watch) = running {
            Some(self.active(watch))
        } else {
            let saved = store.newest_watch(job).await?;
            saved.and_then(|saved| self.stored(&saved))
        };
        let report = report.ok_or(RequestFailure::NotWatched(job))?;
        let id = report.watch.id();
        let events = store.events_of(id).await?;
        let polls = store.polls_of(id).await?;
        let polls: Vec<PollRecord> = polls
            .iter()
            .filter_map(|poll| serde_json::from_str(poll).ok())
            .collect();
        // A suspended watch is not polled when its last poll planned it.
        let running = report.is_running.then_some(&report.watch);
        let suspended = running
            .is_some_and(Watch::is_suspended)
            .then_some(WaitReason::Outage);
        let planned = running.and_then(|_| Some(polls.last()?.next_poll_reason));
        let rows = store.deliveries_of(id).await?;
        Ok(WatchDetails {
            next_poll_reason: suspended.or(planned),
            report,
            events,
            polls,
            deliveries: rows.into_iter().map(|row| self.delivery(row)).collect(),
        })
    }

    /// Open deliveries: pending and running ones, and the newest failed ones.
    ///
    /// # Errors
    /// The store failed.
    pub async fn deliveries(&self) -> Result<DeliveryList, RequestFailure> {
        let (failed, all) = self.outbox.store().failed_deliveries(MAX_LISTED).await?;
        let open = self.hooks.list(MAX_LISTED).into_iter();
        // A failure that is stored and not yet applied is still listed by the hooks.
        let failed = failed
            .into_iter()
            .filter(|row| self.hooks.find(&row.id).is_none());
        let beyond = |count: usize| count.saturating_sub(MAX_LISTED);
        Ok(DeliveryList {
            deliveries: open
                .map(DeliveryReport::Open)
                .chain(failed.map(DeliveryReport::Stored))
                .collect(),
            omitted: beyond(self.hooks.open_count()) + beyond(all),
        })
    }

    /// Retries a failed delivery.
    ///
    /// # Errors
    /// No delivery of this id has failed, its hook is no longer configured, or the store failed.
    pub async fn retry(&mut self, id: &str) -> Result<(), RequestFailure> {
        let delivery = parse_delivery(id)?;
        check_action(id, self.hooks.retry(delivery).await?)
    }

    /// Discards a failed delivery.
    ///
    /// # Errors
    /// No delivery of this id has failed, or the store failed.
    pub async fn discard(&mut self, id: &str) -> Result<(), RequestFailure> {
        let delivery = parse_delivery(id)?;
        check_action(id, self.hooks.discard(delivery).await?)
    }

    /// Discards some of the failed deliveries; returns how many.
    ///
    /// # Errors
    /// The store failed.
    pub async fn discard_failed(&mut self) -> Result<usize, RequestFailure> {
        Ok(self.hooks.discard_some().await?)
    }

    /// The labels of the request, or else those that the configuration gives the job.
    fn labels_for(
        &self,
        job: JobRef,
        requested: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        if !requested.is_empty() {
            return requested.clone();
        }
        let listed = self.config_jobs.iter().find(|listed| listed.job == job);
        listed
            .and_then(|listed| serde_json::from_str(&listed.labels).ok())
            .unwrap_or_default()
    }

    /// The newest stored watch of a job, unless it ended before `retain`.
    pub(super) async fn newest(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        let saved = self.outbox.store().newest_watch(job).await?;
        let after = self.retention_cutoff();
        Ok(saved.filter(|saved| saved.ended_wall_ms.is_none_or(|at| at >= after)))
    }

    fn delivery(&self, row: DeliveryRow) -> DeliveryReport {
        match self.hooks.find(&row.id) {
            Some(open) => DeliveryReport::Open(open),
            None => DeliveryReport::Stored(row),
        }
    }
}

fn parse_delivery(id: &str) -> Result<DeliveryId, RequestFailure> {
    id.parse()
        .map_err(|_| RequestFailure::NoFailedDelivery(id.to_owned()))
}

fn check_action(id: &str, result: DeliveryActionResult) -> Result<(), RequestFailure> {
    match result {
        DeliveryActionResult::Done => Ok(()),
        DeliveryActionResult::NotFailed => Err(RequestFailure::NoFailedDelivery(id.to_owned())),
        DeliveryActionResult::UnknownHook => Err(RequestFailure::UnknownHook(id.to_owned())),
    }
}
