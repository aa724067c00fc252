//! Random states of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forgewatch::engine::Throttle;
use forgewatch::hooks::{HookAction, HookProgram, HookSpec};
use forgewatch_core::delivery::HookRules;
use forgewatch_core::event::EventOrigin;
use forgewatch_core::job::JobSpec;
use forgewatch_core::job::{JobKind, JobRef};
use forgewatch_core::limits::{JobFailed, Limits};
use forgewatch_core::schedule::{Policy, ScheduleSettings};

use crate::rng::SimRng;

/// One state of the configuration file.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) jobs: Vec<JobSpec>,
    pub(crate) hooks: Vec<HookSpec>,
    pub(crate) limits: Limits,
    pub(crate) throttle: Throttle,
    pub(crate) retain: Duration,
}

impl Config {
    /// The configuration at the start of a lifetime, with some of these jobs.
    pub(crate) fn initial(rng: &mut SimRng, jobs: &[JobRef]) -> Self {
        let policy = if rng.chance(0.3) {
            Policy::Inspection
        } else {
            Policy::Exponential
        };
        let mut config = Self {
            jobs: Vec::new(),
            hooks: Vec::new(),
            limits: Limits {
                origin: EventOrigin::default(),
                schedule: ScheduleSettings {
                    policy,
                    request_cost: Duration::from_secs(rng.pick(&[1, 5, 30])),
                    min_interval: Duration::from_secs(rng.pick(&[1, 2, 5])),
                    max_interval: Duration::from_secs(rng.pick(&[60, 600])),
                },
                progress_step: rng.pick(&[10, 25]),
                stalled_after: Duration::from_secs(rng.pick(&[120, 1800])),
                unreachable_after: Duration::from_secs(120),
                not_found_grace: Duration::from_secs(60),
                give_up_after: None,
                jobfailed: if rng.chance(0.2) {
                    JobFailed::Count
                } else {
                    JobFailed::Flag
                },
                diff_info: true,
                refusal_ends: false,
            },
            throttle: Throttle {
                max_in_flight: rng.pick(&[2, 32]),
                max_requests_per_second: rng.pick(&[2.0, 20.0]),
            },
            retain: Duration::from_secs(rng.pick(&[300, 3600, 30 * 86_400])),
        };
        config.jobs = random_jobs(rng, jobs);
        config.hooks = random_hooks(rng);
        config
    }

    /// The configuration after a random edit.
    pub(crate) fn edited(&self, rng: &mut SimRng, jobs: &[JobRef]) -> Self {
        let mut config = self.clone();
        if rng.chance(0.7) {
            config.jobs = random_jobs(rng, jobs);
        }
        if rng.chance(0.5) {
            config.hooks = random_hooks(rng);
        }
        config.limits.schedule.max_interval = Duration::from_secs(rng.pick(&[60, 600]));
        config
    }

    pub(crate) fn hook(&self, name: &str) -> Option<&HookSpec> {
        self.hooks.iter().find(|hook| &*hook.rules.name == name)
    }
}

fn random_jobs(rng: &mut SimRng, jobs: &[JobRef]) -> Vec<JobSpec> {
    let listed = jobs.iter().filter(|_| rng.chance(0.7));
    listed
        .map(|&job| JobSpec {
            job,
            labels: [("build".to_owned(), job.to_string())].into(),
        })
        .collect()
}

/// The retries of this hook, the same in every configuration.
pub(crate) fn retries(name: &str) -> u32 {
    match name {
        "all" => 8,
        "ends" => 3,
        _ => 0,
    }
}

fn random_hooks(rng: &mut SimRng) -> Vec<HookSpec> {
    let hook = |name: &str, on: &[&str], kinds: Option<Vec<JobKind>>, max_running| HookSpec {
        rules: HookRules {
            name: Arc::from(name),
            on: on.iter().map(|&on| on.to_owned()).collect(),
            kinds,
            labels: BTreeMap::new(),
            retries: retries(name),
            max_running,
        },
        // Never executed: the simulated hooks go by the name.
        action: HookAction::Run(HookProgram {
            path: PathBuf::from("/bin/true"),
            args: Vec::new(),
            env: Vec::new(),
        }),
        timeout: Duration::from_secs(20),
    };
    let ends = [
        "job.completed",
        "job.failed",
        "job.squashed",
        "job.not_found",
        "job.removed",
    ];
    let own = [
        "hook.failed",
        "watch.started",
        "job.state_changed",
        "job.progressed",
    ];
    let all = [
        hook("all", &["job.*"], None, rng.pick(&[1, 4])),
        hook("ends", &ends, Some(vec![JobKind::Update]), 1),
        hook("own", &own, None, 2),
    ];
    all.into_iter().filter(|_| rng.chance(0.8)).collect()
}
