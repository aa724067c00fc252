//! The words of the queue: a delivery, how an attempt at it went, what becomes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::told::Told;
use crate::core::event::EventId;
use crate::core::time::Moment;

/// A delivery's identity: `<event>/<hook>`. Made of what is delivered to whom, so it is the same after a crash.
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

/// Why an attempt failed, or why there will be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a few words; holds no secret.
    pub error: String,
    /// The program's exit status, where it had one.
    pub exit_status: Option<i32>,
}

impl Failure {
    /// One without an exit status.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            exit_status: None,
        }
    }

    /// Given up for a reason that is no attempt's: says what went wrong with the last one too.
    pub(super) fn without_attempt(why: &str, last: Option<&Self>) -> Self {
        last.map_or_else(
            || Self::new(why),
            |last| Self {
                error: format!("{why}; the last attempt: {}", last.error),
                exit_status: last.exit_status,
            },
        )
    }
}

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

/// One thing that becomes of a delivery, to be recorded before it is true.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An attempt, counted from 1, is about to begin.
    Begin {
        /// Of this delivery.
        id: DeliveryId,
        /// The attempt's number.
        attempt: u32,
    },
    /// It arrived: nothing is left to do.
    Deliver {
        /// The delivery.
        id: DeliveryId,
    },
    /// It is tried again.
    Wait {
        /// The delivery.
        id: DeliveryId,
        /// From here on.
        until: Moment,
        /// What went wrong.
        why: Failure,
    },
    /// It is kept, and not tried until somebody asks for it.
    GiveUp {
        /// The delivery.
        id: DeliveryId,
        /// What went wrong last.
        why: Failure,
    },
    /// Somebody asked for it: a delivery given up is as good as new.
    Retry {
        /// The delivery.
        id: DeliveryId,
    },
    /// Somebody does not want it any more: a delivery given up is forgotten.
    Discard {
        /// The delivery.
        id: DeliveryId,
    },
}

/// A delivery as a store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its identity.
    pub id: DeliveryId,
    /// What is delivered.
    pub told: Arc<Told>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It waits for an attempt, or has one under way; due at this wall time, Unix milliseconds.
    Waiting {
        /// When.
        due_ms: i64,
    },
    /// It was given up.
    GivenUp(Failure),
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
