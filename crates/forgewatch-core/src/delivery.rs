//! An event on its way to a hook: its identity, what can become of it, and how it is kept.
//!
//! `hooks` decides what becomes of a delivery, a store writes it down before it is true. Both speak of it by these
//! types.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::event::{EventId, InvalidId};
use super::time::Moment;

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

/// Why an attempt failed, or why there will be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// In a few words; holds no secret.
    pub error: String,
    /// The program's exit status, where it had one.
    pub exit_status: Option<i32>,
}

impl DeliveryFailure {
    /// One without an exit status.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            exit_status: None,
        }
    }

    /// Given up for a reason that is no attempt's: says what went wrong with the last one too.
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

/// One thing that becomes of a delivery, to be recorded before it is true.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryChange {
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
        why: DeliveryFailure,
    },
    /// It is kept, and not tried until somebody asks for it.
    GiveUp {
        /// The delivery.
        id: DeliveryId,
        /// What went wrong last.
        why: DeliveryFailure,
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

impl DeliveryChange {
    /// Of which delivery.
    pub fn id(&self) -> &DeliveryId {
        match self {
            Self::Begin { id, .. }
            | Self::Deliver { id }
            | Self::Wait { id, .. }
            | Self::GiveUp { id, .. }
            | Self::Retry { id }
            | Self::Discard { id } => id,
        }
    }
}

/// A delivery as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its identity.
    pub id: DeliveryId,
    /// What is delivered: the event as a CloudEvents object, in JSON.
    pub body: String,
    /// How many attempts were begun.
    pub attempts: u32,
    /// Where it stands.
    pub standing: DeliveryState,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits for an attempt, or has one under way; due at this wall time, Unix milliseconds.
    Pending {
        /// When; 0 is at once.
        due_ms: i64,
    },
    /// It was given up.
    Failed(DeliveryFailure),
    /// It arrived.
    Delivered,
    /// Somebody did not want it any more.
    Discarded,
}

impl DeliveryState {
    /// Whether something is still to be done: by a hook, or by somebody who decides.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::Failed(_))
    }
}

impl DeliveryRow {
    /// One that was never tried and is due at once.
    pub fn new(id: DeliveryId, body: String) -> Self {
        Self {
            id,
            body,
            attempts: 0,
            standing: DeliveryState::Pending { due_ms: 0 },
        }
    }

    /// Takes over what became of it. None, and nothing changes, where that cannot follow where it stands.
    #[must_use]
    pub fn apply(&mut self, change: &DeliveryChange) -> Option<()> {
        let waits = matches!(self.standing, DeliveryState::Pending { .. });
        let was_tried = waits && self.attempts > 0;
        let was_given_up = matches!(self.standing, DeliveryState::Failed(_));
        self.standing = match change {
            DeliveryChange::Begin { attempt, .. } if waits => {
                self.attempts = *attempt;
                return Some(());
            }
            DeliveryChange::Deliver { .. } if was_tried => DeliveryState::Delivered,
            DeliveryChange::Wait { until, .. } if was_tried => DeliveryState::Pending {
                due_ms: until.wall_ms,
            },
            DeliveryChange::GiveUp { why, .. } if waits => DeliveryState::Failed(why.clone()),
            DeliveryChange::Retry { .. } if was_given_up => {
                self.attempts = 0;
                DeliveryState::Pending { due_ms: 0 }
            }
            DeliveryChange::Discard { .. } if was_given_up => DeliveryState::Discarded,
            _ => return None,
        };
        Some(())
    }
}
