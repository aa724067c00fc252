//! The part of a step for requests that brought no status, and for time that passes without one.

use std::time::Duration;

use super::step::Step;
use super::{ErrorState, FailureStreak, Next, Outcome, Rng};
use crate::event::{EventFields, EventType};
use crate::poll_log::{PollResult, WaitReason};
use crate::verdict::{ErrorKind, Past, PollError, Verdict, judge};

/// Characters of an error that are kept with a poll.
const KEPT_OF_ERROR: usize = 200;

impl Step<'_> {
    pub(super) fn failed(&mut self, error: PollError, rng: &mut impl Rng) -> Next {
        let past = self.remember(&error);
        let verdict = judge(&error, &past, self.cx.limits);
        let facts = self.about_error(&error);
        let at_least = match verdict {
            Verdict::GiveUp(outcome) => return self.end(outcome, facts),
            Verdict::SlowDown { at_least } => at_least,
            Verdict::Retry => Duration::ZERO,
        };
        let wait = self.retry_wait(&past, at_least, rng);
        self.watch.poll_at = self.cx.now.plus(wait).up_ms;
        if let Some(trouble) = self.watch.trouble.as_mut() {
            trouble.not_before = self.cx.now.plus(at_least).up_ms;
        }
        self.keep_failure(&error, wait <= at_least);
        // The server does know its own mind about a job that is not there: asking works.
        if error.kind == ErrorKind::NotFound {
            self.works_again();
        } else if let Some(end) = self.fails(error, false) {
            return end;
        }
        self.wait()
    }

    /// Keeps the failed poll. `asked_for`: the wait is the one that the verdict demands.
    fn keep_failure(&mut self, error: &PollError, asked_for: bool) {
        let failures = self.watch.trouble.as_ref().map_or(0, |t| t.failures);
        let refused = matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden);
        let why = match error.kind {
            _ if asked_for && refused && error.retry_after.is_none() => WaitReason::Refused,
            _ if asked_for && error.retry_after.is_some() => WaitReason::RetryAfter,
            ErrorKind::NotFound => WaitReason::NotFound,
            _ => WaitReason::Backoff { failures },
        };
        let brought = PollResult::Failure {
            error: error.message.chars().take(KEPT_OF_ERROR).collect(),
            error_kind: error.kind.as_str().into(),
            http_status: error.http_status,
        };
        self.keep_poll(brought, why);
    }

    pub(super) fn held(&mut self, kind: ErrorKind) -> Next {
        let limits = self.cx.limits;
        // What the job's own last request met says more than that it is not asked.
        let met = self
            .watch
            .failing()
            .map(|f| (f.kind, f.http_status, f.message.clone()));
        let (kind, http_status, message) = met.unwrap_or_else(|| {
            let message = "the API is down: not asked until one request gets through";
            (kind, None, message.to_owned())
        });
        let error = PollError {
            kind,
            http_status,
            message,
            retry_after: None,
        };
        self.watch.poll_at = self.cx.now.plus(limits.schedule.max_interval).up_ms;
        self.fails(error, true).unwrap_or_else(|| self.wait())
    }

    /// Ends the watch, or tells that it is unreachable, if asking has failed for that long by now.
    pub(super) fn overdue(&mut self) -> Option<Next> {
        let failing = self.watch.failing()?;
        let spent = Duration::from_millis(self.cx.now.up_ms.saturating_sub(failing.since));
        let tell = !failing.told && spent >= self.cx.limits.unreachable_after;
        let facts = self.with_trouble(self.facts());
        if self
            .cx
            .limits
            .give_up_after
            .is_some_and(|limit| spent >= limit)
        {
            return Some(self.end(Outcome::GaveUp, facts));
        }
        if tell {
            let until = self.watch.poll_at.saturating_sub(self.cx.now.up_ms);
            self.emit(
                EventType::Unreachable,
                EventFields {
                    next_poll_ms: Some(until),
                    ..facts
                },
            );
            if let Some(failing) = self.watch.trouble.as_mut().and_then(|t| t.failing.as_mut()) {
                failing.told = true;
            }
        }
        None
    }

    /// Asking works: whatever was wrong with it is over.
    pub(super) fn works_again(&mut self) {
        let Some(trouble) = self.watch.trouble.as_mut() else {
            return;
        };
        trouble.failures = 0;
        if trouble.failing.take().is_some_and(|f| f.told) {
            let facts = self.facts();
            self.emit(EventType::Reachable, facts);
        }
    }

    fn fails(&mut self, error: PollError, held: bool) -> Option<Next> {
        let now = self.cx.now.up_ms;
        let trouble = self.watch.trouble.get_or_insert_default();
        let (since, told) = trouble
            .failing
            .as_ref()
            .map_or((now, false), |f| (f.since, f.told));
        trouble.failing = Some(FailureStreak {
            since,
            told,
            held,
            kind: error.kind,
            http_status: error.http_status,
            message: error.message,
        });
        self.overdue()
    }

    /// Counts the failure among those since the last answer.
    fn remember(&mut self, error: &PollError) -> Past {
        let now = self.cx.now.up_ms;
        let trouble: &mut ErrorState = self.watch.trouble.get_or_insert_default();
        match error.kind {
            ErrorKind::NotFound => {
                if trouble.missing == 0 {
                    trouble.missing_since = now;
                }
                trouble.missing = trouble.missing.saturating_add(1);
            }
            ErrorKind::Unauthorized | ErrorKind::Forbidden => {
                trouble.refusals = trouble.refusals.saturating_add(1);
            }
            _ => {}
        }
        if error.kind != ErrorKind::NotFound {
            trouble.failures = trouble.failures.saturating_add(1);
        }
        Past {
            refusals: trouble.refusals,
            missing: trouble.missing,
            missing_for: match trouble.missing {
                0 => Duration::ZERO,
                _ => Duration::from_millis(now.saturating_sub(trouble.missing_since)),
            },
            alone: self.cx.alone,
        }
    }

    /// Exponential with full jitter, within the bounds; what the server asked for is a floor above all of them.
    /// While a job is missing, one request falls where its grace ends.
    fn retry_wait(&self, past: &Past, at_least: Duration, rng: &mut impl Rng) -> Duration {
        let limits = self.cx.limits;
        let failures = self.watch.trouble.as_ref().map_or(0, |t| t.failures);
        let ceiling =
            (self.cx.backoff)(failures.max(past.missing)).min(limits.schedule.max_interval);
        let mut wait = ceiling.mul_f64(rng.roll().clamp(0.0, 1.0));
        if past.missing > 0 && failures == 0 {
            let grace = limits.not_found_grace.saturating_sub(past.missing_for);
            wait = wait.min(grace.saturating_add(Duration::from_millis(1)));
        }
        wait.max(limits.schedule.min_interval).max(at_least)
    }

    /// Adds what is wrong with asking at present, if anything is.
    pub(super) fn with_trouble(&self, facts: EventFields) -> EventFields {
        let Some(trouble) = &self.watch.trouble else {
            return facts;
        };
        match &trouble.failing {
            Some(failing) => EventFields {
                error: Some(failing.message.clone()),
                error_kind: Some(failing.kind),
                http_status: failing.http_status,
                ..facts
            },
            None if trouble.missing > 0 => EventFields {
                error: Some("the server knows no such job".to_owned()),
                error_kind: Some(ErrorKind::NotFound),
                http_status: Some(404),
                ..facts
            },
            None => facts,
        }
    }

    fn about_error(&self, error: &PollError) -> EventFields {
        EventFields {
            error: Some(error.message.clone()),
            error_kind: Some(error.kind),
            http_status: error.http_status,
            ..self.facts()
        }
    }
}
