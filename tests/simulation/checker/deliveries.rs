//! Every event is delivered in order to every hook that matches it, or its delivery fails with an event; no other
//! attempt runs.

use std::collections::BTreeMap;
use std::time::Duration;

use forgewatch_core::delivery::{DeliveryChange, DeliveryId, HookRules};
use forgewatch_core::event::{Event, WatchId};

use super::timeline::{DeliveryRecord, Timeline};
use super::{Findings, Rule};
use crate::config::{Config, retries};
use crate::log::{AttemptEnd, HookAttempt, Stamp, StoreWrite};

/// The longest `Retry-After` of a receiver that counts.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

pub(super) fn check(timeline: &Timeline<'_>, findings: &mut Findings) {
    for write in &timeline.log.writes {
        if let Some(at) = write.applied() {
            check_matches(timeline, write, at, findings);
            for change in write.changes() {
                check_change(timeline, write, at, change, findings);
            }
        }
    }
    let mut by_delivery: BTreeMap<&DeliveryId, Vec<&HookAttempt>> = BTreeMap::new();
    for attempt in &timeline.log.attempts {
        check_stored(timeline, attempt, findings);
        by_delivery
            .entry(&attempt.delivery)
            .or_default()
            .push(attempt);
    }
    for (id, attempts) in &by_delivery {
        if let Some(delivery) = timeline.deliveries.get(id) {
            for pair in attempts.windows(2) {
                check_retry(timeline, delivery, pair[0], pair[1], findings);
            }
        }
    }
    check_order(timeline, &by_delivery, findings);
    check_overlap(timeline, findings);
}

/// Each event has deliveries for exactly the matching hooks.
fn check_matches(timeline: &Timeline<'_>, write: &StoreWrite, at: Stamp, findings: &mut Findings) {
    let config = &timeline.log.configs[write.config].config;
    for event in write.events() {
        for hook in &config.hooks {
            let id = DeliveryId {
                event: event.id,
                hook: hook.rules.name.clone(),
            };
            let exists = timeline.deliveries.contains_key(&id);
            if exists != matches_hook(timeline, &hook.rules, event) {
                let word = if exists { "unexpected" } else { "missing" };
                findings.add(
                    Rule::WrongDeliveries,
                    at,
                    format!("{id} is {word}: {}", event.kind.as_str()),
                );
            }
        }
    }
}

fn matches_hook(timeline: &Timeline<'_>, hook: &HookRules, event: &Event) -> bool {
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
    // No hook.failed for the failed delivery of a hook.failed.
    let is_of_hook_failed = event.fields.delivery.as_ref().is_some_and(|failed| {
        let id: Option<DeliveryId> = failed.delivery.parse().ok();
        id.and_then(|id| timeline.events.get(&id.event))
            .is_some_and(|(_, failed)| failed.kind.as_str() == "hook.failed")
    });
    by_type && by_kind && !is_of_hook_failed
}

fn check_change(
    timeline: &Timeline<'_>,
    write: &StoreWrite,
    at: Stamp,
    change: &DeliveryChange,
    findings: &mut Findings,
) {
    match change {
        DeliveryChange::Deliver { id } => {
            let succeeded = |attempt: &HookAttempt| {
                attempt.delivery == *id
                    && attempt
                        .end
                        .is_some_and(|(at_end, end)| end == AttemptEnd::Delivered && at_end < at)
            };
            if !timeline.log.attempts.iter().any(succeeded) {
                findings.add(Rule::DeliveredWithoutSuccess, at, id.to_string());
            }
        }
        DeliveryChange::Fail { id, .. } => {
            let reports_failure = |event: &Event| {
                let of_it = event.fields.delivery.as_ref();
                of_it.is_some_and(|failed| failed.delivery == id.to_string())
            };
            if !write.events().iter().any(reports_failure) {
                findings.add(Rule::WronglyFailed, at, format!("{id} without an event"));
            }
            if !may_fail(timeline, write, at, id) {
                findings.add(Rule::WronglyFailed, at, format!("{id} too early"));
            }
        }
        DeliveryChange::Begin { .. }
        | DeliveryChange::Reschedule { .. }
        | DeliveryChange::Retry { .. }
        | DeliveryChange::Discard { .. } => {}
    }
}

/// Whether a delivery was rejected, has used up its retries since a client retried it, or has lost its hook. An attempt
/// that was interrupted does not count; nor does one that fails during the shutdown, which may be the cause.
fn may_fail(timeline: &Timeline<'_>, write: &StoreWrite, now: Stamp, id: &DeliveryId) -> bool {
    let changes = timeline.deliveries.get(id).map(|d| d.changes.as_slice());
    let retried = changes
        .unwrap_or_default()
        .iter()
        .filter(|(_, at, change)| *at < now && matches!(change, DeliveryChange::Retry { .. }));
    let retried = retried.map(|(_, at, _)| *at).max();
    let attempts_of_it = timeline.log.attempts.iter().filter(|attempt| {
        attempt.delivery == *id && retried.is_none_or(|retried| retried < attempt.began)
    });
    let has_failed = |attempt: &&HookAttempt| {
        let stopping_since = timeline.log.processes[attempt.process].stopping_since;
        matches!(attempt.end, Some((at, AttemptEnd::Failed { .. }))
            if at < now && stopping_since.is_none_or(|stop| at < stop))
    };
    let is_rejected =
        |attempt: &HookAttempt| matches!(attempt.end, Some((_, AttemptEnd::Rejected)));
    let is_used_up = attempts_of_it.clone().filter(has_failed).count() > retries(&id.hook) as usize;
    let lacks_hook = |config: &Config| config.hook(&id.hook).is_none();
    let mut of_process = timeline
        .log
        .configs
        .iter()
        .take(write.config + 1)
        .filter(|c| c.process == write.process);
    is_used_up
        || { attempts_of_it }.any(is_rejected)
        || of_process.any(|active| lacks_hook(&active.config))
}

/// The event, its payload and the beginning of the attempt were stored before the attempt.
fn check_stored(timeline: &Timeline<'_>, attempt: &HookAttempt, findings: &mut Findings) {
    let (id, at) = (&attempt.delivery, attempt.began);
    let committed = timeline
        .events
        .get(&id.event)
        .filter(|(committed, _)| *committed < at);
    let delivery = timeline.deliveries.get(id);
    let same = delivery
        .is_some_and(|d| d.row.body == attempt.payload.body() && attempt.payload.id() == id.event);
    let begun = delivery.is_some_and(|delivery| {
        let mut before = delivery.changes.iter().filter(|(_, begun, _)| *begun < at);
        before.any(|(.., change)| matches!(change, DeliveryChange::Begin { attempt: n, .. } if *n == attempt.attempt))
    });
    if committed.is_none() || !same || !begun {
        let number = attempt.attempt;
        findings.add(
            Rule::AttemptUncommitted,
            at,
            format!("attempt {number} of {id}, same {same}, begun {begun}"),
        );
    }
    let job = attempt.payload.job();
    if job.is_some_and(|job| !timeline.is_served(attempt.process, job, at, at)) {
        findings.add(Rule::ServedLostShard, at, format!("an attempt of {id}"));
    }
    let process = &timeline.log.processes[attempt.process];
    if process.stopping_since.is_some_and(|stop| stop < at) {
        findings.add(Rule::StartedAfterStop, at, format!("an attempt of {id}"));
    }
}

/// Checks two consecutive attempts at a delivery.
fn check_retry(
    timeline: &Timeline<'_>,
    delivery: &DeliveryRecord<'_>,
    first: &HookAttempt,
    second: &HookAttempt,
    findings: &mut Findings,
) {
    let id = &second.delivery;
    let between = |at: Stamp| first.began < at && at < second.began;
    let is_requested = delivery
        .changes
        .iter()
        .any(|(_, at, change)| between(*at) && matches!(change, DeliveryChange::Retry { .. }));
    if is_requested {
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
    let Some((ended, AttemptEnd::Failed { not_before })) = first.end else {
        return;
    };
    let due = ended.ms + not_before.min(LONGEST_PAUSE).as_millis() as u64;
    // A later process knows the delay if it was stored, and only by the wall clock, which may have jumped.
    let job = second.payload.job();
    let is_same_process = first.process == second.process
        && job.is_none_or(|job| timeline.is_served(second.process, job, first.began, second.began));
    let is_known = is_same_process
        || delivery.changes.iter().any(|(write, at, change)| {
            let is_it = between(*at) && matches!(change, DeliveryChange::Reschedule { .. });
            is_it
                && write.wall_offset == second.wall_offset
                && wall_clock_is_steady(timeline, write, second)
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

/// Whether the wall clock did not jump between a write and an attempt.
fn wall_clock_is_steady(
    timeline: &Timeline<'_>,
    write: &StoreWrite,
    attempt: &HookAttempt,
) -> bool {
    let between =
        |other: &&StoreWrite| write.submitted < other.submitted && other.submitted < attempt.began;
    let mut writes = timeline.log.writes.iter().filter(between);
    writes.all(|other| other.wall_offset == write.wall_offset)
}

/// A delivery and the start of its first attempt.
type FirstAttempt<'a> = (&'a DeliveryId, Option<Stamp>);

/// A hook receives the events of a watch in order.
fn check_order(
    timeline: &Timeline<'_>,
    attempts: &BTreeMap<&DeliveryId, Vec<&HookAttempt>>,
    findings: &mut Findings,
) {
    let mut queues: BTreeMap<(WatchId, &str), Vec<FirstAttempt<'_>>> = BTreeMap::new();
    // Events of the daemon itself are not ordered.
    for &id in timeline
        .deliveries
        .keys()
        .filter(|id| timeline.watches.contains_key(&id.event.watch))
    {
        let first = attempts
            .get(id)
            .and_then(|attempts| Some(attempts.first()?.began));
        queues
            .entry((id.event.watch, &id.hook))
            .or_default()
            .push((id, first));
    }
    for queue in queues.values() {
        for (at, (id, first)) in queue.iter().enumerate() {
            let Some(first) = *first else {
                continue;
            };
            for (earlier, before) in &queue[..at] {
                let gone = timeline.deliveries[earlier].had_failed(first);
                if !gone && before.is_none_or(|before| first < before) {
                    findings.add(Rule::OutOfOrder, first, format!("{id} before {earlier}"));
                }
            }
        }
    }
}

/// One attempt at a time per watch and hook, and at most `max_running` per hook.
fn check_overlap(timeline: &Timeline<'_>, findings: &mut Findings) {
    let log = timeline.log;
    for (number, attempt) in log.attempts.iter().enumerate() {
        let runs_then = |other: &&HookAttempt| {
            other.process == attempt.process
                && other.delivery.hook == attempt.delivery.hook
                && other.end.is_none_or(|(end, _)| attempt.began < end)
        };
        let mut running = log.attempts[..number].iter().filter(runs_then);
        let count = running.clone().count() + 1;
        let id = &attempt.delivery;
        if running.any(|other| other.delivery.event.watch == id.event.watch) {
            findings.add(
                Rule::OverlappingAttempts,
                attempt.began,
                format!("{id}: two of one queue"),
            );
        }
        let of_process = log
            .configs
            .iter()
            .filter(|c| c.process == attempt.process && c.since < attempt.began);
        let limit = of_process
            .filter_map(|c| Some(c.config.hook(&id.hook)?.rules.max_running))
            .max();
        if limit.is_some_and(|limit| count > limit) {
            findings.add(
                Rule::OverlappingAttempts,
                attempt.began,
                format!("{id}: {count} at once"),
            );
        }
    }
}
