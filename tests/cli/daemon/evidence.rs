//! Checks what interrupted daemons left behind. The evidence is what the daemon published and what others recorded:
//! simulator, hook and `forgewatch events`.

use std::collections::{BTreeMap, BTreeSet};

use forgewatch_core::event::EventType;
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_sim::Server;
use serde_json::Value;

pub(super) struct Evidence {
    /// What `forgewatch events` prints at the end.
    pub(super) events: Vec<Value>,
    /// What the daemon printed in all runs.
    pub(super) printed: Vec<Value>,
    /// One line for each run of the hook for `job.*`: id, type and attempt.
    pub(super) hook_runs: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Figures {
    /// Of jobs.
    pub(super) events: usize,
    /// Runs of the hook for them.
    pub(super) executions: usize,
}

struct HookRun<'a> {
    id: &'a str,
    kind: &'a str,
    attempt: u32,
}

impl Evidence {
    /// Fails if an event was lost, published with two ids or two contents, or published out of order.
    pub(super) fn check(&self, server: &Server, expected: &[(JobRef, Outcome)]) -> Figures {
        let by_id = self.by_id();
        self.all_printed_events_are_recorded(&by_id);
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
            is_complete_history(events);
            assert!(
                was_polled_after_its_end(server, job),
                "{job} was not polled after its end"
            );
            assert_eq!(
                text(events.last().unwrap(), "event_type"),
                EventType::Ended(outcome).as_str()
            );
        }
        let hook_runs: Vec<HookRun> = self
            .hook_runs
            .iter()
            .map(|line| HookRun::read(line))
            .collect();
        attempts_rise(&hook_runs);
        for events in &watches {
            every_event_was_delivered_in_order(events, &hook_runs);
        }
        for run in &hook_runs {
            let event = by_id.get(run.id);
            let event = event.unwrap_or_else(|| panic!("{} is not recorded", run.id));
            assert_eq!(text(event, "event_type"), run.kind, "{}", run.id);
        }
        Figures {
            events: watches.iter().map(Vec::len).sum(),
            executions: hook_runs.len(),
        }
    }

    /// The records by id. Each id is unique, and the offsets rise.
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

    /// Every printed event is recorded with the same content.
    fn all_printed_events_are_recorded(&self, by_id: &BTreeMap<&str, &Value>) {
        for line in &self.printed {
            let Some(id) = line["event_id"].as_str().filter(|_| line["seq"].is_u64()) else {
                continue;
            };
            let record = by_id.get(id);
            let mut record = (*record.unwrap_or_else(|| panic!("not recorded: {line}"))).clone();
            record.as_object_mut().unwrap().remove("offset");
            assert_eq!(record, *line, "printed and recorded differ");
        }
    }

    /// The job events of each watch, in the order of their records.
    fn watches(&self) -> Vec<Vec<&Value>> {
        let mut watches: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event["job"].is_string()) {
            watches.entry(text(event, "watch")).or_default().push(event);
        }
        watches.into_values().collect()
    }
}

impl<'a> HookRun<'a> {
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

/// Numbered from 1 without a gap; each starts in the state that the previous one reached; only the last is an end.
fn is_complete_history(events: &[&Value]) {
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

/// Whether the server sent a status after the job's real end.
fn was_polled_after_its_end(server: &Server, job: JobRef) -> bool {
    let ended = server.ended_at(job);
    ended.is_some_and(|ended| {
        let after = |request: &forgewatch_sim::LoggedRequest| {
            request.job == Some(job) && request.at >= ended
        };
        server.log().iter().any(after)
    })
}

/// A repeated delivery of an event has a higher attempt number.
fn attempts_rise(hook_runs: &[HookRun]) {
    let mut attempts: BTreeMap<&str, u32> = BTreeMap::new();
    for run in hook_runs {
        let before = attempts.insert(run.id, run.attempt).unwrap_or_default();
        assert!(
            before < run.attempt,
            "{}: {before}, then {}",
            run.id,
            run.attempt
        );
    }
}

/// The hook first ran for the events of a watch in their order, and for all of them.
fn every_event_was_delivered_in_order(events: &[&Value], hook_runs: &[HookRun]) {
    let mut seen = BTreeSet::new();
    let watch = format!("{}-", text(events[0], "watch"));
    let firsts: Vec<&str> = (hook_runs.iter().map(|run| run.id))
        .filter(|id| id.starts_with(&watch) && seen.insert(*id))
        .collect();
    let recorded: Vec<&str> = events.iter().map(|event| text(event, "event_id")).collect();
    assert_eq!(firsts, recorded, "first runs, and recorded events");
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    let value = event[field].as_str();
    value.unwrap_or_else(|| panic!("{field} is missing: {event}"))
}
