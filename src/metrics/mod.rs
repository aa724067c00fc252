//! The measurements in the text formats of Prometheus and `OpenMetrics`, for `/metrics`.

mod families;
mod negotiation;
#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use families::Families;
use forgewatch_core::measurements::{
    ConfigState, EndedJobs, Histogram, JobGauges, JobTimes, Measurements,
};
pub use negotiation::TextFormat;

type Select = fn(&JobTimes) -> &Histogram;

/// What a scrape reads.
#[derive(Debug)]
pub struct Scrape {
    pub measured: Measurements,
    pub config: ConfigState,
}

impl Scrape {
    /// The metrics as text.
    ///
    /// # Errors
    /// None: writing to a string succeeds.
    pub fn into_text(self, format: TextFormat) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut body = String::with_capacity(64 * 1024);
        match format {
            TextFormat::OpenMetrics => text::encode(&mut body, &registry)?,
            TextFormat::Prometheus => prometheus_text::encode(&mut body, &registry)?,
        }
        Ok(body)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.process(&mut to)?;
        self.jobs(&mut to)?;
        ended_jobs(&self.measured.ended, &mut to)?;
        self.polls(&mut to)?;
        self.deliveries(&mut to)?;
        self.store(&mut to)?;
        match &self.measured.job_gauges {
            Some(jobs) => each_job(jobs, &mut to),
            None => Ok(()),
        }
    }
}

impl Scrape {
    fn process(&self, to: &mut Families<'_>) -> fmt::Result {
        to.info(
            "forgewatch_build",
            "Version of this forgewatch",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        to.value(
            "process_start_time_seconds",
            "Start of the process, in Unix seconds",
            seconds(self.measured.started.wall_ms),
        )?;
        to.value(
            "forgewatch_config_last_reload_successful",
            "Whether the last reload of the configuration was applied; 1 without a reload",
            flag(self.config.last_reload_succeeded),
        )?;
        to.value(
            "forgewatch_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was applied, in Unix seconds",
            seconds(self.config.applied_wall_ms),
        )
    }

    fn jobs(&self, to: &mut Families<'_>) -> fmt::Result {
        let jobs = &self.measured.jobs;
        to.gauge(
            "forgewatch_jobs",
            "Watched jobs by kind and last known state",
            jobs.by_state().map(|(kind, state, count)| {
                let labels = [("kind", kind.as_str()), ("state", state.as_str())];
                (labels, count as f64)
            }),
        )?;
        to.gauge(
            "forgewatch_jobs_stalled",
            "Watched jobs that were reported as stalled and have not progressed since",
            jobs.stalled()
                .map(|(kind, count)| ([("kind", kind.as_str())], count as f64)),
        )?;
        to.gauge(
            "forgewatch_jobs_unreachable",
            "Watched jobs that were reported as unreachable and cannot be polled yet",
            jobs.unreachable()
                .map(|(kind, count)| ([("kind", kind.as_str())], count as f64)),
        )
    }

    fn polls(&self, to: &mut Families<'_>) -> fmt::Result {
        let polls = &self.measured.polls;
        let labels = |outcome, error_kind| [("outcome", outcome), ("error_kind", error_kind)];
        let failed = polls.failed.iter();
        to.counter(
            "forgewatch_polls",
            "Polls by outcome, and failed ones by class of error",
            [(labels("success", ""), polls.succeeded as f64)]
                .into_iter()
                .chain(failed.map(|(kind, &count)| (labels("error", kind), count as f64))),
        )?;
        to.histogram(
            "forgewatch_poll_duration_seconds",
            "Time from the request of a poll to its result",
            [(NO_LABELS, &polls.duration)],
        )?;
        to.histogram(
            "forgewatch_poll_lateness_seconds",
            "Time from the moment when a poll was due to its request",
            [(NO_LABELS, &polls.lateness)],
        )?;
        to.value(
            "forgewatch_last_successful_poll_timestamp_seconds",
            "When a poll last returned a status, in Unix seconds; 0 before the first",
            polls.last_success_wall_ms.map_or(0.0, seconds),
        )?;
        let api = &self.measured.api;
        to.value(
            "forgewatch_api_circuit_open",
            "Whether the API counts as down, so that only probes are sent",
            flag(api.is_down),
        )?;
        to.value(
            "forgewatch_api_paused_until_timestamp_seconds",
            "When the pause ends that the API requested, in Unix seconds; 0 without a pause",
            api.paused_until_wall_ms.map_or(0.0, seconds),
        )
    }

    fn deliveries(&self, to: &mut Families<'_>) -> fmt::Result {
        let counts = &self.measured.deliveries;
        let open = [
            ("pending", counts.pending),
            ("running", counts.running),
            ("failed", counts.failed),
        ];
        to.gauge(
            "forgewatch_deliveries",
            "Deliveries to hooks by state; failed ones until they are retried or discarded",
            open.map(|(state, count)| ([("state", state)], count as f64)),
        )?;
        let ended = [
            ("delivered", counts.delivered_total),
            ("failed", counts.failed_total),
            ("discarded", counts.discarded_total),
        ];
        to.counter(
            "forgewatch_deliveries_ended",
            "Deliveries to hooks that were delivered, failed or were discarded",
            ended.map(|(state, count)| ([("state", state)], count as f64)),
        )?;
        let attempts = || {
            self.measured.hooks.iter().flat_map(|(hook, attempts)| {
                let labels = |outcome| [("hook", &**hook), ("outcome", outcome)];
                [
                    (labels("delivered"), &attempts.delivered),
                    (labels("failed"), &attempts.failed),
                ]
            })
        };
        to.counter(
            "forgewatch_hook_attempts",
            "Attempts to deliver an event, by hook and outcome",
            attempts().map(|(labels, durations)| (labels, durations.count() as f64)),
        )?;
        to.histogram(
            "forgewatch_hook_attempt_duration_seconds",
            "Time that an attempt to deliver an event took, by hook and outcome",
            attempts(),
        )
    }

    fn store(&self, to: &mut Families<'_>) -> fmt::Result {
        let commits = &self.measured.commits;
        to.histogram(
            "forgewatch_store_commit_duration_seconds",
            "Time until a commit was on the disk, waiting included",
            [(NO_LABELS, &commits.duration)],
        )?;
        let unwritable = [("disk_full", commits.disk_full), ("locked", commits.locked)];
        to.counter(
            "forgewatch_store_unwritable_seconds",
            "Time during which no commit succeeded, by reason",
            unwritable.map(|(reason, time)| ([("reason", reason)], time.as_secs_f64())),
        )
    }
}

fn ended_jobs(ended: &EndedJobs, to: &mut Families<'_>) -> fmt::Result {
    to.counter(
        "forgewatch_jobs_ended",
        "Watches that ended, by kind of job and outcome",
        ended.outcomes.iter().map(|(&(kind, outcome), &count)| {
            let labels = [("kind", kind.as_str()), ("outcome", outcome)];
            (labels, count as f64)
        }),
    )?;
    to.histogram(
        "forgewatch_job_requests",
        "Polls of a job until its watch ended, by kind",
        ended
            .requests
            .iter()
            .map(|(kind, requests)| ([("kind", kind.as_str())], requests)),
    )?;
    let families: [(&str, &str, Select); 3] = [
        (
            "forgewatch_job_run_seconds",
            "Time from the start of a job to its end, by kind and outcome",
            |times| &times.run,
        ),
        (
            "forgewatch_job_queued_seconds",
            "Time from the creation of a job to its start, by kind and outcome",
            |times| &times.queued,
        ),
        (
            "forgewatch_job_detection_delay_seconds",
            "Time from the end of a job to the poll that saw it, by kind and outcome",
            |times| &times.detection_delay,
        ),
    ];
    for (name, help, histogram) in families {
        let times = ended.times.iter().map(|(&(kind, outcome), times)| {
            let labels = [("kind", kind.as_str()), ("outcome", outcome)];
            (labels, histogram(times))
        });
        to.histogram(name, help, times)?;
    }
    Ok(())
}

/// Only jobs that are watched now have these, so that their number is bounded by that of the watched jobs.
fn each_job(jobs: &[JobGauges], to: &mut Families<'_>) -> fmt::Result {
    let labels = |job: &JobGauges| {
        (
            [("kind", job.job.kind.as_str())],
            [("id", job.job.id.get())],
        )
    };
    to.gauge(
        "forgewatch_job_progress_ratio",
        "Progress of a watched job, from 0 to 1",
        jobs.iter()
            .filter_map(|job| Some((labels(job), f64::from(job.progress?) / 100.0))),
    )?;
    to.gauge(
        "forgewatch_job_eta_seconds",
        "Time until the end of a watched job as the server predicts it; negative after it",
        jobs.iter()
            .filter_map(|job| Some((labels(job), job.left.eta_seconds? as f64))),
    )?;
    let bounds = jobs.iter().flat_map(|job| {
        let bounds = [
            ("low", job.left.estimate_low_ms),
            ("high", job.left.estimate_high_ms),
        ];
        let with_labels = move |(bound, ms): (&'static str, Option<u64>)| {
            let labels = (labels(job), [("bound", bound)]);
            Some((labels, ms? as f64 / 1_000.0))
        };
        bounds.into_iter().filter_map(with_labels)
    });
    to.gauge(
        "forgewatch_job_estimate_seconds",
        "Estimated time until the end of a watched job: in four of five cases it lies between the bounds",
        bounds,
    )
}

const NO_LABELS: [(&str, &str); 0] = [];

fn seconds(wall_ms: i64) -> f64 {
    wall_ms as f64 / 1_000.0
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
