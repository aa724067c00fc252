//! Sample events and hooks.

use std::sync::Arc;
use std::time::Duration;

use crate::hooks::HookAction;
use crate::hooks::HookSpec;
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use forgewatch_core::job::{JobState, Outcome};

/// Event number `seq` of one watch of diff/1234: `job.failed`, `job.progressed` or `hook.failed`.
pub(super) fn event(seq: u32, kind: &str) -> Event {
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
        job: (kind != EventType::HookFailed).then(|| "diff/1234".parse().unwrap()),
        meta: None,
        fields: EventFields {
            state: Some(JobState::Running),
            progress: Some(40),
            ..EventFields::default()
        },
    }
}

/// A hook that receives these event types.
pub(super) fn hook(name: &str, on: &[&str], retries: u32, max_running: usize) -> HookSpec {
    HookSpec {
        name: Arc::from(name),
        on: on.iter().map(ToString::to_string).collect(),
        kinds: None,
        action: HookAction::Run {
            program: "/bin/true".into(),
            args: Vec::new(),
            env: Vec::new(),
        },
        timeout: Duration::from_mins(5),
        retries,
        max_running,
    }
}
