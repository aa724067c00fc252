//! Every answer that changed something led to the events that say so, and no other.
//!
//! What a watch should tell follows from what the API served and from the events on record: the state and the step of
//! progress that were told last. So a step that a crash or a full disk took back changes nothing here either.

use forgewatch_core::event::{Event, EventType, WatchId};
use forgewatch_core::job::{JobState, Outcome as Ending};
use forgewatch_core::limits::JobFailed;
use forgewatch_core::status::Status;
use forgewatch_core::verdict::ErrorKind;

use super::history::{History, Watched};
use super::{Findings, Rule};
use crate::config::Config;
use crate::log::{Log, Op, Request, Stamp, Write};

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    for (&id, watched) in &history.watches {
        let told = EventPayload::of(history, id, watched);
        for request in requests_of(history.log, watched) {
            told.check(request, findings);
        }
        told.check_ending(findings);
    }
}

/// The requests for a watch's job while it ran.
fn requests_of<'a>(log: &'a Log, watched: &Watched<'_>) -> impl Iterator<Item = &'a Request> {
    let (job, began, ended) = (watched.job, watched.began, watched.ended);
    log.requests.iter().filter(move |request| {
        request.job == job
            && began < request.asked
            && ended.is_none_or(|(at, _)| request.asked < at)
    })
}

/// One watch, and what was told of it.
struct EventPayload<'a> {
    history: &'a History<'a>,
    id: WatchId,
    watched: &'a Watched<'a>,
    config: &'a Config,
}

impl<'a> EventPayload<'a> {
    fn of(history: &'a History<'a>, id: WatchId, watched: &'a Watched<'a>) -> Self {
        // What matters here is the same in every state of the file.
        let config = &history.log.configs[0].config;
        Self {
            history,
            id,
            watched,
            config,
        }
    }

    /// What was given to the disk of this watch just when this answer was there.
    fn write(&self, life: usize, answered: Stamp) -> Option<&'a Write> {
        let of_it = |write: &&Write| match &write.op {
            Op::Commit {
                watch: Some(watch),
                events,
                ..
            } => watch.id == self.id && events.iter().any(|event| of_an_answer(event.kind)),
            _ => false,
        };
        let at_once = |write: &&Write| {
            write.life == life && write.submitted.ms == answered.ms && write.submitted > answered
        };
        self.history.log.writes.iter().filter(at_once).find(of_it)
    }

    fn check(&self, request: &Request, findings: &mut Findings) {
        let Some((at, Ok(status))) = &request.answer else {
            return;
        };
        let life = &self.history.log.lives[request.life];
        let ended_meanwhile = self.watched.ended.is_some_and(|(end, _)| end < *at);
        let wound_up = life.wound_up.is_some_and(|stop| stop < *at);
        if ended_meanwhile || wound_up {
            return;
        }
        let expected = self.expected(*at, status);
        let write = self.write(request.life, *at);
        let told: Vec<&str> = write.map_or_else(Vec::new, |write| {
            let events = write.events().iter();
            events
                .filter(|event| of_an_answer(event.kind))
                .map(|event| event.kind.as_str())
                .collect()
        });
        let expected_words: Vec<&str> = expected.iter().map(|kind| kind.as_str()).collect();
        // It died, or was ended by somebody, in the very moment of the answer.
        let interrupted =
            write.is_none() && (life.ended.ms == at.ms || self.is_ending(request, *at));
        let counts = self.config.limits.jobfailed == JobFailed::Count
            && status.state == Some(JobState::Failed);
        if told != expected_words && !interrupted && !counts {
            let job = request.job;
            findings.add(
                Rule::WrongTransition,
                *at,
                format!(
                    "{job} {}: told {told:?} instead of {expected_words:?} of {status:?}",
                    self.id
                ),
            );
        }
    }

    /// Whether an ending that came from elsewhere was given to the disk while this request was under way, taken or not.
    fn is_ending(&self, request: &Request, at: Stamp) -> bool {
        let ending = |write: &Write| match &write.op {
            Op::Commit {
                watch: Some(watch),
                events,
                ..
            } => {
                watch.id == self.id && events.iter().any(|e| matches!(e.kind, EventType::Ended(_)))
            }
            _ => false,
        };
        let meanwhile = |write: &Write| request.asked < write.submitted && write.submitted < at;
        self.history
            .log
            .writes
            .iter()
            .any(|write| meanwhile(write) && ending(write))
    }

    /// What this answer has to be told by, after what is on record.
    fn expected(&self, at: Stamp, status: &Status) -> Vec<EventType> {
        let before: Vec<&Event> = self
            .watched
            .events
            .iter()
            .filter(|(told, _)| *told < at)
            .map(|(_, event)| *event)
            .collect();
        let answered = before.iter().filter(|event| of_an_answer(event.kind));
        let (mut state, mut step, mut is_first) = (None, 0, true);
        for event in answered {
            is_first = false;
            let now = event.facts.state;
            let progress = self.step(event.facts.progress.map_or(0.0, f32::from));
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

    /// What the answer says of the job's end: a failure before anything else, then that it is done, then squashed.
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

    /// The end on record is one that the API served, or that somebody wanted.
    fn check_ending(&self, findings: &mut Findings) {
        let Some((at, ending)) = self.watched.ended else {
            return;
        };
        let answers =
            || requests_of(self.history.log, self.watched).filter_map(|r| r.answer.as_ref());
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
                Rule::UnfoundedEnding,
                at,
                format!("{job} as {}: {ending:?}", self.id),
            );
        }
    }
}

/// Whether events of this type come of answers alone.
fn of_an_answer(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::Watching
            | EventType::StateChanged
            | EventType::Progressed
            | EventType::Ended(Ending::Completed | Ending::Failed | Ending::Squashed)
    )
}

/// Whether a job went from a later state to an earlier one.
fn goes_back(before: Option<JobState>, now: Option<JobState>) -> bool {
    let known = |state: &JobState| !matches!(state, JobState::Unknown(_));
    match (before.filter(known), now.filter(known)) {
        (Some(before), Some(now)) => now.id() < before.id(),
        _ => false,
    }
}
