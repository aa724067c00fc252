//! The events about forgewatch itself, such as `watch.started` and `hook.failed`.

use std::cell::Cell;

use forgewatch_core::event::{Event, EventFields, EventId, EventOrigin, EventType, WatchId};

use super::Clock;

/// Creates the events of this process and numbers them.
#[derive(Debug)]
pub struct SystemEvents<C> {
    id: WatchId,
    origin: EventOrigin,
    seq: Cell<u32>,
    clock: C,
}

impl<C: Clock> SystemEvents<C> {
    /// `id` is random; `origin` is that of all events of this process.
    pub fn new(id: WatchId, origin: EventOrigin, clock: C) -> Self {
        Self {
            id,
            origin,
            seq: Cell::new(0),
            clock,
        }
    }

    /// Names this process as the source of events.
    pub fn id(&self) -> WatchId {
        self.id
    }

    pub fn event(&self, kind: EventType, fields: EventFields) -> Event {
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
            meta: None,
            fields: EventFields {
                origin: self.origin.clone(),
                ..fields
            },
        }
    }
}
