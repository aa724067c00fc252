//! Sample events and hooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::HookRules;
use crate::event::{Event, EventFields, EventId, EventType, WatchId};
use crate::job::{JobState, Outcome};

/// Event number `seq` of one watch of diff/1234: `job.failed`, `job.progressed` or `hook.failed`.
pub fn event(seq: u32, kind: &str) -> Event {
    let kind = match kind {
        "job.failed" => EventType::Ended(Outcome::Failed),
        "hook.failed" => EventType::HookFailed,
        _ => EventType::Progressed,
    };
    Event {
        id: EventId {
            watch: WatchId([0xa5; 16]),
            seq,
        },
        kind,
        wall_ms: 1_767_323_045_678,
        job: "diff/1234"
            .parse()
            .ok()
            .filter(|_| kind != EventType::HookFailed),
        meta: None,
        fields: EventFields {
            state: Some(JobState::Running),
            progress: Some(40),
            ..EventFields::default()
        },
    }
}

/// A hook that receives these event types.
pub fn hook(name: &str, on: &[&str], retries: u32, max_running: usize) -> HookRules {
    HookRules {
        name: Arc::from(name),
        on: on.iter().map(ToString::to_string).collect(),
        kinds: None,
        labels: BTreeMap::new(),
        retries,
        max_running,
    }
}
