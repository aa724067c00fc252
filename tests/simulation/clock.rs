//! The two clocks of a process: a monotonic one with a random start, and a wall clock that jumps.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use forgewatch::engine::Clock;
use forgewatch_core::time::Moment;

use crate::faults::Fault;
use crate::world::World;

/// The wall time at the start of every lifetime: 2024-01-01T00:00:00Z, in Unix milliseconds.
pub(crate) const EPOCH_MS: i64 = 1_704_067_200_000;
const DAY_MS: u64 = 86_400_000;
const MAX_JUMP_DELAY_MS: u64 = 1_200_000;
/// More reads of the clock than this within one poll of the process future mean a busy loop.
const MAX_READS_PER_POLL: u64 = 100_000;

/// The machine's wall clock. Its offset persists across processes.
pub(crate) struct WallClock {
    world: Rc<World>,
    offset_ms: Cell<i64>,
    next_jump: RefCell<Option<u64>>,
    reads: Cell<u64>,
}

impl WallClock {
    pub(crate) fn new(world: Rc<World>) -> Self {
        let wall_clock = Self {
            offset_ms: Cell::new(0),
            next_jump: RefCell::default(),
            reads: Cell::new(0),
            world,
        };
        wall_clock.schedule_jump();
        wall_clock
    }

    /// Offset from true time.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.get()
    }

    pub(crate) fn reset_reads(&self) {
        self.reads.set(0);
    }

    fn schedule_jump(&self) {
        let jumps = self
            .world
            .draw(|rng| rng.chance(self.world.fault_rates.clock));
        let at = jumps.then(|| {
            self.world.now_ms() + self.world.draw(|rng| rng.between(0, MAX_JUMP_DELAY_MS))
        });
        *self.next_jump.borrow_mut() = at;
    }

    fn jump_if_due(&self) {
        let due = self
            .next_jump
            .borrow()
            .is_some_and(|at| at <= self.world.now_ms());
        if !due || self.world.faults_disabled() {
            return;
        }
        if let Some(fault) =
            self.world
                .pick_fault(&[Fault::ClockForward, Fault::ClockBack, Fault::ClockOffByYear])
        {
            let by = self.world.draw(|rng| rng.log_uniform(DAY_MS)).cast_signed();
            let by = match fault {
                Fault::ClockForward => by,
                Fault::ClockBack => -by,
                _ => (365 * DAY_MS.cast_signed()) * self.world.draw(|rng| rng.pick(&[-1, 1])),
            };
            self.world.record_fault(fault);
            self.offset_ms.set(self.offset_ms.get() + by);
        }
        self.schedule_jump();
    }
}

/// The clocks of one process.
#[derive(Clone)]
pub(crate) struct SimClock {
    wall_clock: Rc<WallClock>,
    start_ms: u64,
    monotonic_base_ms: u64,
}

impl SimClock {
    pub(crate) fn start(wall_clock: &Rc<WallClock>) -> Self {
        let world = &wall_clock.world;
        Self {
            start_ms: world.now_ms(),
            monotonic_base_ms: world.draw(|rng| rng.log_uniform(1 << 42)),
            wall_clock: Rc::clone(wall_clock),
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        self.wall_clock.reads.set(self.wall_clock.reads.get() + 1);
        assert!(
            self.wall_clock.reads.get() < MAX_READS_PER_POLL,
            "the daemon is in a busy loop"
        );
        self.wall_clock.jump_if_due();
        let now = self.wall_clock.world.now_ms();
        Moment {
            up_ms: self.monotonic_base_ms + (now - self.start_ms),
            wall_ms: EPOCH_MS + now.cast_signed() + self.wall_clock.offset_ms.get(),
        }
    }
}
