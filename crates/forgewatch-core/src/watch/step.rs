//! A step under way: what every kind of input shares. [`super::answered`] and [`super::failed`] add what is theirs.

use std::num::NonZeroI64;

use super::{Context, Next, Watch};
use crate::event::{Event, EventFields, EventId, EventType};
use crate::job::{JobKind, JobState, Outcome};
use crate::poll_log::{Poll, PollResult, WaitReason};
use crate::status::whole_percent;

/// A step under way: the watch as it will be, and what is to be told of it.
pub(super) struct Step<'a> {
    pub(super) watch: Watch,
    pub(super) cx: &'a Context<'a>,
    pub(super) events: Vec<Event>,
    pub(super) poll: Option<Poll>,
}

impl Step<'_> {
    pub(super) fn due(&mut self) -> Next {
        let now = self.cx.now.up_ms;
        if now < self.watch.poll_at {
            return self.overdue().unwrap_or_else(|| self.wait());
        }
        // Asked first, however long asking has failed: what is told of that is told with what comes of it. So neither a
        // long sleep nor a disk that takes no record of it keeps a job from being asked.
        if self.watch.requests == 0 {
            self.watch.first_poll = now;
            self.watch.began = self.cx.now.wall_ms;
        }
        self.watch.requests = self.watch.requests.saturating_add(1);
        let wants_names = self.cx.limits.diff_info
            && self.watch.job_kind == JobKind::Diff
            && !self.watch.asked_names;
        Next::Poll {
            diff_info: wants_names,
        }
    }

    pub(super) fn stop(&mut self, outcome: Outcome) -> Next {
        let eta = self.watch.eta.map(NonZeroI64::get);
        let facts = EventFields {
            eta,
            eta_seconds: eta.map(|eta| eta - self.cx.server_now_ms.div_euclid(1000)),
            reason: match outcome {
                Outcome::Abandoned(reason) => Some(reason),
                _ => None,
            },
            ..self.facts()
        };
        let facts = match outcome {
            // The user takes it out, whatever is wrong with asking.
            Outcome::Removed => facts,
            _ => self.with_trouble(facts),
        };
        self.end(outcome, facts)
    }

    /// Tells of the end. The only place that does.
    pub(super) fn end(&mut self, outcome: Outcome, facts: EventFields) -> Next {
        let own = matches!(
            outcome,
            Outcome::Completed | Outcome::Failed | Outcome::Squashed
        );
        let samples = own.then(|| self.watch.trace.samples(self.cx.now.up_ms));
        self.emit(EventType::Ended(outcome), facts);
        Next::End { outcome, samples }
    }

    pub(super) fn wait(&self) -> Next {
        Next::Wait {
            until: self.watch.wake_at(self.cx.limits),
        }
    }

    /// Keeps what a request brought and why the next one is when it is.
    pub(super) fn keep_poll(&mut self, brought: PollResult, why: WaitReason) {
        let now = self.cx.now;
        self.poll = Some(Poll {
            wall_ms: now.wall_ms,
            brought,
            next_poll_ms: self.watch.poll_at.saturating_sub(now.up_ms),
            why,
        });
    }

    pub(super) fn emit(&mut self, kind: EventType, facts: EventFields) {
        self.watch.seq = self.watch.seq.saturating_add(1);
        self.events.push(Event {
            id: EventId {
                watch: self.watch.id,
                seq: self.watch.seq,
            },
            kind,
            wall_ms: self.cx.now.wall_ms,
            job: Some(self.watch.job()),
            about: self.watch.about.clone(),
            facts,
        });
    }

    /// What every event of a job tells: the last that is known of it.
    pub(super) fn facts(&self) -> EventFields {
        let watch = &self.watch;
        EventFields {
            state: watch
                .answered
                .then(|| watch.state.unwrap_or(JobState::Unknown(0))),
            progress: watch.progress.map(whole_percent),
            requests: Some(watch.requests),
            elapsed_ms: watch
                .first_poll()
                .map(|at| self.cx.now.up_ms.saturating_sub(at)),
            ..EventFields::default()
        }
    }
}
