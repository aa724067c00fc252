//! What all parts of the simulated world share: true time, chance, what goes wrong, and the log.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::{Duration, Instant};

use crate::faults::{Counts, Fault};
use crate::log::{Log, Stamp};
use crate::rng::Rng;

/// The world. Everything happens on one thread, so that a seed gives one story.
pub(crate) struct World {
    born: Instant,
    rng: RefCell<Rng>,
    /// How likely it is that something goes wrong, by what: the same dice in every lifetime would never give a quiet
    /// disk under a broken API.
    pub(crate) moods: Moods,
    is_calm: Cell<bool>,
    ticks: Cell<u64>,
    counts: RefCell<Counts>,
    log: RefCell<Log>,
    trace: RefCell<History>,
}

/// Odds by what goes wrong.
#[derive(Debug)]
pub(crate) struct Moods {
    pub(crate) api: f64,
    pub(crate) outage: f64,
    pub(crate) disk: f64,
    pub(crate) hooks: f64,
    pub(crate) clock: f64,
    /// Which faults this lifetime knows at all.
    known: Vec<bool>,
}

/// What happened, a line each.
#[derive(Default)]
struct History {
    is_wanted: bool,
    is_printed: bool,
    hasher: DefaultHasher,
}

impl World {
    pub(crate) fn new(seed: u64, tracing: Tracing) -> Self {
        let mut rng = Rng::new(seed);
        let mut odds = || rng.pick(&[0.0, 0.02, 0.1, 0.4]);
        let (api, outage, disk, hooks, clock) = (odds(), odds(), odds(), odds(), odds());
        let known = Fault::ALL.iter().map(|_| rng.chance(0.6)).collect();
        Self {
            born: Instant::now(),
            moods: Moods {
                api,
                outage,
                disk,
                hooks,
                clock,
                known,
            },
            rng: RefCell::new(rng),
            is_calm: Cell::new(false),
            ticks: Cell::new(0),
            counts: RefCell::default(),
            log: RefCell::default(),
            trace: RefCell::new(History {
                is_wanted: tracing != Tracing::Off,
                is_printed: tracing == Tracing::Printed,
                ..History::default()
            }),
        }
    }

    /// True time, milliseconds since the world began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    /// The moment of a true time.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.born + Duration::from_millis(ms)
    }

    /// Now, as the log has it: no two are the same.
    pub(crate) fn stamp(&self) -> Stamp {
        let tick = self.ticks.get() + 1;
        self.ticks.set(tick);
        Stamp {
            tick,
            ms: self.now_ms(),
        }
    }

    /// Throws the dice.
    pub(crate) fn roll<T>(&self, throw: impl FnOnce(&mut Rng) -> T) -> T {
        throw(&mut self.rng.borrow_mut())
    }

    /// Whether this goes wrong now, as often as the odds say. It is counted where it really occurs.
    pub(crate) fn may(&self, fault: Fault, odds: f64) -> bool {
        self.knows(fault) && self.roll(|rng| rng.chance(odds))
    }

    /// One of these, of those that this lifetime knows.
    pub(crate) fn one_of(&self, faults: &[Fault]) -> Option<Fault> {
        let known: Vec<Fault> = faults.iter().copied().filter(|&f| self.knows(f)).collect();
        (!known.is_empty()).then(|| self.roll(|rng| rng.pick(&known)))
    }

    fn knows(&self, fault: Fault) -> bool {
        !self.is_calm.get() && self.moods.known[fault as usize]
    }

    /// It has gone wrong.
    pub(crate) fn hit(&self, fault: Fault) {
        self.counts.borrow_mut().hit(fault);
        self.trace(|| format!("fault: {fault:?}"));
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// From here on nothing goes wrong.
    pub(crate) fn calm_down(&self) {
        self.is_calm.set(true);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.get()
    }

    /// Reads or writes the log.
    pub(crate) fn log<T>(&self, work: impl FnOnce(&mut Log) -> T) -> T {
        work(&mut self.log.borrow_mut())
    }

    /// The number of the life that runs.
    pub(crate) fn life(&self) -> usize {
        self.log.borrow().lives.len().saturating_sub(1)
    }

    /// Adds a line to the trace.
    pub(crate) fn trace<L: Display>(&self, line: impl FnOnce() -> L) {
        let mut trace = self.trace.borrow_mut();
        if !trace.is_wanted {
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

    /// The log, once nobody writes it any more.
    pub(crate) fn take_log(&self) -> Log {
        self.log.take()
    }
}

/// What becomes of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracing {
    /// Nobody wants it.
    Off,
    /// Its hash alone.
    Hashed,
    /// It is printed.
    Printed,
}
