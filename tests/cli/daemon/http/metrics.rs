//! `/metrics` of the real daemon: what is counted, and the formats.

#![expect(clippy::float_cmp, reason = "counts and copied values are exact")]

use std::collections::{BTreeMap, BTreeSet};

use super::super::{DaemonProcess, hook, listed};
use super::monitoring::promtool;
use super::{HttpFixture, HttpResponse};
use crate::fixture::{LONG, job};

const OPEN_METRICS: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";

/// The series of a scrape with their values.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(fixture: &HttpFixture) -> Self {
        let body = fixture.get("/metrics").expect(200).body;
        let lines = body.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(series.collect())
    }

    #[track_caller]
    fn get(&self, series: &str) -> f64 {
        let found = self.0.get(series);
        *found.unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    #[track_caller]
    fn expect(&self, values: &[(&str, f64)]) {
        let found: Vec<(&str, f64)> = values.iter().map(|(s, _)| (*s, self.get(s))).collect();
        assert_eq!(found, values);
    }

    fn sum(&self, prefix: &str) -> f64 {
        let matching = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        matching.map(|(_, value)| value).sum()
    }
}

fn scrape_as(fixture: &HttpFixture, accept: &str) -> HttpResponse {
    fixture.request("GET", "/metrics", accept, "").expect(200)
}

/// A daemon whose three jobs have ended: two completed, one failed, and so did the hook for that.
fn after_three_jobs() -> (HttpFixture, DaemonProcess) {
    let failing = "ending = 'failed'\nerror = 'SERVER-TEXT'";
    let script = job("diff/1", "") + &job("diff/2", failing) + &job("update/3", "");
    let fixture = HttpFixture::new(&script, "");
    let good = fixture.daemon.script("good", "exit 0");
    let bad = fixture.daemon.script("bad", "exit 3");
    let hooks = hook("good", "'job.completed'", &good, "")
        + &hook("bad", "'job.failed'", &bad, "retries = 0");
    let jobs = listed("diff/1") + &listed("diff/2") + &listed("update/3");
    fixture.configure("", &(jobs + &hooks));
    let mut daemon = fixture.start();
    daemon.await_event("hook.failed", "");
    for name in ["diff/1", "update/3"] {
        daemon.await_event("job.completed", name);
        daemon.await_line("delivery", |line| {
            line["message"] == "delivered" && line["job"] == name
        });
    }
    (fixture, daemon)
}

#[test]
fn everything_that_happens_is_counted_once() {
    let (fixture, daemon) = after_three_jobs();
    let scrape = Scrape::of(&fixture);
    scrape.expect(&[
        (
            "forgewatch_jobs_ended_total{kind=\"diff\",outcome=\"completed\"}",
            1.0,
        ),
        (
            "forgewatch_jobs_ended_total{kind=\"diff\",outcome=\"failed\"}",
            1.0,
        ),
        (
            "forgewatch_jobs_ended_total{kind=\"update\",outcome=\"completed\"}",
            1.0,
        ),
        ("forgewatch_job_requests_count{kind=\"diff\"}", 2.0),
        (
            "forgewatch_job_run_seconds_count{kind=\"diff\",outcome=\"failed\"}",
            1.0,
        ),
        (
            "forgewatch_job_queued_seconds_count{kind=\"diff\",outcome=\"failed\"}",
            1.0,
        ),
        (
            "forgewatch_job_detection_delay_seconds_count{kind=\"update\",outcome=\"completed\"}",
            1.0,
        ),
        (
            "forgewatch_hook_attempts_total{hook=\"good\",outcome=\"delivered\"}",
            2.0,
        ),
        (
            "forgewatch_hook_attempts_total{hook=\"good\",outcome=\"failed\"}",
            0.0,
        ),
        (
            "forgewatch_hook_attempts_total{hook=\"bad\",outcome=\"failed\"}",
            1.0,
        ),
        (
            "forgewatch_hook_attempt_duration_seconds_count{hook=\"bad\",outcome=\"failed\"}",
            1.0,
        ),
        ("forgewatch_deliveries{state=\"failed\"}", 1.0),
        ("forgewatch_deliveries_ended_total{state=\"failed\"}", 1.0),
        ("forgewatch_api_circuit_open", 0.0),
        ("forgewatch_api_paused_until_timestamp_seconds", 0.0),
        ("forgewatch_config_last_reload_successful", 1.0),
        (
            "forgewatch_store_unwritable_seconds_total{reason=\"disk_full\"}",
            0.0,
        ),
    ]);
    assert!(scrape.sum("forgewatch_jobs{") == 0.0, "all have ended");
    let polls = scrape.sum("forgewatch_polls_total");
    assert_eq!(polls, scrape.sum("forgewatch_job_requests_sum"));
    assert_eq!(polls, scrape.get("forgewatch_poll_duration_seconds_count"));
    assert_eq!(polls, scrape.get("forgewatch_poll_lateness_seconds_count"));
    let last = scrape.get("forgewatch_last_successful_poll_timestamp_seconds");
    assert!(last >= scrape.get("process_start_time_seconds"));
    let body = fixture.get("/metrics").expect(200).body;
    assert!(!body.contains("SERVER-TEXT"), "no text of the server");
    daemon.stop("TERM");
}

#[test]
fn reloads_and_failed_deliveries_are_counted_across_a_restart() {
    let (fixture, daemon) = after_three_jobs();
    let scrape = Scrape::of(&fixture);
    fixture.configure("unknown = 1", "");
    fixture.daemon.client(&["reload"]).expect(1);
    let applied = "forgewatch_config_last_reload_success_timestamp_seconds";
    let rejected = Scrape::of(&fixture);
    rejected.expect(&[("forgewatch_config_last_reload_successful", 0.0)]);
    assert_eq!(rejected.get(applied), scrape.get(applied));
    fixture.configure("", &listed("diff/1"));
    fixture.daemon.client(&["reload"]).expect(0);
    let reloaded = Scrape::of(&fixture);
    reloaded.expect(&[("forgewatch_config_last_reload_successful", 1.0)]);
    assert!(reloaded.get(applied) > scrape.get(applied));
    assert_eq!(
        reloaded.sum("forgewatch_hook_attempts_total"),
        0.0,
        "removed hooks"
    );
    daemon.stop("TERM");

    // Failed deliveries are kept, so they are counted after a restart; all other counters restart at 0.
    let daemon = fixture.start();
    Scrape::of(&fixture).expect(&[
        ("forgewatch_deliveries{state=\"failed\"}", 1.0),
        ("forgewatch_deliveries_ended_total{state=\"failed\"}", 0.0),
        (
            "forgewatch_jobs_ended_total{kind=\"diff\",outcome=\"completed\"}",
            0.0,
        ),
    ]);
    fixture
        .daemon
        .client(&["hooks", "discard", "--all"])
        .expect(0);
    Scrape::of(&fixture).expect(&[
        ("forgewatch_deliveries{state=\"failed\"}", 0.0),
        (
            "forgewatch_deliveries_ended_total{state=\"discarded\"}",
            1.0,
        ),
    ]);
    daemon.stop("TERM");
}

#[test]
fn the_accept_header_chooses_the_format_and_promtool_accepts_it() {
    let script = job("diff/1", "") + &job("update/2", LONG);
    let fixture = HttpFixture::new(&script, "job_metrics = true");
    let toml = listed("diff/1") + &listed("update/2");
    fixture.configure("job_metrics = true\n", &toml);
    let mut daemon = fixture.start();
    daemon.await_event("job.completed", "diff/1");
    daemon.await_event("job.watching", "update/2");
    let prometheus = scrape_as(&fixture, "");
    assert_eq!(
        prometheus.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(!prometheus.body.contains("# EOF"));
    let open_metrics = scrape_as(&fixture, OPEN_METRICS);
    assert_eq!(
        open_metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open_metrics.body.ends_with("# EOF\n"));
    assert!(
        open_metrics
            .body
            .contains("# UNIT forgewatch_poll_duration_seconds seconds")
    );
    let head = fixture.request("HEAD", "/metrics", "", "").expect(200);
    assert_eq!(head.body, "");
    promtool(&["check", "metrics"], &prometheus.body);
    let post = fixture.request("POST", "/metrics", "", "").expect(405);
    assert_eq!(post.header("allow"), Some("get, head"));
    daemon.stop("TERM");
}

#[test]
fn each_job_has_metrics_only_if_wanted_and_until_it_ends() {
    let script = job("diff/1", LONG) + &job("update/2", LONG);
    let fixture = HttpFixture::new(&script, "");
    let toml = listed("diff/1") + &listed("update/2");
    fixture.configure("", &toml);
    let mut daemon = fixture.start();
    for name in ["diff/1", "update/2"] {
        daemon.await_event("job.watching", name);
    }
    let jobs = || -> BTreeSet<String> {
        let series = Scrape::of(&fixture).0.into_keys();
        let of_job = series.filter_map(|name| Some(name.split_once("id=\"")?.1.to_owned()));
        of_job
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(jobs(), BTreeSet::new());
    fixture.configure("job_metrics = true\n", &toml);
    fixture.daemon.client(&["reload"]).expect(0);
    assert_eq!(jobs(), ["1".to_owned(), "2".to_owned()].into());
    fixture.daemon.client(&["remove", "diff/1"]).expect(0);
    assert_eq!(jobs(), ["2".to_owned()].into());
    daemon.stop("TERM");
}

#[test]
fn an_api_that_is_down_shows_in_the_metrics() {
    let (fixture, daemon) = HttpFixture::with_outage();
    let scrape = Scrape::of(&fixture);
    scrape.expect(&[
        ("forgewatch_api_circuit_open", 1.0),
        (
            "forgewatch_polls_total{outcome=\"success\",error_kind=\"\"}",
            0.0,
        ),
        ("forgewatch_last_successful_poll_timestamp_seconds", 0.0),
    ]);
    assert!(scrape.get("forgewatch_polls_total{outcome=\"error\",error_kind=\"server\"}") >= 1.0);
    daemon.stop("TERM");
}
