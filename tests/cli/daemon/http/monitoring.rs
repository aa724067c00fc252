//! The files that name metrics: the manual, the alert rules and the dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::{hook, listed};
use super::HttpFixture;
use crate::fixture::{LONG, job};
use crate::hook_supervisor::skip::skip;

/// The metadata of a metric: type, help and the names of its labels.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

fn families(body: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                (*name).clone_into(&mut current);
                let family = families.entry(current.clone()).or_default();
                (*help).clone_into(&mut family.help);
            }
            ["#", "TYPE", name, kind] => {
                let family = families.entry((*name).to_owned()).or_default();
                (*kind).clone_into(&mut family.kind);
            }
            _ => {
                let family = families.get_mut(&current).unwrap();
                let labels = line.split_once('{').map_or("", |(_, labels)| labels);
                let names = labels
                    .split("\",")
                    .filter_map(|label| label.split_once("=\""));
                let names = names.map(|(name, _)| name.trim_start_matches(','));
                let names = names.filter(|name| *name != "le").map(str::to_owned);
                family.labels.extend(names);
            }
        }
    }
    families
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(shipped(name)).unwrap()
}

/// Runs promtool with this input. False if it is not installed.
pub(super) fn promtool(args: &[&str], input: &str) -> bool {
    let program = std::env::var_os("FORGEWATCH_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let mut command = Command::new(&program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            skip(&format!("promtool {}: {error}", args.join(" ")));
            return false;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    true
}

/// A scrape with all metrics.
fn full_scrape() -> String {
    let fixture = HttpFixture::new(&job("update/2", LONG), "");
    let hook = hook(
        "h",
        "'job.failed'",
        &fixture.daemon.script("h", "exit 0"),
        "",
    );
    fixture.configure("job_metrics = true\n", &(listed("update/2") + &hook));
    let mut daemon = fixture.start();
    daemon.await_event("job.watching", "update/2");
    let body = fixture.get("/metrics").expect(200).body;
    daemon.stop("TERM");
    body
}

#[test]
fn the_manual_lists_the_metrics_of_a_scrape() {
    let page = read("docs/metrics.md");
    let rows: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `forgewatch_") || line.starts_with("| `process_"))
        .collect();
    let expected = families(&full_scrape()).into_iter().map(|(name, family)| {
        let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
        let (kind, help) = (family.kind, family.help);
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    });
    let expected: BTreeSet<String> = expected.map(|row| row.replace("|  |", "| |")).collect();
    let table: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(
        rows,
        table.iter().copied().collect(),
        "{}",
        table.join("\n")
    );
}

/// The metrics that rules, their tests and the dashboard name.
fn named_metrics(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    let metrics = words
        .filter(|word| word.starts_with("forgewatch_") || *word == "process_start_time_seconds");
    metrics.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_exist() {
    let body = full_scrape();
    let series: BTreeSet<String> = named_metrics(&body);
    for file in [
        "config/monitoring/prometheus-rules.yml",
        "config/monitoring/prometheus-rules-test.yml",
        "config/monitoring/grafana-dashboard.json",
    ] {
        let named = named_metrics(&read(file));
        assert!(named.len() > 5, "{file}: {named:?}");
        let unknown: Vec<&String> = named.difference(&series).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let dashboard: Value =
        serde_json::from_str(&read("config/monitoring/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(
        panels
            .iter()
            .all(|panel| panel["targets"][0]["expr"].is_string())
    );
}

#[test]
fn each_alert_is_in_the_manual_and_has_a_test() {
    let alerts = |text: &str, before: &str| -> BTreeSet<String> {
        let lines = text
            .lines()
            .filter_map(|line| line.trim().split_once(before));
        lines
            .map(|(_, rest)| rest.split(['`', '"']).next().unwrap().to_owned())
            .collect()
    };
    let rules = alerts(&read("config/monitoring/prometheus-rules.yml"), "- alert: ");
    assert!(rules.len() > 8, "{rules:?}");
    assert_eq!(
        rules,
        alerts(&read("docs/metrics.md"), "| `Forgewatch")
            .iter()
            .map(|name| format!("Forgewatch{name}"))
            .collect()
    );
    let tested = alerts(
        &read("config/monitoring/prometheus-rules-test.yml"),
        "alertname=\"",
    );
    assert_eq!(rules, tested);
    let rules = shipped("config/monitoring/prometheus-rules.yml");
    let tests = shipped("config/monitoring/prometheus-rules-test.yml");
    let scrape = shipped("config/monitoring/prometheus-scrape.yml");
    let _ = promtool(&["check", "rules", rules.to_str().unwrap()], "")
        && promtool(&["test", "rules", tests.to_str().unwrap()], "")
        && promtool(&["check", "config", scrape.to_str().unwrap()], "");
}
