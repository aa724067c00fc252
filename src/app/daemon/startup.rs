//! The daemon's start, which takes as long as the state file is large, or the disk full.

use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::app::watch::CommandError;
use crate::store::{Loaded, OpenError, Sqlite};

/// How long after the state could not be opened for want of room it is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Opens the state, and waits for a disk that is full: what is watched elsewhere meanwhile is not lost by waiting, and
/// a service that gave up would stay down when there is room again.
pub(super) async fn open(path: &Path) -> Result<(Sqlite, Loaded), CommandError> {
    let mut is_told = false;
    loop {
        let file = path.to_owned();
        // Every row is read, and signals are to be heard meanwhile.
        let opened = spawn_blocking(move || Sqlite::open(&file)).await;
        match opened.map_err(|e| CommandError::internal(&e))? {
            Ok(opened) => return Ok(opened),
            Err(error @ OpenError::Full { .. }) => {
                if !is_told {
                    tracing::error!(%error, "the start waits for room");
                }
                is_told = true;
                sleep(OPEN_AGAIN).await;
            }
            Err(error) => return Err(CommandError::unusable(&error)),
        }
    }
}
