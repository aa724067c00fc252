//! The state shared by all simulated parts: true time, random numbers, faults, and the log.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::{Duration, Instant};

use crate::faults::{Fault, FaultCounts};
use crate::log::{Log, Stamp};
use crate::rng::SimRng;

/// All parts of a lifetime use it on one thread, so that a seed always gives the same events.
pub(crate) struct World {
    started: Instant,
    rng: RefCell<SimRng>,
    /// Drawn for each lifetime, so that some have, for example, a reliable disk and a broken API.
    pub(crate) fault_rates: FaultRates,
    faults_disabled: Cell<bool>,
    ticks: Cell<u64>,
    counts: RefCell<FaultCounts>,
    log: RefCell<Log>,
    trace: RefCell<Trace>,
}

/// Probabilities of faults, by part.
#[derive(Debug)]
pub(crate) struct FaultRates {
    pub(crate) api: f64,
    pub(crate) outage: f64,
    pub(crate) disk: f64,
    pub(crate) hooks: f64,
    pub(crate) clock: f64,
    pub(crate) shards: f64,
    /// Indexed by [`Fault`]: the faults that can occur in this lifetime.
    enabled: Vec<bool>,
}

/// One line per event, printed or hashed.
#[derive(Default)]
struct Trace {
    is_enabled: bool,
    is_printed: bool,
    hasher: DefaultHasher,
}

impl World {
    pub(crate) fn new(seed: u64, tracing: TraceMode) -> Self {
        let mut rng = SimRng::new(seed);
        let mut odds = || rng.pick(&[0.0, 0.02, 0.1, 0.4]);
        let (api, outage, disk, hooks, clock) = (odds(), odds(), odds(), odds(), odds());
        let shards = odds();
        let enabled = Fault::ALL.iter().map(|_| rng.chance(0.6)).collect();
        Self {
            started: Instant::now(),
            fault_rates: FaultRates {
                api,
                outage,
                disk,
                hooks,
                clock,
                shards,
                enabled,
            },
            rng: RefCell::new(rng),
            faults_disabled: Cell::new(false),
            ticks: Cell::new(0),
            counts: RefCell::default(),
            log: RefCell::default(),
            trace: RefCell::new(Trace {
                is_enabled: tracing != TraceMode::Off,
                is_printed: tracing == TraceMode::Printed,
                ..Trace::default()
            }),
        }
    }

    /// True time, in milliseconds since the start of the lifetime.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms)
    }

    /// The current time for the log. Every stamp is unique.
    pub(crate) fn stamp(&self) -> Stamp {
        let tick = self.ticks.get() + 1;
        self.ticks.set(tick);
        Stamp {
            tick,
            ms: self.now_ms(),
        }
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut SimRng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// Whether this fault is to occur now. The caller records it with [`World::record_fault`] when it takes effect.
    pub(crate) fn occurs(&self, fault: Fault, probability: f64) -> bool {
        self.is_enabled(fault) && self.draw(|rng| rng.chance(probability))
    }

    /// One of these faults that is enabled in this lifetime.
    pub(crate) fn pick_fault(&self, faults: &[Fault]) -> Option<Fault> {
        let enabled: Vec<Fault> = faults
            .iter()
            .copied()
            .filter(|&f| self.is_enabled(f))
            .collect();
        (!enabled.is_empty()).then(|| self.draw(|rng| rng.pick(&enabled)))
    }

    fn is_enabled(&self, fault: Fault) -> bool {
        !self.faults_disabled.get() && self.fault_rates.enabled[fault as usize]
    }

    pub(crate) fn record_fault(&self, fault: Fault) {
        self.counts.borrow_mut().increment(fault);
        self.trace(|| format!("fault: {fault:?}"));
    }

    pub(crate) fn counts(&self) -> FaultCounts {
        self.counts.borrow().clone()
    }

    pub(crate) fn disable_faults(&self) {
        self.faults_disabled.set(true);
    }

    pub(crate) fn faults_disabled(&self) -> bool {
        self.faults_disabled.get()
    }

    pub(crate) fn log<T>(&self, work: impl FnOnce(&mut Log) -> T) -> T {
        work(&mut self.log.borrow_mut())
    }

    /// Index of the running process in [`Log::processes`].
    pub(crate) fn current_process(&self) -> usize {
        self.log.borrow().processes.len().saturating_sub(1)
    }

    pub(crate) fn trace<L: Display>(&self, line: impl FnOnce() -> L) {
        let mut trace = self.trace.borrow_mut();
        if !trace.is_enabled {
            return;
        }
        let line = format!("{:>9} ms  {}", self.now_ms(), line());
        line.hash(&mut trace.hasher);
        if trace.is_printed {
            println!("{line}");
        }
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace.borrow().hasher.finish()
    }

    pub(crate) fn take_log(&self) -> Log {
        self.log.take()
    }
}

/// What to do with the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TraceMode {
    Off,
    Hashed,
    Printed,
}
