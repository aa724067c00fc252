//! A store in memory with the behavior of the SQLite store.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::{
    Commit, ConfigJob, DaemonStore, Gained, Handover, JobListUpdate, MAX_POLLS, PollSample,
    SavedWatch, Shard, Store, StoreError, StoredEvent, StoredState,
};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{EventId, WatchId};
use forgewatch_core::job::JobRef;

/// For simulations and tests. Clones share the content, so that it survives a simulated restart.
#[derive(Clone, Debug, Default)]
pub struct InMemoryStore(Rc<RefCell<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// Oldest first.
    watches: Vec<SavedWatch>,
    polls: BTreeMap<[u8; 16], VecDeque<String>>,
    events: BTreeMap<u64, StoredEvent>,
    /// Oldest first.
    deliveries: Vec<DeliveryRow>,
    config_jobs: Vec<ConfigJob>,
    calibration: Option<String>,
    last_offset: u64,
    /// To the process that loaded it last.
    is_handed_over: bool,
}

impl InMemoryStore {
    /// What opening the store would return.
    pub fn load(&self) -> StoredState {
        let content = &mut *self.0.borrow_mut();
        content.is_handed_over = false;
        let failed = content.deliveries.iter();
        let failed = failed.filter(|d| matches!(d.state, DeliveryState::Failed(_)));
        StoredState {
            config_jobs: content.config_jobs.clone(),
            calibration: content.calibration.clone(),
            failed_deliveries: failed.count(),
        }
    }

    /// All that can be handed over.
    pub fn running(&self) -> Gained {
        let content = self.0.borrow();
        let running = |w: &&SavedWatch| w.ended_wall_ms.is_none();
        Gained {
            shards: [Shard::default()].into(),
            watches: content.watches.iter().filter(running).cloned().collect(),
            deliveries: content.deliveries(|d| matches!(d.state, DeliveryState::Pending { .. })),
        }
    }
}

impl Content {
    fn save(&mut self, watch: SavedWatch) {
        match self.watches.iter_mut().find(|w| w.id == watch.id) {
            Some(stored) => {
                *stored = SavedWatch {
                    added_by: stored.added_by,
                    labels: std::mem::take(&mut stored.labels),
                    ..watch
                };
            }
            None => self.watches.push(watch),
        }
    }

    fn deliveries(&self, filter: impl Fn(&DeliveryRow) -> bool) -> Vec<DeliveryRow> {
        let rows = self.deliveries.iter().filter(|d| filter(d));
        rows.cloned().collect()
    }

    /// Checks everything before the first change, so that a rejected commit changes nothing.
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), StoreError> {
        let mut rows = BTreeMap::new();
        for change in commit.changes {
            let at = self.deliveries.iter().position(|d| d.id == *change.id());
            let stored = at.and_then(|at| rows.get(&at).or_else(|| self.deliveries.get(at)));
            let row = super::apply_change(stored.cloned(), change)?;
            rows.extend(at.map(|at| (at, row)));
        }
        let first = self.last_offset + 1;
        let mut events = BTreeMap::new();
        for (offset, event) in (first..).zip(commit.events) {
            if self.events.values().any(|e| e.id == event.id) {
                return Err(super::duplicate_event(event.id));
            }
            events.insert(offset, super::stored_event(offset, event)?);
        }
        let mut deliveries: Vec<DeliveryRow> = Vec::new();
        for new in commit.deliveries {
            if !events.values().any(|e| e.id == new.id.event) {
                return Err(super::delivery_without_event(&new.id));
            }
            // Its event is new, so a duplicate can only be in the same commit.
            if deliveries.iter().any(|d| d.id == new.id) {
                return Err(super::duplicate_delivery(&new.id));
            }
            deliveries.push(new);
        }
        self.last_offset += events.len() as u64;
        self.events.extend(events);
        for (old, at) in self.deliveries.iter_mut().zip(0..) {
            if let Some(row) = rows.remove(&at) {
                *old = row;
            }
        }
        self.deliveries.extend(deliveries);
        if let Some(watch) = commit.watch {
            self.save(watch);
        }
        Ok(())
    }

    fn prune(&mut self, before: i64) -> usize {
        let rows = |content: &Self| content.watches.len() + content.events.len();
        let before_pruning = rows(self);
        let open = self.deliveries.iter().filter(|d| d.state.is_open());
        let open: BTreeSet<EventId> = open.map(|d| d.id.event).collect();
        let needed: BTreeSet<[u8; 16]> = open.iter().map(|id| id.watch.0).collect();
        let listed: BTreeSet<JobRef> = self.config_jobs.iter().map(|a| a.job).collect();
        // An event of no stored watch is one of forgewatch itself.
        let known: BTreeSet<[u8; 16]> = self.watches.iter().map(|w| w.id.0).collect();
        self.watches.retain(|w| {
            w.ended_wall_ms.is_none_or(|at| at >= before)
                || listed.contains(&w.job)
                || needed.contains(&w.id.0)
        });
        let kept: BTreeSet<[u8; 16]> = self.watches.iter().map(|w| w.id.0).collect();
        let is_pruned = |id: &WatchId| known.contains(&id.0) && !kept.contains(&id.0);
        // As in the SQLite store, the newest event stays even without its watch.
        let stays = |e: &StoredEvent| {
            let is_old = e.wall_ms < before && !kept.contains(&e.id.watch.0);
            e.offset == self.last_offset
                || !(is_pruned(&e.id.watch) || is_old && !open.contains(&e.id))
        };
        self.events.retain(|_, e| stays(e));
        let events: BTreeSet<EventId> = self.events.values().map(|e| e.id).collect();
        self.deliveries
            .retain(|d| events.contains(&d.id.event) && !is_pruned(&d.id.event.watch));
        self.polls.retain(|id, _| kept.contains(id));
        before_pruning - rows(self)
    }
}

impl Store for InMemoryStore {
    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        self.0.borrow_mut().commit(commit)
    }

    fn record_poll(&self, sample: PollSample) {
        let content = &mut *self.0.borrow_mut();
        let running = |w: &&mut SavedWatch| w.id == sample.watch && w.ended_wall_ms.is_none();
        let Some(watch) = content.watches.iter_mut().find(running) else {
            return;
        };
        watch.snapshot = sample.snapshot;
        let polls = content.polls.entry(sample.watch.0).or_default();
        polls.push_back(sample.poll);
        if polls.len() > MAX_POLLS {
            polls.pop_front();
        }
    }
}

impl DaemonStore for InMemoryStore {
    async fn next_handover(&self) -> Result<Handover, StoreError> {
        if std::mem::replace(&mut self.0.borrow_mut().is_handed_over, true) {
            return std::future::pending().await;
        }
        Ok(Handover::Gained(self.running()))
    }

    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, StoreError> {
        Ok(self.0.borrow().deliveries(|d| d.id.event.watch == watch))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(self.0.borrow().deliveries(|d| d.id == id).pop())
    }

    async fn failed_deliveries(
        &self,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, usize), StoreError> {
        let failed = |d: &DeliveryRow| matches!(d.state, DeliveryState::Failed(_));
        let mut rows = self.0.borrow().deliveries(failed);
        let all = rows.len();
        rows.drain(..all.saturating_sub(limit));
        Ok((rows, all))
    }

    async fn events_since(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let content = self.0.borrow();
        let newer = content.events.range(after.saturating_add(1)..);
        Ok(newer.take(limit).map(|(_, e)| e.clone()).collect())
    }

    async fn offset_before(&self, wall_ms: i64) -> Result<u64, StoreError> {
        let content = self.0.borrow();
        let older = content
            .events
            .iter()
            .rev()
            .find(|(_, e)| e.wall_ms < wall_ms);
        Ok(older.map_or(0, |(&offset, _)| offset))
    }

    async fn events_of(&self, watch: WatchId) -> Result<Vec<StoredEvent>, StoreError> {
        let content = self.0.borrow();
        let events = content.events.values().filter(|e| e.id.watch == watch);
        Ok(events.cloned().collect())
    }

    async fn polls_of(&self, watch: WatchId) -> Result<Vec<String>, StoreError> {
        let content = self.0.borrow();
        Ok(content
            .polls
            .get(&watch.0)
            .into_iter()
            .flatten()
            .cloned()
            .collect())
    }

    async fn newest_watch(&self, job: JobRef) -> Result<Option<SavedWatch>, StoreError> {
        let content = self.0.borrow();
        Ok(content.watches.iter().rev().find(|w| w.job == job).cloned())
    }

    async fn other_watches(
        &self,
        ended_since: Option<i64>,
        after: Option<WatchId>,
        limit: usize,
    ) -> Result<Vec<SavedWatch>, StoreError> {
        let content = self.0.borrow();
        let Some(since) = ended_since else {
            return Ok(Vec::new());
        };
        let ended = |w: &&SavedWatch| w.ended_wall_ms >= Some(since) && Some(w.id) > after;
        let mut ended: Vec<&SavedWatch> = content.watches.iter().filter(ended).collect();
        ended.sort_by_key(|w| w.id);
        Ok(ended.into_iter().take(limit).cloned().collect())
    }

    async fn last_ended(&self, wall_ms: i64, limit: usize) -> Result<Vec<SavedWatch>, StoreError> {
        let content = self.0.borrow();
        let ended = |w: &&SavedWatch| w.ended_wall_ms >= Some(wall_ms);
        let mut ended: Vec<&SavedWatch> = content.watches.iter().filter(ended).collect();
        ended.sort_by_key(|w| Reverse(w.ended_wall_ms));
        Ok(ended.into_iter().take(limit).cloned().collect())
    }

    async fn update_jobs(&self, update: JobListUpdate) -> Result<(), StoreError> {
        let content = &mut *self.0.borrow_mut();
        if let Some(jobs) = update.config_jobs {
            content.config_jobs = jobs;
        }
        for watch in update.new_watches {
            content.save(watch);
        }
        for (id, added_by) in update.added_by {
            if let Some(watch) = content.watches.iter_mut().find(|w| w.id == id) {
                watch.added_by = added_by;
            }
        }
        Ok(())
    }

    async fn save_calibration(&self, json: String) -> Result<(), StoreError> {
        self.0.borrow_mut().calibration = Some(json);
        Ok(())
    }

    async fn prune(&self, before_wall_ms: i64) -> Result<usize, StoreError> {
        Ok(self.0.borrow_mut().prune(before_wall_ms))
    }
}
