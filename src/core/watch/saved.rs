//! A watch as it is written down, so that it goes on in another process.
//!
//! What a watch measures on the monotonic clock is written as wall time and read back onto the clock of the process
//! that reads it. Clocks may have jumped in between: whatever the row says, the next request falls between now and
//! the longest interval from now, and nothing else lies in the future.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroI64;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Failing, Slip, Trouble, Watch};
use crate::core::event::{About, EventType};
use crate::core::job::{JobRef, JobState, Outcome};
use crate::core::limits::Limits;
use crate::core::schedule::{SavedTrace, Trace};
use crate::core::status::Names;
use crate::core::time::{Moment, millis};
use crate::core::verdict::ErrorKind;

/// The fields of a [`Watch`]; times in Unix milliseconds.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    /// How the watch ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    watch: String,
    job: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    game: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trouble: Option<SavedTrouble>,
    trace: SavedTrace,
    first_poll: i64,
    poll_at: i64,
    moved_at: i64,
    expected: i64,
    state: Option<i64>,
    updated: Option<NonZeroI64>,
    eta: Option<NonZeroI64>,
    slip: Option<(NonZeroI64, u32)>,
    progress: Option<f32>,
    seq: u32,
    requests: u32,
    told: u8,
    answered: bool,
    stalled: bool,
    asked_names: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedTrouble {
    failing: Option<SavedFailing>,
    failures: u8,
    refusals: u8,
    missing: u8,
    missing_since: i64,
    failed_since: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFailing {
    since: i64,
    told: bool,
    held: bool,
    #[serde(with = "Kind")]
    kind: ErrorKind,
    http_status: Option<u16>,
    message: String,
}

/// How [`ErrorKind`] is written down: each by its own name, where events say one word for two of them.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ErrorKind", rename_all = "snake_case")]
enum Kind {
    Dns,
    Connect,
    Tls,
    Timeout,
    Disconnected,
    Server,
    RateLimited,
    Unauthorized,
    Forbidden,
    NotFound,
    Gone,
    Redirect,
    Http,
    Api,
    BadResponse,
    TooLarge,
}

/// Why a text is no watch that was written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a watch of forgewatch: {0}")]
pub struct NotSaved(String);

impl NotSaved {
    fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// How a watch that was written down had ended, as its ending event's type has it behind `job.`; None where it had not.
pub fn outcome_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Ended {
        outcome: Option<String>,
    }
    serde_json::from_str::<Ended>(text).ok()?.outcome
}

impl Watch {
    /// Writes it down at `now`, with how it ended where it has.
    pub fn save(&self, now: Moment, outcome: Option<Outcome>) -> String {
        let wall = |up: u64| {
            now.wall_ms
                .saturating_add(up.cast_signed().saturating_sub(now.up_ms.cast_signed()))
        };
        let about = self.about.as_deref().cloned().unwrap_or_default();
        let saved = Saved {
            outcome: outcome.map(|o| {
                let name = EventType::Ended(o).as_str();
                name.strip_prefix("job.").unwrap_or(name).to_owned()
            }),
            watch: self.id.to_string(),
            job: self.job().to_string(),
            labels: about.labels,
            game: about.names.game,
            image: about.names.image,
            machine: about.names.machine,
            trouble: self.trouble.as_deref().map(|trouble| SavedTrouble {
                failing: trouble.failing.as_ref().map(|failing| SavedFailing {
                    since: wall(failing.since),
                    told: failing.told,
                    held: failing.held,
                    kind: failing.kind,
                    http_status: failing.http_status,
                    message: failing.message.clone(),
                }),
                failures: trouble.failures,
                refusals: trouble.refusals,
                missing: trouble.missing,
                missing_since: wall(trouble.missing_since),
                failed_since: trouble.failed_since.map(wall),
            }),
            trace: self.trace.save(wall),
            first_poll: wall(self.first_poll),
            poll_at: wall(self.poll_at),
            moved_at: wall(self.moved_at),
            expected: wall(self.expected),
            state: self.state.map(JobState::id),
            updated: self.updated,
            eta: self.eta,
            slip: self.slip.map(|slip| (slip.eta, slip.left)),
            progress: self.progress,
            seq: self.seq,
            requests: self.requests,
            told: self.told,
            answered: self.answered,
            stalled: self.stalled,
            asked_names: self.asked_names,
        };
        // Numbers, texts and lists of them: there is nothing in it that JSON could not say.
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// Reads back at `now` what [`Watch::save`] wrote, maybe in another process and by another clock.
    ///
    /// # Errors
    /// The text is nothing that [`Watch::save`] wrote.
    pub fn load(text: &str, now: Moment, limits: &Limits) -> Result<Self, NotSaved> {
        let row: Saved = serde_json::from_str(text).map_err(NotSaved::new)?;
        let up = |wall: i64| {
            now.up_ms
                .saturating_add_signed(wall.saturating_sub(now.wall_ms))
        };
        let past = |wall: i64| up(wall).min(now.up_ms);
        let id = row.watch.parse().map_err(NotSaved::new)?;
        let job: JobRef = row.job.parse().map_err(NotSaved::new)?;
        let names = Names {
            game: row.game,
            image: row.image,
            machine: row.machine,
        };
        let about = About {
            labels: row.labels,
            names,
        };
        let latest = now
            .up_ms
            .saturating_add(millis(limits.schedule.max_interval));
        // Whether the API is still down nobody knows.
        let held = |trouble: &SavedTrouble| trouble.failing.as_ref().is_some_and(|f| f.held);
        let is_held = row.trouble.as_ref().is_some_and(held);
        let trouble = row.trouble.map(|trouble| {
            Box::new(Trouble {
                failing: trouble.failing.map(|failing| Failing {
                    since: past(failing.since),
                    told: failing.told,
                    held: failing.held,
                    kind: failing.kind,
                    http_status: failing.http_status,
                    message: failing.message,
                }),
                failures: trouble.failures,
                refusals: trouble.refusals,
                missing: trouble.missing,
                missing_since: past(trouble.missing_since),
                failed_since: trouble.failed_since.map(past),
                // The stored time of the next request says it, too.
                not_before: 0,
            })
        });
        Ok(Self {
            id,
            job_id: job.id,
            job_kind: job.kind,
            about: (about != About::default()).then(|| Arc::new(about)),
            trouble,
            trace: Trace::restore(&row.trace, past),
            first_poll: past(row.first_poll),
            poll_at: if is_held {
                now.up_ms
            } else {
                up(row.poll_at).clamp(now.up_ms, latest)
            },
            moved_at: past(row.moved_at),
            expected: up(row.expected),
            state: row.state.map(JobState::from_id),
            updated: row.updated,
            eta: row.eta,
            slip: row.slip.map(|(eta, left)| Slip { eta, left }),
            progress: row.progress.filter(|p| (0.0..=100.0).contains(p)),
            seq: row.seq,
            requests: row.requests,
            told: row.told,
            answered: row.answered,
            stalled: row.stalled,
            asked_names: row.asked_names,
        })
    }
}
