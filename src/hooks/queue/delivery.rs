//! The result of an attempt, and the view of an open delivery.

use std::sync::Arc;
use std::time::Duration;

use super::super::payload::EventPayload;
use forgewatch_core::delivery::{DeliveryFailure, DeliveryId};

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
