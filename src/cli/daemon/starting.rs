//! The daemon's start, which takes as long as the state file is large, or the disk full.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};

use crate::cli::watch::Stopped;
use crate::os::notify;
use crate::store::{Loaded, OpenError, Sqlite};

/// The service manager is asked for this much more time, again and again.
const EXTENSION: Duration = Duration::from_secs(10);
/// How long after the state could not be opened for want of room it is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Does what a start does, and has the service manager wait for it.
pub(super) async fn in_time<T>(start: impl Future<Output = T>) -> T {
    let mut start = pin!(start);
    let mut extensions = interval(EXTENSION / 4);
    loop {
        tokio::select! {
            biased;
            started = &mut start => return started,
            _ = extensions.tick() => notify::extend(EXTENSION),
        }
    }
}

/// Opens the state, and waits for a disk that is full: what is watched elsewhere meanwhile is not lost by waiting, and
/// a service that gave up would stay down when there is room again.
pub(super) async fn open(path: &Path) -> Result<(Sqlite, Loaded), Stopped> {
    let mut is_told = false;
    loop {
        let file = path.to_owned();
        // Every row is read, and signals are to be heard meanwhile.
        let opened = spawn_blocking(move || Sqlite::open(&file)).await;
        match opened.map_err(|e| Stopped::internal(&e))? {
            Ok(opened) => return Ok(opened),
            Err(error @ OpenError::Full { .. }) => {
                if !is_told {
                    tracing::error!(%error, "the start waits for room");
                }
                is_told = true;
                sleep(OPEN_AGAIN).await;
            }
            Err(error) => return Err(Stopped::unusable(&error)),
        }
    }
}
