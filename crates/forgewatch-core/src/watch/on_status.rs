//! The part of a step for an answer that told a status.

use std::num::NonZeroI64;
use std::sync::Arc;

use super::step::Step;
use super::{Answer, ErrorState, Next, Outcome, Slip};
use crate::event::{EventFields, EventType};
use crate::job::JobState;
use crate::limits::JobFailed;
use crate::poll_log::{PollResult, WaitReason};
use crate::schedule::{Observation, Policy};
use crate::status::{Names, Status, whole_percent};
use crate::time::millis;

/// A slip of the expected end is told when it is above this and above a quarter of what was left.
const LEAST_SLIP_SECONDS: i64 = 60;

impl Step<'_> {
    pub(super) fn answered(&mut self, mut answer: Answer) -> Next {
        self.works_again();
        self.keep_names(std::mem::take(&mut answer.status.names));

        let first = !std::mem::replace(&mut self.watch.answered, true);
        let before = self.watch.state;
        let outcome = self.outcome(&answer.status);
        let moved = self.take(&answer.status);
        if outcome.is_none() {
            self.plan(&answer);
        }

        if first {
            self.watch.told = self.step_of_progress();
            self.emit(EventType::Watching, self.facts_of(&answer, outcome));
        } else if moved && std::mem::take(&mut self.watch.stalled) {
            self.emit(EventType::Resumed, self.facts_of(&answer, outcome));
        }
        if let Some(outcome) = outcome {
            return self.end(outcome, self.ending(&answer, outcome, before));
        }
        if !first {
            self.tell_changes(before, &answer);
            self.tell_stall(&answer);
        }
        self.tell_slip(&answer);
        self.wait()
    }

    /// Whether the job is over, by this answer alone, in the order that the API's facts give. With
    /// `jobfailed = "count"` a failure needs a second answer that says the same.
    fn outcome(&mut self, status: &Status) -> Option<Outcome> {
        let failed_before = self.watch.trouble.take().and_then(|t| t.failed_since);
        let failed_state = status.state == Some(JobState::Failed);
        match self.cx.limits.jobfailed {
            JobFailed::Flag if status.failed > 0 || failed_state => return Some(Outcome::Failed),
            JobFailed::Count if failed_state => return self.confirm_failure(failed_before),
            _ => {}
        }
        let done = status.progress.is_some_and(|p| p >= 100.0);
        if done || status.state == Some(JobState::Completed) {
            return Some(Outcome::Completed);
        }
        (status.state == Some(JobState::Squashed)).then_some(Outcome::Squashed)
    }

    /// A counted failure is believed when two answers, at least `min_interval` apart, tell the state 6.
    fn confirm_failure(&mut self, failed_before: Option<u64>) -> Option<Outcome> {
        let now = self.cx.now.up_ms;
        let apart = millis(self.cx.limits.schedule.min_interval);
        if failed_before.is_some_and(|since| now.saturating_sub(since) >= apart) {
            return Some(Outcome::Failed);
        }
        let since = failed_before.unwrap_or(now);
        self.watch.trouble = Some(Box::new(ErrorState {
            failed_since: Some(since),
            ..ErrorState::default()
        }));
        None
    }

    /// Takes over what the answer told; says whether the job moved.
    fn take(&mut self, status: &Status) -> bool {
        let watch = &mut self.watch;
        let updated = status.updated.and_then(NonZeroI64::new);
        let moved = (updated.is_some() && updated != watch.updated)
            || (status.progress.is_some() && status.progress != watch.progress);
        if moved {
            watch.moved_at = self.cx.now.up_ms;
        }
        watch.state = status.state.or(watch.state);
        watch.progress = status.progress.or(watch.progress);
        watch.updated = updated.or(watch.updated);
        watch.eta = status.eta.and_then(NonZeroI64::new);
        moved
    }

    /// Decides when to ask again.
    fn plan(&mut self, answer: &Answer) {
        let status = &answer.status;
        let rules = &self.cx.limits.schedule;
        let now = self.cx.now;
        let seen = Observation {
            up_ms: now.up_ms,
            server_now_ms: Some(answer.server_now_ms),
            eta: status.eta,
            start: status.start,
            progress: status.progress,
        };
        let memory = self.cx.memory.of(self.watch.job_kind);
        let (trace, plan) = self.watch.trace.next(&seen, memory, rules);
        self.watch.trace = trace;
        self.watch.expected = plan.left.map_or(0, |left| now.plus(left).up_ms);
        let failure_to_confirm = self.watch.trouble.is_some();
        let (wait, why) = match rules.policy {
            _ if failure_to_confirm => (rules.min_interval, WaitReason::Confirmation),
            _ if answer.at_least > plan.wait => (
                answer.at_least.min(rules.max_interval),
                WaitReason::LargeAnswer,
            ),
            Policy::Inspection => (plan.wait, WaitReason::Forecast(plan.why)),
            Policy::Exponential => {
                let bound = plan.why.bound;
                (plan.wait, WaitReason::Steps { bound })
            }
        };
        self.watch.poll_at = now.plus(wait.min(rules.max_interval)).up_ms;
        let brought = PollResult::Status {
            state: status.state.map(|state| state.as_str().into()),
            progress: status.progress.map(whole_percent),
            eta_seconds: eta_seconds(answer),
        };
        self.keep_poll(brought, why);
    }

    fn tell_changes(&mut self, before: Option<JobState>, answer: &Answer) {
        let state = self.watch.state;
        if state != before {
            if goes_back(before, state) {
                self.watch.told = self.step_of_progress();
            }
            let facts = EventFields {
                previous_state: before,
                ..self.facts_of(answer, None)
            };
            self.emit(EventType::StateChanged, facts);
        }
        let step = self.step_of_progress();
        if step > self.watch.told {
            self.watch.told = step;
            self.emit(EventType::Progressed, self.facts_of(answer, None));
        }
    }

    fn tell_stall(&mut self, answer: &Answer) {
        let still = self.cx.now.up_ms.saturating_sub(self.watch.moved_at);
        if !self.watch.stalled && still >= millis(self.cx.limits.stalled_after) {
            self.watch.stalled = true;
            self.emit(EventType::Stalled, self.facts_of(answer, None));
        }
    }

    /// Holds the expected end against the earliest one believed since the last slip was told, so that many
    /// small slips add up to one that is.
    fn tell_slip(&mut self, answer: &Answer) {
        let (Some(eta), Some(left)) = (self.watch.eta, eta_seconds(answer)) else {
            return;
        };
        let fresh = Slip {
            eta,
            left: u32::try_from(left.max(0)).unwrap_or(u32::MAX),
        };
        let Some(slip) = self.watch.slip.filter(|slip| slip.eta <= eta) else {
            self.watch.slip = Some(fresh);
            return;
        };
        let later = eta.get().saturating_sub(slip.eta.get());
        if later > LEAST_SLIP_SECONDS && later > i64::from(slip.left) / 4 {
            self.watch.slip = Some(fresh);
            self.emit(EventType::EtaSlipped, self.facts_of(answer, None));
        }
    }

    fn keep_names(&mut self, names: Names) {
        self.watch.asked_names = true;
        if names.is_empty()
            || self
                .watch
                .about
                .as_ref()
                .is_some_and(|a| !a.names.is_empty())
        {
            return;
        }
        let mut about = self.watch.about.as_deref().cloned().unwrap_or_default();
        about.names = names;
        self.watch.about = Some(Arc::new(about));
    }

    /// The highest multiple of the step that progress has reached.
    fn step_of_progress(&self) -> u8 {
        let step = self.cx.limits.progress_step.max(1);
        self.watch.progress.map_or(0, whole_percent) / step * step
    }

    /// What an event tells that comes of this answer. Made for each: most answers have none.
    fn facts_of(&self, answer: &Answer, outcome: Option<Outcome>) -> EventFields {
        let until = self.watch.poll_at.saturating_sub(self.cx.now.up_ms);
        EventFields {
            state_name: answer.status.state_name.clone(),
            eta: answer.status.eta,
            eta_seconds: eta_seconds(answer),
            next_poll_ms: outcome.is_none().then_some(until),
            ..self.facts()
        }
    }

    /// The facts of an ending event. Its state is the end's own, also where the server let the state lag behind
    /// `jobfailed` or the progress; the server's word stands beside it.
    fn ending(&self, answer: &Answer, outcome: Outcome, before: Option<JobState>) -> EventFields {
        let facts = self.facts_of(answer, Some(outcome));
        let status = &answer.status;
        let state = match outcome {
            Outcome::Completed => Some(JobState::Completed),
            Outcome::Failed => Some(JobState::Failed),
            Outcome::Squashed => Some(JobState::Squashed),
            _ => facts.state,
        };
        let delay = status
            .updated
            .map(|at| answer.server_now_ms.saturating_sub(at.saturating_mul(1000)));
        EventFields {
            state,
            previous_state: before.filter(|_| before != state),
            error: status.error.clone(),
            files: status.files.filter(|_| outcome == Outcome::Completed),
            detection_delay_ms: delay.map(|ms| u64::try_from(ms).unwrap_or(0)),
            ..facts
        }
    }
}

/// Until the expected end, by the server's clock; negative where it has passed.
fn eta_seconds(answer: &Answer) -> Option<i64> {
    let now = answer.server_now_ms.div_euclid(1000);
    answer.status.eta.map(|eta| eta - now)
}

/// Whether a job went from a later state of its life to an earlier one. Of states outside the table nobody
/// knows.
fn goes_back(before: Option<JobState>, now: Option<JobState>) -> bool {
    match (before, now) {
        (Some(JobState::Unknown(_)), _) | (_, Some(JobState::Unknown(_))) => false,
        (Some(before), Some(now)) => now.id() < before.id(),
        _ => false,
    }
}
