//! The message of an event: one sentence for people.

use super::limits::word;
use super::{Event, EventFields, EventType, FinishedCounts};
use crate::job::{JobState, Outcome, Reason};
use crate::time::{rough, span};

impl Event {
    /// One sentence for people, without text from the server.
    pub fn message(&self) -> String {
        let fields = &self.fields;
        let job = self.job.map_or_else(String::new, |j| j.to_string());
        let state = fields.state.map_or("unknown", JobState::as_str);
        let percent = percent(fields);
        match self.kind {
            EventType::Watching => format!("{job} is {state}{percent}"),
            EventType::StateChanged => {
                let before = fields.previous_state.map_or("unknown", JobState::as_str);
                format!("{job} went from {before} to {state}{percent}")
            }
            EventType::Progressed => format!("{job} is{percent}"),
            EventType::EtaSlipped => format!("the ETA of {job} moved later"),
            EventType::Stalled => {
                let time = fields.stalled_ms.map(|ms| format!(" for {}", span(ms)));
                format!("{job}{percent}: no progress{}", time.unwrap_or_default())
            }
            EventType::Resumed => format!("{job} is progressing again{percent}"),
            EventType::Slow => {
                let usual = fields.usual_ms.map(|ms| format!(", usually {}", rough(ms)));
                let time = fields.run_ms.map(|ms| format!(" for {}", rough(ms)));
                format!(
                    "{job} has been running{}{}",
                    time.unwrap_or_default(),
                    usual.unwrap_or_default()
                )
            }
            EventType::Unreachable => format!("{job} cannot be polled"),
            EventType::Reachable => format!("{job} can be polled again"),
            EventType::Ended(outcome) => ended(&job, outcome, fields),
            EventType::WatchStarted => match fields.jobs.unwrap_or(0) {
                1 => "watching 1 job".to_owned(),
                jobs => format!("watching {jobs} jobs"),
            },
            EventType::WatchReloaded => "configuration reloaded".to_owned(),
            EventType::WatchLagged => match fields.lag.as_deref().map_or(0, |l| l.lines_dropped) {
                1 => "1 line dropped: the reader is too slow".to_owned(),
                n => format!("{n} lines dropped: the reader is too slow"),
            },
            EventType::WatchFinished => finished(fields),
            EventType::HookFailed => hook_failed(fields),
        }
    }
}

fn percent(fields: &EventFields) -> String {
    let percent = fields.progress.map(|p| format!(" at {p}%"));
    percent.unwrap_or_default()
}

fn after(fields: &EventFields) -> String {
    let after = fields.elapsed_ms.map(|ms| format!(" after {}", span(ms)));
    after.unwrap_or_default()
}

fn ended(job: &str, outcome: Outcome, fields: &EventFields) -> String {
    let (percent, after) = (percent(fields), after(fields));
    let state = match fields.state {
        Some(state) => format!("still {state}{percent}"),
        None => "no status yet".to_owned(),
    };
    match outcome {
        Outcome::Completed => format!("{job} completed{after}"),
        Outcome::Failed => format!("{job} failed{percent}{after}"),
        Outcome::Squashed => format!("{job} squashed{after}: superseded by another job"),
        Outcome::NotFound => format!("{job} not found on the server"),
        Outcome::Refused => format!("{job} refused: the API rejects these credentials"),
        Outcome::TimedOut => format!("{job} timed out{after}, {state}"),
        Outcome::GaveUp => format!("{job} unreachable for too long: gave up{after}"),
        Outcome::Removed => format!("{job} is no longer watched"),
        Outcome::Abandoned(Reason::FailFast) => {
            format!("{job} {state}; not waited for: another job did not complete (--fail-fast)")
        }
        Outcome::Abandoned(Reason::Interrupted) => {
            format!("{job} {state}; not waited for: interrupted")
        }
    }
}

fn finished(fields: &EventFields) -> String {
    let jobs = fields.jobs.unwrap_or(0);
    let counts = fields.counts.unwrap_or_default();
    if counts.outcome == FinishedCounts::STOPPED {
        return match jobs {
            1 => "stopped; 1 job resumes at the next startup".to_owned(),
            jobs => format!("stopped; {jobs} jobs resume at the next startup"),
        };
    }
    let known = [
        counts.timed_out,
        counts.not_found,
        counts.refused,
        counts.gave_up,
    ];
    let abandoned = known.into_iter().fold(counts.other, u32::saturating_sub);
    // Only `wait` can end without jobs: before the daemon has listed them.
    let mut parts = vec![match fields.jobs {
        Some(0) => "daemon not reached".to_owned(),
        _ => format!("{} of {jobs} completed", counts.completed),
    }];
    for (count, word) in [
        (counts.failed, "failed"),
        (counts.squashed, "squashed"),
        (counts.timed_out, "timed out"),
        (counts.not_found, "not found"),
        (counts.refused, "refused"),
        (counts.gave_up, "unreachable"),
        (abandoned, "abandoned"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let time = fields.elapsed_ms.map(|ms| format!(", in {}", span(ms)));
    format!("{}{}", parts.join(", "), time.unwrap_or_default())
}

fn hook_failed(fields: &EventFields) -> String {
    let Some(delivery) = fields.delivery.as_deref() else {
        return "a hook delivery failed".to_owned();
    };
    let (hook, what) = (word(&delivery.hook), word(&delivery.what));
    match delivery.attempt {
        1 => format!("hook {hook}: {what} not delivered after 1 attempt"),
        n => format!("hook {hook}: {what} not delivered after {n} attempts"),
    }
}
