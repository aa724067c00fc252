//! What must not be lost. The engine commits a step here before anything outside can see it.

pub mod calibration;

use std::future::Future;

use crate::core::event::Event;
use crate::core::watch::Watch;

/// One step of one watch, to be taken over whole or not at all.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The watch as it will be.
    pub watch: &'a Watch,
    /// What the step tells, in order.
    pub events: &'a [Event],
    /// Whether the watch ended with it.
    pub ended: bool,
}

/// A place that remembers.
pub trait Store {
    /// Resolves once the step is safe. After an error nothing of it was taken.
    fn commit(&self, commit: Commit<'_>) -> impl Future<Output = Result<(), StoreError>>;
}

/// Why a step could not be made safe.
#[derive(Debug, thiserror::Error)]
#[error("the step could not be recorded: {0}")]
pub struct StoreError(pub String);

/// The one-shot's: as safe as the process, which is all that a one-shot promises. The engine's own rows are the
/// state, so there is nothing to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Store for Memory {
    async fn commit(&self, _: Commit<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}
