//! The end of a run that reports to a reader: a slow reader is waited for, but not without end.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::READER_GRACE;
use crate::os::signals::{TerminationSignal, TerminationSignals};

/// What limits the wait for the reader.
pub(super) struct Closing {
    /// The signal that stopped the run.
    pub(super) stop: Option<TerminationSignal>,
    /// The end of `--timeout`.
    pub(super) deadline: Option<Instant>,
    /// How long to wait for a reader that does not read; None unless the run is stopping.
    pub(super) stop_deadline: Option<Instant>,
}

impl Closing {
    /// Waits for `rest`, which reports the remaining lines and restores the screen: until a signal or `--timeout`, and
    /// then for [`READER_GRACE`]. Err if the reader has not read everything by then.
    pub(super) async fn finish(
        mut self,
        stops: &mut TerminationSignals,
        rest: impl Future<Output = ()>,
    ) -> Result<(), Option<TerminationSignal>> {
        let mut rest = pin!(rest);
        loop {
            let grace_end = Some(Instant::now() + READER_GRACE);
            tokio::select! {
                biased;
                () = &mut rest => return Ok(()),
                signal = stops.next() => {
                    if self.stop.is_some() {
                        return Err(self.stop);
                    }
                    self.stop = Some(signal);
                    self.stop_deadline = self.stop_deadline.or(grace_end);
                }
                () = at(self.stop_deadline) => return Err(self.stop),
                () = at(self.deadline), if self.stop_deadline.is_none() => self.stop_deadline = grace_end,
            }
        }
    }
}

/// None without a limit, or if it is beyond the range of the clock.
pub(super) fn deadline_after(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
