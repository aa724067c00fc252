//! Hooks: programs and webhooks that receive events.
//!
//! The rules of deliveries are in [`forgewatch_core::delivery`]. Here, the [`Outbox`] commits each event together with its
//! deliveries, and the [`Dispatcher`] makes them: by `exec` (in a [`supervisor`]) or by `webhook` (signed by
//! `signature`). A hook that hangs, dies or floods its output takes one of its own `max_running` places and nothing else.

mod admin;
mod dispatcher;
mod exec;
mod executor;
mod outbox;
mod settings;
mod signature;
pub mod supervisor;
#[cfg(test)]
mod tests;
mod webhook;

pub use admin::DeliveryActionResult;
pub use dispatcher::Dispatcher;
pub use executor::{Actions, AttemptFuture, Executor, StopSignal};
pub use outbox::Outbox;
pub use settings::{HookAction, HookSpec};
