//! A container with its own systemd, booted from an overlay of the system that runs the test.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::groups::ControlGroups;

/// Limit of every wait. A boot takes a second.
const TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The files to lay over `/` in a container that is not booted yet.
pub(crate) struct Overlay(TempDir);

impl Overlay {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("forgewatch-test-")
            .tempdir()
            .unwrap();
        for name in ["files", "machine"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    /// The folder that stands for `/`.
    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("files")
    }

    /// Fails with a reason if this system cannot run the container.
    pub(crate) fn boot(self) -> Result<Machine, String> {
        if !geteuid().is_root() {
            return Err("a container with a systemd needs root".to_owned());
        }
        let folder = self.0.path();
        let socket = folder.join("notify");
        let notifications = UnixDatagram::bind(&socket).unwrap();
        notifications.set_read_timeout(Some(POLL_INTERVAL)).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let groups = ControlGroups::new(name);
        let console = File::create(folder.join("console")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/boot.sh");
        // When this thread ends for any reason, pdeathsig ends this process and with it the container.
        let nspawn = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "unshare", "--mount"])
            .args(["--propagation", "private"])
            .arg(script)
            .arg(folder)
            .args(groups.paths())
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .map_err(|error| format!("setpriv: {error}"))?;
        let mut machine = Machine {
            nspawn,
            leader: 0,
            overlay: self,
            _groups: groups,
        };
        machine.await_boot(&notifications)?;
        Ok(machine)
    }
}

/// The running container. Dropping it ends and removes it.
pub(crate) struct Machine {
    nspawn: Child,
    /// PID of the container's process 1 outside the container.
    leader: u32,
    overlay: Overlay,
    /// Dropped after the container has ended.
    _groups: ControlGroups,
}

impl Machine {
    fn await_boot(&mut self, notifications: &UnixDatagram) -> Result<(), String> {
        let began = Instant::now();
        let mut bytes = [0; 4096];
        loop {
            match notifications.recv(&mut bytes) {
                Ok(length) => {
                    let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    for line in message.lines() {
                        if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                            self.leader = pid.parse().unwrap();
                        }
                        if line == "READY=1" {
                            return Ok(());
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
            if self.nspawn.try_wait().unwrap().is_some() || began.elapsed() > TIMEOUT {
                return Err(format!("the container did not boot: {}", self.console()));
            }
        }
    }

    fn console(&self) -> String {
        let bytes = fs::read(self.overlay.0.path().join("console")).unwrap();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// A command in the container, as root, with only PATH in its environment.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string()])
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--root", "--wd=/", "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must succeed; returns its output.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail; returns its status and stderr.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?} succeeded");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), stderr)
    }

    /// Repeats a command until its output is as expected; returns that output.
    #[track_caller]
    pub(crate) fn until(&self, words: &[&str], is_expected: impl Fn(&str) -> bool) -> String {
        eventually(|| {
            let output = self.run(words);
            let stdout = String::from_utf8_lossy(&output.stdout);
            if output.status.success() && is_expected(&stdout) {
                return Ok(stdout.into_owned());
            }
            Err(format!("{words:?} still returns {output:?}"))
        })
    }
}

/// Repeats a check until it succeeds.
#[track_caller]
pub(crate) fn eventually<T>(check: impl Fn() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match check() {
            Ok(found) => return found,
            Err(missing) => assert!(began.elapsed() < TIMEOUT, "{missing}"),
        }
        thread::sleep(POLL_INTERVAL);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.leader != 0 {
            let journal = self.run(&["journalctl", "--no-pager", "--lines", "100"]);
            println!("{}", String::from_utf8_lossy(&journal.stdout));
        }
        // TERM lets it shut down in order and remove its control groups.
        let _ = kill_process(Pid::from_child(&self.nspawn), Signal::TERM);
        let began = Instant::now();
        while matches!(self.nspawn.try_wait(), Ok(None)) && began.elapsed() < TIMEOUT {
            thread::sleep(POLL_INTERVAL);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}
