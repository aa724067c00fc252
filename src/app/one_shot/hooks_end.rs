//! The one-shot's side of its hooks: tells what they gave up, and waits for them at the end.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Run, tell};
use crate::app::ticks;
use crate::report::FRAME;
use forgewatch_core::event::Event;

/// From so long a wait for the hooks on, somebody may wonder what is waited for.
const WORD_AFTER: Duration = Duration::from_secs(2);
/// How long the hooks are waited for at the end, at least.
const HOOKS_WAIT: Duration = Duration::from_mins(1);

impl Run {
    /// Tells of deliveries given up.
    pub(super) fn hooks_failed(&mut self, failed: Vec<Event>) {
        self.flaws.hook_failed |= !failed.is_empty();
        self.untold.extend(failed);
    }

    /// Waits for the hooks, up to what is left of `--timeout` or a minute, whichever is longer; what is not delivered
    /// by then is given up. A second signal ends the waiting.
    pub(super) async fn end_hooks(&mut self) {
        let least = Instant::now() + HOOKS_WAIT;
        let limit = self.deadline.map_or(least, |deadline| deadline.max(least));
        let limit = *self.hooks_until.get_or_insert(limit);
        let mut frames = ticks(FRAME);
        let mut beats = ticks(self.options.heartbeat.unwrap_or(FRAME));
        let beats_at_all = self.options.heartbeat.is_some();
        let mut word = pin!(sleep(WORD_AFTER));
        while !self.hooks.is_idle() && !self.flaws.state_unusable && Instant::now() < limit {
            tokio::select! {
                biased;
                stop = self.stops.next() => {
                    self.stop(stop);
                    // Only a second one sets this anew.
                    if self.hooks_until != Some(limit) {
                        break;
                    }
                }
                () = sleep_until(limit) => self.stop_hooks().await,
                () = &mut word, if !word.is_elapsed() => {
                    let deliveries = self.hooks.waiting();
                    tracing::info!(deliveries, "all jobs have ended, hooks are waited for");
                }
                told = tell(&mut self.report, &self.untold), if !self.untold.is_empty() => {
                    self.untold.drain(..told);
                }
                failed = self.hooks.advance() => {
                    let failed = self.unbroken(failed);
                    self.hooks_failed(failed);
                }
                _ = frames.tick(), if self.report.wants_rows() => self.show(),
                _ = beats.tick(), if beats_at_all => self.heartbeat(),
            }
        }
        // A hook that waits for its turn could not hear of it any more.
        if self
            .hooks_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.hooks.tell_no_failures();
        }
        let failed = self
            .hooks
            .give_up_all("given up as the watch was over")
            .await;
        self.hooks_failed(failed);
        // What became of the rest could not be recorded: the next run with this state delivers it, maybe again.
        self.flaws.state_unusable |= !self.hooks.is_idle();
    }

    /// Ends what is under way in order, or at once where a signal asks for that.
    async fn stop_hooks(&mut self) {
        tracing::warn!("the hooks take too long and are ended");
        tokio::select! {
            biased;
            stop = self.stops.next() => self.stop(stop),
            () = self.hooks.stop() => {}
        }
    }
}
