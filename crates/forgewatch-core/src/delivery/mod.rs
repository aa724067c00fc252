//! Deliveries of events to hooks: which hook receives an event, in what order, how often, and when a delivery has failed.
//!
//! `types` holds a delivery's id, states and changes, `payload` what a hook receives, `routes` which hook receives an event,
//! `queue` the order and the retries, with the deliveries of one hook in `hook_queue`.

#[cfg(any(test, feature = "test-fixtures"))]
pub mod fixtures;
mod hook_queue;
mod payload;
mod queue;
mod routes;
#[cfg(test)]
mod tests;
mod types;

pub use payload::{EVENT_VARIABLES, EventPayload, PayloadError};
pub use queue::Queue;
pub use routes::{HookRules, Routes};
pub use types::{
    Attempt, AttemptResult, DeliveryChange, DeliveryFailure, DeliveryId, DeliveryRow,
    DeliveryState, OpenDelivery, OpenState, Settlement,
};
