//! The configurations for other tools in `config/log-consumers`, tried with those tools that are installed: a job fails,
//! and each tool finds its record.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use forgewatch_core::event::RECORD_FIELDS;
use forgewatch_sim::{Script, Server};
use skip::skip;
use tempfile::TempDir;

const SCRIPT: &str = "
[[jobs]]
job = 'diff/1'
duration = '200ms'
ending = 'failed'
error = 'disk \"full\", \\ and more'

[[jobs]]
job = 'update/2'
duration = '100ms'
";
const ERROR: &str = "disk \"full\", \\ and more";

/// The records of a run, as a file.
fn log(folder: &TempDir) -> PathBuf {
    let server = Server::start(Script::parse(SCRIPT).unwrap()).unwrap();
    let path = folder.path().join("forgewatch.jsonl");
    let status = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
        .args([
            "watch",
            "--until-done",
            "diff/1",
            "update/2",
            "--output",
            "json",
        ])
        .args([
            "--account-service-id",
            "5678",
            "--base-url",
            &server.base_url(),
        ])
        .env_clear()
        .env("HOME", folder.path())
        .env("FORGEWATCH_ACCESS_KEY", "sim")
        .env("FORGEWATCH_SECRET_KEY", "sim")
        .stdout(fs::File::create(&path).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    path
}

fn is_installed(program: &str, version: &str) -> bool {
    let output = Command::new(program).arg(version).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn lnav_reads_records_as_a_table() {
    if !is_installed("lnav", "-V") {
        return skip("lnav is not installed");
    }
    let home = tempfile::tempdir().unwrap();
    let formats = home.path().join(".config/lnav/formats/installed");
    fs::create_dir_all(&formats).unwrap();
    let format = "config/log-consumers/forgewatch.lnav.json";
    fs::copy(format, formats.join("forgewatch.json")).unwrap();
    let query = "SELECT job, error_message FROM forgewatch_log WHERE event_type = 'job.failed' AND log_level = 'error'";
    let output = Command::new("lnav")
        .args(["-n", "-c", &format!(";{query}"), "-c", ":write-json-to -"])
        .arg(log(&home))
        .env_clear()
        .env("HOME", home.path())
        .env("TERM", "dumb")
        .output()
        .unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(
        rows,
        serde_json::json!([{ "job": "diff/1", "error_message": ERROR }])
    );
}

#[test]
fn rsyslog_writes_a_line_for_each_failed_job() {
    if !is_installed("rsyslogd", "-v") {
        return skip("rsyslogd is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder);
    let failed = folder.path().join("failed.log");
    let shipped = fs::read_to_string("config/log-consumers/rsyslog.conf").unwrap();
    let config = shipped
        .replace("/var/log/forgewatch.jsonl", log.to_str().unwrap())
        .replace("/var/log/forgewatch-failed.log", failed.to_str().unwrap());
    let work = format!("global(workDirectory=\"{}\")\n", folder.path().display());
    let path = folder.path().join("rsyslog.conf");
    fs::write(&path, work + &config).unwrap();
    let mut daemon = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&path)
        .arg("-i")
        .arg(folder.path().join("pid"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let line = await_line(&failed);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(line.contains(" diff/1: diff/1 failed"), "{line}");
    assert!(line.ends_with(&format!("({ERROR})")), "{line}");
}

/// The first line of a file that another process writes.
fn await_line(path: &Path) -> String {
    let read = |_| {
        thread::sleep(Duration::from_millis(100));
        let text = fs::read_to_string(path).ok()?;
        Some(text.split_once('\n')?.0.to_owned())
    };
    (0..600).find_map(read).unwrap()
}

#[test]
fn the_documented_names_are_fields_of_records() {
    let page = fs::read_to_string("docs/logs.md").unwrap();
    let (_, table) = page.split_once("## Names").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let names: Vec<&str> = rows
        .flat_map(|line| line.split('|').nth(1).unwrap().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            RECORD_FIELDS.contains(&name),
            "{name} is no field of a record"
        );
    }
}
