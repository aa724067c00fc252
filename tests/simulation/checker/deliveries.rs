//! Every event reached every hook that wanted it, in order, or was given up in public; and nothing else ran.

use std::collections::BTreeMap;
use std::time::Duration;

use forgewatch::hooks::HookSpec;
use forgewatch_core::delivery::{DeliveryChange, DeliveryId};
use forgewatch_core::event::{Event, WatchId};

use super::history::{Delivery, History};
use super::{Findings, Rule};
use crate::config::{Config, retries};
use crate::log::{Attempted, Came, Stamp, Write};

/// The longest that a receiver can put an attempt off.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    for write in &history.log.writes {
        if let Some(at) = write.taken() {
            check_wanted(history, write, at, findings);
            for change in write.changes() {
                check_change(history, write, at, change, findings);
            }
        }
    }
    let mut by_delivery: BTreeMap<&DeliveryId, Vec<&Attempted>> = BTreeMap::new();
    for attempt in &history.log.attempts {
        check_on_record(history, attempt, findings);
        by_delivery
            .entry(&attempt.delivery)
            .or_default()
            .push(attempt);
    }
    for (id, attempts) in &by_delivery {
        if let Some(delivery) = history.deliveries.get(id) {
            for pair in attempts.windows(2) {
                check_retry(history, delivery, pair[0], pair[1], findings);
            }
        }
    }
    check_order(history, &by_delivery, findings);
    check_together(history, findings);
}

/// The deliveries of a commit are those that the configuration wants.
fn check_wanted(history: &History<'_>, write: &Write, at: Stamp, findings: &mut Findings) {
    let config = &history.log.configs[write.config].config;
    for event in write.events() {
        for hook in &config.hooks {
            let id = DeliveryId {
                event: event.id,
                hook: hook.name.clone(),
            };
            let is_there = history.deliveries.contains_key(&id);
            if is_there != wants(history, hook, event) {
                let word = if is_there { "unwanted" } else { "missing" };
                findings.add(
                    Rule::WrongDeliveries,
                    at,
                    format!("{id} is {word}: {}", event.kind.as_str()),
                );
            }
        }
    }
}

fn wants(history: &History<'_>, hook: &HookSpec, event: &Event) -> bool {
    let name = event.kind.as_str();
    let by_type = hook
        .on
        .iter()
        .any(|on| on == name || (on == "job.*" && name.starts_with("job.")));
    let by_kind = match (&hook.kinds, event.job) {
        (None, _) => true,
        (Some(kinds), Some(job)) => kinds.contains(&job.kind),
        (Some(_), None) => false,
    };
    // Of a hook.failed that could not be delivered nobody is told.
    let told_of_failure = event.facts.delivery.as_ref().is_some_and(|given_up| {
        let id: Option<DeliveryId> = given_up.delivery.parse().ok();
        id.and_then(|id| history.events.get(&id.event))
            .is_some_and(|(_, failed)| failed.kind.as_str() == "hook.failed")
    });
    by_type && by_kind && !told_of_failure
}

fn check_change(
    history: &History<'_>,
    write: &Write,
    at: Stamp,
    change: &DeliveryChange,
    findings: &mut Findings,
) {
    match change {
        DeliveryChange::Deliver { id } => {
            let took_it = |attempt: &Attempted| {
                attempt.delivery == *id
                    && attempt
                        .end
                        .is_some_and(|(end, came)| came == Came::Delivered && end < at)
            };
            if !history.log.attempts.iter().any(took_it) {
                findings.add(Rule::DoneWithoutSuccess, at, id.to_string());
            }
        }
        DeliveryChange::GiveUp { id, .. } => {
            let tells = |event: &Event| {
                let of_it = event.facts.delivery.as_ref();
                of_it.is_some_and(|given_up| given_up.delivery == id.to_string())
            };
            if !write.events().iter().any(tells) {
                findings.add(Rule::WronglyGivenUp, at, format!("{id} in silence"));
            }
            if !may_give_up(history, write, id) {
                findings.add(Rule::WronglyGivenUp, at, format!("{id} too early"));
            }
        }
        DeliveryChange::Begin { .. }
        | DeliveryChange::Wait { .. }
        | DeliveryChange::Retry { .. }
        | DeliveryChange::Discard { .. } => {}
    }
}

/// Whether a delivery was refused, has failed after tries enough, or has lost its hook. One that fails while the
/// daemon stops has not: what it needs may be gone already.
fn may_give_up(history: &History<'_>, write: &Write, id: &DeliveryId) -> bool {
    let mut tried = history
        .log
        .attempts
        .iter()
        .filter(|attempt| attempt.delivery == *id);
    let enough = |attempt: &Attempted| {
        let wound_up = history.log.lives[attempt.life].wound_up;
        match attempt.end {
            Some((_, Came::Refused)) => true,
            Some((at, Came::Failed { .. })) => {
                attempt.attempt > retries(&id.hook) && wound_up.is_none_or(|stop| at < stop)
            }
            _ => false,
        }
    };
    let lacks_it = |config: &Config| config.hook(&id.hook).is_none();
    let mut of_the_life = history
        .log
        .configs
        .iter()
        .take(write.config + 1)
        .filter(|c| c.life == write.life);
    tried.any(enough) || of_the_life.any(|in_force| lacks_it(&in_force.config))
}

/// A hook runs for what is on record, word for word, and its attempt is on record too.
fn check_on_record(history: &History<'_>, attempt: &Attempted, findings: &mut Findings) {
    let (id, at) = (&attempt.delivery, attempt.began);
    let committed = history
        .events
        .get(&id.event)
        .filter(|(committed, _)| *committed < at);
    let delivery = history.deliveries.get(id);
    let same = delivery
        .is_some_and(|d| d.row.body == attempt.told.body() && attempt.told.id() == id.event);
    let begun = delivery.is_some_and(|delivery| {
        let mut before = delivery.changes.iter().filter(|(_, begun, _)| *begun < at);
        before.any(|(.., change)| matches!(change, DeliveryChange::Begin { attempt: n, .. } if *n == attempt.attempt))
    });
    if committed.is_none() || !same || !begun {
        let number = attempt.attempt;
        findings.add(
            Rule::RanUncommitted,
            at,
            format!("attempt {number} of {id}, same {same}, begun {begun}"),
        );
    }
    let life = &history.log.lives[attempt.life];
    if life.wound_up.is_some_and(|stop| stop < at) {
        findings.add(Rule::AfterStop, at, format!("an attempt of {id}"));
    }
}

/// Of two attempts at one delivery, one after the other.
fn check_retry(
    history: &History<'_>,
    delivery: &Delivery<'_>,
    first: &Attempted,
    second: &Attempted,
    findings: &mut Findings,
) {
    let id = &second.delivery;
    let between = |at: Stamp| first.began < at && at < second.began;
    let is_asked_for = delivery
        .changes
        .iter()
        .any(|(_, at, change)| between(*at) && matches!(change, DeliveryChange::Retry { .. }));
    if is_asked_for {
        return;
    }
    if second.attempt <= first.attempt {
        let numbers = (first.attempt, second.attempt);
        findings.add(
            Rule::AttemptNumber,
            second.began,
            format!("{id}: {numbers:?}"),
        );
    }
    let Some((ended, Came::Failed { not_before })) = first.end else {
        return;
    };
    let due = ended.ms + not_before.min(LONGEST_PAUSE).as_millis() as u64;
    // In another life the wish is known if it was recorded, and by a clock that may have been set.
    let is_known = first.life == second.life
        || delivery.changes.iter().any(|(write, at, change)| {
            let is_it = between(*at) && matches!(change, DeliveryChange::Wait { .. });
            is_it && write.wall_off == second.wall_off && wall_stood_still(history, write, second)
        });
    if is_known && second.began.ms < due {
        let early = due - second.began.ms;
        findings.add(
            Rule::RetriedTooSoon,
            second.began,
            format!("{id}: {early} ms too early"),
        );
    }
}

/// Whether nobody set the clock between a write and an attempt, as far as anybody looked at it.
fn wall_stood_still(history: &History<'_>, write: &Write, attempt: &Attempted) -> bool {
    let between =
        |other: &&Write| write.submitted < other.submitted && other.submitted < attempt.began;
    let mut writes = history.log.writes.iter().filter(between);
    writes.all(|other| other.wall_off == write.wall_off)
}

/// A delivery, and when it was tried first.
type FirstTry<'a> = (&'a DeliveryId, Option<Stamp>);

/// A hook hears of a watch's events in their order.
fn check_order(
    history: &History<'_>,
    attempts: &BTreeMap<&DeliveryId, Vec<&Attempted>>,
    findings: &mut Findings,
) {
    let mut lanes: BTreeMap<(WatchId, &str), Vec<FirstTry<'_>>> = BTreeMap::new();
    // The watcher's own events stand for themselves: two that come at once may go in either order.
    for &id in history
        .deliveries
        .keys()
        .filter(|id| history.watches.contains_key(&id.event.watch))
    {
        let first = attempts
            .get(id)
            .and_then(|attempts| Some(attempts.first()?.began));
        lanes
            .entry((id.event.watch, &id.hook))
            .or_default()
            .push((id, first));
    }
    for lane in lanes.values() {
        for (at, (id, first)) in lane.iter().enumerate() {
            let Some(first) = *first else {
                continue;
            };
            for (earlier, before) in &lane[..at] {
                let gone = history.deliveries[earlier].was_given_up(first);
                if !gone && before.is_none_or(|before| first < before) {
                    findings.add(Rule::OutOfOrder, first, format!("{id} before {earlier}"));
                }
            }
        }
    }
}

/// One at a time for each watch and hook, and no more than `max_running` of a hook.
fn check_together(history: &History<'_>, findings: &mut Findings) {
    let log = history.log;
    for (number, attempt) in log.attempts.iter().enumerate() {
        let runs_then = |other: &&Attempted| {
            other.life == attempt.life
                && other.delivery.hook == attempt.delivery.hook
                && other.end.is_none_or(|(end, _)| attempt.began < end)
        };
        let mut running = log.attempts[..number].iter().filter(runs_then);
        let many = running.clone().count() + 1;
        let id = &attempt.delivery;
        if running.any(|other| other.delivery.event.watch == id.event.watch) {
            findings.add(
                Rule::RanTogether,
                attempt.began,
                format!("{id}: two of one queue"),
            );
        }
        let of_the_life = log
            .configs
            .iter()
            .filter(|c| c.life == attempt.life && c.since < attempt.began);
        let most = of_the_life
            .filter_map(|c| Some(c.config.hook(&id.hook)?.max_running))
            .max();
        if most.is_some_and(|most| many > most) {
            findings.add(
                Rule::RanTogether,
                attempt.began,
                format!("{id}: {many} at once"),
            );
        }
    }
}
