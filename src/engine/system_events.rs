//! The events about forgewatch itself, such as `watch.started` and `hook.failed`.

use std::cell::Cell;
use std::sync::Arc;

use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};

use super::Clock;

/// Creates the events of this process and numbers them.
#[derive(Debug)]
pub struct SystemEvents<C> {
    id: WatchId,
    instance: Option<Arc<str>>,
    seq: Cell<u32>,
    clock: C,
}

impl<C: Clock> SystemEvents<C> {
    /// `id` is random; `instance` is the name of this forgewatch.
    pub fn new(id: WatchId, instance: Option<Arc<str>>, clock: C) -> Self {
        Self {
            id,
            instance,
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
                instance: self.instance.clone(),
                ..fields
            },
        }
    }
}
