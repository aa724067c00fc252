//! Deliveries of events to hooks: which hook receives an event, in what order, how often, and when a delivery has failed.
//!
//! This file holds a delivery's id, states and changes: the queue decides about changes, and the store commits them before
//! they apply. It also holds the rules by which a hook receives an event. `payload` is what it receives, `queue` holds the
//! order and the retries, with the deliveries of one hook in `hook_queue`.

#[cfg(any(test, feature = "test-fixtures"))]
pub mod fixtures;
mod hook_queue;
mod hook_test;
mod payload;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{
    Event, EventFields, EventId, FailedDelivery, InvalidId, has_labels, matches_type,
};
use crate::job::JobKind;
use crate::time::Moment;

pub use hook_test::{HookTestReport, HookTestRequest};
pub use payload::{
    EVENT_VARIABLES, EventPayload, LABEL_VARIABLE, OPTIONAL_VARIABLES, PayloadError, label_variable,
};
pub use queue::Queue;

/// Identifies a delivery: `<event>/<hook>`, the same after a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The event.
    pub event: EventId,
    /// The hook's name.
    pub hook: Arc<str>,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.event, self.hook)
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (event, hook) = text.split_once('/').ok_or(InvalidId)?;
        Ok(Self {
            event: event.parse()?,
            hook: hook.into(),
        })
    }
}

/// Why an attempt or a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// A short message without secrets.
    pub error: String,
    /// The exit status of the program, if it exited.
    pub exit_status: Option<i32>,
}

impl DeliveryFailure {
    /// A failure without an exit status.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            exit_status: None,
        }
    }

    /// A failure that no attempt caused; includes the error of the last attempt.
    #[must_use]
    pub fn without_attempt(why: &str, last: Option<&Self>) -> Self {
        last.map_or_else(
            || Self::new(why),
            |last| Self {
                error: format!("{why}; the last attempt: {}", last.error),
                exit_status: last.exit_status,
            },
        )
    }
}

/// A change of a delivery, to be committed before it applies.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryChange {
    /// An attempt begins.
    Begin {
        /// The delivery.
        id: DeliveryId,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// The receiver accepted the event.
    Deliver {
        /// The delivery.
        id: DeliveryId,
    },
    /// An attempt failed and will be repeated.
    Reschedule {
        /// The delivery.
        id: DeliveryId,
        /// Not before this time.
        until: Moment,
        /// Why the attempt failed.
        why: DeliveryFailure,
    },
    /// Its retries are used up. It is kept until it is retried or discarded.
    Fail {
        /// The delivery.
        id: DeliveryId,
        /// Why it failed.
        why: DeliveryFailure,
    },
    /// A client retries a failed delivery: pending again, with all attempts left.
    Retry {
        /// The delivery.
        id: DeliveryId,
    },
    /// A client discards a failed delivery.
    Discard {
        /// The delivery.
        id: DeliveryId,
    },
}

impl DeliveryChange {
    /// The delivery that changes.
    pub fn id(&self) -> &DeliveryId {
        match self {
            Self::Begin { id, .. }
            | Self::Deliver { id }
            | Self::Reschedule { id, .. }
            | Self::Fail { id, .. }
            | Self::Retry { id }
            | Self::Discard { id } => id,
        }
    }
}

/// A stored delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// The payload: a CloudEvents object in JSON.
    pub body: String,
    /// Number of attempts begun, interrupted ones included.
    pub attempts: u32,
    /// Number of failed attempts that were repeated.
    pub failures: u32,
    /// Its state.
    pub state: DeliveryState,
}

/// State of a delivery in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits for an attempt, or one is running.
    Pending {
        /// When it is due, Unix milliseconds; 0 is at once.
        due_ms: i64,
    },
    /// Its retries are used up.
    Failed(DeliveryFailure),
    /// The receiver accepted it.
    Delivered,
    /// A client discarded it.
    Discarded,
}

impl DeliveryState {
    /// Whether it is kept for a hook or for a decision of a client.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::Failed(_))
    }
}

impl DeliveryRow {
    /// A delivery without attempts, due at once.
    pub fn new(id: DeliveryId, body: String) -> Self {
        Self {
            id,
            body,
            attempts: 0,
            failures: 0,
            state: DeliveryState::Pending { due_ms: 0 },
        }
    }

    /// Applies a change. None, without effect, if the change is impossible in this state.
    #[must_use]
    pub fn apply(&mut self, change: &DeliveryChange) -> Option<()> {
        let is_pending = matches!(self.state, DeliveryState::Pending { .. });
        let was_attempted = is_pending && self.attempts > 0;
        let has_failed = matches!(self.state, DeliveryState::Failed(_));
        self.state = match change {
            DeliveryChange::Begin { attempt, .. } if is_pending => {
                self.attempts = *attempt;
                return Some(());
            }
            DeliveryChange::Deliver { .. } if was_attempted => DeliveryState::Delivered,
            DeliveryChange::Reschedule { until, .. } if was_attempted => {
                self.failures = self.failures.saturating_add(1);
                DeliveryState::Pending {
                    due_ms: until.wall_ms,
                }
            }
            DeliveryChange::Fail { why, .. } if is_pending => DeliveryState::Failed(why.clone()),
            DeliveryChange::Retry { .. } if has_failed => {
                (self.attempts, self.failures) = (0, 0);
                DeliveryState::Pending { due_ms: 0 }
            }
            DeliveryChange::Discard { .. } if has_failed => DeliveryState::Discarded,
            _ => return None,
        };
        Some(())
    }
}

/// An attempt that the queue has reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The delivery.
    pub id: DeliveryId,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// What is delivered.
    pub payload: Arc<EventPayload>,
}

impl Attempt {
    /// The change to commit before the attempt starts.
    pub fn begin(&self) -> DeliveryChange {
        DeliveryChange::Begin {
            id: self.id.clone(),
            attempt: self.number,
        }
    }
}

/// Result of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The receiver accepted the event.
    Delivered,
    /// The attempt failed and is repeated.
    Failed {
        /// The cause.
        why: DeliveryFailure,
        /// Minimum delay, as requested by the receiver.
        not_before: Duration,
    },
    /// The receiver rejected the event for good: no attempt follows.
    Rejected(DeliveryFailure),
}

/// A decision of the queue: the change to commit and, if the delivery fails by it, the fields of its `hook.failed`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The change.
    pub change: DeliveryChange,
    /// The fields of `hook.failed`.
    pub hook_failed: Option<Box<EventFields>>,
}

/// A pending or running delivery, for lists.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// What is delivered.
    pub payload: Arc<EventPayload>,
    /// Number of attempts begun.
    pub attempts: u32,
    /// Its state.
    pub state: OpenState,
    /// Why the last attempt failed.
    pub last_failure: Option<DeliveryFailure>,
}

/// State of an open delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenState {
    /// It waits for its turn or its next attempt.
    Pending {
        /// Earliest time, Unix milliseconds.
        due_ms: i64,
    },
    /// An attempt is running.
    Running,
}

/// What the rules need to know of a configured hook.
#[derive(Clone, Debug)]
pub struct HookRules {
    /// Its name, unique: letters, digits and any of `. _ -`.
    pub name: Arc<str>,
    /// The event types it receives: exact names, or `job.*`.
    pub on: Vec<String>,
    /// The kinds of jobs whose events it receives. None: all kinds, and events about no job.
    pub kinds: Option<Vec<JobKind>>,
    /// The labels of the jobs whose events it receives: all of them. Empty: any, and events about no job.
    pub labels: BTreeMap<String, String>,
    /// How often a failed attempt is repeated before the delivery fails.
    pub retries: u32,
    /// Most attempts of this hook at the same time, at least 1.
    pub max_running: usize,
}

impl HookRules {
    fn matches(&self, event: &Event) -> bool {
        let (kind, job) = (event.kind.as_str(), event.job);
        let of_type = self.on.iter().any(|on| matches_type(on, kind));
        let of_kind = self
            .kinds
            .as_ref()
            .is_none_or(|kinds| job.is_some_and(|job| kinds.contains(&job.kind)));
        let labels = event.meta.as_ref().map(|meta| &meta.labels);
        let labeled = labels.map_or(self.labels.is_empty(), |has| has_labels(has, &self.labels));
        of_type && of_kind && labeled
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

    /// The deliveries of an event, to be committed with it and then added to the [`Queue`].
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
