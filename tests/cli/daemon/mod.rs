//! The daemon from outside: started, spoken to, killed and started again, against the simulator.
//!
//! It tells the test that it is ready as it tells a service manager, so nothing here guesses how long that takes.

mod chain;
mod clients;
mod disk;
mod evidence;
mod faults;
mod given_up;
mod kills;
mod lagging;
mod lifecycle;
mod reload;
mod secrets;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::place::{Done, PATIENCE, Running, Stage};

/// A stage with a configuration for the daemon.
pub(crate) struct Home {
    pub(crate) stage: Stage,
    notices: Receiver<String>,
}

impl Home {
    /// `script` is the simulator's, `toml` what the configuration has besides `[api]`, `[schedule]` and the places.
    pub(crate) fn new(script: &str, toml: &str) -> Self {
        let stage = Stage::new(script);
        let notices = UnixDatagram::bind(stage.place.path("notify")).unwrap();
        let notices = hear(notices);
        let home = Self { stage, notices };
        home.configure(toml);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.stage.place.path(name)
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, toml: &str) {
        let head = format!(
            "[api]\nbase_url = '{}'\naccount_service_id = 5678\nmax_requests_per_second = 10000\n\
             [schedule]\nmin_interval = '20ms'\nmax_interval = '200ms'\n\
             [state]\npath = '{}'\n[control]\nsocket = '{}'\n",
            self.stage.server.base_url(),
            self.path("state.db").display(),
            self.socket(),
        );
        let file = self.stage.place.file("fw.toml", format!("{head}{toml}\n"));
        fs::rename(&file, self.path("fw.toml")).unwrap();
    }

    pub(crate) fn socket(&self) -> String {
        self.path("control.sock").display().to_string()
    }

    /// The program with these arguments, which finds the daemon.
    pub(crate) fn client(&self, args: &[&str]) -> Done {
        self.start_client(args).wait()
    }

    fn start_client(&self, args: &[&str]) -> Running {
        let program = self.stage.place.program(args);
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
            .env("FORGEWATCH_ACCESS_KEY", "sim")
            .env("FORGEWATCH_SECRET_KEY", "sim")
            .current_dir(self.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        command
    }

    /// Starts the daemon, and waits for nothing.
    pub(crate) fn launch(&self) -> Daemon {
        self.forget_notices();
        Daemon::spawn(self.command())
    }

    /// Starts the daemon, and waits until it is ready.
    pub(crate) fn start(&self) -> Daemon {
        let daemon = self.launch();
        self.await_notice("READY=1");
        daemon
    }

    /// Starts the daemon with a variable more, and waits until it is ready.
    pub(crate) fn start_with(&self, name: &str, value: &str) -> Daemon {
        self.forget_notices();
        let mut command = self.command();
        command.env(name, value);
        let daemon = Daemon::spawn(command);
        self.await_notice("READY=1");
        daemon
    }

    /// Starts it where it cannot: its exit status and what it said.
    pub(crate) fn start_in_vain(&self) -> Done {
        let config = self.path("fw.toml");
        let args = ["watch", "--config", config.to_str().unwrap()];
        self.stage.place.program(&args).run()
    }

    /// What an earlier daemon has told is none of the next one's.
    fn forget_notices(&self) {
        while self.notices.try_recv().is_ok() {}
    }

    /// Waits until the service manager would have been told this; returns the whole datagram.
    pub(crate) fn await_notice(&self, line: &str) -> String {
        loop {
            let text = self.notices.recv_timeout(PATIENCE);
            let text = text.unwrap_or_else(|e| panic!("{line} was never told: {e}"));
            if text.lines().any(|told| told.starts_with(line)) {
                return text;
            }
        }
    }

    /// Waits until nothing is watched and nothing is left to be delivered. The daemon's signs of life say when to look
    /// again, so it was started with a watchdog.
    pub(crate) fn await_rest(&self) {
        let is_none = |args: &[&str]| self.client(args).expect(0).stdout.trim() == "[]";
        while !(is_none(&["list", "--json"]) && is_none(&["hooks", "list", "--json"])) {
            self.await_notice("WATCHDOG=1");
        }
    }

    /// What a daemon that is started now says has happened.
    pub(crate) fn remembered(&self) -> Vec<Value> {
        let daemon = self.start();
        let events = self.client(&["events"]).expect(0).stdout;
        daemon.end("TERM");
        let lines = events.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What a hook has written there, a line each.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A hook that is a shell script; its own folder is the working folder.
    pub(crate) fn script(&self, name: &str, script: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.path("").display().to_string();
        let text = format!("#!/bin/sh\ncd {folder}\n{script}\n");
        let path = self.stage.place.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path.display().to_string()
    }
}

/// A daemon at work; killed when the test gives up on it.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Daemon {
    fn spawn(mut command: Command) -> Self {
        Self::of(command.spawn().unwrap())
    }

    /// Reads from here on what it prints.
    fn of(mut child: Child) -> Self {
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

    /// Waits until it has printed a line like this; the first such that was not returned before.
    #[track_caller]
    pub(crate) fn await_line(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
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

    /// Ends it with this signal, and returns its exit status and all that it printed and nobody has taken.
    #[track_caller]
    pub(crate) fn end(mut self, signal: &str) -> (Option<i32>, Vec<Value>) {
        self.signal(signal);
        self.wait()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> (Option<i32>, Vec<Value>) {
        // Its standard output ends with it.
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        assert!(Instant::now() < until, "it does not end: {:#?}", self.seen);
        let status = self.child.wait().unwrap();
        (status.code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every datagram that comes. Somebody always reads, as with a service manager: a full queue would hold the daemon up.
fn hear(socket: UnixDatagram) -> Receiver<String> {
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

/// Every line it prints, as JSON, to the end.
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

/// A hook of this name for these events, in the configuration's words.
pub(crate) fn hook(name: &str, on: &str, script: &str, more: &str) -> String {
    format!("[[hooks]]\nname = '{name}'\non = [{on}]\nrun = ['{script}']\n{more}\n")
}

/// A job of the file.
pub(crate) fn listed(job: &str) -> String {
    format!("[[jobs]]\njob = '{job}'\n")
}

/// The types of events, in order.
pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|e| e["event_type"].as_str())
        .collect()
}
