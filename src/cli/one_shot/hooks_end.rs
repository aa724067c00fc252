//! The one-shot's side of its hooks: gives them what is told, tells what they gave up, and waits for them at the end.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{FRAME, Run, tell, ticks};
use crate::core::event::{Event, EventType, Facts};
use crate::hooks;
use crate::hooks::queue::GaveUp;
use crate::hooks::told::Told;

/// How long the hooks are waited for at the end, at least.
const HOOKS_WAIT: Duration = Duration::from_mins(1);

impl Run {
    /// Gives the event to the hooks that want it.
    pub(super) fn offer(&mut self, event: &Event) {
        match Told::of(event, &self.id.to_string()) {
            Ok(told) => self.hooks.offer(told),
            Err(error) => {
                tracing::error!(event_id = %event.id, %error, "no hook hears of an event");
            }
        }
    }

    /// Tells of deliveries given up: other hooks too, while there is time for that.
    pub(super) fn hooks_failed(&mut self, gave_up: Vec<GaveUp>) {
        let over = self
            .hooks_until
            .is_some_and(|until| until <= Instant::now());
        for gave_up in gave_up {
            self.hook_failed = true;
            let facts = Facts {
                error: Some(gave_up.why.error.clone()),
                delivery: Some(Box::new(hooks::given_up(&gave_up))),
                ..Facts::default()
            };
            let event = self.own(EventType::HookFailed, facts);
            // Who cannot be told of anything cannot be told of that.
            if !over && !gave_up.told.is_hook_failed() {
                self.offer(&event);
            }
            self.untold.push_back(event);
        }
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
        while !self.hooks.is_idle() && Instant::now() < limit {
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
                told = tell(&mut self.report, &self.untold), if !self.untold.is_empty() => {
                    self.untold.drain(..told);
                }
                gave_up = self.hooks.advance() => self.hooks_failed(gave_up),
                _ = frames.tick(), if self.report.wants_rows() => self.show(),
                _ = beats.tick(), if beats_at_all => self.heartbeat(),
            }
        }
        let gave_up = self.hooks.give_up_all("given up as the watch was over");
        self.hooks_failed(gave_up);
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
