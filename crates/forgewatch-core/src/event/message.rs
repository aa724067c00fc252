//! An event as one sentence.

use super::limits::word;
use super::{Event, EventFields, EventType, FinishedCounts};
use crate::job::{JobState, Outcome, Reason};
use crate::time::span;

impl Event {
    /// One sentence for people. Holds no text of the server's.
    pub fn message(&self) -> String {
        let facts = &self.facts;
        let job = self.job.map_or_else(String::new, |j| j.to_string());
        let state = facts.state.map_or("unknown", JobState::as_str);
        let percent = percent(facts);
        match self.kind {
            EventType::Watching => format!("{job} is {state}{percent}"),
            EventType::StateChanged => {
                let before = facts.previous_state.map_or("unknown", JobState::as_str);
                format!("{job} went from {before} to {state}{percent}")
            }
            EventType::Progressed => format!("{job} is{percent}"),
            EventType::EtaSlipped => format!("{job} is expected later than before"),
            EventType::Stalled => format!("{job} has not moved{percent}"),
            EventType::Resumed => format!("{job} moves again{percent}"),
            EventType::Unreachable => format!("{job} cannot be asked"),
            EventType::Reachable => format!("{job} can be asked again"),
            EventType::Ended(outcome) => ended(&job, outcome, facts),
            EventType::WatchStarted => match facts.jobs.unwrap_or(0) {
                1 => "watching 1 job".to_owned(),
                jobs => format!("watching {jobs} jobs"),
            },
            EventType::WatchReloaded => "the configuration was taken over".to_owned(),
            EventType::WatchLagged => match facts.lag.as_deref().map_or(0, |l| l.lines_dropped) {
                1 => "1 line was dropped, since nobody read it".to_owned(),
                n => format!("{n} lines were dropped, since nobody read them"),
            },
            EventType::WatchFinished => finished(facts),
            EventType::HookFailed => given_up(facts),
        }
    }
}

fn percent(facts: &EventFields) -> String {
    let percent = facts.progress.map(|p| format!(" at {p} %"));
    percent.unwrap_or_default()
}

fn spent(facts: &EventFields) -> String {
    let spent = facts.elapsed_ms.map(|ms| format!(" after {}", span(ms)));
    spent.unwrap_or_default()
}

fn ended(job: &str, outcome: Outcome, facts: &EventFields) -> String {
    let (percent, spent) = (percent(facts), spent(facts));
    let standing = match facts.state {
        Some(state) => format!("still {state}{percent}"),
        None => "not answered yet".to_owned(),
    };
    match outcome {
        Outcome::Completed => format!("{job} completed{spent}"),
        Outcome::Failed => format!("{job} failed{percent}{spent}"),
        Outcome::Squashed => format!("{job} was set aside in favour of another job{spent}"),
        Outcome::NotFound => format!("{job} is not known to the server"),
        Outcome::Refused => format!("{job} is refused to these credentials"),
        Outcome::TimedOut => format!("{job} was {standing} when time ran out{spent}"),
        Outcome::GaveUp => format!("{job} could not be asked for too long, given up{spent}"),
        Outcome::Removed => format!("{job} is no longer watched"),
        Outcome::Abandoned(Reason::FailFast) => {
            format!("{job} is left, {standing}: another job did not complete")
        }
        Outcome::Abandoned(Reason::Interrupted) => {
            format!("{job} is left, {standing}: interrupted")
        }
    }
}

fn finished(facts: &EventFields) -> String {
    let jobs = facts.jobs.unwrap_or(0);
    let FinishedCounts {
        completed,
        failed,
        squashed,
        other,
        outcome,
    } = facts.tally.unwrap_or_default();
    if outcome == FinishedCounts::STOPPED {
        return match jobs {
            1 => "stopped; 1 job is watched on after the next start".to_owned(),
            jobs => format!("stopped; {jobs} jobs are watched on after the next start"),
        };
    }
    let mut parts = vec![format!("{completed} of {jobs} completed")];
    for (count, word) in [
        (failed, "failed"),
        (squashed, "squashed"),
        (other, "ended otherwise"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    format!("{}{}", parts.join(", "), spent(facts))
}

fn given_up(facts: &EventFields) -> String {
    let Some(delivery) = facts.delivery.as_deref() else {
        return "a hook was given up".to_owned();
    };
    let (hook, what) = (word(&delivery.hook), word(&delivery.what));
    match delivery.attempt {
        1 => format!("hook {hook}: {what} given up after 1 attempt"),
        n => format!("hook {hook}: {what} given up after {n} attempts"),
    }
}
