//! The two clocks of a process: one that only rises and begins anywhere, and one that people set.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use forgewatch::engine::Clock;
use forgewatch_core::time::Moment;

use crate::faults::Fault;
use crate::world::World;

/// The wall time at which every world begins: 2024-01-01T00:00:00Z, Unix milliseconds.
pub(crate) const EPOCH_MS: i64 = 1_704_067_200_000;
const DAY_MS: u64 = 86_400_000;
/// The longest time between two jumps.
const JUMPS_WITHIN_MS: u64 = 1_200_000;
/// A daemon that looks at the clock that often within one poll goes in circles.
const MOST_LOOKS: u64 = 100_000;

/// The machine's wall clock: it goes on from life to life, as wrong as it is.
pub(crate) struct Wall {
    world: Rc<World>,
    off: Cell<i64>,
    next_jump: RefCell<Option<u64>>,
    looks: Cell<u64>,
}

impl Wall {
    pub(crate) fn new(world: Rc<World>) -> Self {
        let wall = Self {
            off: Cell::new(0),
            next_jump: RefCell::default(),
            looks: Cell::new(0),
            world,
        };
        wall.plan();
        wall
    }

    /// How far it is off, milliseconds.
    pub(crate) fn off(&self) -> i64 {
        self.off.get()
    }

    /// A new poll of the daemon begins.
    pub(crate) fn forgive_looks(&self) {
        self.looks.set(0);
    }

    fn plan(&self) {
        let jumps = self.world.roll(|rng| rng.chance(self.world.moods.clock));
        let at = jumps
            .then(|| self.world.now_ms() + self.world.roll(|rng| rng.between(0, JUMPS_WITHIN_MS)));
        *self.next_jump.borrow_mut() = at;
    }

    /// Makes the jump that is due.
    fn jump(&self) {
        let due = self
            .next_jump
            .borrow()
            .is_some_and(|at| at <= self.world.now_ms());
        if !due || self.world.is_calm() {
            return;
        }
        if let Some(fault) =
            self.world
                .one_of(&[Fault::ClockForward, Fault::ClockBack, Fault::ClockYear])
        {
            let by = self.world.roll(|rng| rng.spread(DAY_MS)).cast_signed();
            let by = match fault {
                Fault::ClockForward => by,
                Fault::ClockBack => -by,
                _ => (365 * DAY_MS.cast_signed()) * self.world.roll(|rng| rng.pick(&[-1, 1])),
            };
            self.world.hit(fault);
            self.off.set(self.off.get() + by);
        }
        self.plan();
    }
}

/// One process's clocks.
#[derive(Clone)]
pub(crate) struct SimClock {
    wall: Rc<Wall>,
    born_ms: u64,
    base_ms: u64,
}

impl SimClock {
    pub(crate) fn start(wall: &Rc<Wall>) -> Self {
        let world = &wall.world;
        Self {
            born_ms: world.now_ms(),
            base_ms: world.roll(|rng| rng.spread(1 << 42)),
            wall: Rc::clone(wall),
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        self.wall.looks.set(self.wall.looks.get() + 1);
        assert!(
            self.wall.looks.get() < MOST_LOOKS,
            "the daemon goes in circles"
        );
        self.wall.jump();
        let now = self.wall.world.now_ms();
        Moment {
            up_ms: self.base_ms + (now - self.born_ms),
            wall_ms: EPOCH_MS + now.cast_signed() + self.wall.off.get(),
        }
    }
}
