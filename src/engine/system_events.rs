//! The watcher's own events: about the whole, not about one job.

use std::cell::Cell;

use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};

use super::Clock;

/// Makes them, numbered under an id of this process.
#[derive(Debug)]
pub struct SystemEvents<C> {
    id: WatchId,
    seq: Cell<u32>,
    clock: C,
}

impl<C: Clock> SystemEvents<C> {
    /// One that has said nothing. `id` is random.
    pub fn new(id: WatchId, clock: C) -> Self {
        Self {
            id,
            seq: Cell::new(0),
            clock,
        }
    }

    /// The id of this process, which names it as the source of events.
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// The next event.
    pub fn event(&self, kind: EventType, facts: EventFields) -> Event {
        let seq = self.seq.get() + 1;
        self.seq.set(seq);
        Event {
            id: EventId {
                watch: self.id,
                seq,
            },
            kind,
            wall_ms: self.clock.now().wall_ms,
            job: None,
            about: None,
            facts,
        }
    }
}
