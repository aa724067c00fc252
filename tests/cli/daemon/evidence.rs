//! What lives that were cut short have left behind, and whether it is consistent. Every check reads what others than the
//! daemon wrote, or what it said to others; none looks inside it.

use std::collections::{BTreeMap, BTreeSet};

use forgewatch_core::event::EventType;
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_sim::Server;
use serde_json::Value;

/// What there is to judge by.
pub(super) struct Evidence {
    /// What `forgewatch events` prints in the end.
    pub(super) events: Vec<Value>,
    /// What the daemon printed in all of its lives.
    pub(super) printed: Vec<Value>,
    /// A line each time that the hook for `job.*` ran: id, type and attempt.
    pub(super) told: Vec<String>,
}

/// How much there was to judge.
#[derive(Debug)]
pub(super) struct Figures {
    /// Transitions of jobs.
    pub(super) events: usize,
    /// How often the hook ran for them.
    pub(super) executions: usize,
}

/// One run of the hook.
struct Told<'a> {
    id: &'a str,
    kind: &'a str,
    attempt: u32,
}

impl Evidence {
    /// Fails where something was lost, told twice under two names or in two ways, or told out of order.
    pub(super) fn check(&self, server: &Server, expected: &[(JobRef, Outcome)]) -> Figures {
        let by_id = self.by_id();
        self.nothing_was_told_that_is_not_on_record(&by_id);
        let watches = self.watches();
        let jobs: Vec<&str> = watches
            .iter()
            .map(|events| text(events[0], "job"))
            .collect();
        let distinct: BTreeSet<&str> = jobs.iter().copied().collect();
        assert_eq!(
            jobs.len(),
            distinct.len(),
            "a job was watched twice: {jobs:?}"
        );
        assert_eq!(
            jobs.len(),
            expected.len(),
            "a job was not watched: {jobs:?}"
        );
        for &(job, outcome) in expected {
            let name = job.to_string();
            let events = watches.iter().find(|events| events[0]["job"] == *name);
            let events = events.unwrap_or_else(|| panic!("{job} was never watched"));
            one_story(events);
            assert!(
                was_served_to_the_end(server, job),
                "{job} was left alone before its end"
            );
            assert_eq!(
                text(events.last().unwrap(), "event_type"),
                EventType::Ended(outcome).as_str()
            );
        }
        let told: Vec<Told> = self.told.iter().map(|line| Told::read(line)).collect();
        attempts_rise(&told);
        for events in &watches {
            every_event_was_delivered_in_order(events, &told);
        }
        for one in &told {
            let event = by_id.get(one.id);
            let event = event.unwrap_or_else(|| panic!("{} is not on record", one.id));
            assert_eq!(text(event, "event_type"), one.kind, "{}", one.id);
        }
        Figures {
            events: watches.iter().map(Vec::len).sum(),
            executions: told.len(),
        }
    }

    /// The records by their ids, none of which is there twice; the offsets rise.
    fn by_id(&self) -> BTreeMap<&str, &Value> {
        let offsets: Vec<u64> = (self.events.iter())
            .map(|event| event["offset"].as_u64().unwrap())
            .collect();
        assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        let mut by_id = BTreeMap::new();
        for event in &self.events {
            let twice = by_id.insert(text(event, "event_id"), event);
            assert_eq!(twice, None, "one id for two events: {event}");
        }
        by_id
    }

    /// Whatever was printed is on record, in the same words.
    fn nothing_was_told_that_is_not_on_record(&self, by_id: &BTreeMap<&str, &Value>) {
        for line in &self.printed {
            let Some(id) = line["event_id"].as_str().filter(|_| line["seq"].is_u64()) else {
                continue;
            };
            let record = by_id.get(id);
            let mut record = (*record.unwrap_or_else(|| panic!("not on record: {line}"))).clone();
            record.as_object_mut().unwrap().remove("offset");
            assert_eq!(record, *line, "told in one way and recorded in another");
        }
    }

    /// The events of jobs, a list a watch, each in the order in which they were recorded.
    fn watches(&self) -> Vec<Vec<&Value>> {
        let mut watches: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event["job"].is_string()) {
            watches.entry(text(event, "watch")).or_default().push(event);
        }
        watches.into_values().collect()
    }
}

impl<'a> Told<'a> {
    fn read(line: &'a str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("torn: {line:?}"));
        Self {
            id: word(),
            kind: word(),
            attempt: word().parse().unwrap(),
        }
    }
}

/// Numbered from 1 without a gap, each from the state that the one before led to, with one end, at the end.
fn one_story(events: &[&Value]) {
    let mut state = None;
    for (event, seq) in events.iter().zip(1_u64..) {
        assert_eq!(event["seq"], seq, "{events:#?}");
        if event["event_type"] == "job.state_changed" {
            assert_eq!(event["previous_state"].as_str(), state, "{events:#?}");
        }
        state = event["state"].as_str().or(state);
        let ends = ["job.completed", "job.failed", "job.squashed"];
        let is_end = ends.contains(&text(event, "event_type"));
        let is_last = seq as usize == events.len();
        assert_eq!(is_end, is_last, "{events:#?}");
    }
    assert_eq!(events[0]["event_type"], "job.watching", "{events:#?}");
}

/// Whether an answer went out after the job's true end.
fn was_served_to_the_end(server: &Server, job: JobRef) -> bool {
    let ended = server.ended_at(job);
    ended.is_some_and(|ended| {
        let after = |hit: &forgewatch_sim::RequestLog| hit.job == Some(job) && hit.at >= ended;
        server.log().iter().any(after)
    })
}

/// An event that was delivered again was so by a later attempt.
fn attempts_rise(told: &[Told]) {
    let mut attempts: BTreeMap<&str, u32> = BTreeMap::new();
    for one in told {
        let before = attempts.insert(one.id, one.attempt).unwrap_or_default();
        assert!(
            before < one.attempt,
            "{}: {before}, then {}",
            one.id,
            one.attempt
        );
    }
}

/// The first runs for the events of a watch are all there, and in their order.
fn every_event_was_delivered_in_order(events: &[&Value], told: &[Told]) {
    let mut seen = BTreeSet::new();
    let watch = format!("{}-", text(events[0], "watch"));
    let firsts: Vec<&str> = (told.iter().map(|one| one.id))
        .filter(|id| id.starts_with(&watch) && seen.insert(*id))
        .collect();
    let due: Vec<&str> = events.iter().map(|event| text(event, "event_id")).collect();
    assert_eq!(firsts, due, "delivered, and due");
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    let value = event[field].as_str();
    value.unwrap_or_else(|| panic!("{field} is missing: {event}"))
}
