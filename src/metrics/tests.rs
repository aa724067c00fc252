//! The text of a scrape, apart from a real one, which `tests/cli` makes.

use std::collections::BTreeMap;

use super::*;
use forgewatch_core::measurements::{
    ApiAvailability, AttemptMeasurements, CommitMeasurements, DeliveryCounts, JobCounts,
    PollMeasurements,
};
use forgewatch_core::time::Moment;
use forgewatch_core::time_left::TimeLeft;

fn scrape(job_gauges: Option<Vec<JobGauges>>) -> Scrape {
    let at = Moment {
        up_ms: 5_000,
        wall_ms: 1_700_000_005_000,
    };
    Scrape {
        measured: Measurements {
            at,
            started: Moment {
                up_ms: 0,
                wall_ms: 1_700_000_000_000,
            },
            polls: PollMeasurements::default(),
            api: ApiAvailability::default(),
            jobs: JobCounts::default(),
            job_gauges,
            ended: EndedJobs::default(),
            deliveries: DeliveryCounts::default(),
            hooks: BTreeMap::from([("chat".into(), AttemptMeasurements::default())]),
            commits: CommitMeasurements::default(),
        },
        config: ConfigState {
            applied_wall_ms: 1_700_000_001_500,
            last_reload_succeeded: true,
        },
    }
}

#[test]
fn both_formats_have_the_same_series() {
    let series = |format| -> Vec<String> {
        let text = scrape(None).into_text(format).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let with_sorted_labels = |line: &str| {
            let series = line.rsplit_once(' ').unwrap().0.replace(".0\"", "\"");
            let mut parts: Vec<&str> = series.split(['{', ',', '}']).collect();
            parts[1..].sort_unstable();
            parts.join(" ")
        };
        let mut names: Vec<String> = lines.map(with_sorted_labels).collect();
        names.sort();
        names
    };
    let prometheus = series(TextFormat::Prometheus);
    assert_eq!(prometheus, series(TextFormat::OpenMetrics));
    assert!(prometheus.len() > 100);
    let mut unique = prometheus.clone();
    unique.dedup();
    assert_eq!(unique, prometheus, "a series appears twice");
}

#[test]
fn counters_that_may_rise_are_there_from_the_start() {
    let text = scrape(None).into_text(TextFormat::Prometheus).unwrap();
    for line in [
        "forgewatch_polls_total{outcome=\"success\",error_kind=\"\"} 0.0",
        "forgewatch_polls_total{outcome=\"error\",error_kind=\"rate_limited\"} 0.0",
        "forgewatch_jobs_ended_total{kind=\"version\",outcome=\"failed\"} 0.0",
        "forgewatch_hook_attempts_total{hook=\"chat\",outcome=\"failed\"} 0.0",
        "forgewatch_store_unwritable_seconds_total{reason=\"disk_full\"} 0.0",
        "process_start_time_seconds 1700000000.0",
        "forgewatch_config_last_reload_success_timestamp_seconds 1700000001.5",
    ] {
        assert!(text.lines().any(|has| has == line), "{line} in\n{text}");
    }
}

#[test]
fn each_job_has_gauges_only_if_they_are_wanted() {
    let job = |job: &str, progress, left| JobGauges {
        job: job.parse().unwrap(),
        progress,
        left,
    };
    let jobs = vec![
        job("diff/7", Some(42.5), TimeLeft::default()),
        job(
            "update/8",
            None,
            TimeLeft {
                eta_seconds: Some(-3),
                estimate_low_ms: Some(1_500),
                estimate_high_ms: Some(60_000),
            },
        ),
    ];
    let text = |jobs| scrape(jobs).into_text(TextFormat::Prometheus).unwrap();
    let lines = |text: &str| -> Vec<String> {
        let about_job = |line: &&str| line.contains("id=\"");
        text.lines().filter(about_job).map(str::to_owned).collect()
    };
    assert_eq!(
        lines(&text(Some(jobs))),
        [
            "forgewatch_job_progress_ratio{kind=\"diff\",id=\"7\"} 0.425",
            "forgewatch_job_eta_seconds{kind=\"update\",id=\"8\"} -3.0",
            "forgewatch_job_estimate_seconds{kind=\"update\",id=\"8\",bound=\"low\"} 1.5",
            "forgewatch_job_estimate_seconds{kind=\"update\",id=\"8\",bound=\"high\"} 60.0",
        ]
    );
    assert_eq!(lines(&text(None)), [""; 0]);
}
