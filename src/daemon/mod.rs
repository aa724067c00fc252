//! A watch that goes on for months: engine, hooks and store as one, so that nothing is lost between them.
//!
//! [`Daemon::start`] goes on from what the store has kept; [`Daemon::advance`] drives everything and returns the events
//! that are on record and may be told; `asked` answers what clients want. The command that owns it (`cli::daemon`) adds
//! signals, socket, service manager and output. It knows no sockets and no processes itself, so that a simulation can
//! run it on virtual time, against a world that fails in every way there is.

mod config_apply;
mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

pub use config_apply::{DaemonConfig, StartError};

use crate::clanforge::Api;
use crate::engine::{Clock, Engine, SystemEvents};
use crate::hooks::{Executor, Hooks, Outbox};
use crate::store::{Archive, Commit, ConfigJob, Store, StoreError};
use forgewatch_core::event::{Event, EventFields, EventType, FinishedCounts, WatchId};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::limits::Limits;
use forgewatch_core::reconcile::AddedBy;
use forgewatch_core::time::{Moment, millis};

/// How often what is older than `retain` is looked for.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// The same after the start: a machine's clock may only be set some time after it came up.
const FIRST_PRUNE: Duration = Duration::from_mins(10);
/// How long after one of the watcher's own events could not be recorded it is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// How long a reload waits for the ends of jobs that it lists anew.
const LEFT_WITHIN: Duration = Duration::from_secs(5);

/// Watches, and remembers. See the module's page.
pub struct Daemon<A, S, C, P> {
    engine: Engine<A, Outbox<S, C>, C>,
    hooks: Hooks<S, C, P>,
    outbox: Outbox<S, C>,
    system_events: Rc<SystemEvents<C>>,
    clock: C,
    /// Makes the ids of new watches.
    ids: Ids,
    limits: Limits,
    /// How long ended watches are remembered.
    retain: Duration,
    /// The watches that run, and who asked for each.
    live: BTreeMap<JobRef, ActiveWatch>,
    /// The file's list as it was accepted last.
    config_jobs: Vec<ConfigJob>,
    chores: FuturesUnordered<LocalBoxFuture<'static, BackgroundTask>>,
    /// What own events are to tell that are not on record yet. The first is on its way: they are recorded in their order.
    announced: VecDeque<(EventType, EventFields)>,
    /// On record and not yet handed over.
    tellable: Vec<Event>,
    /// The store can't be trusted any more.
    failed: Option<StoreError>,
    ends: FinishedCounts,
    began: Moment,
}

/// Makes a new random id; Err where the machine gives no entropy.
pub type Ids = Box<dyn FnMut() -> Result<WatchId, String>>;

#[derive(Clone, Copy, Debug)]
struct ActiveWatch {
    id: WatchId,
    added_by: AddedBy,
    /// Its end is on its way into the store.
    is_leaving: bool,
}

impl ActiveWatch {
    fn new(id: WatchId, added_by: AddedBy) -> Self {
        Self {
            id,
            added_by,
            is_leaving: false,
        }
    }
}

/// What a chore has come to.
enum BackgroundTask {
    /// The first of what is announced is on record.
    Announced(Box<Event>),
    /// It is time to look for what is too old.
    Prune,
    /// What was too old is gone.
    Pruned,
    /// The store failed for good.
    Failed(StoreError),
    Done,
}

/// How it stands, for people and for the service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Watches that run.
    pub watching: usize,
    /// Those of them that cannot be asked.
    pub unreachable: usize,
    /// Deliveries that are to be made.
    pub deliveries_waiting: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            watching,
            unreachable,
            deliveries_waiting,
        } = self;
        write!(
            f,
            "watching {watching}, unreachable {unreachable}, deliveries waiting {deliveries_waiting}"
        )
    }
}

impl<A, S, C, P> Daemon<A, S, C, P>
where
    A: Api + 'static,
    S: Archive + Clone + 'static,
    C: Clock + Clone + 'static,
    P: Executor,
{
    /// Drives everything until there is something to tell, and returns it; never empty. Cancel-safe: nothing is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// The store can't be trusted any more: the process has to end, and its next self to open the store anew.
    pub async fn advance(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            if !self.tellable.is_empty() {
                return Ok(std::mem::take(&mut self.tellable));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            tokio::select! {
                biased;
                told = self.engine.advance() => {
                    let told = told?;
                    for event in &told {
                        self.take_note(event);
                    }
                    self.tellable.extend(told);
                }
                told = self.hooks.advance() => self.tellable.extend(told?),
                Some(done) = self.chores.next() => match done {
                    BackgroundTask::Announced(event) => {
                        self.tellable.push(*event);
                        self.announced.pop_front();
                        self.record_announced();
                    }
                    BackgroundTask::Prune => self.prune(),
                    BackgroundTask::Pruned => self.prune_after(PRUNE_EVERY),
                    BackgroundTask::Failed(error) => return Err(error),
                    BackgroundTask::Done => {}
                },
            }
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Summary {
        let unreachable = self.engine.watches().filter(|w| w.is_unreachable());
        Summary {
            watching: self.live.len(),
            unreachable: unreachable.count(),
            deliveries_waiting: self.hooks.waiting(),
        }
    }

    /// How many watches ended in which way since the start.
    pub fn ends(&self) -> FinishedCounts {
        self.ends
    }

    /// The watch of this job, until its end is on record.
    pub fn watch_of(&self, job: JobRef) -> Option<WatchId> {
        self.live.get(&job).map(|live| live.id)
    }

    /// Has one of the watcher's own events recorded; [`Daemon::advance`] returns it once it is.
    pub fn announce(&mut self, kind: EventType, facts: EventFields) {
        self.announced.push_back((kind, facts));
        if self.announced.len() == 1 {
            self.record_announced();
        }
    }

    fn record_announced(&self) {
        let Some((kind, facts)) = self.announced.front().cloned() else {
            return;
        };
        let outbox = self.outbox.clone();
        let system_events = Rc::clone(&self.system_events);
        self.chores.push(Box::pin(async move {
            loop {
                // Numbered as it is handed to the store: the hooks tell of what they give up in the same voice.
                let event = Box::new(system_events.event(kind, facts.clone()));
                match record(&outbox, &event).await {
                    Ok(()) => return BackgroundTask::Announced(event),
                    Err(error @ StoreError::Fatal(_)) => return BackgroundTask::Failed(error),
                    Err(_) => sleep(RECORD_AGAIN).await,
                }
            }
        }));
    }

    /// Begins the stop: nothing is asked any more, no hook is started. [`Daemon::advance`] goes on with what is under
    /// way; [`Daemon::is_settled`] says when that is over.
    pub fn wind_up(&mut self) {
        self.engine.wind_up();
        self.hooks.wind_up();
    }

    /// Whether nothing is under way any more.
    pub fn is_settled(&self) -> bool {
        let told = self.tellable.is_empty() && self.announced.is_empty();
        told && self.engine.is_settled() && self.hooks.is_settled()
    }

    /// Ends the hooks under way: TERM, and KILL five seconds later. Their attempts are made again after the next start.
    pub async fn stop_hooks(&mut self) {
        self.hooks.stop().await;
    }

    /// The last event of all, once it is on record; None where that can't be. No watch ends by it.
    pub async fn finished(&mut self) -> Option<Event> {
        let facts = EventFields {
            jobs: Some(count(self.live.len())),
            tally: Some(self.ends),
            elapsed_ms: Some(self.clock.now().up_ms.saturating_sub(self.began.up_ms)),
            ..EventFields::default()
        };
        let event = self.system_events.event(EventType::WatchFinished, facts);
        match record(&self.outbox, &event).await {
            Ok(()) => Some(event),
            Err(error) => {
                tracing::error!(%error, "the stop could not be recorded");
                None
            }
        }
    }

    /// Ends the watch of this job, if there is one.
    fn stop(&mut self, job: JobRef) {
        if let Some(live) = self.live.get_mut(&job) {
            live.is_leaving = true;
            self.engine.stop_one(live.id, Outcome::Removed);
        }
    }

    /// Goes on until none of these jobs has an end on its way into the store. Err names one whose end the store does not
    /// take.
    async fn have_left(&mut self, jobs: &[JobRef]) -> Result<(), JobRef> {
        let until = Instant::now() + LEFT_WITHIN;
        let mut told = Vec::new();
        let left = loop {
            let leaves = |job: &&JobRef| self.live.get(job).is_some_and(|live| live.is_leaving);
            let Some(&job) = jobs.iter().find(leaves) else {
                break Ok(());
            };
            match timeout_at(until, self.advance()).await {
                Ok(Ok(events)) => told.extend(events),
                Ok(Err(error)) => {
                    self.failed = Some(error);
                    break Err(job);
                }
                Err(_) => break Err(job),
            }
        };
        self.tellable.splice(..0, told);
        left
    }

    fn take_note(&mut self, event: &Event) {
        let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) else {
            return;
        };
        self.live.remove(&job);
        let count = match outcome {
            Outcome::Completed => &mut self.ends.completed,
            Outcome::Failed => &mut self.ends.failed,
            Outcome::Squashed => &mut self.ends.squashed,
            _ => &mut self.ends.other,
        };
        *count += 1;
        if outcome.is_the_servers() {
            self.keep_what_was_learnt();
        }
    }

    fn keep_what_was_learnt(&self) {
        let Ok(json) = serde_json::to_string(self.engine.memory()) else {
            return;
        };
        let store = self.outbox.store().clone();
        self.chores.push(Box::pin(async move {
            // It costs a few requests more where it is lost.
            if let Err(error) = store.save_calibrations(json).await {
                tracing::debug!(%error, "what was learnt is not kept");
            }
            BackgroundTask::Done
        }));
    }

    fn prune(&self) {
        let store = self.outbox.store().clone();
        let before = self.forgotten_before();
        self.chores.push(Box::pin(async move {
            while let Ok(rows @ 1..) = store.prune(before).await {
                tracing::debug!(rows, "forgotten");
            }
            BackgroundTask::Pruned
        }));
    }

    fn prune_after(&self, wait: Duration) {
        self.chores.push(Box::pin(async move {
            sleep(wait).await;
            BackgroundTask::Prune
        }));
    }

    /// Watches that ended before this wall time are forgotten.
    fn forgotten_before(&self) -> i64 {
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
