//! Every status that changed a job led to exactly the matching events.
//!
//! The expected events follow from the status served and the events stored before it, which hold the last reported state
//! and progress. So a status whose commit was lost by a crash or rejected by a full disk has no effect here either.

use forgewatch_core::event::{Event, EventType, WatchId};
use forgewatch_core::job::{JobState, Outcome as Ending};
use forgewatch_core::limits::JobFailed;
use forgewatch_core::status::Status;
use forgewatch_core::verdict::ErrorKind;

use super::timeline::{Timeline, WatchRecord};
use super::{Findings, Rule};
use crate::config::Config;
use crate::log::{ApiRequest, Log, Stamp, StoreOp, StoreWrite};

pub(super) fn check(timeline: &Timeline<'_>, findings: &mut Findings) {
    for (&id, watched) in &timeline.watches {
        let check = WatchCheck::of(timeline, id, watched);
        for request in requests_of(timeline.log, watched) {
            check.check(request, findings);
        }
        check.check_ending(findings);
    }
}

/// The requests for a watch's job while the watch ran.
fn requests_of<'a>(
    log: &'a Log,
    watched: &WatchRecord<'_>,
) -> impl Iterator<Item = &'a ApiRequest> {
    let (job, began, ended) = (watched.job, watched.began, watched.ended);
    log.requests.iter().filter(move |request| {
        request.job == job && began < request.sent && ended.is_none_or(|(at, _)| request.sent < at)
    })
}

/// Checks one watch.
struct WatchCheck<'a> {
    timeline: &'a Timeline<'a>,
    id: WatchId,
    watched: &'a WatchRecord<'a>,
    config: &'a Config,
}

impl<'a> WatchCheck<'a> {
    fn of(timeline: &'a Timeline<'a>, id: WatchId, watched: &'a WatchRecord<'a>) -> Self {
        // The settings used here are the same in every configuration.
        let config = &timeline.log.configs[0].config;
        Self {
            timeline,
            id,
            watched,
            config,
        }
    }

    /// The write of this watch that was submitted right after this response.
    fn write(&self, process: usize, responded: Stamp) -> Option<&'a StoreWrite> {
        let of_it = |write: &&StoreWrite| match &write.op {
            StoreOp::Commit {
                watch: Some(watch),
                events,
                ..
            } => watch.id == self.id && events.iter().any(|event| is_from_status(event.kind)),
            _ => false,
        };
        let at_once = |write: &&StoreWrite| {
            write.process == process
                && write.submitted.ms == responded.ms
                && write.submitted > responded
        };
        self.timeline.log.writes.iter().filter(at_once).find(of_it)
    }

    fn check(&self, request: &ApiRequest, findings: &mut Findings) {
        let Some((at, Ok(status))) = &request.response else {
            return;
        };
        let process = &self.timeline.log.processes[request.process];
        let ended_meanwhile = self.watched.ended.is_some_and(|(end, _)| end < *at);
        let stopping_since = process.stopping_since.is_some_and(|stop| stop < *at);
        if ended_meanwhile || stopping_since {
            return;
        }
        let expected = self.expected(*at, status);
        let write = self.write(request.process, *at);
        let reported: Vec<&str> = write.map_or_else(Vec::new, |write| {
            let events = write.events().iter();
            events
                .filter(|event| is_from_status(event.kind))
                .map(|event| event.kind.as_str())
                .collect()
        });
        let expected_words: Vec<&str> = expected.iter().map(|kind| kind.as_str()).collect();
        // The process crashed, or the watch was ended, at the time of the response.
        let interrupted =
            write.is_none() && (process.ended.ms == at.ms || self.is_ending(request, *at));
        let counts = self.config.limits.jobfailed == JobFailed::Count
            && status.state == Some(JobState::Failed);
        if reported != expected_words && !interrupted && !counts {
            let job = request.job;
            findings.add(
                Rule::WrongTransition,
                *at,
                format!(
                    "{job} {}: reported {reported:?} instead of {expected_words:?} for {status:?}",
                    self.id
                ),
            );
        }
    }

    /// Whether an ending with another cause was submitted to the disk while this request was in flight.
    fn is_ending(&self, request: &ApiRequest, at: Stamp) -> bool {
        let ending = |write: &StoreWrite| match &write.op {
            StoreOp::Commit {
                watch: Some(watch),
                events,
                ..
            } => {
                watch.id == self.id && events.iter().any(|e| matches!(e.kind, EventType::Ended(_)))
            }
            _ => false,
        };
        let meanwhile = |write: &StoreWrite| request.sent < write.submitted && write.submitted < at;
        self.timeline
            .log
            .writes
            .iter()
            .any(|write| meanwhile(write) && ending(write))
    }

    /// The events that this status must lead to.
    fn expected(&self, at: Stamp, status: &Status) -> Vec<EventType> {
        let before: Vec<&Event> = self
            .watched
            .events
            .iter()
            .filter(|(stored, _)| *stored < at)
            .map(|(_, event)| *event)
            .collect();
        let earlier = before.iter().filter(|event| is_from_status(event.kind));
        let (mut state, mut step, mut is_first) = (None, 0, true);
        for event in earlier {
            is_first = false;
            let now = event.fields.state;
            let progress = self.step(event.fields.progress.map_or(0.0, f32::from));
            match event.kind {
                EventType::StateChanged if goes_back(state, now) => step = progress,
                EventType::Watching | EventType::Progressed => step = progress,
                _ => {}
            }
            state = now;
        }
        let mut expected = Vec::new();
        if is_first {
            expected.push(EventType::Watching);
        }
        if let Some(ending) = self.ending(status) {
            expected.push(EventType::Ended(ending));
            return expected;
        }
        let progress = self.step(status.progress.unwrap_or_default());
        if !is_first && status.state != state {
            expected.push(EventType::StateChanged);
            if goes_back(state, status.state) {
                step = progress;
            }
        }
        if !is_first && progress > step {
            expected.push(EventType::Progressed);
        }
        expected
    }

    fn step(&self, progress: f32) -> u8 {
        let step = self.config.limits.progress_step;
        progress as u8 / step * step
    }

    /// The ending in a status: failed takes precedence over completed, which takes precedence over squashed.
    fn ending(&self, status: &Status) -> Option<Ending> {
        let by_flag = self.config.limits.jobfailed == JobFailed::Flag && status.failed > 0;
        if by_flag || status.state == Some(JobState::Failed) {
            Some(Ending::Failed)
        } else if status.state == Some(JobState::Completed) || status.progress == Some(100.0) {
            Some(Ending::Completed)
        } else {
            (status.state == Some(JobState::Squashed)).then_some(Ending::Squashed)
        }
    }

    /// The stored ending was served by the API, or requested.
    fn check_ending(&self, findings: &mut Findings) {
        let Some((at, ending)) = self.watched.ended else {
            return;
        };
        let answers =
            || requests_of(self.timeline.log, self.watched).filter_map(|r| r.response.as_ref());
        let missing = |kind| {
            answers()
                .filter(move |(_, answer)| answer.as_ref().is_err_and(|e| e.kind == kind))
                .count()
        };
        let is_founded = match ending {
            Ending::Completed | Ending::Failed | Ending::Squashed => {
                answers().any(|(_, answer)| {
                    answer
                        .as_ref()
                        .is_ok_and(|status| self.ending(status) == Some(ending))
                })
            }
            Ending::NotFound => missing(ErrorKind::Gone) > 0 || missing(ErrorKind::NotFound) >= 2,
            Ending::Removed => true,
            _ => false,
        };
        if !is_founded {
            let job = self.watched.job;
            findings.add(
                Rule::EndingWithoutCause,
                at,
                format!("{job} as {}: {ending:?}", self.id),
            );
        }
    }
}

/// Whether only a status leads to this event.
fn is_from_status(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::Watching
            | EventType::StateChanged
            | EventType::Progressed
            | EventType::Ended(Ending::Completed | Ending::Failed | Ending::Squashed)
    )
}

/// Whether the state went back to an earlier one.
fn goes_back(before: Option<JobState>, now: Option<JobState>) -> bool {
    let known = |state: &JobState| !matches!(state, JobState::Unknown(_));
    match (before.filter(known), now.filter(known)) {
        (Some(before), Some(now)) => now.id() < before.id(),
        _ => false,
    }
}
