//! Steps for failed and suspended polls, and the limits on how long polls may fail.

use std::time::Duration;

use super::step::PendingStep;
use super::{ErrorState, FailureStreak, Next, Outcome};
use crate::event::{EventFields, EventType};
use crate::poll_log::{PollResult, WaitReason};
use crate::retry;
use crate::rng::SeededRng;
use crate::verdict::{ErrorHistory, ErrorKind, PollError, REFUSAL_GRACE, Verdict, judge};

/// Longest error message in a poll record, in characters.
const MAX_RECORDED_ERROR: usize = 200;

impl PendingStep<'_> {
    pub(super) fn on_error(&mut self, error: PollError, rng: &mut SeededRng) -> Next {
        let errors = self.count_error(&error);
        let verdict = judge(&error, &errors, self.cx.limits);
        let fields = self.error_fields(&error);
        let at_least = match verdict {
            Verdict::GiveUp(outcome) => return self.end(outcome, fields),
            Verdict::SlowDown { at_least } => at_least,
            Verdict::Retry => Duration::ZERO,
        };
        let wait = self.retry_wait(&errors, at_least, rng);
        self.watch.poll_at = self.cx.now.plus(wait).up_ms;
        if let Some(errors) = self.watch.errors.as_mut() {
            errors.not_before = self.cx.now.plus(at_least).up_ms;
        }
        self.record_failed_poll(&error, wait <= at_least);
        // A 404 concerns the job: the API works.
        if error.kind == ErrorKind::NotFound {
            self.clear_errors();
        } else if let Some(end) = self.extend_streak(error, false) {
            return end;
        }
        self.wait()
    }

    /// `verdict_waits`: the wait is the verdict's, not the backoff's.
    fn record_failed_poll(&mut self, error: &PollError, verdict_waits: bool) {
        let failures = self.watch.errors.as_ref().map_or(0, |t| t.failures);
        let refused = matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden);
        let reason = match error.kind {
            _ if verdict_waits && refused && error.retry_after.is_none() => WaitReason::Refused,
            _ if verdict_waits && error.retry_after.is_some() => WaitReason::RetryAfter,
            ErrorKind::NotFound => WaitReason::NotFound,
            _ => WaitReason::Backoff { failures },
        };
        let result = PollResult::Error {
            error_message: error.message.chars().take(MAX_RECORDED_ERROR).collect(),
            error_kind: error.kind.as_str().into(),
            http_status: error.http_status,
        };
        self.record_poll(result, reason);
    }

    pub(super) fn on_suspended(&mut self, error: PollError, until: Option<u64>) -> Next {
        let now = self.cx.now;
        if now.up_ms < self.watch.poll_at {
            return self.on_deadline();
        }
        // The error of the job's own last poll says more than the suspension does.
        let error = self.watch.streak().map_or(error, |streak| PollError {
            kind: streak.kind,
            http_status: streak.http_status,
            message: streak.message.clone(),
            retry_after: None,
        });
        let recheck_at = now.plus(self.cx.limits.schedule.max_interval).up_ms;
        self.watch.poll_at = until.unwrap_or(recheck_at);
        self.extend_streak(error, until.is_none())
            .unwrap_or_else(|| self.wait())
    }

    /// Ends the watch or emits `job.unreachable` if polls have failed for longer than the limits allow.
    pub(super) fn check_error_limits(&mut self) -> Option<Next> {
        let (limits, now) = (self.cx.limits, self.cx.now.up_ms);
        let is_over = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now);
        if is_over(self.watch.give_up_at(limits)) {
            let fields = self.with_error_fields(self.common_fields());
            return Some(self.end(Outcome::GaveUp, fields));
        }
        if is_over(self.watch.unreachable_at(limits)) {
            let fields = self.with_error_fields(self.waiting_fields());
            self.emit(EventType::Unreachable, fields);
            if let Some(streak) = self.watch.errors.as_mut().and_then(|t| t.streak.as_mut()) {
                streak.reported = true;
            }
        }
        None
    }

    /// Ends the failure streak.
    pub(super) fn clear_errors(&mut self) {
        let Some(errors) = self.watch.errors.as_mut() else {
            return;
        };
        errors.failures = 0;
        if errors.streak.take().is_some_and(|f| f.reported) {
            let fields = self.common_fields();
            self.emit(EventType::Reachable, fields);
        }
    }

    fn extend_streak(&mut self, error: PollError, suspended: bool) -> Option<Next> {
        let now = self.cx.now.up_ms;
        let errors = self.watch.errors.get_or_insert_default();
        let (since, reported) = errors
            .streak
            .as_ref()
            .map_or((now, false), |f| (f.since, f.reported));
        errors.streak = Some(FailureStreak {
            since,
            reported,
            suspended,
            kind: error.kind,
            http_status: error.http_status,
            message: error.message,
        });
        self.check_error_limits()
    }

    /// Adds the error to the counts since the last status and returns them.
    fn count_error(&mut self, error: &PollError) -> ErrorHistory {
        let now = self.cx.now.up_ms;
        let errors: &mut ErrorState = self.watch.errors.get_or_insert_default();
        match error.kind {
            ErrorKind::NotFound => {
                if errors.not_found == 0 {
                    errors.not_found_since = now;
                }
                errors.not_found = errors.not_found.saturating_add(1);
            }
            ErrorKind::Unauthorized | ErrorKind::Forbidden => {
                if errors.refused == 0 {
                    errors.refused_since = now;
                }
                errors.refused = errors.refused.saturating_add(1);
            }
            _ => {}
        }
        if error.kind != ErrorKind::NotFound {
            errors.failures = errors.failures.saturating_add(1);
        }
        let time_since = |count: u8, first: u64| match count {
            0 => Duration::ZERO,
            _ => Duration::from_millis(now.saturating_sub(first)),
        };
        ErrorHistory {
            refused: errors.refused,
            refused_for: time_since(errors.refused, errors.refused_since),
            not_found: errors.not_found,
            not_found_for: time_since(errors.not_found, errors.not_found_since),
            refusal_is_global: self.cx.refusal_is_global,
            has_status: self.watch.has_status,
        }
    }

    /// Exponential backoff with full jitter, within the limits and never below `at_least`. After a 404 or a refusal, one
    /// poll is at the end of its grace.
    fn retry_wait(
        &self,
        counts: &ErrorHistory,
        at_least: Duration,
        rng: &mut SeededRng,
    ) -> Duration {
        let limits = self.cx.limits;
        let own_failures = self.watch.errors.as_ref().map_or(0, |t| t.failures);
        let failures = own_failures.max(counts.not_found);
        let mut wait = retry::wait(failures, limits.schedule.max_interval, rng);
        if counts.not_found > 0 && own_failures == 0 {
            wait = wait.min(rest_of(limits.not_found_grace, counts.not_found_for));
        }
        if counts.refused > 0 && counts.refused_for < REFUSAL_GRACE {
            wait = wait.min(rest_of(REFUSAL_GRACE, counts.refused_for));
        }
        wait.max(limits.schedule.min_interval).max(at_least)
    }

    /// Adds the current error, if any.
    pub(super) fn with_error_fields(&self, fields: EventFields) -> EventFields {
        let Some(errors) = &self.watch.errors else {
            return fields;
        };
        match &errors.streak {
            Some(streak) => EventFields {
                error_message: Some(streak.message.clone()),
                error_kind: Some(streak.kind),
                http_status: streak.http_status,
                ..fields
            },
            None if errors.not_found > 0 => EventFields {
                error_message: Some("the server does not know this job".to_owned()),
                error_kind: Some(ErrorKind::NotFound),
                http_status: Some(404),
                ..fields
            },
            None => fields,
        }
    }

    fn error_fields(&self, error: &PollError) -> EventFields {
        EventFields {
            error_message: Some(error.message.clone()),
            error_kind: Some(error.kind),
            http_status: error.http_status,
            ..self.common_fields()
        }
    }
}

/// What is left of a grace, and a millisecond more, so that it is over then.
fn rest_of(grace: Duration, passed: Duration) -> Duration {
    grace.saturating_sub(passed) + Duration::from_millis(1)
}
