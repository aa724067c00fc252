//! The jobs of the simulated API.

use std::collections::BTreeMap;

use forgewatch_core::job::{JobRef, JobState};
use forgewatch_core::status::Status;

use crate::faults::Fault;
use crate::rng::SimRng;
use crate::world::World;

/// Times are true milliseconds.
#[derive(Debug)]
pub(crate) struct SimJob {
    /// 404 until then.
    appears_at: u64,
    queued_until: u64,
    pub(crate) ends_at: u64,
    end_state: JobState,
    /// Faults of this job, each with start and end.
    quirks: Vec<(Fault, u64, u64)>,
}

/// The server's reply to a status request.
pub(crate) enum StatusReply {
    Status(Box<Status>),
    NotFound,
    Gone,
}

/// Quirks that last for a while.
const TEMPORARY_QUIRKS: [Fault; 8] = [
    Fault::StateGoesBack,
    Fault::ProgressGoesBack,
    Fault::FlagCleared,
    Fault::UnknownState,
    Fault::Stall,
    Fault::EtaPast,
    Fault::EtaFar,
    Fault::EtaMissing,
];

/// Quirks from the end on.
const FINAL_QUIRKS: [Fault; 5] = [
    Fault::EndsByFlag,
    Fault::EndsByProgress,
    Fault::Contradiction,
    Fault::NeverFound,
    Fault::Gone,
];

/// How long `jobfailed` alone shows the end.
const FLAG_ALONE_MS: u64 = 600_000;

impl SimJob {
    fn new(world: &World) -> Self {
        let (appears_at, queued, lasts, end_state) = world.draw(|rng| {
            let end_state = rng.pick(&[
                JobState::Completed,
                JobState::Completed,
                JobState::Failed,
                JobState::Squashed,
            ]);
            (
                rng.between(0, 40_000),
                rng.log_uniform(60_000),
                rng.log_uniform(1_500_000),
                end_state,
            )
        });
        let appears_at = if world.occurs(Fault::NotFoundAtFirst, 0.3) {
            appears_at
        } else {
            0
        };
        let (queued_until, ends_at) = (appears_at + queued, appears_at + queued + lasts);
        let mut quirks = Vec::new();
        while world.draw(|rng| rng.chance(0.4)) {
            let part = |rng: &mut SimRng| {
                let from = rng.between(appears_at, ends_at);
                (from, from + rng.log_uniform(300_000))
            };
            let (from, until) = world.draw(part);
            quirks.extend(
                world
                    .pick_fault(&TEMPORARY_QUIRKS)
                    .map(|quirk| (quirk, from, until)),
            );
        }
        if world.draw(|rng| rng.chance(0.3)) {
            // With `--jobfailed count` the flag is not an end, so the state must change some minutes later.
            let until = |quirk| {
                if quirk == Fault::EndsByFlag {
                    ends_at + FLAG_ALONE_MS
                } else {
                    u64::MAX
                }
            };
            quirks.extend(
                world
                    .pick_fault(&FINAL_QUIRKS)
                    .map(|quirk| (quirk, ends_at, until(quirk))),
            );
        }
        Self {
            appears_at,
            queued_until,
            ends_at,
            end_state,
            quirks,
        }
    }

    fn has(&self, quirk: Fault) -> bool {
        self.quirks.iter().any(|&(q, ..)| q == quirk)
    }

    fn is_active(&self, quirk: Fault, now: u64) -> bool {
        self.quirks
            .iter()
            .any(|&(q, from, until)| q == quirk && from <= now && now < until)
    }

    /// The reply at this true time; `server_s` is the server's clock, in Unix seconds.
    pub(crate) fn reply_at(&self, now: u64, server_s: i64, world: &World) -> StatusReply {
        let quirk = |fault: Fault| {
            let is_active = self.is_active(fault, now);
            if is_active {
                world.record_fault(fault);
            }
            is_active
        };
        if self.has(Fault::NeverFound) {
            world.record_fault(Fault::NeverFound);
            return StatusReply::NotFound;
        }
        if now < self.appears_at {
            world.record_fault(Fault::NotFoundAtFirst);
            return StatusReply::NotFound;
        }
        if quirk(Fault::Gone) {
            return StatusReply::Gone;
        }
        let seconds = |ms: u64| server_s + (ms.cast_signed() - now.cast_signed()).div_euclid(1000);
        let active_until = if quirk(Fault::Stall) {
            self.queued_until.min(now)
        } else {
            now
        };
        let has_ended = now >= self.ends_at;
        let share = active_until.saturating_sub(self.queued_until) as f32
            / (self.ends_at - self.queued_until) as f32;
        let mut status = Status {
            state: Some(if now < self.queued_until {
                JobState::Queued
            } else {
                JobState::Running
            }),
            progress: Some((share * 100.0).min(99.0)),
            created: Some(seconds(self.appears_at)),
            start: (now >= self.queued_until).then(|| seconds(self.queued_until)),
            updated: Some(seconds(active_until)),
            eta: Some(seconds(self.ends_at)),
            ..Status::default()
        };
        if has_ended {
            self.set_ended(&mut status, &quirk);
        } else {
            set_temporary_quirks(&mut status, server_s, &quirk);
        }
        StatusReply::Status(Box::new(status))
    }

    /// Changes the status to that of an ended job.
    fn set_ended(&self, status: &mut Status, quirk: &impl Fn(Fault) -> bool) {
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
            status.state = Some(self.end_state);
            status.failed = u32::from(self.end_state == JobState::Failed);
            if self.end_state == JobState::Completed {
                status.progress = Some(100.0);
            }
        }
    }
}

fn set_temporary_quirks(status: &mut Status, server_s: i64, quirk: &impl Fn(Fault) -> bool) {
    if quirk(Fault::StateGoesBack) {
        status.state = Some(JobState::Pending);
    }
    if quirk(Fault::ProgressGoesBack) {
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
}

/// The jobs of a lifetime.
pub(crate) fn random_jobs(world: &World) -> BTreeMap<JobRef, SimJob> {
    let many = world.draw(|rng| rng.log_uniform(5));
    let job = |n: u64| {
        let kind = world.draw(|rng| rng.pick(&["diff", "update", "version"]));
        format!("{kind}/{n}").parse().unwrap()
    };
    (1..=many).map(|n| (job(n), SimJob::new(world))).collect()
}
