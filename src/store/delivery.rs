//! A delivery's life, by one rule for both stores: waiting, running, then delivered, or waiting again, or given up.

use std::fmt;
use std::str::FromStr;

use super::StoreError;
use crate::core::event::EventId;

/// A delivery's number: rises, and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event for a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The hook's name.
    pub hook: String,
    /// One of the events of the same commit.
    pub event: EventId,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// For its first attempt, or its next.
    Waiting,
    /// An attempt began; after a start: it was cut off.
    Running,
    /// Done.
    Delivered,
    /// Not tried again unless somebody asks for it.
    GivenUp,
    /// Taken out by the user.
    Discarded,
}

impl DeliveryState {
    const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Running,
        Self::Delivered,
        Self::GivenUp,
        Self::Discarded,
    ];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
            Self::Discarded => "discarded",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or(())
    }
}

/// One event on its way to one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: DeliveryId,
    /// The hook's name.
    pub hook: String,
    /// The event, whose watch and hook make up its queue.
    pub event: EventId,
    /// That event's offset.
    pub offset: u64,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts begun since it was made or retried by hand.
    pub attempts: u32,
    /// Wall time of its next attempt, where it waits.
    pub due_ms: i64,
    /// Why the last attempt failed, or it was given up.
    pub reason: Option<String>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The attempt did it.
    Delivered,
    /// The attempt failed; another follows.
    Failed {
        /// Wall time of the next attempt.
        due_ms: i64,
        /// What went wrong.
        reason: String,
    },
    /// No attempt follows, whether it ran or waited.
    GaveUp {
        /// Why.
        reason: String,
    },
    /// The user wants it tried again from the beginning.
    Retry {
        /// Now, as wall time.
        now_ms: i64,
    },
    /// The user does not want it any more.
    Discard,
}

/// What one attempt delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// The event's log record, as JSON.
    pub record: String,
}

impl Delivery {
    /// Whether it is still wanted: waits, runs, or waits for somebody to decide.
    pub(super) fn is_open(&self) -> bool {
        self.is_pending() || self.state == DeliveryState::GivenUp
    }

    /// Whether an attempt is to come, or to end.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, DeliveryState::Waiting | DeliveryState::Running)
    }

    /// An attempt begins. One that runs already was cut off by a stop.
    pub(super) fn start(&mut self) -> Result<(), StoreError> {
        if !self.is_pending() {
            return Err(self.refuse("begun"));
        }
        self.state = DeliveryState::Running;
        self.attempts = self.attempts.saturating_add(1);
        Ok(())
    }

    /// Takes over what became of it, if that can follow where it stands.
    pub(super) fn apply(&mut self, change: Change) -> Result<(), StoreError> {
        let running = self.state == DeliveryState::Running;
        match change {
            Change::Delivered if running => {
                self.state = DeliveryState::Delivered;
                self.reason = None;
            }
            Change::Failed { due_ms, reason } if running => {
                self.state = DeliveryState::Waiting;
                self.due_ms = due_ms;
                self.reason = Some(reason);
            }
            Change::GaveUp { reason } if self.is_pending() => {
                self.state = DeliveryState::GivenUp;
                self.reason = Some(reason);
            }
            Change::Retry { now_ms } if self.state == DeliveryState::GivenUp => {
                self.state = DeliveryState::Waiting;
                self.attempts = 0;
                self.due_ms = now_ms;
            }
            Change::Discard if self.is_open() && !running => {
                self.state = DeliveryState::Discarded;
            }
            Change::Delivered => return Err(self.refuse("marked delivered")),
            Change::Failed { .. } => return Err(self.refuse("marked failed")),
            Change::GaveUp { .. } => return Err(self.refuse("given up")),
            Change::Retry { .. } => {
                return Err(self.refuse("retried: only one that was given up can"));
            }
            Change::Discard => return Err(self.refuse("discarded")),
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> StoreError {
        let state = match self.state {
            DeliveryState::GivenUp => "given up",
            state => state.as_str(),
        };
        StoreError::Refused(format!(
            "delivery {} is {state}, it can't be {what}",
            self.id
        ))
    }
}

/// The refusal of a number that no delivery has.
pub(super) fn unknown(id: DeliveryId) -> StoreError {
    StoreError::Refused(format!("there is no delivery {id}"))
}
