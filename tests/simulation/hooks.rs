//! The simulated hooks: they accept an event, fail, hang, send `Retry-After`, or are killed with the process.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use forgewatch::hooks::{AttemptFuture, Executor, StopSignal};
use forgewatch_core::delivery::{Attempt, AttemptResult, DeliveryFailure};
use tokio::time::sleep;

use crate::clock::WallClock;
use crate::config::Config;
use crate::faults::Fault;
use crate::log::{AttemptEnd, HookAttempt, Log};
use crate::world::World;

/// The hooks of one configuration.
pub(crate) struct SimHooks {
    world: Rc<World>,
    wall_clock: Rc<WallClock>,
    names: BTreeSet<Arc<str>>,
}

const ATTEMPT_FAULTS: [Fault; 6] = [
    Fault::HookFails,
    Fault::HookFailsAfterEffect,
    Fault::HookRejects,
    Fault::HookRetryAfter,
    Fault::HookLongRetryAfter,
    Fault::HookHangs,
];

/// The timeout of every hook.
const TIMEOUT_MS: u64 = 20_000;

impl SimHooks {
    pub(crate) fn new(world: &Rc<World>, wall_clock: &Rc<WallClock>, config: &Config) -> Self {
        Self {
            world: Rc::clone(world),
            wall_clock: Rc::clone(wall_clock),
            names: config
                .hooks
                .iter()
                .map(|hook| Arc::clone(&hook.rules.name))
                .collect(),
        }
    }
}

impl Executor for SimHooks {
    fn attempt(&self, attempt: Attempt, _: i64, stop: StopSignal) -> Option<AttemptFuture> {
        let Attempt {
            id,
            number: attempt,
            payload,
        } = attempt;
        if !self.names.contains(&id.hook) {
            return None;
        }
        let world = Rc::clone(&self.world);
        let (began, process) = (world.stamp(), world.current_process());
        let attempted = HookAttempt {
            process,
            wall_offset: self.wall_clock.offset_ms(),
            began,
            delivery: id.clone(),
            payload: Arc::clone(&payload),
            attempt,
            had_effect: false,
            end: None,
        };
        world.trace(|| format!("hook: attempt {attempt} of {id}, {}", payload.summary()));
        let number = world.log(|log| {
            log.attempts.push(attempted);
            log.attempts.len() - 1
        });
        let odds = world.fault_rates.hooks;
        let fails = !world.faults_disabled() && world.draw(|rng| rng.chance(odds));
        let fault = if fails {
            world.pick_fault(&ATTEMPT_FAULTS)
        } else {
            None
        };
        let killed = KillGuard {
            world: Rc::clone(&world),
            number,
        };
        Some(Box::pin(run_attempt(world, number, fault, stop, killed)))
    }
}

async fn run_attempt(
    world: Rc<World>,
    number: usize,
    fault: Option<Fault>,
    stop: StopSignal,
    _killed: KillGuard,
) -> AttemptResult {
    let duration_ms = match fault {
        Some(Fault::HookHangs) => TIMEOUT_MS,
        _ => world.draw(|rng| rng.log_uniform(4_000)),
    };
    let work = async {
        let before = world.draw(|rng| rng.between(0, duration_ms));
        sleep(Duration::from_millis(before)).await;
        if matches!(fault, None | Some(Fault::HookFailsAfterEffect)) {
            world.log(|log| log.attempts[number].had_effect = true);
        }
        sleep(Duration::from_millis(duration_ms - before)).await;
    };
    let is_stopped = tokio::select! {
        biased;
        () = work => false,
        _ = stop => {
            sleep(Duration::from_millis(world.draw(|rng| rng.between(0, 5_000)))).await;
            true
        }
    };
    let end = if is_stopped {
        world.record_fault(Fault::HookStopped);
        AttemptEnd::Stopped
    } else {
        if let Some(fault) = fault {
            world.record_fault(fault);
        }
        end_by_fault(&world, fault)
    };
    let at = world.stamp();
    world.trace(|| {
        let id = world.log(|log| log.attempts[number].delivery.clone());
        format!("hook: end of {id}: {end:?}")
    });
    world.log(|log| log.attempts[number].end = Some((at, end)));
    let why = DeliveryFailure::new(format!("simulated: {end:?}"));
    match end {
        AttemptEnd::Delivered => AttemptResult::Delivered,
        AttemptEnd::Failed { not_before } => AttemptResult::Failed { why, not_before },
        AttemptEnd::Rejected => AttemptResult::Rejected(why),
        AttemptEnd::Stopped | AttemptEnd::Killed => AttemptResult::Failed {
            why,
            not_before: Duration::ZERO,
        },
    }
}

fn end_by_fault(world: &World, fault: Option<Fault>) -> AttemptEnd {
    let pause = |from, to| Duration::from_secs(world.draw(|rng| rng.between(from, to)));
    let not_before = match fault {
        None => return AttemptEnd::Delivered,
        Some(Fault::HookRejects) => return AttemptEnd::Rejected,
        Some(Fault::HookRetryAfter) => pause(1, 900),
        Some(Fault::HookLongRetryAfter) => pause(3_601, 90_000),
        Some(_) => Duration::ZERO,
    };
    AttemptEnd::Failed { not_before }
}

/// Ends an attempt that is dropped. It may still have its effect.
struct KillGuard {
    world: Rc<World>,
    number: usize,
}

impl Drop for KillGuard {
    fn drop(&mut self) {
        let (world, number) = (&self.world, self.number);
        let attempt = |log: &mut Log| (log.attempts[number].had_effect, log.attempts[number].end);
        let (had_effect, None) = world.log(attempt) else {
            return;
        };
        let with_effect = had_effect || world.draw(|rng| rng.chance(0.5));
        world.record_fault(if with_effect {
            Fault::HookKilledAfterEffect
        } else {
            Fault::HookKilled
        });
        let at = world.stamp();
        world.log(|log| {
            log.attempts[number].had_effect = with_effect;
            log.attempts[number].end = Some((at, AttemptEnd::Killed));
        });
    }
}
