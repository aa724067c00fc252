//! The simulated hooks: they take an event, fail, hang, ask for a pause, or are cut off.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use forgewatch::hooks::payload::EventPayload;
use forgewatch::hooks::queue::Attempt;
use forgewatch::hooks::{AttemptFuture, Executor};
use forgewatch_core::delivery::{DeliveryFailure, DeliveryId};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::Wall;
use crate::config::Config;
use crate::faults::Fault;
use crate::log::{Attempted, Came};
use crate::world::World;

/// The hooks of one configuration.
pub(crate) struct SimHooks {
    world: Rc<World>,
    wall: Rc<Wall>,
    names: BTreeSet<Arc<str>>,
}

/// What can become of an attempt.
const GOES_WRONG: [Fault; 6] = [
    Fault::HookFails,
    Fault::HookFailsAfterEffect,
    Fault::HookRefuses,
    Fault::HookWantsPause,
    Fault::HookWantsLongPause,
    Fault::HookHangs,
];

/// The time-out of every hook.
const TIMEOUT_MS: u64 = 20_000;

impl SimHooks {
    pub(crate) fn new(world: &Rc<World>, wall: &Rc<Wall>, config: &Config) -> Self {
        Self {
            world: Rc::clone(world),
            wall: Rc::clone(wall),
            names: config
                .hooks
                .iter()
                .map(|hook| Arc::clone(&hook.name))
                .collect(),
        }
    }
}

impl Executor for SimHooks {
    fn attempt(
        &self,
        id: &DeliveryId,
        told: &Arc<EventPayload>,
        attempt: u32,
        _: i64,
        stop: watch::Receiver<bool>,
    ) -> Option<AttemptFuture> {
        if !self.names.contains(&id.hook) {
            return None;
        }
        let world = Rc::clone(&self.world);
        let (began, life) = (world.stamp(), world.life());
        let attempted = Attempted {
            life,
            wall_off: self.wall.off(),
            began,
            delivery: id.clone(),
            told: Arc::clone(told),
            attempt,
            had_effect: false,
            end: None,
        };
        world.trace(|| format!("hook: attempt {attempt} of {id}, {}", told.what()));
        let number = world.log(|log| {
            log.attempts.push(attempted);
            log.attempts.len() - 1
        });
        let odds = world.moods.hooks;
        let fails = !world.is_calm() && world.roll(|rng| rng.chance(odds));
        let fault = if fails {
            world.one_of(&GOES_WRONG)
        } else {
            None
        };
        Some(Box::pin(run(world, number, fault, stop)))
    }
}

/// One attempt, as far as it gets.
async fn run(
    world: Rc<World>,
    number: usize,
    fault: Option<Fault>,
    mut stop: watch::Receiver<bool>,
) -> Attempt {
    let takes = match fault {
        Some(Fault::HookHangs) => TIMEOUT_MS,
        _ => world.roll(|rng| rng.spread(4_000)),
    };
    let work = async {
        let before = world.roll(|rng| rng.between(0, takes));
        sleep(Duration::from_millis(before)).await;
        if matches!(fault, None | Some(Fault::HookFailsAfterEffect)) {
            world.log(|log| log.attempts[number].had_effect = true);
        }
        sleep(Duration::from_millis(takes - before)).await;
    };
    let is_stopped = tokio::select! {
        biased;
        () = work => false,
        _ = stop.wait_for(|&stop| stop) => {
            sleep(Duration::from_millis(world.roll(|rng| rng.between(0, 5_000)))).await;
            true
        }
    };
    let pause = |from, to| Duration::from_secs(world.roll(|rng| rng.between(from, to)));
    let came = match fault {
        _ if is_stopped => {
            world.hit(Fault::HookStopped);
            Came::Stopped
        }
        None => Came::Delivered,
        Some(Fault::HookRefuses) => Came::Refused,
        Some(Fault::HookWantsPause) => Came::Failed {
            not_before: pause(1, 900),
        },
        Some(Fault::HookWantsLongPause) => Came::Failed {
            not_before: pause(3_601, 90_000),
        },
        Some(_) => Came::Failed {
            not_before: Duration::ZERO,
        },
    };
    if let (Some(fault), false) = (fault, is_stopped) {
        world.hit(fault);
    }
    let at = world.stamp();
    world.trace(|| {
        let id = world.log(|log| log.attempts[number].delivery.clone());
        format!("hook: {id}: {came:?}")
    });
    world.log(|log| log.attempts[number].end = Some((at, came)));
    let why = DeliveryFailure::new(format!("simulated: {came:?}"));
    match came {
        Came::Delivered => Attempt::Delivered,
        Came::Failed { not_before } => Attempt::Failed { why, not_before },
        Came::Refused => Attempt::Refused(why),
        Came::Stopped => Attempt::Failed {
            why,
            not_before: Duration::ZERO,
        },
    }
}

/// The process has died: what it ran goes on for as long as it likes.
pub(crate) fn cut_off(world: &World) {
    let under_way = |attempt: &Attempted| attempt.end.is_none();
    let life = world.life();
    let cut: Vec<(usize, bool)> = world.log(|log| {
        let of_it = log
            .attempts
            .iter()
            .enumerate()
            .filter(|(_, a)| a.life == life && under_way(a));
        of_it
            .map(|(number, attempt)| (number, attempt.had_effect))
            .collect()
    });
    for (number, had_effect) in cut {
        let has_effect = had_effect || world.roll(|rng| rng.chance(0.5));
        world.hit(if has_effect {
            Fault::HookCutOffAfterEffect
        } else {
            Fault::HookCutOff
        });
        world.log(|log| log.attempts[number].had_effect = has_effect);
    }
}
