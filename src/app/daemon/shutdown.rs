//! The daemon's shutdown, from the first signal to the last line.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::load_config::SqliteDaemon;
use super::output::{EventOutput, announce_lag};
use super::with_extended_timeout;
use crate::app::READER_GRACE;
use crate::store::{SqliteStore, StoreError};
use forgewatch_core::event::Event;

/// The time for stopping hooks: five seconds after TERM, five after KILL, and one to store the result.
const HOOKS_STOP: Duration = Duration::from_secs(11);
/// The time for storing the last `watch.lagged`.
const FINAL_COMMIT: Duration = Duration::from_secs(1);

/// Cancels polls, waits for commits, and gives hooks `stop_grace`. Dropped lines are recorded in a last `watch.lagged`
/// even if the reader is stuck.
pub(super) async fn graceful(
    mut daemon: SqliteDaemon,
    store: SqliteStore,
    mut output: EventOutput,
    stop_grace: Duration,
) {
    daemon.drain();
    let grace = Instant::now() + stop_grace;
    let drained = drain(&mut daemon, grace, |events| output.publish(events));
    match with_extended_timeout(Some(stop_grace), drained).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(target: "forgewatch::daemon", "stop_grace is over; stopping hooks");
            with_extended_timeout(Some(HOOKS_STOP), daemon.stop_hooks()).await;
            // A commit that is still pending may never succeed; the next start repeats its work.
            while let Some(Ok(events)) = daemon.advance().now_or_never() {
                output.publish(&events);
            }
        }
        Err(error) => {
            tracing::error!(target: "forgewatch::daemon", %error, "could not shut down gracefully");
        }
    }
    let mut last = Vec::new();
    if let Some(lag) = output.take_final_lag() {
        announce_lag(&mut daemon, lag);
        let soon = Instant::now() + FINAL_COMMIT;
        // If this commit fails, the next one fails too and is logged.
        let drained = drain(&mut daemon, soon, |events| last.extend_from_slice(events));
        let _ = with_extended_timeout(Some(FINAL_COMMIT), drained).await;
    }
    last.extend(daemon.record_finished().await);
    drop(daemon);
    store.close().await;
    let _ = timeout(READER_GRACE, output.close(&last)).await;
}

/// Drives the daemon until nothing is running, or until the deadline. Returns whether nothing is running.
async fn drain(
    daemon: &mut SqliteDaemon,
    until: Instant,
    mut publish: impl FnMut(&[Event]),
) -> Result<bool, StoreError> {
    while !daemon.is_drained() {
        tokio::select! {
            biased;
            events = daemon.advance() => publish(&events?),
            () = sleep_until(until) => return Ok(false),
        }
    }
    Ok(true)
}
