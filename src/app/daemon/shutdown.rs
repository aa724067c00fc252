//! The daemon's stop, from the first signal to the last line.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::output::EventOutput;
use super::service_timeout::with_extended_timeout;
use super::{Watching, announce_lag};
use crate::app::STUCK_READER;
use crate::store::{Sqlite, StoreError};
use forgewatch_core::event::Event;

/// How long hooks may take to end, after TERM, after KILL, and to be told: five seconds, five more, and one.
const HOOKS_END: Duration = Duration::from_secs(11);
/// How long the disk may take to record which lines are missing, when all else is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Requests are dropped, what is being recorded is waited for, hooks have `stop_grace`. Which lines were dropped that
/// nobody was told of is put on record even where the reader is stuck, and told where it reads on.
pub(super) async fn in_order(
    mut daemon: Watching,
    store: Sqlite,
    mut telling: EventOutput,
    stop_grace: Duration,
) {
    daemon.wind_up();
    let grace = Instant::now() + stop_grace;
    let settled = settle(&mut daemon, grace, |events| telling.tell(events));
    match with_extended_timeout(Some(stop_grace), settled).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("what is under way takes too long and is ended");
            with_extended_timeout(Some(HOOKS_END), daemon.stop_hooks()).await;
            // What the disk has not taken by now it may never take: the next start finds it undone.
            while let Some(Ok(events)) = daemon.advance().now_or_never() {
                telling.tell(&events);
            }
        }
        Err(error) => tracing::error!(%error, "the stop is not in order"),
    }
    let mut last = Vec::new();
    if let Some(lag) = telling.last_confession() {
        announce_lag(&mut daemon, lag);
        let soon = Instant::now() + LAST_WORDS;
        // Where it can't be recorded, neither can the end, which says so.
        let settled = settle(&mut daemon, soon, |events| last.extend_from_slice(events));
        let _ = with_extended_timeout(Some(LAST_WORDS), settled).await;
    }
    last.extend(daemon.finished().await);
    drop(daemon);
    store.close().await;
    let _ = timeout(STUCK_READER, telling.end(&last)).await;
}

/// Drives the daemon until nothing is under way any more, or until then; whether nothing is.
async fn settle(
    daemon: &mut Watching,
    until: Instant,
    mut tell: impl FnMut(&[Event]),
) -> Result<bool, StoreError> {
    while !daemon.is_settled() {
        tokio::select! {
            biased;
            told = daemon.advance() => tell(&told?),
            () = sleep_until(until) => return Ok(false),
        }
    }
    Ok(true)
}
