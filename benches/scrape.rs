//! The time of a scrape with 10,000 jobs, with and without metrics of each job, next to the same number of series in the
//! registry of prometheus-client: `cargo bench --bench scrape`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use forgewatch::metrics::{Scrape, TextFormat};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::measurements::{
    ApiAvailability, CommitMeasurements, ConfigState, DeliveryCounts, EndedJobs, JobCounts,
    JobGauges, Measurements, PollMeasurements,
};
use forgewatch_core::time::Moment;
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::watch::Watch;
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[path = "support/median.rs"]
mod median;

const JOBS: u64 = 10_000;
const ROUNDS: u32 = 30;
const NOW: Moment = Moment {
    up_ms: 1_000_000,
    wall_ms: 1_800_000_000_000,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What the daemon does for a scrape: it counts the watches, copies what was measured, and writes the text.
fn scrape(watches: &[Watch], per_job: bool) -> Outcome<String> {
    let mut jobs = JobCounts::default();
    for watch in watches {
        jobs.add(watch);
    }
    let gauges = || {
        let gauges = watches.iter().map(|watch| JobGauges {
            job: watch.job(),
            progress: Some(42.0),
            left: TimeLeft {
                eta_seconds: Some(1_234),
                estimate_low_ms: Some(1_000_500),
                estimate_high_ms: Some(1_300_000),
            },
        });
        gauges.collect()
    };
    let scrape = Scrape {
        measured: Measurements {
            at: NOW,
            started: NOW,
            polls: PollMeasurements::default(),
            api: ApiAvailability::default(),
            jobs,
            job_gauges: per_job.then(gauges),
            ended: EndedJobs::default(),
            deliveries: DeliveryCounts::default(),
            hooks: BTreeMap::new(),
            commits: CommitMeasurements::default(),
        },
        config: ConfigState {
            applied_wall_ms: NOW.wall_ms,
            last_reload_succeeded: true,
        },
    };
    Ok(scrape.into_text(TextFormat::OpenMetrics)?)
}

/// The median in milliseconds, and the size of the text.
fn time(mut run: impl FnMut() -> Outcome<String>) -> Outcome<(f64, usize)> {
    let mut times = Vec::new();
    let mut size = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        size = black_box(run()?).len();
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok((median::median(times), size))
}

fn main() -> Outcome<()> {
    let mut watches = Vec::new();
    for id in 1..=JOBS {
        let job: JobRef = format!("diff/{id}").parse()?;
        watches.push(Watch::new(
            WatchId(u128::from(id).to_be_bytes()),
            job,
            None,
            NOW,
        ));
    }
    let mut registry = Registry::default();
    for name in ["progress", "eta", "low", "high"] {
        let family = Family::<Vec<(String, String)>, Gauge>::default();
        for id in 1..=JOBS {
            let labels = vec![
                ("kind".to_owned(), "diff".to_owned()),
                ("id".to_owned(), id.to_string()),
            ];
            family.get_or_create(&labels).set(42);
        }
        registry.register(name, "A gauge of each job", family);
    }
    for (name, (ms, size)) in [
        (
            "without metrics of each job",
            time(|| scrape(&watches, false))?,
        ),
        ("with metrics of each job", time(|| scrape(&watches, true))?),
        (
            "the same number of series in a registry",
            time(|| {
                let mut text = String::new();
                text::encode(&mut text, &registry)?;
                Ok(text)
            })?,
        ),
    ] {
        println!("{name:<42}{ms:>8.2} ms {:>6} KiB", size >> 10);
    }
    Ok(())
}
