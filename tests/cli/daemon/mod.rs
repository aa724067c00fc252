//! The daemon process against the simulator: started, used by clients, killed and restarted.
//!
//! The tests wait for its notifications to the service manager instead of guessing how long something takes.

mod calibration;
mod chain;
mod clients;
mod diff;
mod disk;
mod evidence;
mod failed_deliveries;
mod faults;
mod hook_test;
mod http;
mod kills;
mod lagging;
mod lifecycle;
mod long_list;
mod ordinary_user;
mod reload;
mod schemas;
mod secrets;
mod status;
mod waiting;
mod webhook_file;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::fixture::{CliOutput, CliProcess, SimFixture, TIMEOUT};

/// A simulator, and a configuration for the daemon.
pub(crate) struct DaemonFixture {
    pub(crate) sim: SimFixture,
    notices: Receiver<String>,
}

impl DaemonFixture {
    /// `toml` is appended to a configuration with `[api]`, `[schedule]`, `[state]` and `[control]`.
    pub(crate) fn new(script: &str, toml: &str) -> Self {
        let sim = SimFixture::new(script);
        let notices = UnixDatagram::bind(sim.sandbox.path("notify")).unwrap();
        let notices = receive_notices(notices);
        let fixture = Self { sim, notices };
        fixture.configure(toml);
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sim.sandbox.path(name)
    }

    pub(crate) fn configure(&self, toml: &str) {
        let head = format!(
            "[api]\nbase_url = '{}'\naccount_service_id = 5678\nmax_requests_per_second = 10000\n\
             [schedule]\nmin_interval = '20ms'\nmax_interval = '200ms'\n\
             [state]\npath = '{}'\n[control]\nsocket = '{}'\n",
            self.sim.server.base_url(),
            self.path("state.db").display(),
            self.socket(),
        );
        let file = self.sim.sandbox.file("fw.toml", format!("{head}{toml}\n"));
        fs::rename(&file, self.path("fw.toml")).unwrap();
    }

    pub(crate) fn socket(&self) -> String {
        self.path("control.sock").display().to_string()
    }

    /// Runs a client of the daemon.
    pub(crate) fn client(&self, args: &[&str]) -> CliOutput {
        self.start_client(args).wait()
    }

    fn start_client(&self, args: &[&str]) -> CliProcess {
        let program = self.sim.sandbox.program(args);
        program.env("FORGEWATCH_SOCKET", self.socket()).start()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgewatch"));
        let config = self.path("fw.toml");
        command
            .args(["watch", "--config", config.to_str().unwrap()])
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env(
                "FORGEWATCH_LOG",
                "warn,forgewatch=info,forgewatch::hooks=debug",
            )
            .env("FORGEWATCH_ACCESS_KEY", "sim")
            .env("FORGEWATCH_SECRET_KEY", "sim")
            .current_dir(self.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        command
    }

    /// Starts the daemon without waiting until it is ready.
    pub(crate) fn spawn(&self) -> DaemonProcess {
        self.drain_notices();
        DaemonProcess::spawn(self.command())
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&self) -> DaemonProcess {
        let daemon = self.spawn();
        self.await_notice("READY=1");
        daemon
    }

    /// The same with one more environment variable.
    pub(crate) fn start_with(&self, name: &str, value: &str) -> DaemonProcess {
        self.drain_notices();
        let mut command = self.command();
        command.env(name, value);
        let daemon = DaemonProcess::spawn(command);
        self.await_notice("READY=1");
        daemon
    }

    pub(crate) fn start_expecting_failure(&self) -> CliOutput {
        let config = self.path("fw.toml");
        let args = ["watch", "--config", config.to_str().unwrap()];
        self.sim.sandbox.program(&args).run()
    }

    /// Drops the notifications of an earlier daemon.
    fn drain_notices(&self) {
        while self.notices.try_recv().is_ok() {}
    }

    /// Waits for a notification to the service manager with this line; returns the whole datagram.
    pub(crate) fn await_notice(&self, line: &str) -> String {
        loop {
            let text = self.notices.recv_timeout(TIMEOUT);
            let text = text.unwrap_or_else(|e| panic!("no notification {line}: {e}"));
            if text.lines().any(|sent| sent.starts_with(line)) {
                return text;
            }
        }
    }

    /// Waits until no job is watched and no delivery is open. Checks after each watchdog notification, so the daemon has
    /// to be started with a watchdog.
    pub(crate) fn await_idle(&self) {
        let is_empty = |args: &[&str]| self.client(args).expect(0).stdout.trim() == "[]";
        while !(is_empty(&["list", "--json"]) && is_empty(&["hooks", "list", "--json"])) {
            self.await_notice("WATCHDOG=1");
        }
    }

    /// The events that a daemon started now reads from the store.
    pub(crate) fn recorded_events(&self) -> Vec<Value> {
        let daemon = self.start();
        let events = self.client(&["events"]).expect(0).stdout;
        daemon.stop("TERM");
        let lines = events.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The lines that a hook has written to this file.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Writes a shell script for a hook; it runs in the fixture's directory.
    pub(crate) fn script(&self, name: &str, script: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.path("").display().to_string();
        let text = format!("#!/bin/sh\ncd {folder}\n{script}\n");
        let path = self.sim.sandbox.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path.display().to_string()
    }
}

/// A running daemon; killed when the test ends.
pub(crate) struct DaemonProcess {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl DaemonProcess {
    fn spawn(mut command: Command) -> Self {
        Self::from_child(command.spawn().unwrap())
    }

    /// Starts to read its output.
    fn from_child(mut child: Child) -> Self {
        let lines = follow(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its short name, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.pid());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success(), "{kill}");
    }

    /// Waits for a line that matches; returns the first that was not returned before.
    #[track_caller]
    pub(crate) fn await_line(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + TIMEOUT;
        if let Some(at) = self.seen.iter().position(&wanted) {
            return self.seen.remove(at);
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => {
                    let last = self.seen.len().saturating_sub(50);
                    panic!(
                        "no {what}: {error}; the last were {:#?}",
                        &self.seen[last..]
                    );
                }
            }
        }
    }

    #[track_caller]
    pub(crate) fn await_event(&mut self, kind: &str, job: &str) -> Value {
        self.await_line(&format!("{kind} of {job}"), |line| {
            line["event_type"] == kind && (line["job"] == job || job.is_empty())
        })
    }

    /// Waits until the daemon reports that the API is down.
    #[track_caller]
    pub(crate) fn await_outage(&mut self) {
        self.await_line("outage", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("API is down")
        });
    }

    /// Sends this signal and waits for the end; returns exit status and the lines that no call has returned yet.
    #[track_caller]
    pub(crate) fn stop(mut self, signal: &str) -> (Option<i32>, Vec<Value>) {
        self.signal(signal);
        self.wait()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> (Option<i32>, Vec<Value>) {
        // Standard output is closed when the daemon ends.
        let until = Instant::now() + TIMEOUT;
        while let Ok(line) = self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        assert!(Instant::now() < until, "does not end: {:#?}", self.seen);
        let status = self.child.wait().unwrap();
        (status.code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Receives every datagram at once, as a service manager does: a full queue would block the daemon.
fn receive_notices(socket: UnixDatagram) -> Receiver<String> {
    let (send, notices) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    notices
}

/// Reads every line as JSON, until the end.
fn follow(stdout: ChildStdout) -> Receiver<Value> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if send.send(value).is_err() {
                break;
            }
        }
    });
    lines
}

/// The configuration of a hook.
pub(crate) fn hook(name: &str, on: &str, script: &str, more: &str) -> String {
    format!("[[hooks]]\nname = '{name}'\non = [{on}]\nrun = ['{script}']\n{more}\n")
}

/// The configuration of a job.
pub(crate) fn listed(job: &str) -> String {
    format!("[[jobs]]\njob = '{job}'\n")
}

pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|e| e["event_type"].as_str())
        .collect()
}
