//! A container with a systemd of its own, booted from the system that runs the test.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::groups::Groups;

/// Nothing is waited for longer. A boot takes a second.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked at what gives no sign of its own when it changes.
const LOOK: Duration = Duration::from_millis(20);

/// What is laid over `/` in a container that does not run yet.
pub(crate) struct Files(TempDir);

impl Files {
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

    /// Boots. An error says why that can't be done here.
    pub(crate) fn boot(self) -> Result<Machine, String> {
        if !geteuid().is_root() {
            return Err("a container with a systemd needs root".to_owned());
        }
        let folder = self.0.path();
        let socket = folder.join("notify");
        let signs = UnixDatagram::bind(&socket).unwrap();
        signs.set_read_timeout(Some(LOOK)).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let groups = Groups::new(name);
        let console = File::create(folder.join("console")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/boot.sh");
        // All of it is one process. When this thread ends, whatever the reason, it ends the container and then itself.
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
            files: self,
            _groups: groups,
        };
        machine.await_boot(&signs)?;
        Ok(machine)
    }
}

/// The container. It ends, and leaves nothing behind, when it is dropped.
pub(crate) struct Machine {
    nspawn: Child,
    /// Its process 1, as it is called out here.
    leader: u32,
    files: Files,
    /// Removed after the container has ended.
    _groups: Groups,
}

impl Machine {
    fn await_boot(&mut self, signs: &UnixDatagram) -> Result<(), String> {
        let began = Instant::now();
        let mut bytes = [0; 4096];
        loop {
            match signs.recv(&mut bytes) {
                Ok(length) => {
                    let sign = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    for line in sign.lines() {
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
            if self.nspawn.try_wait().unwrap().is_some() || began.elapsed() > PATIENCE {
                return Err(format!("the container did not boot: {}", self.console()));
            }
        }
    }

    fn console(&self) -> String {
        let bytes = fs::read(self.files.0.path().join("console")).unwrap();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// A command in the container, as root and with nothing in its environment but a path.
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

    /// Runs it, which has to succeed; returns what it printed.
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

    /// Runs it, which has to fail; returns status and what it complained of.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?} succeeded");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), complaint)
    }

    /// What the same command prints once it pleases.
    #[track_caller]
    pub(crate) fn until(&self, words: &[&str], pleases: impl Fn(&str) -> bool) -> String {
        eventually(|| {
            let output = self.run(words);
            let said = String::from_utf8_lossy(&output.stdout);
            if output.status.success() && pleases(&said) {
                return Ok(said.into_owned());
            }
            Err(format!("{words:?} still says {output:?}"))
        })
    }
}

/// Looks again and again, until there is what is looked for.
#[track_caller]
pub(crate) fn eventually<T>(look: impl Fn() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(missing) => assert!(began.elapsed() < PATIENCE, "{missing}"),
        }
        thread::sleep(LOOK);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.leader != 0 {
            let journal = self.run(&["journalctl", "--no-pager", "--lines", "100"]);
            println!("{}", String::from_utf8_lossy(&journal.stdout));
        }
        // Asks for an orderly end, in which it removes its control groups as well.
        let _ = kill_process(Pid::from_child(&self.nspawn), Signal::TERM);
        let began = Instant::now();
        while matches!(self.nspawn.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            thread::sleep(LOOK);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}
