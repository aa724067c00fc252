//! The watches, each in a numbered place that stays its own until it ends.

use forgewatch_core::event::WatchId;
use forgewatch_core::job::Outcome;
use forgewatch_core::watch::Watch;

/// What a watch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its timer is set for this `up_ms`.
    Waiting(u64),
    /// A request is under way.
    Asking,
    /// The store has its next step.
    Committing,
}

#[derive(Debug)]
struct Slot {
    watch: Watch,
    phase: Phase,
    /// It was to end while a commit was under way.
    stop: Option<Outcome>,
    /// Steps in a row that could not be committed.
    lost: u8,
}

/// The places. Ended watches leave theirs to the next that begins.
#[derive(Debug, Default)]
pub(super) struct WatchTable {
    places: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Watches for which no request has come back yet.
    unheard: usize,
    /// Whether any job was ever answered.
    answered: bool,
}

impl WatchTable {
    pub(super) fn insert(&mut self, watch: Watch) -> u32 {
        self.unheard += usize::from(!watch.is_heard_of());
        let slot = Some(Slot {
            watch,
            phase: Phase::Committing,
            stop: None,
            lost: 0,
        });
        let at = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(at as usize) {
            Some(place) => *place = slot,
            None => self.places.push(slot),
        }
        at
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let place = self.places.get_mut(slot as usize).and_then(Option::take);
        if let Some(Slot { watch, .. }) = place {
            self.unheard -= usize::from(!watch.is_heard_of());
            self.free.push(slot);
        }
    }

    /// Puts the watch's next self in its place.
    pub(super) fn replace(&mut self, slot: u32, watch: Watch) {
        let Some(place) = self.get_mut(slot) else {
            return;
        };
        let was_unheard = !place.watch.is_heard_of();
        let (heard, answered) = (watch.is_heard_of(), watch.is_answered());
        place.watch = watch;
        self.unheard -= usize::from(was_unheard && heard);
        self.answered |= answered;
    }

    /// Whether a refusal of this watch is a refusal of everybody: no job was answered, and no other one still
    /// waits for its first answer.
    pub(super) fn nobody_else_is_answered(&self, slot: u32) -> bool {
        let itself = self.watch(slot).is_some_and(|w| !w.is_heard_of());
        !self.answered && self.unheard == usize::from(itself)
    }

    pub(super) fn watch(&self, slot: u32) -> Option<&Watch> {
        self.places.get(slot as usize)?.as_ref().map(|s| &s.watch)
    }

    pub(super) fn watch_mut(&mut self, slot: u32) -> Option<&mut Watch> {
        self.get_mut(slot).map(|s| &mut s.watch)
    }

    pub(super) fn phase(&self, slot: u32) -> Option<Phase> {
        self.places.get(slot as usize)?.as_ref().map(|s| s.phase)
    }

    pub(super) fn set_phase(&mut self, slot: u32, phase: Phase) {
        if let Some(place) = self.get_mut(slot) {
            place.phase = phase;
        }
    }

    pub(super) fn stop_later(&mut self, slot: u32, outcome: Outcome) {
        if let Some(place) = self.get_mut(slot) {
            place.stop.get_or_insert(outcome);
        }
    }

    pub(super) fn is_to_end(&self, slot: u32) -> bool {
        let place = self.places.get(slot as usize).and_then(Option::as_ref);
        place.is_some_and(|place| place.stop.is_some())
    }

    pub(super) fn take_stop(&mut self, slot: u32) -> Option<Outcome> {
        self.get_mut(slot)?.stop.take()
    }

    /// A step could not be committed: how many that makes in a row.
    pub(super) fn lost(&mut self, slot: u32) -> u8 {
        self.get_mut(slot).map_or(1, |place| {
            place.lost = place.lost.saturating_add(1);
            place.lost
        })
    }

    /// A step is committed.
    pub(super) fn kept(&mut self, slot: u32) {
        if let Some(place) = self.get_mut(slot) {
            place.lost = 0;
        }
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.places.iter().flatten().map(|s| &s.watch)
    }

    /// The place of this watch.
    pub(super) fn find(&self, id: WatchId) -> Option<u32> {
        let is_it = |place: &Option<Slot>| place.as_ref().is_some_and(|s| s.watch.id() == id);
        let at = self.places.iter().position(is_it)?;
        u32::try_from(at).ok()
    }

    /// The numbers of all places that are taken.
    pub(super) fn all(&self) -> Vec<u32> {
        (0_u32..)
            .zip(&self.places)
            .filter(|(_, s)| s.is_some())
            .map(|(at, _)| at)
            .collect()
    }

    /// Who asks for all when the API is down, and from when on: of those that wait, the one that may be asked the
    /// soonest, and of several the one that is due first. Not one that is about to end.
    pub(super) fn prober(&self, now: u64) -> Option<(u64, u32)> {
        let waiting = (0_u32..).zip(&self.places).filter_map(|(at, slot)| {
            let slot = slot.as_ref()?;
            let (Phase::Waiting(due), None) = (slot.phase, slot.stop) else {
                return None;
            };
            Some((slot.watch.not_before().max(now), due, at))
        });
        waiting.min().map(|(free, _, slot)| (free, slot))
    }

    /// The places of the watches that are not asked because the API is down.
    pub(super) fn held(&self) -> Vec<u32> {
        self.waiting(Watch::is_held)
    }

    /// The places of the watches whose last request was refused (401, 403).
    pub(super) fn refused(&self) -> Vec<u32> {
        self.waiting(Watch::is_refused)
    }

    /// The places of the watches that wait.
    pub(super) fn all_waiting(&self) -> Vec<u32> {
        self.waiting(|_| true)
    }

    fn waiting(&self, which: impl Fn(&Watch) -> bool) -> Vec<u32> {
        let is_one = |slot: &Slot| which(&slot.watch) && matches!(slot.phase, Phase::Waiting(_));
        (0_u32..)
            .zip(&self.places)
            .filter(|(_, slot)| slot.as_ref().is_some_and(is_one))
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.places.get_mut(slot as usize)?.as_mut()
    }
}
