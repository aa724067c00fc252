//! The lives of jobs on the simulated server.

use std::collections::BTreeMap;

use forgewatch_core::job::{JobRef, JobState};
use forgewatch_core::status::Status;

use crate::faults::Fault;
use crate::rng::Rng;
use crate::world::World;

/// A job's life. Times are true milliseconds.
#[derive(Debug)]
pub(crate) struct Life {
    /// Before it, 404.
    appears: u64,
    queued_until: u64,
    pub(crate) ends: u64,
    end: JobState,
    /// What is wrong with it, and from when to when.
    quirks: Vec<(Fault, u64, u64)>,
}

/// What the server says of a job.
pub(crate) enum Said {
    Status(Box<Status>),
    /// 404.
    NotFound,
    /// 410.
    Gone,
}

/// Quirks that last for a part of a job's life.
const FOR_A_WHILE: [Fault; 8] = [
    Fault::StateFalls,
    Fault::ProgressFalls,
    Fault::FlagCleared,
    Fault::UnknownState,
    Fault::Stall,
    Fault::EtaPast,
    Fault::EtaFar,
    Fault::EtaMissing,
];

/// Quirks of the end, or of there being no job at all.
const OF_THE_END: [Fault; 5] = [
    Fault::EndsByFlag,
    Fault::EndsByProgress,
    Fault::Contradiction,
    Fault::NeverThere,
    Fault::Gone,
];

/// How long a flag alone tells of an end.
const FLAG_ALONE_MS: u64 = 600_000;

impl Life {
    fn new(world: &World) -> Self {
        let (appears, queued, lasts, end) = world.roll(|rng| {
            let end = rng.pick(&[
                JobState::Completed,
                JobState::Completed,
                JobState::Failed,
                JobState::Squashed,
            ]);
            (
                rng.between(0, 40_000),
                rng.spread(60_000),
                rng.spread(1_500_000),
                end,
            )
        });
        let appears = if world.may(Fault::NotThereYet, 0.3) {
            appears
        } else {
            0
        };
        let (queued_until, ends) = (appears + queued, appears + queued + lasts);
        let mut quirks = Vec::new();
        while world.roll(|rng| rng.chance(0.4)) {
            let part = |rng: &mut Rng| {
                let from = rng.between(appears, ends);
                (from, from + rng.spread(300_000))
            };
            let (from, until) = world.roll(part);
            quirks.extend(world.one_of(&FOR_A_WHILE).map(|quirk| (quirk, from, until)));
        }
        if world.roll(|rng| rng.chance(0.3)) {
            // Where the flag is a count, it is no end: some minutes later there is one.
            let until = |quirk| {
                if quirk == Fault::EndsByFlag {
                    ends + FLAG_ALONE_MS
                } else {
                    u64::MAX
                }
            };
            quirks.extend(
                world
                    .one_of(&OF_THE_END)
                    .map(|quirk| (quirk, ends, until(quirk))),
            );
        }
        Self {
            appears,
            queued_until,
            ends,
            end,
            quirks,
        }
    }

    fn has(&self, quirk: Fault) -> bool {
        self.quirks.iter().any(|&(q, ..)| q == quirk)
    }

    fn is(&self, quirk: Fault, now: u64) -> bool {
        self.quirks
            .iter()
            .any(|&(q, from, until)| q == quirk && from <= now && now < until)
    }

    /// What the server answers at this true time; `server_s` is what its own clock shows then, Unix seconds.
    pub(crate) fn say(&self, now: u64, server_s: i64, world: &World) -> Said {
        let quirk = |fault: Fault| {
            let is = self.is(fault, now);
            if is {
                world.hit(fault);
            }
            is
        };
        if self.has(Fault::NeverThere) {
            world.hit(Fault::NeverThere);
            return Said::NotFound;
        }
        if now < self.appears {
            world.hit(Fault::NotThereYet);
            return Said::NotFound;
        }
        if quirk(Fault::Gone) {
            return Said::Gone;
        }
        let seconds = |ms: u64| server_s + (ms.cast_signed() - now.cast_signed()).div_euclid(1000);
        let moved = if quirk(Fault::Stall) {
            self.queued_until.min(now)
        } else {
            now
        };
        let is_over = now >= self.ends;
        let share =
            moved.saturating_sub(self.queued_until) as f32 / (self.ends - self.queued_until) as f32;
        let mut status = Status {
            state: Some(if now < self.queued_until {
                JobState::Queued
            } else {
                JobState::Running
            }),
            progress: Some((share * 100.0).min(99.0)),
            created: Some(seconds(self.appears)),
            start: (now >= self.queued_until).then(|| seconds(self.queued_until)),
            updated: Some(seconds(moved)),
            eta: Some(seconds(self.ends)),
            ..Status::default()
        };
        if is_over {
            self.over(&mut status, &quirk);
            return Said::Status(Box::new(status));
        }
        if quirk(Fault::StateFalls) {
            status.state = Some(JobState::Pending);
        }
        if quirk(Fault::ProgressFalls) {
            status.progress = status.progress.map(|p| p / 2.0);
        }
        if quirk(Fault::FlagCleared) {
            status.failed = 1;
        }
        if quirk(Fault::UnknownState) {
            status.state = Some(JobState::Unknown(42));
        }
        if quirk(Fault::EtaPast) {
            status.eta = Some(server_s - 1000);
        }
        if quirk(Fault::EtaFar) {
            status.eta = Some(253_402_300_799);
        }
        if quirk(Fault::EtaMissing) {
            status.eta = None;
        }
        Said::Status(Box::new(status))
    }

    /// Makes it the answer of a job that is over.
    fn over(&self, status: &mut Status, quirk: &impl Fn(Fault) -> bool) {
        if quirk(Fault::EndsByFlag) {
            status.failed = 1;
            status.error = Some("disk full".to_owned());
        } else if quirk(Fault::EndsByProgress) {
            status.progress = Some(100.0);
        } else if quirk(Fault::Contradiction) {
            status.state = Some(JobState::Squashed);
            status.progress = Some(100.0);
            status.failed = 3;
        } else {
            status.state = Some(self.end);
            status.failed = u32::from(self.end == JobState::Failed);
            if self.end == JobState::Completed {
                status.progress = Some(100.0);
            }
        }
    }
}

/// All jobs that there are.
pub(crate) fn populate(world: &World) -> BTreeMap<JobRef, Life> {
    let many = world.roll(|rng| rng.spread(5));
    let job = |n: u64| {
        let kind = world.roll(|rng| rng.pick(&["diff", "update"]));
        format!("{kind}/{n}").parse().unwrap()
    };
    (1..=many).map(|n| (job(n), Life::new(world))).collect()
}
