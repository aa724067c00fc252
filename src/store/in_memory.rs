//! The model of the state file: all that it would keep, in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::{
    Archive, Commit, ConfigJob, JobListUpdate, Loaded, POLLS_KEPT, PollSample, SavedWatch, Store,
    StoreError, StoredEvent,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{EventId, WatchId};
use forgewatch_core::job::JobRef;

/// For simulations, and what [`super::Sqlite`] is held against. Cloning it shares it, so that it outlives what runs on
/// it.
#[derive(Clone, Debug, Default)]
pub struct InMemoryStore(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// By the order in which they began.
    watches: Vec<SavedWatch>,
    polls: BTreeMap<[u8; 16], VecDeque<String>>,
    events: BTreeMap<u64, StoredEvent>,
    /// In the order in which they were made.
    deliveries: Vec<DeliveryRow>,
    config_jobs: Vec<ConfigJob>,
    calibrations: Option<String>,
    last_offset: u64,
}

impl InMemoryStore {
    /// What a start on it would find.
    pub fn load(&self) -> Loaded {
        let kept = self.0.borrow();
        let running = |w: &&SavedWatch| w.ended_wall_ms.is_none();
        Loaded {
            watches: kept.watches.iter().filter(running).cloned().collect(),
            config_jobs: kept.config_jobs.clone(),
            calibrations: kept.calibrations.clone(),
            deliveries: kept.deliveries(|d| matches!(d.standing, DeliveryState::Pending { .. })),
        }
    }
}

impl Kept {
    fn save(&mut self, watch: SavedWatch) {
        match self.watches.iter_mut().find(|w| w.id == watch.id) {
            Some(known) => {
                *known = SavedWatch {
                    added_by: known.added_by,
                    ..watch
                };
            }
            None => self.watches.push(watch),
        }
    }

    fn deliveries(&self, wanted: impl Fn(&DeliveryRow) -> bool) -> Vec<DeliveryRow> {
        let rows = self.deliveries.iter().filter(|d| wanted(d));
        rows.cloned().collect()
    }

    /// Takes over a commit; what can be refused is looked at before anything changes.
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), StoreError> {
        let mut rows = BTreeMap::new();
        for change in commit.changes {
            let at = self.deliveries.iter().position(|d| d.id == *change.id());
            let known = at.and_then(|at| rows.get(&at).or_else(|| self.deliveries.get(at)));
            let row = super::changed(known.cloned(), change)?;
            rows.extend(at.map(|at| (at, row)));
        }
        let first = self.last_offset + 1;
        let mut told = BTreeMap::new();
        for (offset, event) in (first..).zip(commit.events) {
            if self.events.values().any(|e| e.id == event.id) {
                return Err(super::told_already(event.id));
            }
            told.insert(offset, super::stored(offset, event)?);
        }
        let mut wanted: Vec<DeliveryRow> = Vec::new();
        for new in commit.deliveries {
            if !told.values().any(|e| e.id == new.id.event) {
                return Err(super::not_of_this_commit(&new.id));
            }
            // Of a new event, so it can only be among the new ones.
            if wanted.iter().any(|d| d.id == new.id) {
                return Err(super::wanted_already(&new.id));
            }
            wanted.push(new);
        }
        self.last_offset += told.len() as u64;
        self.events.extend(told);
        for (old, at) in self.deliveries.iter_mut().zip(0..) {
            if let Some(row) = rows.remove(&at) {
                *old = row;
            }
        }
        self.deliveries.extend(wanted);
        if let Some(watch) = commit.watch {
            self.save(watch);
        }
        Ok(())
    }

    fn prune(&mut self, before: i64) -> usize {
        let rows = |kept: &Self| kept.watches.len() + kept.events.len();
        let had = rows(self);
        let open = self.deliveries.iter().filter(|d| d.standing.is_open());
        let open: BTreeSet<EventId> = open.map(|d| d.id.event).collect();
        let needed: BTreeSet<[u8; 16]> = open.iter().map(|id| id.watch.0).collect();
        let listed: BTreeSet<JobRef> = self.config_jobs.iter().map(|a| a.job).collect();
        // Watches that run have their events, and so have those that go now: what is left is the watcher's own.
        let known: BTreeSet<[u8; 16]> = self.watches.iter().map(|w| w.id.0).collect();
        self.watches.retain(|w| {
            w.ended_wall_ms.is_none_or(|at| at >= before)
                || listed.contains(&w.job)
                || needed.contains(&w.id.0)
        });
        let kept: BTreeSet<[u8; 16]> = self.watches.iter().map(|w| w.id.0).collect();
        let stays = |e: &StoredEvent| {
            let own = !known.contains(&e.id.watch.0);
            kept.contains(&e.id.watch.0) || (own && (e.wall_ms >= before || open.contains(&e.id)))
        };
        self.events.retain(|_, e| stays(e));
        let told: BTreeSet<EventId> = self.events.values().map(|e| e.id).collect();
        self.deliveries.retain(|d| told.contains(&d.id.event));
        self.polls.retain(|id, _| kept.contains(id));
        had - rows(self)
    }
}

impl Store for InMemoryStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        self.0.borrow_mut().commit(commit)
    }

    fn record_poll(&self, record_poll: PollSample) {
        let kept = &mut *self.0.borrow_mut();
        let running = |w: &&mut SavedWatch| w.id == record_poll.watch && w.ended_wall_ms.is_none();
        let Some(watch) = kept.watches.iter_mut().find(running) else {
            return;
        };
        watch.row = record_poll.row;
        let polls = kept.polls.entry(record_poll.watch.0).or_default();
        polls.push_back(record_poll.poll);
        if polls.len() > POLLS_KEPT {
            polls.pop_front();
        }
    }
}

impl Archive for InMemoryStore {
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        Ok(self.0.borrow().deliveries(|d| d.id.event.watch == watch))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(self.0.borrow().deliveries(|d| d.id == id).pop())
    }

    async fn given_up(&self, limit: usize) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        let given_up = |d: &DeliveryRow| matches!(d.standing, DeliveryState::Failed(_));
        let mut rows = self.0.borrow().deliveries(given_up);
        let all = rows.len();
        rows.drain(..all.saturating_sub(limit));
        Ok((rows, all))
    }

    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let kept = self.0.borrow();
        let behind = kept.events.range(after.saturating_add(1)..);
        Ok(behind.take(limit).map(|(_, e)| e.clone()).collect())
    }

    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError> {
        let kept = self.0.borrow();
        let older = kept.events.iter().rev().find(|(_, e)| e.wall_ms < wall_ms);
        Ok(older.map_or(0, |(&offset, _)| offset))
    }

    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        let kept = self.0.borrow();
        let of_it = kept.events.values().filter(|e| e.id.watch == watch);
        Ok(of_it.cloned().collect())
    }

    async fn polls(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        let kept = self.0.borrow();
        Ok(kept
            .polls
            .get(&watch.0)
            .into_iter()
            .flatten()
            .cloned()
            .collect())
    }

    async fn newest_of(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        let kept = self.0.borrow();
        Ok(kept.watches.iter().rev().find(|w| w.job == job).cloned())
    }

    async fn ended_since(&self, wall_ms: i64) -> Result<Vec<SavedWatch>, StoreError> {
        let kept = self.0.borrow();
        let late = |w: &&SavedWatch| w.ended_wall_ms.is_some_and(|at| at >= wall_ms);
        Ok(kept.watches.iter().filter(late).cloned().collect())
    }

    async fn accept(&self, accept: JobListUpdate) -> Result<(), StoreError> {
        let kept = &mut *self.0.borrow_mut();
        if let Some(jobs) = accept.jobs {
            kept.config_jobs = jobs;
        }
        for watch in accept.begin {
            kept.save(watch);
        }
        for (id, added_by) in accept.added_by {
            if let Some(watch) = kept.watches.iter_mut().find(|w| w.id == id) {
                watch.added_by = added_by;
            }
        }
        Ok(())
    }

    async fn save_calibrations(&self, json: String) -> Result<(), StoreError> {
        self.0.borrow_mut().calibrations = Some(json);
        Ok(())
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        Ok(self.0.borrow_mut().prune(before_wall_ms))
    }
}
