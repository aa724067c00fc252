//! The status page in a real Chromium: `page.mjs` opens it and checks what it shows.
//!
//! Needs Chromium, Node.js and, in the folder `FORGEWATCH_BROWSER`, the packages playwright-core and axe-core; `.ci/run`
//! installs them. `UPDATE_SCREENSHOTS=1` writes the screenshots to `docs/status-page`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/skip.rs"]
mod skip;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use forgewatch_sim::{Script, Server};
use serde_json::Value;
use skip::skip;
use tempfile::TempDir;

/// The daemon with its HTTP API, killed when the test ends.
struct Daemon {
    child: Child,
    url: String,
    folder: TempDir,
    _server: Server,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a daemon with these jobs of the simulator, and more of its configuration.
fn start(script: &str, config: &str) -> Daemon {
    let server = Server::start(Script::parse(script).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().display();
    let config = format!(
        "instance = 'build01'\n[api]\nbase_url = '{}'\naccount_service_id = 5678\nmax_requests_per_second = 150\n\
         [state]\npath = '{home}/state.db'\n[control]\nsocket = '{home}/control.sock'\n\
         [http]\nlisten = '127.0.0.1:0'\n{config}",
        server.base_url()
    );
    let path = folder.path().join("forgewatch.toml");
    fs::write(&path, config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
        .args(["watch", "--output", "json", "--config"])
        .arg(&path)
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", "/usr/bin:/bin")
        .env("FORGEWATCH_ACCESS_KEY", "sim")
        .env("FORGEWATCH_SECRET_KEY", "sim")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = loop {
        let line = lines.next().unwrap().unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        let message = record["message"].as_str().unwrap();
        if let Some(url) = message.strip_prefix("serving HTTP on ") {
            break url.to_owned();
        }
    };
    // A full pipe would hold the daemon up.
    thread::spawn(move || lines.for_each(drop));
    Daemon {
        child,
        url,
        folder,
        _server: server,
    }
}

/// The folder with the packages, if everything is installed.
fn packages() -> Option<PathBuf> {
    let Some(folder) = env::var_os("FORGEWATCH_BROWSER") else {
        skip("FORGEWATCH_BROWSER is not set: no browser opens the status page");
        return None;
    };
    Some(folder.into())
}

/// Runs a scenario of `page.mjs`; returns what it measured.
fn open(daemon: &Daemon, packages: &Path, scenario: &str) -> Value {
    let shots = if env::var_os("UPDATE_SCREENSHOTS").is_some() {
        PathBuf::from("docs/status-page")
    } else {
        daemon.folder.path().to_owned()
    };
    fs::create_dir_all(&shots).unwrap();
    let output = Command::new("node")
        .arg("tests/status_page/page.mjs")
        .arg(&daemon.url)
        .arg(packages)
        .arg(&shots)
        .arg(scenario)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const STATES: &str = "
[[jobs]]
job = 'diff/1234'
duration = '10m'
queued = '9m'
[[jobs]]
job = 'update/77'
duration = '8m'
start = 'server_start'
[[jobs]]
job = 'version/5'
duration = '20m'
eta = 'progress_only'
[[jobs]]
job = 'diff/1231'
duration = '1s'
ending = 'failed'
error = 'the disk of buildbox-2 is full <img src=x onerror=alert(1)>'
[[jobs]]
job = 'update/76'
duration = '1s'
";
const JOBS: &str = "
[[jobs]]
job = 'diff/1234'
labels = { build = '8812', stage = 'live' }
[[jobs]]
job = 'update/77'
labels = { build = '8812', stage = 'live' }
[[jobs]]
job = 'version/5'
labels = { stage = '<b>test</b>' }
[[jobs]]
job = 'diff/1231'
[[jobs]]
job = 'update/76'
[[jobs]]
job = 'diff/404'
[[hooks]]
name = 'chat'
on = ['job.failed']
run = ['/bin/false']
retries = 0
";

#[test]
fn the_page_shows_jobs_of_all_states_to_everyone() {
    let Some(packages) = packages() else { return };
    let daemon = start(STATES, JOBS);
    open(&daemon, &packages, "states");
}

#[test]
fn the_page_follows_a_job_to_its_end() {
    let Some(packages) = packages() else { return };
    let script = "[[jobs]]\njob = 'diff/1'\nduration = '20s'\n";
    let daemon = start(script, "[[jobs]]\njob = 'diff/1'\n");
    open(&daemon, &packages, "live");
}

/// The figures hold for a machine that is not slowed down by others: `PAGE_FIGURES=1` asserts them.
#[test]
fn a_thousand_jobs_load_at_once_and_update_smoothly() {
    let Some(packages) = packages() else { return };
    let (mut script, mut config) = (String::new(), String::new());
    // A hundred polls a second, each with another percent.
    config += "[schedule]\nprogress_step = 1\nmin_interval = '10s'\nmax_interval = '10s'\n";
    for n in 1..=1_000 {
        let _ = writeln!(script, "[[jobs]]\njob = 'diff/{n}'\nduration = '1000s'");
        let _ = writeln!(
            config,
            "[[jobs]]\njob = 'diff/{n}'\nlabels = {{ build = '{n}', stage = 'live' }}"
        );
    }
    let daemon = start(&script, &config);
    let measured = open(&daemon, &packages, "many");
    let _ = writeln!(io::stderr(), "a page with 1,000 jobs: {measured}");
    assert_eq!(measured["count"], 1_000);
    assert!(measured["bytes"].as_u64().unwrap() < 300_000, "{measured}");
    if env::var_os("PAGE_FIGURES").is_some() {
        let longest = measured["longest_task_ms"].as_f64().unwrap();
        assert!(longest < 50.0, "{measured}");
    }
}
