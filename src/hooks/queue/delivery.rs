//! How an attempt at a delivery went, and how deliveries are shown.

use std::sync::Arc;
use std::time::Duration;

use super::super::payload::EventPayload;
use forgewatch_core::delivery::{DeliveryFailure, DeliveryId};

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Delivered,
    /// It was not, and is tried again, not before `not_before` from now.
    Failed {
        /// What went wrong.
        why: DeliveryFailure,
        /// The receiver's wish.
        not_before: Duration,
    },
    /// It was not, and never will be.
    Refused(DeliveryFailure),
}

/// A delivery as people are shown it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The delivery.
    pub id: DeliveryId,
    /// What is to be delivered.
    pub told: Arc<EventPayload>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// Where it stands.
    pub stands: Stands,
    /// What went wrong last.
    pub last: Option<DeliveryFailure>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// For its turn, or for this wall time, Unix milliseconds.
    Pending {
        /// Not before.
        due_ms: i64,
    },
    /// It is being tried.
    Running,
}
