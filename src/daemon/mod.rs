//! Engine, hooks and store as one unit that runs for months.
//!
//! [`Daemon::start`] continues from the store; [`Daemon::advance`] drives everything and returns the events that are
//! recorded and may be published; `requests` and `watch_list` serve the clients. Its owner, `app::daemon`, adds signals,
//! socket, service manager and output: without those, the simulation can run it in virtual time and inject every fault.

mod config_apply;
mod handover;
mod measure;
mod requests;
mod watch_list;
mod watcher;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

pub use config_apply::{
    DISK_SPACE, DaemonConfig, DaemonParts, LOCKED_FILE, StartupError, retry_while_unwritable,
};
pub use requests::{
    AddResult, AddedWatch, DeliveryList, DeliveryReport, RequestFailure, WatchDetails,
};
pub use watch_list::{WatchPage, WatchReport};
pub use watcher::{Watcher, WatcherParts};

use crate::clanforge::Api;
use crate::engine::{Clock, Engine, SystemEvents};
use crate::hooks::{Dispatcher, Executor, Outbox};
use crate::store::{Commit, ConfigJob, DaemonStore, Shard, Store, StoreError};
use forgewatch_core::event::{Event, EventFields, EventType, FinishedCounts, WatchId};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::limits::Limits;
use forgewatch_core::measurements::EndedJobs;
use forgewatch_core::reconcile::AddedBy;
use forgewatch_core::time::{Moment, millis};

const PRUNE_INTERVAL: Duration = Duration::from_hours(1);
/// Delay before the first one, because a machine may set its clock only some time after boot.
const FIRST_PRUNE_AFTER: Duration = Duration::from_mins(10);
/// Delay before an event of the daemon itself is recorded again.
const RECORD_RETRY: Duration = Duration::from_secs(1);
/// How long a reload waits for the old watch of a job that is listed again to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Daemon<A, S, C, P> {
    engine: Engine<A, Outbox<S, C>, C>,
    hooks: Dispatcher<S, C, P>,
    outbox: Outbox<S, C>,
    system_events: Rc<SystemEvents<C>>,
    clock: C,
    new_watch_id: NewWatchId,
    limits: Limits,
    /// How long ended watches are remembered.
    retain: Duration,
    /// Those that this process serves.
    shards: BTreeSet<Shard>,
    /// Lost ones with commits in flight.
    releasing: BTreeSet<Shard>,
    active: BTreeMap<JobRef, ActiveWatch>,
    interrupted_removals: Vec<WatchId>,
    /// As last accepted from the configuration.
    config_jobs: Vec<ConfigJob>,
    background_tasks: FuturesUnordered<LocalBoxFuture<'static, BackgroundResult>>,
    /// Events of the daemon itself that are not recorded yet. They are recorded in order; the first is in progress.
    unrecorded: VecDeque<(EventType, EventFields)>,
    /// Recorded, not yet returned.
    publishable: Vec<Event>,
    /// Set once the store cannot be trusted any more.
    store_failure: Option<StoreError>,
    outcomes: FinishedCounts,
    ended: EndedJobs,
    started: Moment,
}

/// Returns a random id; Err if the system gives no entropy.
pub type NewWatchId = Box<dyn FnMut() -> Result<WatchId, String>>;

#[derive(Clone, Copy, Debug)]
struct ActiveWatch {
    id: WatchId,
    added_by: AddedBy,
    /// Its end is being committed.
    is_ending: bool,
}

impl ActiveWatch {
    fn new(id: WatchId, added_by: AddedBy) -> Self {
        Self {
            id,
            added_by,
            is_ending: false,
        }
    }
}

enum BackgroundResult {
    /// The first of the unrecorded events.
    Recorded(Box<Event>),
    PruneDue,
    Pruned,
    StoreFailed(StoreError),
    Done,
}

/// For the service manager and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub watching: usize,
    /// Of those.
    pub unreachable: usize,
    pub deliveries_pending: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "watching {}, unreachable {}, deliveries pending {}",
            self.watching, self.unreachable, self.deliveries_pending
        )
    }
}

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// Drives everything until there are events to publish, and returns them; never empty. Cancel-safe: nothing is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// The store cannot be trusted any more: the process has to end, and the next one to open the store again.
    pub async fn advance(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            if !self.publishable.is_empty() {
                // Requests that follow list the deliveries of these events.
                self.hooks.receive();
                return Ok(std::mem::take(&mut self.publishable));
            }
            if let Some(error) = &self.store_failure {
                return Err(error.clone());
            }
            self.complete_release();
            tokio::select! {
                biased;
                events = self.engine.advance() => {
                    let events = events?;
                    for event in &events {
                        self.on_event(event);
                    }
                    self.publishable.extend(events);
                    self.on_dropped();
                }
                events = self.hooks.advance() => self.publishable.extend(events?),
                handover = self.outbox.store().next_handover(), if self.releasing.is_empty() => {
                    self.on_handover(handover?)?;
                }
                Some(done) = self.background_tasks.next() => match done {
                    BackgroundResult::Recorded(event) => {
                        self.publishable.push(*event);
                        self.unrecorded.pop_front();
                        self.record_next_event();
                    }
                    BackgroundResult::PruneDue => self.prune(),
                    BackgroundResult::Pruned => self.prune_after(PRUNE_INTERVAL),
                    BackgroundResult::StoreFailed(error) => return Err(error),
                    BackgroundResult::Done => {}
                },
            }
        }
    }

    pub fn summary(&self) -> Summary {
        let unreachable = self.engine.watches().filter(|w| w.is_unreachable());
        Summary {
            watching: self.active.len(),
            unreachable: unreachable.count(),
            deliveries_pending: self.hooks.open_count(),
        }
    }

    /// Why nothing can be stored now.
    pub fn obstacle(&self) -> Option<&'static str> {
        self.outbox.obstacle()
    }

    /// Of the watches that ended since the start.
    pub fn outcomes(&self) -> FinishedCounts {
        self.outcomes
    }

    /// The watch of this job, until its end is recorded.
    pub fn watch_of(&self, job: JobRef) -> Option<WatchId> {
        self.active.get(&job).map(|active| active.id)
    }

    /// Records an event of the daemon itself. [`Daemon::advance`] returns it afterwards.
    pub fn emit(&mut self, kind: EventType, fields: EventFields) {
        self.unrecorded.push_back((kind, fields));
        if self.unrecorded.len() == 1 {
            self.record_next_event();
        }
    }

    fn record_next_event(&self) {
        let Some((kind, fields)) = self.unrecorded.front().cloned() else {
            return;
        };
        let outbox = self.outbox.clone();
        let system_events = Rc::clone(&self.system_events);
        self.background_tasks.push(Box::pin(async move {
            loop {
                // Numbered only when it goes to the store, because the hooks number their events from the same counter.
                let event = Box::new(system_events.event(kind, fields.clone()));
                match record(&outbox, &event).await {
                    Ok(()) => return BackgroundResult::Recorded(event),
                    Err(error @ StoreError::Fatal(_)) => {
                        return BackgroundResult::StoreFailed(error);
                    }
                    Err(_) => sleep(RECORD_RETRY).await,
                }
            }
        }));
    }

    /// Starts no more polls and hooks. [`Daemon::advance`] completes the commits and attempts in flight, until
    /// [`Daemon::is_drained`].
    pub fn drain(&mut self) {
        self.engine.drain();
        self.hooks.drain();
    }

    pub fn is_drained(&self) -> bool {
        let all_returned = self.publishable.is_empty() && self.unrecorded.is_empty();
        all_returned && self.engine.is_drained() && self.hooks.is_drained()
    }

    /// Ends the running hooks: TERM, and KILL five seconds later. Their attempts run again after the next start.
    pub async fn stop_hooks(&mut self) {
        self.hooks.stop().await;
    }

    /// Records the last event, `watch.finished`. None if the store rejects it.
    pub async fn record_finished(&mut self) -> Option<Event> {
        let fields = EventFields {
            jobs: Some(count(self.active.len())),
            counts: Some(self.outcomes),
            elapsed_ms: Some(self.clock.now().up_ms.saturating_sub(self.started.up_ms)),
            ..EventFields::default()
        };
        let event = self.system_events.event(EventType::WatchFinished, fields);
        match record(&self.outbox, &event).await {
            Ok(()) => Some(event),
            Err(error) => {
                tracing::error!(target: "forgewatch::daemon", %error, "failed to record watch.finished");
                None
            }
        }
    }

    fn stop(&mut self, job: JobRef) {
        if let Some(active) = self.active.get_mut(&job) {
            active.is_ending = true;
            self.engine.stop_one(active.id, Outcome::Removed);
        }
    }

    /// Advances until no end of these jobs is being committed. Err is a job whose end could not be committed in time.
    async fn wait_until_ended(&mut self, jobs: &[JobRef]) -> Result<(), JobRef> {
        let deadline = Instant::now() + END_TIMEOUT;
        let mut returned = Vec::new();
        let result = loop {
            let is_ending =
                |job: &&JobRef| self.active.get(job).is_some_and(|active| active.is_ending);
            let Some(&job) = jobs.iter().find(is_ending) else {
                break Ok(());
            };
            match timeout_at(deadline, self.advance()).await {
                Ok(Ok(events)) => returned.extend(events),
                Ok(Err(error)) => {
                    self.store_failure = Some(error);
                    break Err(job);
                }
                Err(_) => break Err(job),
            }
        };
        self.publishable.splice(..0, returned);
        result
    }

    fn on_event(&mut self, event: &Event) {
        let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) else {
            return;
        };
        self.active.remove(&job);
        self.outcomes.add(outcome);
        self.ended.on_end(job, outcome, event);
        if outcome.is_from_polling() {
            self.save_calibration();
        }
    }

    fn save_calibration(&self) {
        let Some(json) = self.engine.calibration().to_json() else {
            return;
        };
        let store = self.outbox.store().clone();
        self.background_tasks.push(Box::pin(async move {
            // Debug, because without it the next jobs only cost a few more polls.
            if let Err(error) = store.save_calibration(json).await {
                tracing::debug!(target: "forgewatch::daemon", %error, "failed to save the calibration");
            }
            BackgroundResult::Done
        }));
    }

    fn prune(&self) {
        let store = self.outbox.store().clone();
        let before = self.retention_cutoff();
        self.background_tasks.push(Box::pin(async move {
            while let Ok(rows @ 1..) = store.prune(before).await {
                tracing::debug!(target: "forgewatch::daemon", rows, "removed ended watches older than state.retain");
            }
            BackgroundResult::Pruned
        }));
    }

    fn prune_after(&self, wait: Duration) {
        self.background_tasks.push(Box::pin(async move {
            sleep(wait).await;
            BackgroundResult::PruneDue
        }));
    }

    /// Watches that ended before this wall time are removed.
    fn retention_cutoff(&self) -> i64 {
        let retain = i64::try_from(millis(self.retain)).unwrap_or(i64::MAX);
        self.clock.now().wall_ms.saturating_sub(retain)
    }
}

async fn record(store: &impl Store, event: &Event) -> Result<(), StoreError> {
    let commit = Commit {
        events: std::slice::from_ref(event),
        ..Commit::default()
    };
    store.commit(commit).await
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
