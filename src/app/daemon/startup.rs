//! Opens the daemon's state, which can take long for a large file or a full disk.

use std::path::Path;

use tokio::task::spawn_blocking;

use crate::app::command_error::CommandError;
use crate::daemon::retry_while_full;
use crate::store::{OpenError, SqliteStore, StoredState};

/// Opens the state, and waits while the disk is full.
pub(super) async fn open(path: &Path) -> Result<(SqliteStore, StoredState), CommandError> {
    let opened = retry_while_full(
        |error| match error {
            Ok(error @ OpenError::Unavailable { .. }) => Some(error.to_string()),
            _ => None,
        },
        async || {
            let file = path.to_owned();
            // Reads every row; in a thread, so that signals are still received.
            match spawn_blocking(move || SqliteStore::open(&file)).await {
                Ok(opened) => opened.map_err(Ok),
                Err(error) => Err(Err(error)),
            }
        },
    );
    opened.await.map_err(|error| match error {
        Ok(error) => CommandError::unusable(error),
        Err(error) => CommandError::internal(error),
    })
}
