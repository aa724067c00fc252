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

use super::{ErrorState, FailureStreak, Slip, Watch};
use crate::event::{EventType, JobMeta};
use crate::job::{JobRef, JobState, Outcome};
use crate::limits::Limits;
use crate::schedule::{History, SavedHistory};
use crate::status::Names;
use crate::time::{Moment, millis};
use crate::verdict::ErrorKind;

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
    trouble: Option<SavedErrorState>,
    trace: SavedHistory,
    /// When it was written.
    #[serde(default)]
    written: i64,
    first_poll: i64,
    /// As the wall's clock had it then, where `first_poll` goes by the clock of the last save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<i64>,
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
struct SavedErrorState {
    failing: Option<SavedFailureStreak>,
    failures: u8,
    refusals: u8,
    missing: u8,
    missing_since: i64,
    failed_since: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFailureStreak {
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
pub struct InvalidSavedWatch(String);

impl InvalidSavedWatch {
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
            trouble: self.trouble.as_deref().map(|trouble| SavedErrorState {
                failing: trouble.failing.as_ref().map(|failing| SavedFailureStreak {
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
            written: now.wall_ms,
            first_poll: wall(self.first_poll),
            began: self.began_ms(),
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
    pub fn load(text: &str, now: Moment, limits: &Limits) -> Result<Self, InvalidSavedWatch> {
        let row: Saved = serde_json::from_str(text).map_err(InvalidSavedWatch::new)?;
        let up = |wall: i64| {
            now.up_ms
                .saturating_add_signed(wall.saturating_sub(now.wall_ms))
        };
        let past = |wall: i64| up(wall).min(now.up_ms);
        // Asleep, or by a clock that jumped: while nobody asked, asking did not fail, nor was the job missing.
        let asked = |wall: i64| match row.written {
            0 => past(wall),
            written => now
                .up_ms
                .saturating_sub(written.saturating_sub(wall).max(0).cast_unsigned()),
        };
        let id = row.watch.parse().map_err(InvalidSavedWatch::new)?;
        let job: JobRef = row.job.parse().map_err(InvalidSavedWatch::new)?;
        let names = Names {
            game: row.game,
            image: row.image,
            machine: row.machine,
        };
        let about = JobMeta {
            labels: row.labels,
            names,
        };
        let latest = now
            .up_ms
            .saturating_add(millis(limits.schedule.max_interval));
        // Whether the API is still down nobody knows, and the credentials may have been mended.
        let is_over = |f: &SavedFailureStreak| {
            f.held || matches!(f.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden)
        };
        let failing = row.trouble.as_ref().and_then(|t| t.failing.as_ref());
        let ask_now = failing.is_some_and(is_over);
        let trouble = row.trouble.map(|trouble| {
            Box::new(ErrorState {
                failing: trouble.failing.map(|failing| FailureStreak {
                    since: asked(failing.since),
                    told: failing.told,
                    held: failing.held,
                    kind: failing.kind,
                    http_status: failing.http_status,
                    message: failing.message,
                }),
                failures: trouble.failures,
                refusals: trouble.refusals,
                missing: trouble.missing,
                missing_since: asked(trouble.missing_since),
                failed_since: trouble.failed_since.map(past),
                // The stored time of the next request says it, too.
                not_before: 0,
            })
        });
        Ok(Self {
            id,
            job_id: job.id,
            job_kind: job.kind,
            about: (about != JobMeta::default()).then(|| Arc::new(about)),
            trouble,
            trace: History::restore(&row.trace, past),
            first_poll: past(row.first_poll),
            began: row.began.unwrap_or(row.first_poll),
            poll_at: if ask_now {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Input;
    use crate::watch::tests_support::{Story, error, limits};

    const DAY_MS: i64 = 86_400_000;

    /// The moment `after_ms` later, in a process whose clock began elsewhere, with the wall clock off by `skew_ms`.
    fn later(now: Moment, after_ms: u64, skew_ms: i64) -> Moment {
        Moment {
            up_ms: 5_000_000_000_000 + after_ms,
            wall_ms: now.wall_ms + after_ms.cast_signed() + skew_ms,
        }
    }

    fn reload(watch: &Watch, saved_at: Moment, now: Moment) -> Watch {
        Watch::load(&watch.save(saved_at, None), now, &limits()).unwrap()
    }

    #[test]
    fn when_a_watch_began_stays_as_it_was_by_whatever_clock_it_is_read_back() {
        let story = Story::of("diff/9").at(7).take(Input::Due).running(10.0);
        let began = story.now.wall_ms;
        let mut watch = story.watch;
        for skew in [1, -DAY_MS, DAY_MS] {
            let now = later(story.now, 300, skew);
            watch = reload(&watch, now, later(now, 1, 0));
            assert_eq!(watch.began_ms(), Some(began));
        }
    }

    #[test]
    fn what_is_read_back_in_time_waits_what_was_left() {
        let story = Story::of("diff/9").at(0).take(Input::Due).running(10.0);
        let story = story.at(40).running(30.0);
        let wait = story.watch.next_poll(story.now);
        let now = later(story.now, 300, 0);
        let watch = reload(&story.watch, story.now, now);
        assert_eq!(
            watch.next_poll(now) + std::time::Duration::from_millis(300),
            wait
        );
        assert_eq!(
            (watch.id(), watch.job()),
            (story.watch.id(), story.watch.job())
        );
        assert_eq!(
            (watch.state(), watch.progress()),
            (story.watch.state(), Some(30.0))
        );
        assert_eq!(watch.first_poll(), Some(now.up_ms - 40_300));
    }

    #[test]
    fn a_clock_that_jumped_makes_nobody_wait_longer_than_the_longest_interval() {
        let story = Story::of("diff/9").at(0).running(10.0).at(40).running(30.0);
        for skew in [
            -400 * DAY_MS,
            -DAY_MS,
            DAY_MS,
            400 * DAY_MS,
            i64::MIN / 4,
            i64::MAX / 4,
        ] {
            let now = later(story.now, 0, skew);
            let watch = reload(&story.watch, story.now, now);
            assert!(
                watch.next_poll(now) <= limits().schedule.max_interval,
                "{skew}"
            );
            assert!(watch.first_poll() <= Some(now.up_ms), "{skew}");
        }
    }

    #[test]
    fn while_nobody_asked_asking_did_not_fail() {
        let story = Story::of("diff/9").take(Input::Due);
        let story = story.at(0).fails(ErrorKind::Connect).at(10);
        for (after_ms, skew) in [(0, 0), (8 * 3_600_000, 0), (0, 400 * DAY_MS), (0, -DAY_MS)] {
            let now = later(story.now, after_ms, skew);
            let watch = reload(&story.watch, story.now, now);
            let since = watch.failing().unwrap().since;
            assert_eq!(now.up_ms - since, 10_000, "{after_ms} {skew}");
        }
    }

    #[test]
    fn who_was_held_or_refused_asks_at_once() {
        let held = Story::of("diff/9")
            .at(0)
            .running(10.0)
            .at(40)
            .take(Input::Held(ErrorKind::Server));
        let mut refused = Story::of("diff/9").with(|limits| limits.refusal_ends = false);
        refused = refused
            .at(0)
            .take(Input::Failed(error(ErrorKind::Unauthorized)));
        for story in [held, refused] {
            assert!(story.watch.next_poll(story.now) > std::time::Duration::from_secs(1));
            let now = later(story.now, 10, 0);
            assert!(
                reload(&story.watch, story.now, now)
                    .next_poll(now)
                    .is_zero()
            );
        }
    }

    #[test]
    fn an_end_is_written_down_with_its_name() {
        let story = Story::of("diff/9").at(0).running(10.0);
        assert_eq!(outcome_of(&story.watch.save(story.now, None)), None);
        let ended = story.watch.save(story.now, Some(Outcome::TimedOut));
        assert_eq!(outcome_of(&ended).as_deref(), Some("timed_out"));
    }

    #[test]
    fn what_is_no_watch_is_an_error_and_what_is_half_of_one_too() {
        let story = Story::of("diff/9").at(0).running(10.0);
        let text = story.watch.save(story.now, None);
        for cut in 0..text.len() {
            assert!(
                Watch::load(&text[..cut], story.now, &limits()).is_err(),
                "{cut}"
            );
        }
        for (from, to) in [
            ("diff/9", "diff/0"),
            ("0707", "07"),
            ("\"poll_at\":", "\"poll\":"),
        ] {
            assert!(Watch::load(&text.replacen(from, to, 1), story.now, &limits()).is_err());
        }
    }
}
