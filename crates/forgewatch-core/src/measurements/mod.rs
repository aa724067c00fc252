//! What forgewatch measures about itself, for `/metrics` and `status`.
//!
//! Engine, hooks and store count in values of their own, which [`Measurements`] puts together. Their size is fixed, so
//! counting allocates nothing.

mod histogram;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{AttemptResult, DeliveryChange};
use crate::event::Event;
use crate::job::{JobKind, JobRef, JobState, Outcome};
use crate::time::Moment;
use crate::time_left::TimeLeft;
use crate::verdict::{ErrorKind, PollError};
use crate::watch::Watch;

pub use histogram::Histogram;

/// Of requests and of waits for the disk, in seconds.
const SHORT: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Of delays and attempts, in seconds.
const MEDIUM: &[f64] = &[
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Of jobs, in seconds.
const LONG: &[f64] = &[
    10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
];
/// Of requests per job.
const REQUESTS: &[f64] = &[
    1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0,
];

/// The polls of an engine.
#[derive(Clone, Debug)]
pub struct PollMeasurements {
    /// Polls that returned a status.
    pub succeeded: u64,
    /// Failed polls by the name of their error's class.
    pub failed: BTreeMap<&'static str, u64>,
    /// From request to result, in seconds.
    pub duration: Histogram,
    /// From the time when a poll was due to its request, in seconds.
    pub lateness: Histogram,
    /// When a poll last returned a status, Unix milliseconds.
    pub last_success_wall_ms: Option<i64>,
}

impl Default for PollMeasurements {
    fn default() -> Self {
        let names = ErrorKind::ALL.map(ErrorKind::as_str);
        Self {
            succeeded: 0,
            failed: names.into_iter().map(|name| (name, 0)).collect(),
            duration: Histogram::new(SHORT),
            lateness: Histogram::new(MEDIUM),
            last_success_wall_ms: None,
        }
    }
}

impl PollMeasurements {
    /// Counts the start of a poll that was due at `due`.
    pub fn on_start(&mut self, due: u64, now: Moment) {
        self.lateness.observe_ms(now.up_ms.saturating_sub(due));
    }

    /// Counts the result of a poll that started at `started`.
    pub fn on_result(&mut self, started: u64, now: Moment, result: Result<(), &PollError>) {
        self.duration.observe_ms(now.up_ms.saturating_sub(started));
        match result {
            Ok(()) => {
                self.succeeded += 1;
                self.last_success_wall_ms = Some(now.wall_ms);
            }
            Err(error) => *self.failed.entry(error.kind.as_str()).or_default() += 1,
        }
    }
}

/// Whether the API as a whole is polled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiAvailability {
    /// Whether the circuit breaker is open: only probes are sent.
    pub is_down: bool,
    /// When the pause ends that the server requested, Unix milliseconds; None without a pause.
    pub paused_until_wall_ms: Option<i64>,
    /// Why, if it is down or paused.
    pub error: Option<PollError>,
}

/// The jobs that have ended since the start.
#[derive(Clone, Debug)]
pub struct EndedJobs {
    /// By kind and outcome.
    pub outcomes: BTreeMap<(JobKind, &'static str), u64>,
    /// Polls per job, by kind.
    pub requests: BTreeMap<JobKind, Histogram>,
    /// Times of jobs that ended by themselves, by kind and outcome.
    pub times: BTreeMap<(JobKind, &'static str), JobTimes>,
}

/// Times of ended jobs, in seconds.
#[derive(Clone, Debug)]
pub struct JobTimes {
    /// From the start of a job to its end, by its own times.
    pub run: Histogram,
    /// From the creation of a job to its start, by its own times.
    pub queued: Histogram,
    /// From the end of a job to the poll that saw it.
    pub detection_delay: Histogram,
}

impl Default for EndedJobs {
    fn default() -> Self {
        let own = [Outcome::Completed, Outcome::Failed, Outcome::Squashed];
        let others = [Outcome::NotFound, Outcome::GaveUp, Outcome::Removed];
        let of_kinds = |outcomes: Vec<Outcome>| {
            JobKind::ALL.into_iter().flat_map(move |kind| {
                let names = outcomes.clone().into_iter().map(Outcome::as_str);
                names.map(move |name| (kind, name))
            })
        };
        let times = || JobTimes {
            run: Histogram::new(LONG),
            queued: Histogram::new(LONG),
            detection_delay: Histogram::new(MEDIUM),
        };
        Self {
            outcomes: of_kinds([own, others].concat())
                .map(|key| (key, 0))
                .collect(),
            requests: JobKind::ALL
                .map(|kind| (kind, Histogram::new(REQUESTS)))
                .into(),
            times: of_kinds(own.to_vec()).map(|key| (key, times())).collect(),
        }
    }
}

impl EndedJobs {
    /// Counts the end of a job with its ending event.
    pub fn on_end(&mut self, job: JobRef, outcome: Outcome, event: &Event) {
        let key = (job.kind, outcome.as_str());
        *self.outcomes.entry(key).or_default() += 1;
        let fields = &event.fields;
        if let Some((requests, count)) = self.requests.get_mut(&job.kind).zip(fields.requests) {
            requests.observe(f64::from(count));
        }
        if let Some(times) = self.times.get_mut(&key) {
            for (histogram, ms) in [
                (&mut times.run, fields.run_ms),
                (&mut times.queued, fields.queued_ms),
                (&mut times.detection_delay, fields.detection_delay_ms),
            ] {
                if let Some(ms) = ms {
                    histogram.observe_ms(ms);
                }
            }
        }
    }
}

/// The attempts of one hook.
#[derive(Clone, Debug)]
pub struct AttemptMeasurements {
    /// Durations of the attempts that the receiver accepted, in seconds.
    pub delivered: Histogram,
    /// Durations of failed and rejected attempts, in seconds.
    pub failed: Histogram,
}

impl Default for AttemptMeasurements {
    fn default() -> Self {
        Self {
            delivered: Histogram::new(MEDIUM),
            failed: Histogram::new(MEDIUM),
        }
    }
}

impl AttemptMeasurements {
    /// Counts an attempt that took this long.
    pub fn on_result(&mut self, ms: u64, result: &AttemptResult) {
        let histogram = match result {
            AttemptResult::Delivered => &mut self.delivered,
            AttemptResult::Failed { .. } | AttemptResult::Rejected(_) => &mut self.failed,
        };
        histogram.observe_ms(ms);
    }
}

/// Deliveries by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Waiting for an attempt.
    pub pending: usize,
    /// With an attempt under way.
    pub running: usize,
    /// Failed, and neither retried nor discarded.
    pub failed: usize,
    /// Delivered since the start.
    pub delivered_total: u64,
    /// Failed since the start.
    pub failed_total: u64,
    /// Discarded since the start.
    pub discarded_total: u64,
}

impl DeliveryCounts {
    /// Counts a committed change. Pending and running deliveries are counted by the queue.
    pub fn on_change(&mut self, change: &DeliveryChange) {
        match change {
            DeliveryChange::Begin { .. } | DeliveryChange::Reschedule { .. } => {}
            DeliveryChange::Deliver { .. } => self.delivered_total += 1,
            DeliveryChange::Fail { .. } => {
                self.failed_total += 1;
                self.failed += 1;
            }
            DeliveryChange::Retry { .. } => self.failed = self.failed.saturating_sub(1),
            DeliveryChange::Discard { .. } => {
                self.discarded_total += 1;
                self.failed = self.failed.saturating_sub(1);
            }
        }
    }
}

/// Commits to the store.
#[derive(Clone, Debug)]
pub struct CommitMeasurements {
    /// Of commits that succeeded, waiting included, in seconds.
    pub duration: Histogram,
    /// How long no commit was possible because the disk was full.
    pub disk_full: Duration,
    /// How long no commit was possible because another program had locked the file.
    pub locked: Duration,
}

impl Default for CommitMeasurements {
    fn default() -> Self {
        Self {
            duration: Histogram::new(SHORT),
            disk_full: Duration::ZERO,
            locked: Duration::ZERO,
        }
    }
}

/// The watched jobs by kind and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    states: [[usize; STATES]; KINDS],
    /// Reported as stalled, by kind.
    stalled: [usize; KINDS],
    /// Reported as unreachable, by kind.
    unreachable: [usize; KINDS],
}

const KINDS: usize = JobKind::ALL.len();
/// The states with a number from 1 to 7; 0 stands for the others and for jobs without a status.
const STATES: usize = 8;

impl JobCounts {
    /// Counts a watched job.
    pub fn add(&mut self, watch: &Watch) {
        let kind = watch.job().kind as usize;
        let state = watch.state().and_then(|s| usize::try_from(s.id()).ok());
        self.states[kind][state.filter(|&state| state < STATES).unwrap_or(0)] += 1;
        self.stalled[kind] += usize::from(watch.is_stalled());
        self.unreachable[kind] += usize::from(watch.is_unreachable());
    }

    /// The number of jobs of each kind and state, zeros included.
    pub fn by_state(&self) -> impl Iterator<Item = (JobKind, JobState, usize)> {
        by_kind(&self.states).flat_map(|(kind, states)| {
            let states = states.into_iter().zip(0..);
            states.map(move |(count, id)| (kind, JobState::from_id(id), count))
        })
    }

    /// The number of stalled jobs of each kind.
    pub fn stalled(&self) -> impl Iterator<Item = (JobKind, usize)> {
        by_kind(&self.stalled)
    }

    /// The number of unreachable jobs of each kind.
    pub fn unreachable(&self) -> impl Iterator<Item = (JobKind, usize)> {
        by_kind(&self.unreachable)
    }
}

fn by_kind<T: Copy>(values: &[T; KINDS]) -> impl Iterator<Item = (JobKind, T)> {
    JobKind::ALL.into_iter().zip(values.iter().copied())
}

/// What is known about one job, for metrics of each job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobGauges {
    /// The job.
    pub job: JobRef,
    /// In percent.
    pub progress: Option<f32>,
    /// ETA and estimate.
    pub left: TimeLeft,
}

/// The configuration in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigState {
    /// When it was applied, Unix milliseconds.
    pub applied_wall_ms: i64,
    /// Whether the last reload was applied; true without a reload.
    pub last_reload_succeeded: bool,
}

/// Everything that is measured, at one moment.
#[derive(Clone, Debug)]
pub struct Measurements {
    /// The moment.
    pub at: Moment,
    /// When the process started.
    pub started: Moment,
    /// Its polls.
    pub polls: PollMeasurements,
    /// The state of the API.
    pub api: ApiAvailability,
    /// The watched jobs.
    pub jobs: JobCounts,
    /// The watched jobs one by one, if wanted.
    pub job_gauges: Option<Vec<JobGauges>>,
    /// The ended jobs.
    pub ended: EndedJobs,
    /// The deliveries.
    pub deliveries: DeliveryCounts,
    /// The attempts of each configured hook.
    pub hooks: BTreeMap<Arc<str>, AttemptMeasurements>,
    /// The commits to the store.
    pub commits: CommitMeasurements,
}

impl Measurements {
    /// How long the process has run.
    pub fn uptime(&self) -> Duration {
        Duration::from_millis(self.at.up_ms.saturating_sub(self.started.up_ms))
    }
}
