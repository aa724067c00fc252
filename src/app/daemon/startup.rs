//! Opens the daemon's state, which can take long for a large file or a full disk.

use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::app::command_error::CommandError;
use crate::store::{OpenError, SqliteStore, StoredState};

/// The delay before another try on a full disk.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Opens the state, and waits while the disk is full: a service that failed here would stay down when there is room
/// again.
pub(super) async fn open(path: &Path) -> Result<(SqliteStore, StoredState), CommandError> {
    let mut is_logged = false;
    loop {
        let file = path.to_owned();
        // Reads every row; in a thread, so that signals are still received.
        let opened = spawn_blocking(move || SqliteStore::open(&file)).await;
        match opened.map_err(CommandError::internal)? {
            Ok(opened) => return Ok(opened),
            Err(error @ OpenError::Unavailable { .. }) => {
                if !is_logged {
                    tracing::error!(
                        target: "forgewatch::daemon",
                        %error,
                        "startup waits for disk space"
                    );
                }
                is_logged = true;
                sleep(RETRY_DELAY).await;
            }
            Err(error) => return Err(CommandError::unusable(error)),
        }
    }
}
