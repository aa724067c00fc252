//! A watch as JSON, so that another process can continue it. Its labels, which never change, and the number of its events
//! are saved separately.
//!
//! Times of the monotonic clock are saved as wall times and converted back on loading. The wall clock may have jumped in
//! between: whatever was saved, the next poll falls between now and `max_interval` from now, and no other time lies in
//! the future.

use std::fmt;
use std::num::NonZeroI64;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ErrorState, EtaBaseline, FailureStreak, Watch};
use crate::event::JobMeta;
use crate::job::{JobRef, JobState, Outcome};
use crate::limits::Limits;
use crate::schedule::{History, SavedHistory};
use crate::status::DiffNames;
use crate::time::Moment;
use crate::verdict::ErrorKind;

/// The fields of a [`Watch`]; times in Unix milliseconds.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
struct SavedFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    watch: String,
    job: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    game: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errors: Option<SavedErrorState>,
    history: SavedHistory,
    saved_at: i64,
    /// By the wall clock of the save; `first_poll_wall_ms` is by that of the poll.
    first_poll_at: i64,
    first_poll_wall_ms: i64,
    poll_at: i64,
    changed_at: i64,
    state: Option<i64>,
    updated: Option<NonZeroI64>,
    eta: Option<NonZeroI64>,
    eta_baseline: Option<(NonZeroI64, u32)>,
    progress: Option<f32>,
    requests: u32,
    reported_progress: u8,
    has_status: bool,
    stalled: bool,
    #[serde(default)]
    slow: bool,
    names_requested: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedErrorState {
    streak: Option<SavedFailureStreak>,
    failures: u8,
    refused: u8,
    refused_since: i64,
    not_found: u8,
    not_found_since: i64,
    failed_since: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFailureStreak {
    since: i64,
    reported: bool,
    suspended: bool,
    kind: ErrorKind,
    http_status: Option<u16>,
    message: String,
}

/// A text is not a saved watch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a saved watch: {0}")]
pub struct InvalidSavedWatch(String);

impl InvalidSavedWatch {
    fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// The outcome in a saved watch, as the type of its ending event without `job.`; None if it has not ended.
pub fn outcome_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Ended {
        outcome: Option<String>,
    }
    serde_json::from_str::<Ended>(text).ok()?.outcome
}

impl SavedErrorState {
    fn new(errors: &ErrorState, wall: impl Fn(u64) -> i64) -> Self {
        Self {
            streak: errors.streak.as_ref().map(|streak| SavedFailureStreak {
                since: wall(streak.since),
                reported: streak.reported,
                suspended: streak.suspended,
                kind: streak.kind,
                http_status: streak.http_status,
                message: streak.message.clone(),
            }),
            failures: errors.failures,
            refused: errors.refused,
            refused_since: wall(errors.refused_since),
            not_found: errors.not_found,
            not_found_since: wall(errors.not_found_since),
            failed_since: errors.failed_since.map(wall),
        }
    }

    /// Whether the errors may be over: the API may be up again, and the credentials may have been replaced.
    fn may_be_over(&self) -> bool {
        self.streak.as_ref().is_some_and(|f| {
            f.suspended || matches!(f.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden)
        })
    }

    /// `polled` converts the start of a time with polls, `past` any other time.
    fn restore(self, polled: impl Fn(i64) -> u64, past: impl Fn(i64) -> u64) -> ErrorState {
        ErrorState {
            streak: self.streak.map(|streak| FailureStreak {
                since: polled(streak.since),
                reported: streak.reported,
                suspended: streak.suspended,
                kind: streak.kind,
                http_status: streak.http_status,
                message: streak.message,
            }),
            failures: self.failures,
            refused: self.refused,
            refused_since: polled(self.refused_since),
            not_found: self.not_found,
            not_found_since: polled(self.not_found_since),
            failed_since: self.failed_since.map(past),
            // `poll_at` includes it.
            not_before: 0,
        }
    }
}

impl Watch {
    /// The watch as JSON, without its labels and [`Watch::seq`], and with its outcome if it has ended.
    pub fn save(&self, now: Moment, outcome: Option<Outcome>) -> String {
        let wall = |up: u64| {
            now.wall_ms
                .saturating_add(up.cast_signed().saturating_sub(now.up_ms.cast_signed()))
        };
        let names = self
            .meta
            .as_deref()
            .map(|meta| meta.names.clone())
            .unwrap_or_default();
        let saved = SavedFields {
            outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
            watch: self.id.to_string(),
            job: self.job().to_string(),
            game: names.game,
            image: names.image,
            machine: names.machine,
            errors: (self.errors.as_deref()).map(|errors| SavedErrorState::new(errors, wall)),
            history: self.history.save(wall),
            saved_at: now.wall_ms,
            first_poll_at: wall(self.first_poll_at),
            first_poll_wall_ms: self.first_poll_wall_ms,
            poll_at: wall(self.poll_at),
            changed_at: wall(self.changed_at),
            state: self.state.map(JobState::id),
            updated: self.updated,
            eta: self.eta,
            eta_baseline: self.eta_baseline.map(|base| (base.eta, base.seconds_left)),
            progress: self.progress,
            requests: self.requests,
            reported_progress: self.reported_progress,
            has_status: self.has_status,
            stalled: self.stalled,
            slow: self.slow,
            names_requested: self.names_requested,
        };
        // Numbers, texts and lists: serializing cannot fail.
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// The labels as JSON.
    pub fn save_labels(&self) -> String {
        let labels = self
            .meta
            .as_ref()
            .map(|meta| serde_json::to_string(&meta.labels));
        labels
            .and_then(Result::ok)
            .unwrap_or_else(|| "{}".to_owned())
    }

    /// Loads what [`Watch::save`] and [`Watch::save_labels`] wrote, perhaps in another process and by another clock.
    ///
    /// # Errors
    /// They did not write these texts.
    pub fn load(
        text: &str,
        labels: &str,
        seq: u32,
        now: Moment,
        limits: &Limits,
    ) -> Result<Self, InvalidSavedWatch> {
        let row: SavedFields = serde_json::from_str(text).map_err(InvalidSavedWatch::new)?;
        let up = |wall: i64| {
            now.up_ms
                .saturating_add_signed(wall.saturating_sub(now.wall_ms))
        };
        let past = |wall: i64| up(wall).min(now.up_ms);
        // The time between save and load does not count as failing: no polls were made.
        let polled = |wall: i64| {
            let before_save = row.saved_at.saturating_sub(wall).max(0).cast_unsigned();
            now.up_ms.saturating_sub(before_save)
        };
        let id = row.watch.parse().map_err(InvalidSavedWatch::new)?;
        let job: JobRef = row.job.parse().map_err(InvalidSavedWatch::new)?;
        let meta = JobMeta {
            labels: serde_json::from_str(labels).map_err(InvalidSavedWatch::new)?,
            names: DiffNames {
                game: row.game,
                image: row.image,
                machine: row.machine,
            },
        };
        let latest = now.plus(limits.schedule.max_interval).up_ms;
        let poll_now = (row.errors.as_ref()).is_some_and(SavedErrorState::may_be_over);
        let errors = row.errors.map(|errors| errors.restore(polled, past));
        Ok(Self {
            id,
            job_id: job.id,
            job_kind: job.kind,
            meta: (meta != JobMeta::default()).then(|| Arc::new(meta)),
            errors: errors.map(Box::new),
            history: History::restore(&row.history, past),
            first_poll_at: past(row.first_poll_at),
            first_poll_wall_ms: row.first_poll_wall_ms,
            poll_at: if poll_now {
                now.up_ms
            } else {
                up(row.poll_at).clamp(now.up_ms, latest)
            },
            changed_at: past(row.changed_at),
            state: row.state.map(JobState::from_id),
            updated: row.updated,
            eta: row.eta,
            eta_baseline: row
                .eta_baseline
                .map(|(eta, seconds_left)| EtaBaseline { eta, seconds_left }),
            progress: row.progress.filter(|p| (0.0..=100.0).contains(p)),
            seq,
            requests: row.requests,
            reported_progress: row.reported_progress,
            has_status: row.has_status,
            stalled: row.stalled,
            slow: row.slow,
            names_requested: row.names_requested,
        })
    }
}
