//! What the steps of all inputs share; `on_status` and `on_error` add theirs.

use std::num::NonZeroI64;

use super::{Context, Next, Watch};
use crate::event::{Event, EventFields, EventId, EventType};
use crate::job::{JobKind, JobState, Outcome};
use crate::poll_log::{PollRecord, PollResult, WaitReason};
use crate::schedule::{CalibrationUpdate, Durations};
use crate::status::whole_percent;
use crate::time::millis;
use crate::time_left::TimeLeft;

/// A step in progress: the new watch and its effects so far.
pub(super) struct PendingStep<'a> {
    pub(super) watch: Watch,
    pub(super) cx: &'a Context<'a>,
    pub(super) events: Vec<Event>,
    pub(super) poll: Option<PollRecord>,
}

impl PendingStep<'_> {
    pub(super) fn on_due(&mut self) -> Next {
        if self.cx.now.up_ms < self.watch.poll_at {
            return self.on_deadline();
        }
        // Poll even if the error limits have passed: they are checked with the result. So neither a long sleep nor a
        // store that cannot record the event keeps a job from being polled.
        self.poll()
    }

    pub(super) fn poll(&mut self) -> Next {
        let now = self.cx.now.up_ms;
        self.watch.poll_at = self.watch.poll_at.min(now);
        if self.watch.requests == 0 {
            self.watch.first_poll_at = now;
            self.watch.first_poll_wall_ms = self.cx.now.wall_ms;
        }
        self.watch.requests = self.watch.requests.saturating_add(1);
        let wants_names = self.cx.limits.diff_info
            && self.watch.job_kind == JobKind::Diff
            && !self.watch.names_requested;
        // A deadline that has passed already is checked with the result.
        let give_up_at = self.watch.give_up_at(self.cx.limits);
        Next::Poll {
            diff_info: wants_names,
            deadline: give_up_at.filter(|&at| at > now).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn on_deadline(&mut self) -> Next {
        if let Some(end) = self.check_error_limits() {
            return end;
        }
        let stalled_at = self.watch.stalled_at(self.cx.limits);
        if stalled_at.is_some_and(|at| at <= self.cx.now.up_ms) {
            let fields = self.with_error_fields(self.waiting_fields());
            self.emit_stalled(fields);
        }
        self.wait()
    }

    pub(super) fn on_poll_now(&mut self) -> Next {
        self.watch.poll_at = self.cx.now.up_ms;
        self.wait()
    }

    pub(super) fn on_limits_changed(&mut self) -> Next {
        let latest = self.cx.now.plus(self.cx.limits.schedule.max_interval).up_ms;
        let latest = latest.max(self.watch.not_before());
        self.watch.poll_at = self.watch.poll_at.min(latest);
        self.wait()
    }

    pub(super) fn on_commit_failed(&mut self, retry_at: u64, not_before: u64) -> Next {
        if not_before > self.watch.not_before() {
            self.watch.errors.get_or_insert_default().not_before = not_before;
        }
        self.watch.poll_at = retry_at.max(not_before);
        Next::Wait {
            until: self.watch.poll_at,
            // What could not be committed is due again.
            deadline: self.watch.deadline(self.cx.limits).max(retry_at),
        }
    }

    pub(super) fn on_stop(&mut self, outcome: Outcome) -> Next {
        let eta = self.watch.eta.map(NonZeroI64::get);
        let fields = EventFields {
            eta,
            left: TimeLeft::new(
                eta.map(|eta| eta - self.cx.server_now_ms.div_euclid(1000)),
                None,
            ),
            reason: match outcome {
                Outcome::Abandoned(reason) => Some(reason),
                _ => None,
            },
            ..self.common_fields()
        };
        let fields = match outcome {
            // The user removed it; recent errors do not matter.
            Outcome::Removed => fields,
            _ => self.with_error_fields(fields),
        };
        self.end(outcome, fields)
    }

    /// Emits the ending event. The only place that does.
    pub(super) fn end(&mut self, outcome: Outcome, fields: EventFields) -> Next {
        let job_ended = matches!(
            outcome,
            Outcome::Completed | Outcome::Failed | Outcome::Squashed
        );
        let update = job_ended.then(|| {
            let calibration = self.cx.calibration.of(self.watch.job_kind);
            let history = &self.watch.history;
            history.calibration_update(self.cx.now.up_ms, calibration)
        });
        let duration = update.as_ref().and_then(CalibrationUpdate::duration);
        let durations = self.durations();
        let fields = EventFields {
            usual_ms: duration.and(durations.usual()).map(millis),
            unusual: duration.and_then(|duration| durations.unusual(duration)),
            ..fields
        };
        self.emit(EventType::Ended(outcome), fields);
        Next::End {
            outcome,
            // A job that failed says nothing about how long others take.
            calibration_update: update.map(|update| match outcome {
                Outcome::Completed => update,
                _ => update.without_duration(),
            }),
        }
    }

    /// How long jobs of this kind and image run.
    pub(super) fn durations(&self) -> &Durations {
        let calibration = self.cx.calibration.of(self.watch.job_kind);
        calibration.durations(self.watch.image())
    }

    pub(super) fn wait(&self) -> Next {
        Next::Wait {
            until: self.watch.poll_at,
            deadline: self.watch.deadline(self.cx.limits),
        }
    }

    /// Records the poll's result and the reason for the time of the next one.
    pub(super) fn record_poll(&mut self, result: PollResult, reason: WaitReason) {
        let now = self.cx.now;
        self.poll = Some(PollRecord {
            wall_ms: now.wall_ms,
            result,
            next_poll_ms: self.watch.poll_at.saturating_sub(now.up_ms),
            next_poll_reason: reason,
        });
    }

    pub(super) fn emit(&mut self, kind: EventType, fields: EventFields) {
        let origin = self.cx.limits.origin.clone();
        self.watch.seq = self.watch.seq.saturating_add(1);
        self.events.push(Event {
            id: EventId {
                watch: self.watch.id,
                seq: self.watch.seq,
            },
            kind,
            wall_ms: self.cx.now.wall_ms,
            job: Some(self.watch.job()),
            meta: self.watch.meta.clone(),
            fields: EventFields { origin, ..fields },
        });
    }

    pub(super) fn emit_stalled(&mut self, fields: EventFields) {
        self.watch.stalled = true;
        let stalled_ms = self.cx.now.up_ms.saturating_sub(self.watch.changed_at);
        let fields = EventFields {
            stalled_ms: Some(stalled_ms),
            ..fields
        };
        self.emit(EventType::Stalled, fields);
    }

    /// The fields of an event without a poll.
    pub(super) fn waiting_fields(&self) -> EventFields {
        let until = self.watch.poll_at.saturating_sub(self.cx.now.up_ms);
        EventFields {
            next_poll_ms: Some(until),
            ..self.common_fields()
        }
    }

    /// The fields of every event of a job.
    pub(super) fn common_fields(&self) -> EventFields {
        let watch = &self.watch;
        EventFields {
            state: watch
                .has_status
                .then(|| watch.state.unwrap_or(JobState::Unknown(0))),
            progress: watch.progress.map(whole_percent),
            requests: Some(watch.requests),
            elapsed_ms: watch
                .first_poll_at()
                .map(|at| self.cx.now.up_ms.saturating_sub(at)),
            ..EventFields::default()
        }
    }
}
