//! Puts together what engine, hooks and store have measured.

use super::Daemon;
use crate::clanforge::Api;
use crate::engine::Clock;
use crate::hooks::Executor;
use crate::store::DaemonStore;
use forgewatch_core::measurements::{JobCounts, JobGauges, Measurements};
use forgewatch_core::time::Moment;

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// Everything that was measured since the start, and with `per_job` the progress of each watched job. Reads memory
    /// only, so that it works while the disk is full.
    pub fn measurements(&self, per_job: bool) -> Measurements {
        let at = self.clock.now();
        let mut jobs = JobCounts::default();
        self.engine.watches().for_each(|watch| jobs.add(watch));
        Measurements {
            at,
            started: self.started,
            polls: self.engine.measured().clone(),
            api: self.engine.api_availability(at),
            jobs,
            job_gauges: per_job.then(|| self.job_gauges(at)),
            ended: self.ended.clone(),
            deliveries: self.hooks.delivery_counts(),
            hooks: self.hooks.measured().clone(),
            commits: self.outbox.commits(),
        }
    }

    /// The client in use.
    pub fn api(&self) -> &A {
        self.engine.api()
    }

    fn job_gauges(&self, at: Moment) -> Vec<JobGauges> {
        let gauges = self.engine.watches().map(|watch| JobGauges {
            job: watch.job(),
            progress: watch.progress(),
            left: self.engine.time_left(watch, at),
        });
        gauges.collect()
    }
}
