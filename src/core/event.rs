//! What is told to the world: one [`Event`] for each transition, and its flat log record.
//!
//! [`super::watch`] makes the events of jobs, the engine those of the watcher itself; `report` prints them. The
//! names and forms of the fields are a contract with log aggregators, checked against
//! `config/schema/event.json` by a test.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::job::{JobKind, JobRef, JobState, Outcome, Reason};
use super::status::{Files, Names};
use super::time::{rfc3339_ms, span};
use super::verdict::ErrorKind;

/// Which watch of a job, of all that ever were: random, made with the watch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub [u8; 16]);

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the identity of a watch, of an event or of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id")]
pub struct NoId;

impl FromStr for WatchId {
    type Err = NoId;

    /// 32 hexadecimal digits, as it is displayed.
    fn from_str(text: &str) -> Result<Self, NoId> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).map_err(|_| NoId)?;
        digits.then_some(Self(number.to_be_bytes())).ok_or(NoId)
    }
}

/// An event's identity, the same wherever and however often it appears: `<watch>-<seq>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The watch it belongs to; for the watcher's own events an id of the process.
    pub watch: WatchId,
    /// Counted from 1 within the watch.
    pub seq: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.watch, self.seq)
    }
}

impl FromStr for EventId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (watch, seq) = text.split_once('-').ok_or(NoId)?;
        Ok(Self {
            watch: watch.parse()?,
            seq: seq.parse().map_err(|_| NoId)?,
        })
    }
}

/// The types of events. [`EventType::as_str`] is the name that users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The first answer for a job.
    Watching,
    /// `jobstateid` changed without ending the job.
    StateChanged,
    /// Progress crossed a step.
    Progressed,
    /// The expected end moved later by more than a quarter of what was left, and a minute.
    EtaSlipped,
    /// Neither `jobupdated` nor progress moved for `stalled_after`.
    Stalled,
    /// Moved again after that.
    Resumed,
    /// Asking failed for `unreachable_after`.
    Unreachable,
    /// Asking works again.
    Reachable,
    /// An end of the watch.
    Ended(Outcome),
    /// The watcher began.
    WatchStarted,
    /// The watcher goes by another configuration from here on.
    WatchReloaded,
    /// Lines were dropped, since nobody read them.
    WatchLagged,
    /// The watcher ended.
    WatchFinished,
    /// A delivery to a hook was given up.
    HookFailed,
}

impl EventType {
    /// The names of all types, in the order in which the manual lists them.
    pub const NAMES: [&'static str; 22] = [
        "job.watching",
        "job.state_changed",
        "job.progressed",
        "job.eta_slipped",
        "job.stalled",
        "job.resumed",
        "job.unreachable",
        "job.reachable",
        "job.completed",
        "job.failed",
        "job.squashed",
        "job.not_found",
        "job.refused",
        "job.timed_out",
        "job.gave_up",
        "job.removed",
        "job.abandoned",
        "watch.started",
        "watch.reloaded",
        "watch.lagged",
        "watch.finished",
        "hook.failed",
    ];

    /// The name that users see and match on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watching => "job.watching",
            Self::StateChanged => "job.state_changed",
            Self::Progressed => "job.progressed",
            Self::EtaSlipped => "job.eta_slipped",
            Self::Stalled => "job.stalled",
            Self::Resumed => "job.resumed",
            Self::Unreachable => "job.unreachable",
            Self::Reachable => "job.reachable",
            Self::Ended(outcome) => match outcome {
                Outcome::Completed => "job.completed",
                Outcome::Failed => "job.failed",
                Outcome::Squashed => "job.squashed",
                Outcome::NotFound => "job.not_found",
                Outcome::Refused => "job.refused",
                Outcome::TimedOut => "job.timed_out",
                Outcome::GaveUp => "job.gave_up",
                Outcome::Removed => "job.removed",
                Outcome::Abandoned(_) => "job.abandoned",
            },
            Self::WatchStarted => "watch.started",
            Self::WatchReloaded => "watch.reloaded",
            Self::WatchLagged => "watch.lagged",
            Self::WatchFinished => "watch.finished",
            Self::HookFailed => "hook.failed",
        }
    }

    /// How loud it is, as tracing names its levels.
    pub fn level(self) -> &'static str {
        match self {
            Self::Ended(
                Outcome::Failed
                | Outcome::NotFound
                | Outcome::Refused
                | Outcome::TimedOut
                | Outcome::GaveUp,
            )
            | Self::HookFailed => "ERROR",
            Self::Ended(Outcome::Squashed | Outcome::Abandoned(_))
            | Self::EtaSlipped
            | Self::Stalled
            | Self::Unreachable
            | Self::WatchLagged => "WARN",
            _ => "INFO",
        }
    }
}

/// What is known of a job besides its status: apart from the watch, shared, and absent for most jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The server's names for what a diff is about.
    pub names: Names,
}

/// One transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// Its type.
    pub kind: EventType,
    /// When it was seen, Unix milliseconds.
    pub wall_ms: i64,
    /// The job it is about; None for the watcher's own.
    pub job: Option<JobRef>,
    /// That job's labels and names.
    pub about: Option<Arc<About>>,
    /// Everything else that is told with it.
    pub facts: Facts,
}

/// An event's optional fields, by the names the log record gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// Where the job stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// Where it stood before, of `job.state_changed` and of ends that came with a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_state: Option<JobState>,
    /// The server's own word for the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_name: Option<String>,
    /// Whole percent, rounded down: 100 only at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// When the server expects the end, Unix seconds; RFC 3339 in the record.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "rfc3339_seconds"
    )]
    pub eta: Option<i64>,
    /// The same in seconds from now, by the server's clock; negative where it has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Until the job is asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<u64>,
    /// `joberror`, or what went wrong with asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The class of what went wrong with asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// The HTTP status of an answer that was no status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why a one-shot stopped before its jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Polls so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Since the first poll; of the watcher's events, since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// End seen minus `jobupdated` of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_delay_ms: Option<u64>,
    /// A finished diff's files.
    #[serde(flatten, serialize_with = "flat_files")]
    pub files: Option<Files>,
    /// How many jobs are watched, of the watcher's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// How it all went, of `watch.finished`.
    #[serde(flatten)]
    pub tally: Option<Tally>,
    /// Which delivery was given up, of `hook.failed`.
    #[serde(flatten)]
    pub delivery: Option<Box<GivenUp>>,
    /// What was not written, of `watch.lagged`.
    #[serde(flatten)]
    pub lag: Option<Box<Lag>>,
}

/// The lines that a `watch.lagged` is about. The events themselves are kept: `forgewatch events` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// How many lines were dropped, one after the other.
    pub lines_dropped: u64,
    /// The id of the first event among them.
    pub first_dropped: String,
    /// The id of the last.
    pub last_dropped: String,
}

/// The delivery that a `hook.failed` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// The hook's name.
    pub hook: String,
    /// The delivery's id: the event's and the hook's name.
    pub delivery: String,
    /// How often it was tried; 0 where it never was.
    pub attempt: u32,
    /// The hook's last exit status, where it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// What was to be delivered, for people: `job.failed of diff/1234`.
    #[serde(skip)]
    pub what: String,
    /// Whether what was to be delivered tells of a delivery given up itself: then nobody is told of this one.
    #[serde(skip)]
    pub of_hook_failed: bool,
}

/// The count of ends in `watch.finished`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Completed.
    pub completed: u32,
    /// Failed.
    pub failed: u32,
    /// Squashed.
    pub squashed: u32,
    /// Ended in any other way.
    pub other: u32,
    /// What the exit status says, in a word.
    pub outcome: &'static str,
}

impl Tally {
    /// The outcome of a daemon's stop, which ends no watch.
    pub const STOPPED: &'static str = "stopped";
}

impl Event {
    /// The event as one flat log record: what `--output json` prints.
    pub fn record(&self) -> Record<'_> {
        let about = self.about.as_deref();
        let names = about.map(|a| &a.names);
        Record {
            timestamp: rfc3339_ms(self.wall_ms),
            level: self.kind.level(),
            target: "forgewatch::watch",
            message: self.message(),
            event_id: self.id.to_string(),
            event_type: self.kind.as_str(),
            seq: self.id.seq,
            watch: self.id.watch.to_string(),
            job: self.job,
            job_kind: self.job.map(|j| j.kind),
            job_id: self.job.map(|j| j.id.get()),
            labels: about.map(|a| &a.labels).filter(|l| !l.is_empty()),
            facts: &self.facts,
            game: names.and_then(|n| n.game.as_deref()),
            image: names.and_then(|n| n.image.as_deref()),
            machine: names.and_then(|n| n.machine.as_deref()),
        }
    }

    /// One sentence for people. Holds no text of the server's.
    pub fn message(&self) -> String {
        let facts = &self.facts;
        let job = self.job.map_or_else(String::new, |j| j.to_string());
        let state = facts.state.map_or("unknown", JobState::as_str);
        let percent = facts
            .progress
            .map_or_else(String::new, |p| format!(" at {p} %"));
        let standing = match facts.state {
            Some(state) => format!("still {state}{percent}"),
            None => "not answered yet".to_owned(),
        };
        let spent = facts
            .elapsed_ms
            .map_or_else(String::new, |ms| format!(" after {}", span(ms)));
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
            EventType::Ended(outcome) => match outcome {
                Outcome::Completed => format!("{job} completed{spent}"),
                Outcome::Failed => format!("{job} failed{percent}{spent}"),
                Outcome::Squashed => format!("{job} was set aside in favour of another job{spent}"),
                Outcome::NotFound => format!("{job} is not known to the server"),
                Outcome::Refused => format!("{job} is refused to these credentials"),
                Outcome::TimedOut => {
                    format!("{job} was {standing} when time ran out{spent}")
                }
                Outcome::GaveUp => {
                    format!("{job} could not be asked for too long, given up{spent}")
                }
                Outcome::Removed => format!("{job} is no longer watched"),
                Outcome::Abandoned(Reason::FailFast) => {
                    format!("{job} is left, {standing}: another job did not complete")
                }
                Outcome::Abandoned(Reason::Interrupted) => {
                    format!("{job} is left, {standing}: interrupted")
                }
            },
            EventType::WatchStarted => match facts.jobs.unwrap_or(0) {
                1 => "watching 1 job".to_owned(),
                jobs => format!("watching {jobs} jobs"),
            },
            EventType::WatchReloaded => "the configuration was taken over".to_owned(),
            EventType::WatchLagged => match facts.lag.as_deref().map_or(0, |l| l.lines_dropped) {
                1 => "1 line was dropped, since nobody read it".to_owned(),
                n => format!("{n} lines were dropped, since nobody read them"),
            },
            EventType::WatchFinished
                if facts.tally.is_some_and(|t| t.outcome == Tally::STOPPED) =>
            {
                match facts.jobs.unwrap_or(0) {
                    1 => "stopped; 1 job is watched on after the next start".to_owned(),
                    jobs => format!("stopped; {jobs} jobs are watched on after the next start"),
                }
            }
            EventType::WatchFinished => {
                let Tally {
                    completed,
                    failed,
                    squashed,
                    other,
                    ..
                } = facts.tally.unwrap_or_default();
                let jobs = facts.jobs.unwrap_or(0);
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
                format!("{}{spent}", parts.join(", "))
            }
            EventType::HookFailed => facts.delivery.as_deref().map_or_else(
                || "a hook was given up".to_owned(),
                |GivenUp {
                     hook,
                     what,
                     attempt,
                     ..
                 }| match attempt {
                    1 => format!("hook {hook}: {what} given up after 1 attempt"),
                    n => format!("hook {hook}: {what} given up after {n} attempts"),
                },
            ),
        }
    }
}

/// The flat log record: absent rather than null, `labels` the only nested field.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    timestamp: String,
    level: &'static str,
    target: &'static str,
    message: String,
    event_id: String,
    event_type: &'static str,
    seq: u32,
    watch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_kind: Option<JobKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a BTreeMap<String, String>>,
    #[serde(flatten)]
    facts: &'a Facts,
    #[serde(skip_serializing_if = "Option::is_none")]
    game: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a str>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn rfc3339_seconds<S: Serializer>(seconds: &Option<i64>, s: S) -> Result<S::Ok, S::Error> {
    const LAST: u64 = 253_402_300_799;
    let Some(seconds) = seconds else {
        return s.serialize_none();
    };
    let seconds = u64::try_from(*seconds).unwrap_or(0).min(LAST);
    s.collect_str(&humantime::format_rfc3339_seconds(
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    ))
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn flat_files<S: Serializer>(files: &Option<Files>, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Flat {
        files_added: u64,
        files_modified: u64,
        files_removed: u64,
        bytes_added: u64,
        bytes_modified: u64,
        bytes_removed: u64,
    }
    files
        .map(|f| Flat {
            files_added: f.added.count,
            files_modified: f.modified.count,
            files_removed: f.removed.count,
            bytes_added: f.added.bytes,
            bytes_modified: f.modified.bytes,
            bytes_removed: f.removed.bytes,
        })
        .serialize(s)
}
