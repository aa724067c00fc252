//! A simulator, and the program in a directory and an environment of its own.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use forgewatch_core::job::JobRef;
use forgewatch_sim::{LoggedRequest, Script, Server};
use serde_json::Value;

/// For every wait. Ten times what anything takes that does not hang.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// Polls within milliseconds.
const FAST: [[&str; 2]; 2] = [["--min-interval", "20ms"], ["--max-interval", "200ms"]];

/// A directory with the program's home, configuration and cache.
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        // The runner may be a background job of a script, which ignores SIGINT; programs would inherit that.
        forgewatch::os::signals::reset_ignored();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner can read; returns its path.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The program with these arguments and the credentials of the simulator, in an otherwise empty environment.
    pub(crate) fn program<S: AsRef<OsStr>>(&self, args: &[S]) -> CliCommand {
        self.command(env!("CARGO_BIN_EXE_forgewatch"), args)
    }

    /// The same for another program.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> CliCommand {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("FORGEWATCH_CONFIG", "/dev/null")
            .env("FORGEWATCH_ACCESS_KEY", "sim")
            .env("FORGEWATCH_SECRET_KEY", "sim")
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        CliCommand {
            command,
            input: None,
        }
    }

    /// `watch --until-done` against `base`, with short intervals and `json`.
    pub(crate) fn watch_at(&self, base: &str, args: &[&str]) -> CliCommand {
        let mut watch = vec!["watch", "--until-done", "--base-url", base];
        for flag in FAST.iter().filter(|flag| !args.contains(&flag[0])) {
            watch.extend(flag);
        }
        watch.extend(args);
        self.program(&watch)
            .env("FORGEWATCH_ACCOUNT_SERVICE_ID", "5678")
            .env("FORGEWATCH_OUTPUT", "json")
    }
}

pub(crate) struct SimFixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Server,
}

impl SimFixture {
    pub(crate) fn new(script: &str) -> Self {
        Self {
            sandbox: Sandbox::new(),
            server: Server::start(Script::parse(script).unwrap()).unwrap(),
        }
    }

    pub(crate) fn watch(&self, args: &[&str]) -> CliCommand {
        self.sandbox.watch_at(&self.server.base_url(), args)
    }

    /// Waits for `n` requests for `job`.
    pub(crate) fn await_requests(&self, job: &str, n: usize) {
        let arrived = self.server.wait_for_requests(Some(name(job)), n, TIMEOUT);
        assert!(arrived, "fewer than {n} requests for {job}");
    }

    /// The requests for `job`.
    pub(crate) fn requests_for(&self, job: &str) -> Vec<LoggedRequest> {
        let mut requests_for = self.server.log();
        requests_for.retain(|request| request.job == Some(name(job)));
        requests_for
    }
}

/// Lets a job of a script run until the test ends.
pub(crate) const LONG: &str = "duration = '1h'";

/// A script entry for a job that completes after 150 ms, unless `more` says otherwise.
pub(crate) fn job(name: &str, more: &str) -> String {
    let duration = if more.contains("duration") {
        ""
    } else {
        "duration = '150ms'\n"
    };
    format!("[[jobs]]\njob = '{name}'\n{duration}{more}\n")
}

/// The same with a fault in these requests.
pub(crate) fn faulty(name: &str, requests: &str, fault: &str) -> String {
    job(
        name,
        &format!("[[jobs.faults]]\nrequests = '{requests}'\n{fault}"),
    )
}

fn name(job: &str) -> JobRef {
    job.parse().unwrap()
}

pub(crate) struct CliCommand {
    command: Command,
    /// None keeps standard input open and empty.
    input: Option<String>,
}

impl CliCommand {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The whole standard input.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Redirects standard output, away from [`CliOutput::stdout`].
    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    /// Redirects standard input.
    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Runs it on a terminal of this size, whose content becomes [`CliOutput::stdout`].
    pub(crate) fn on_terminal(mut self, rows: u16, columns: u16) -> Self {
        let program = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let quoted: Vec<String> = program
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let line = format!("stty rows {rows} cols {columns}; exec {}", quoted.join(" "));
        let mut terminal = Command::new("script");
        terminal.args(["-qefc", &line, "/dev/null"]);
        self.replace(terminal)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env("PATH", "/usr/bin:/bin")
    }

    /// Starts it through another program, which receives it as its last arguments.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
            .arg(self.command.get_program())
            .args(self.command.get_args());
        self.replace(command).env("PATH", "/usr/bin:/bin")
    }

    /// Starts it behind these commands of a shell.
    pub(crate) fn behind(self, commands: &str) -> Self {
        self.through(&["/bin/sh", "-c", &format!("{commands}; exec \"$@\""), "sh"])
    }

    /// The same environment, directory and streams for another command.
    fn replace(&mut self, mut command: Command) -> Self {
        command.env_clear();
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
            .current_dir(self.command.get_current_dir().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            command,
            input: self.input.take(),
        }
    }

    pub(crate) fn start(mut self) -> CliProcess {
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take();
        if let Some(input) = self.input {
            // Fails if the program ended without reading.
            let _ = stdin.take().unwrap().write_all(input.as_bytes());
        }
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        CliProcess {
            child,
            stdin,
            stdout,
            stderr,
        }
    }

    pub(crate) fn run(self) -> CliOutput {
        self.start().wait()
    }
}

/// Reads a stream to its end on a thread.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (done, collected) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = done.send(bytes);
    });
    collected
}

/// The running program; killed when the test ends.
pub(crate) struct CliProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Receiver<Vec<u8>>>,
    stderr: Option<Receiver<Vec<u8>>>,
}

impl CliProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its short name, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.pid());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success(), "{kill}");
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn wait(mut self) -> CliOutput {
        // Both streams end with the process.
        let text = |stream: Option<Receiver<Vec<u8>>>, name: &str| {
            stream.map_or_else(String::new, |stream| {
                let bytes = stream.recv_timeout(TIMEOUT);
                let bytes =
                    bytes.unwrap_or_else(|_| panic!("{name} did not end: the program hangs"));
                String::from_utf8(bytes).unwrap()
            })
        };
        let stderr = text(self.stderr.take(), "standard error");
        let stdout = text(self.stdout.take(), "standard output");
        let status = self.child.wait().unwrap();
        CliOutput {
            status: status
                .code()
                .unwrap_or_else(|| panic!("ended by a signal: {status}\n{stderr}")),
            stdout,
            stderr,
        }
    }
}

impl Drop for CliProcess {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub(crate) struct CliOutput {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CliOutput {
    /// Every line of `json`, diagnostics included.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self:?}"))
        };
        self.stdout.lines().map(parse).collect()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events = self.lines();
        events.retain(|line| line.get("event_type").is_some());
        events
    }

    pub(crate) fn events_of(&self, job: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["job"] == job);
        events
    }

    /// The last event of a job.
    pub(crate) fn end_of(&self, job: &str) -> Value {
        let last = self.events_of(job).pop();
        last.unwrap_or_else(|| panic!("no event of {job}: {self:?}"))
    }

    /// `watch.finished`.
    pub(crate) fn finished(&self) -> Value {
        let last = self.events().pop().unwrap_or_default();
        assert_eq!(last["event_type"], "watch.finished", "{self:?}");
        last
    }

    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "\nstandard output:\n{}\nstandard error:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The head of a request, or what arrived before the end.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => break,
        }
    }
    String::from_utf8(request).unwrap()
}
