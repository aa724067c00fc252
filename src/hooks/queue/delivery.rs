//! How an attempt at a delivery went, and what is told of one that was given up.

use std::sync::Arc;
use std::time::Duration;

use super::super::told::Told;
use crate::core::delivery::{DeliveryId, Failure};

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Delivered,
    /// It was not, and is tried again, not before `not_before` from now.
    Failed {
        /// What went wrong.
        why: Failure,
        /// The receiver's wish.
        not_before: Duration,
    },
    /// It was not, and never will be.
    Refused(Failure),
}

/// A delivery that has just been given up, for `hook.failed`.
#[derive(Clone, Debug, PartialEq)]
pub struct GaveUp {
    /// The delivery.
    pub id: DeliveryId,
    /// What was to be delivered.
    pub told: Arc<Told>,
    /// How many attempts there were.
    pub attempts: u32,
    /// What went wrong last.
    pub why: Failure,
}
