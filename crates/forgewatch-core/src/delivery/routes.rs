//! Which hook receives which event.

use std::sync::Arc;

use super::DeliveryId;
use crate::event::{ALL_JOB_EVENTS, Event, FailedDelivery};
use crate::job::JobKind;

/// What the rules need to know of a configured hook.
#[derive(Clone, Debug)]
pub struct HookRules {
    /// Its name, unique: letters, digits and any of `. _ -`.
    pub name: Arc<str>,
    /// The event types it receives: exact names, or `job.*`.
    pub on: Vec<String>,
    /// The kinds of jobs whose events it receives. None: all kinds, and events about no job.
    pub kinds: Option<Vec<JobKind>>,
    /// How often a failed attempt is repeated before the delivery fails.
    pub retries: u32,
    /// Most attempts of this hook at the same time, at least 1.
    pub max_running: usize,
}

impl HookRules {
    fn matches(&self, event: &Event) -> bool {
        let (kind, job) = (event.kind.as_str(), event.job);
        let of_type = self
            .on
            .iter()
            .any(|on| on == kind || (on == ALL_JOB_EVENTS && kind.starts_with("job.")));
        let of_kind = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| job.is_some_and(|job| kinds.contains(&job.kind)));
        of_type && of_kind
    }
}

/// The configured hooks, as far as they decide who receives an event.
#[derive(Debug, Default)]
pub struct Routes {
    /// Sorted by name: equal deliveries of different hooks have a fixed order.
    hooks: Vec<HookRules>,
    failure_events_suppressed: bool,
}

impl Routes {
    /// Replaces the list of hooks.
    pub fn configure(&mut self, mut hooks: Vec<HookRules>) {
        hooks.sort_by(|a, b| a.name.cmp(&b.name));
        self.hooks = hooks;
    }

    /// From now on no `hook.failed` is delivered to hooks.
    pub fn suppress_failure_events(&mut self) {
        self.failure_events_suppressed = true;
    }

    /// The deliveries of an event, to be committed with it and then added to the [`super::Queue`].
    pub fn deliveries(&self, event: &Event) -> Vec<DeliveryId> {
        // A failed delivery of a `hook.failed` causes no further one.
        let is_skipped =
            |failed: &FailedDelivery| self.failure_events_suppressed || failed.of_hook_failed;
        if event.fields.delivery.as_deref().is_some_and(is_skipped) {
            return Vec::new();
        }
        let hooks = self.hooks.iter().filter(|hook| hook.matches(event));
        hooks
            .map(|hook| DeliveryId {
                event: event.id,
                hook: Arc::clone(&hook.name),
            })
            .collect()
    }
}
