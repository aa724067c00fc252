//! Puts engine, hooks and outbox together over one store, for daemon and one-shot alike.

use std::rc::Rc;

use forgewatch_core::event::WatchId;
use forgewatch_core::limits::Limits;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::schedule::ServerCalibration;

use crate::clanforge::Api;
use crate::engine::{Clock, Engine, EngineParts, SystemEvents, Throttle};
use crate::hooks::{Dispatcher, Executor, HookSpec, Outbox};
use crate::store::Store;

pub struct WatcherParts<'a, A, S, C, P> {
    /// The id of this process as a source of events.
    pub id: WatchId,
    /// For the jitter.
    pub seed: u64,
    pub api: A,
    pub store: S,
    pub clock: C,
    pub limits: Limits,
    pub throttle: Throttle,
    pub calibration: ServerCalibration,
    pub hooks: &'a [HookSpec],
    pub executor: P,
}

pub struct Watcher<A, S, C, P> {
    pub engine: Engine<A, Outbox<S, C>, C>,
    pub hooks: Dispatcher<S, C, P>,
    pub outbox: Outbox<S, C>,
    pub system_events: Rc<SystemEvents<C>>,
}

impl<A: Api, S: Store + Clone, C: Clock, P: Executor> Watcher<A, S, C, P> {
    pub fn new(parts: WatcherParts<A, S, C, P>) -> Self {
        let clock = parts.clock;
        let origin = parts.limits.origin.clone();
        let name = origin.instance.as_deref();
        let name = name.map_or_else(|| parts.id.to_string(), str::to_owned);
        let system_events = Rc::new(SystemEvents::new(parts.id, origin, clock.clone()));
        let outbox = Outbox::new(parts.store, clock.clone(), &name);
        let hooks = Dispatcher::new(
            parts.hooks,
            parts.executor,
            outbox.clone(),
            Rc::clone(&system_events),
            SeededRng::new(parts.seed),
        );
        let engine = Engine::new(EngineParts {
            api: parts.api,
            store: outbox.clone(),
            clock,
            rng: SeededRng::new(parts.seed.wrapping_add(1)),
            limits: parts.limits,
            throttle: parts.throttle,
            calibration: parts.calibration,
        });
        Self {
            engine,
            hooks,
            outbox,
            system_events,
        }
    }
}
