//! The store that lives as long as its process.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::delivery::{self, Attempt, Delivery, DeliveryId, DeliveryState};
use super::{
    AcceptedJob, Archive, Commit, Committed, Loaded, Note, Outbox, POLLS_KEPT, SavedWatch, Store,
    StoreError, StoredEvent,
};
use crate::core::event::WatchId;
use crate::core::job::JobRef;

/// The one-shot's: keeps only what its hooks still need, as the engine's own rows are its state.
/// [`Memory::whole`] keeps all that a state file would, for simulations: cloning it shares it, so that it outlives
/// what runs on it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    whole: bool,
    /// By the order in which they began.
    watches: Vec<SavedWatch>,
    polls: BTreeMap<[u8; 16], VecDeque<String>>,
    events: BTreeMap<u64, StoredEvent>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    accepted: Vec<AcceptedJob>,
    calibrations: Option<String>,
    last_offset: u64,
    last_delivery: u64,
}

impl Memory {
    /// One that forgets nothing of its own accord.
    pub fn whole() -> Self {
        Self(Rc::new(RefCell::new(Kept {
            whole: true,
            ..Kept::default()
        })))
    }

    /// What a start on it would find.
    pub fn load(&self) -> Loaded {
        let kept = self.0.borrow();
        let running = |w: &&SavedWatch| w.ended_wall_ms.is_none();
        Loaded {
            watches: kept.watches.iter().filter(running).cloned().collect(),
            accepted: kept.accepted.clone(),
            calibrations: kept.calibrations.clone(),
            deliveries: kept.deliveries(Delivery::is_pending),
        }
    }
}

impl Kept {
    fn save(&mut self, watch: SavedWatch) {
        if !self.whole {
            return;
        }
        match self.watches.iter_mut().find(|w| w.id == watch.id) {
            Some(known) => *known = watch,
            None => self.watches.push(watch),
        }
    }

    fn deliveries(&self, wanted: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        self.deliveries
            .values()
            .filter(|d| wanted(d))
            .cloned()
            .collect()
    }

    /// Takes over a commit; what can be refused is looked at before anything changes.
    fn commit(&mut self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let mut changed = BTreeMap::new();
        for (id, change) in commit.changes {
            let known = changed.get(&id).or_else(|| self.deliveries.get(&id));
            let mut delivery = known.cloned().ok_or_else(|| delivery::unknown(id))?;
            delivery.apply(change)?;
            changed.insert(id, delivery);
        }
        let first = self.last_offset + 1;
        let mut told = BTreeMap::new();
        for (offset, event) in (first..).zip(commit.events) {
            if self.events.values().any(|e| e.id == event.id) {
                return Err(super::told_already(event.id));
            }
            told.insert(offset, super::stored(offset, event)?);
        }
        let mut wanted = BTreeMap::new();
        for (id, new) in (self.last_delivery + 1..).zip(commit.deliveries) {
            let event = told.values().find(|e| e.id == new.event);
            let event = event.ok_or_else(|| super::not_of_this_commit(new.event))?;
            wanted.insert(
                DeliveryId(id),
                Delivery {
                    id: DeliveryId(id),
                    hook: new.hook,
                    event: new.event,
                    offset: event.offset,
                    state: DeliveryState::Waiting,
                    attempts: 0,
                    due_ms: event.wall_ms,
                    reason: None,
                },
            );
        }
        let committed = Committed {
            offsets: first..first + told.len() as u64,
            deliveries: self.last_delivery + 1..self.last_delivery + 1 + wanted.len() as u64,
        };
        self.last_offset += told.len() as u64;
        self.last_delivery += wanted.len() as u64;
        self.events.extend(told);
        self.deliveries.extend(wanted);
        self.deliveries.extend(changed);
        if let Some(watch) = commit.watch {
            self.save(watch);
        }
        if !self.whole {
            self.forget_what_is_done();
        }
        Ok(committed)
    }

    fn forget_what_is_done(&mut self) {
        self.deliveries.retain(|_, d| d.is_open());
        let needed: BTreeSet<u64> = self.deliveries.values().map(|d| d.offset).collect();
        self.events.retain(|offset, _| needed.contains(offset));
    }

    fn prune(&mut self, before: i64) -> usize {
        let rows = |kept: &Self| kept.watches.len() + kept.events.len();
        let had = rows(self);
        let open = self.deliveries.values().filter(|d| d.is_open());
        let needed: BTreeSet<[u8; 16]> = open.map(|d| d.event.watch.0).collect();
        let listed: BTreeSet<JobRef> = self.accepted.iter().map(|a| a.job).collect();
        // Watches that run have their events, and so have those that go now: what is left is the watcher's own.
        let known: BTreeSet<[u8; 16]> = self.watches.iter().map(|w| w.id.0).collect();
        self.watches.retain(|w| {
            w.ended_wall_ms.is_none_or(|at| at >= before)
                || listed.contains(&w.job)
                || needed.contains(&w.id.0)
        });
        let kept: BTreeSet<[u8; 16]> = self.watches.iter().map(|w| w.id.0).collect();
        let stays = |id: [u8; 16], wall_ms: i64| {
            let own = !known.contains(&id);
            kept.contains(&id) || needed.contains(&id) || (own && wall_ms >= before)
        };
        self.events.retain(|_, e| stays(e.id.watch.0, e.wall_ms));
        self.deliveries
            .retain(|_, d| self.events.contains_key(&d.offset));
        self.polls.retain(|id, _| kept.contains(id));
        had - rows(self)
    }
}

impl Store for Memory {
    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.0.borrow_mut().commit(commit)
    }

    fn note(&self, note: Note) {
        let kept = &mut *self.0.borrow_mut();
        let running = |w: &&mut SavedWatch| w.id == note.watch && w.ended_wall_ms.is_none();
        let Some(watch) = kept.watches.iter_mut().find(running) else {
            return;
        };
        watch.row = note.row;
        let polls = kept.polls.entry(note.watch.0).or_default();
        polls.push_back(note.poll);
        if polls.len() > POLLS_KEPT {
            polls.pop_front();
        }
    }
}

impl Outbox for Memory {
    async fn start_attempt(&self, id: DeliveryId) -> Result<Attempt, StoreError> {
        let kept = &mut *self.0.borrow_mut();
        let delivery = kept
            .deliveries
            .get_mut(&id)
            .ok_or_else(|| delivery::unknown(id))?;
        let event = kept.events.get(&delivery.offset);
        let event =
            event.ok_or_else(|| StoreError::Fatal(format!("delivery {id} lost its event")))?;
        delivery.start()?;
        Ok(Attempt {
            number: delivery.attempts,
            record: event.record.clone(),
        })
    }

    async fn open_deliveries(&self) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.0.borrow().deliveries(Delivery::is_open))
    }
}

impl Archive for Memory {
    async fn deliveries_of(&self, watch: WatchId) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.0.borrow().deliveries(|d| d.event.watch == watch))
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

    async fn set_accepted(
        &self,
        jobs: Vec<AcceptedJob>,
        watches: Vec<SavedWatch>,
    ) -> Result<(), StoreError> {
        let kept = &mut *self.0.borrow_mut();
        kept.accepted = jobs;
        for watch in watches {
            kept.save(watch);
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
