//! Steps for polls that returned a status.

use std::num::NonZeroI64;
use std::sync::Arc;

use super::step::PendingStep;
use super::{ErrorState, EtaBaseline, FreshStatus, Next, Outcome};
use crate::event::{EventFields, EventType};
use crate::job::JobState;
use crate::limits::JobFailed;
use crate::poll_log::{PollResult, WaitReason};
use crate::rng::SeededRng;
use crate::schedule::{Observation, Policy, Unusual};
use crate::status::{DiffNames, Status, whole_percent};
use crate::time::millis;
use crate::time_left::TimeLeft;
use crate::verdict::{ErrorKind, PollError};

/// `job.eta_slipped` needs a delay above this and above a quarter of the time left.
const MIN_SLIP_SECONDS: i64 = 60;

impl PendingStep<'_> {
    pub(super) fn on_status(&mut self, mut fresh: FreshStatus, rng: &mut SeededRng) -> Next {
        let failed_state = fresh.status.state == Some(JobState::Failed);
        // A count alone does not end the job, so that the error of the request counts.
        if fresh.status.rejected && self.cx.limits.jobfailed == JobFailed::Count && !failed_state {
            let error = PollError {
                kind: ErrorKind::Api,
                http_status: Some(200),
                message: fresh.status.error.unwrap_or_default(),
                retry_after: None,
            };
            return self.on_error(error, rng);
        }
        self.clear_errors();
        self.keep_names(std::mem::take(&mut fresh.status.names));

        let first = !std::mem::replace(&mut self.watch.has_status, true);
        let before = self.watch.state;
        let outcome = self.outcome(&fresh.status);
        let changed = self.absorb(&fresh.status);
        if outcome.is_none() {
            self.schedule_next(&fresh);
        }

        if first {
            self.watch.reported_progress = self.progress_step();
            self.emit(EventType::Watching, self.status_fields(&fresh, outcome));
        } else if changed && std::mem::take(&mut self.watch.stalled) {
            self.emit(EventType::Resumed, self.status_fields(&fresh, outcome));
        }
        if let Some(outcome) = outcome {
            return self.end(outcome, self.end_fields(&fresh, outcome, before));
        }
        if !first {
            self.emit_changes(before, &fresh);
            self.emit_stall(&fresh);
        }
        self.emit_eta_slip(&fresh);
        self.emit_slow(&fresh);
        self.wait()
    }

    /// Whether the job has ended. With `jobfailed = "count"`, a failure needs a second status that confirms it.
    fn outcome(&mut self, status: &Status) -> Option<Outcome> {
        let failed_before = self.watch.errors.take().and_then(|t| t.failed_since);
        let failed_state = status.state == Some(JobState::Failed);
        match self.cx.limits.jobfailed {
            JobFailed::Count if failed_state => self.confirm_failure(failed_before),
            jobfailed => status.outcome(jobfailed),
        }
    }

    /// A failure is confirmed by two statuses with state 6, at least `min_interval` apart.
    fn confirm_failure(&mut self, failed_before: Option<u64>) -> Option<Outcome> {
        let now = self.cx.now.up_ms;
        let apart = millis(self.cx.limits.schedule.min_interval);
        if failed_before.is_some_and(|since| now.saturating_sub(since) >= apart) {
            return Some(Outcome::Failed);
        }
        let since = failed_before.unwrap_or(now);
        self.watch.errors = Some(Box::new(ErrorState {
            failed_since: Some(since),
            ..ErrorState::default()
        }));
        None
    }

    /// Updates the watch from the status; returns whether progress or `jobupdated` changed.
    fn absorb(&mut self, status: &Status) -> bool {
        let watch = &mut self.watch;
        let updated = status.updated.and_then(NonZeroI64::new);
        let changed = (updated.is_some() && updated != watch.updated)
            || (status.progress.is_some() && status.progress != watch.progress);
        if changed {
            watch.changed_at = self.cx.now.up_ms;
        }
        watch.state = status.state.or(watch.state);
        watch.progress = status.progress.or(watch.progress);
        watch.updated = updated.or(watch.updated);
        watch.eta = status.eta.and_then(NonZeroI64::new);
        changed
    }

    /// Schedules the next poll.
    fn schedule_next(&mut self, fresh: &FreshStatus) {
        let status = &fresh.status;
        let rules = &self.cx.limits.schedule;
        let now = self.cx.now;
        let observation = Observation {
            up_ms: now.up_ms,
            server_now_ms: Some(fresh.server_now_ms),
            eta: status.eta,
            start: status.start,
            progress: status.progress,
        };
        let calibration = self.cx.calibration.of(self.watch.job_kind);
        let (history, plan) = self.watch.history.observe(&observation, calibration, rules);
        self.watch.history = history;
        let failure_to_confirm = self.watch.errors.is_some();
        let (wait, reason) = match rules.policy {
            _ if failure_to_confirm => (rules.min_interval, WaitReason::Confirmation),
            _ if fresh.min_wait > plan.wait => (
                fresh.min_wait.min(rules.max_interval),
                WaitReason::LargeResponse,
            ),
            Policy::Inspection => (plan.wait, WaitReason::Forecast(plan.basis)),
            Policy::Exponential => {
                let limited_by = plan.basis.limited_by;
                (plan.wait, WaitReason::Exponential { limited_by })
            }
        };
        self.watch.poll_at = now.plus(wait.min(rules.max_interval)).up_ms;
        let result = PollResult::Status {
            state: status.state.map(|state| state.as_str().into()),
            progress: status.progress.map(whole_percent),
            eta_seconds: eta_seconds(fresh),
        };
        self.record_poll(result, reason);
    }

    fn emit_changes(&mut self, before: Option<JobState>, fresh: &FreshStatus) {
        let state = self.watch.state;
        if state != before {
            if is_backwards(before, state) {
                self.watch.reported_progress = self.progress_step();
            }
            let fields = EventFields {
                previous_state: before,
                ..self.status_fields(fresh, None)
            };
            self.emit(EventType::StateChanged, fields);
        }
        let step = self.progress_step();
        if step > self.watch.reported_progress {
            self.watch.reported_progress = step;
            self.emit(EventType::Progressed, self.status_fields(fresh, None));
        }
    }

    fn emit_stall(&mut self, fresh: &FreshStatus) {
        let unchanged_for = self.cx.now.up_ms.saturating_sub(self.watch.changed_at);
        if !self.watch.stalled && unchanged_for >= millis(self.cx.limits.stalled_after) {
            self.emit_stalled(self.status_fields(fresh, None));
        }
    }

    /// Compares the ETA with the earliest one since the last `job.eta_slipped`, so that many small delays add up.
    fn emit_eta_slip(&mut self, fresh: &FreshStatus) {
        let (Some(eta), Some(left)) = (self.watch.eta, eta_seconds(fresh)) else {
            return;
        };
        let baseline = EtaBaseline {
            eta,
            seconds_left: u32::try_from(left.max(0)).unwrap_or(u32::MAX),
        };
        let Some(base) = self.watch.eta_baseline.filter(|base| base.eta <= eta) else {
            self.watch.eta_baseline = Some(baseline);
            return;
        };
        let later = eta.get().saturating_sub(base.eta.get());
        if later > MIN_SLIP_SECONDS && later > i64::from(base.seconds_left) / 4 {
            self.watch.eta_baseline = Some(baseline);
            self.emit(EventType::EtaSlipped, self.status_fields(fresh, None));
        }
    }

    fn emit_slow(&mut self, fresh: &FreshStatus) {
        let age = self.watch.history.age_at(self.cx.now.up_ms);
        let durations = self.durations();
        if self.watch.slow || durations.unusual(age) != Some(Unusual::Slow) {
            return;
        }
        let fields = EventFields {
            run_ms: Some(millis(age)),
            usual_ms: durations.usual().map(millis),
            ..self.status_fields(fresh, None)
        };
        self.watch.slow = true;
        self.emit(EventType::Slow, fields);
    }

    fn keep_names(&mut self, names: DiffNames) {
        self.watch.names_requested = true;
        let mut meta = self.watch.meta.as_deref().cloned().unwrap_or_default();
        if !names.is_empty() && meta.names.is_empty() {
            meta.names = names;
            self.watch.meta = Some(Arc::new(meta));
        }
    }

    /// The highest multiple of `progress_step` that progress has reached.
    fn progress_step(&self) -> u8 {
        let step = self.cx.limits.progress_step.max(1);
        self.watch.progress.map_or(0, whole_percent) / step * step
    }

    /// The fields of an event caused by this status.
    fn status_fields(&self, fresh: &FreshStatus, outcome: Option<Outcome>) -> EventFields {
        let until = self.watch.poll_at.saturating_sub(self.cx.now.up_ms);
        let (calibration, now) = (self.cx.calibration, self.cx.now.up_ms);
        let left = self.watch.time_left(calibration, now, fresh.server_now_ms);
        EventFields {
            left: match outcome {
                None => left,
                Some(_) => TimeLeft::new(left.eta_seconds, None),
            },
            state_name: fresh.status.state_name.clone(),
            eta: fresh.status.eta,
            next_poll_ms: outcome.is_none().then_some(until),
            ..self.common_fields()
        }
    }

    /// The fields of the ending event. Its state is that of the outcome, even if the server's state lags behind
    /// `jobfailed` or the progress; `state_name` keeps the server's word.
    fn end_fields(
        &self,
        fresh: &FreshStatus,
        outcome: Outcome,
        before: Option<JobState>,
    ) -> EventFields {
        let fields = self.status_fields(fresh, Some(outcome));
        let status = &fresh.status;
        let state = match outcome {
            Outcome::Completed => Some(JobState::Completed),
            Outcome::Failed => Some(JobState::Failed),
            Outcome::Squashed => Some(JobState::Squashed),
            _ => fields.state,
        };
        let delay = status
            .updated
            .map(|at| fresh.server_now_ms.saturating_sub(at.saturating_mul(1000)));
        EventFields {
            state,
            previous_state: before.filter(|_| before != state),
            error_message: status.error.clone(),
            files: status.files.filter(|_| outcome == Outcome::Completed),
            detection_delay_ms: delay.map(|ms| u64::try_from(ms).unwrap_or(0)),
            queued_ms: span_ms(status.created, status.start),
            run_ms: span_ms(status.start, status.updated),
            ..fields
        }
    }
}

/// The time between two instants in Unix seconds; None if one is missing, or they are in the wrong order.
fn span_ms(from: Option<i64>, to: Option<i64>) -> Option<u64> {
    let seconds = u64::try_from(to?.checked_sub(from?)?).ok()?;
    Some(seconds.saturating_mul(1_000))
}

/// Seconds until the ETA, by the server's clock; negative after it.
fn eta_seconds(fresh: &FreshStatus) -> Option<i64> {
    let now = fresh.server_now_ms.div_euclid(1000);
    fresh.status.eta.map(|eta| eta - now)
}

/// Whether a job went from a later state to an earlier one; never for states outside the table.
fn is_backwards(before: Option<JobState>, now: Option<JobState>) -> bool {
    match (before, now) {
        (Some(JobState::Unknown(_)), _) | (_, Some(JobState::Unknown(_))) => false,
        (Some(before), Some(now)) => now.id() < before.id(),
        _ => false,
    }
}
