//! A test daemon: a server with a store that responds as each test wants. The program, and a client that sends any bytes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use forgewatch::control::protocol::{Request, Response, encode_request};
use forgewatch::control::{BindError, ControlServer, RequestQueue};
use forgewatch::store::{Commit, SqliteStore, Store};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Ten times longer than anything takes unless it hangs.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// A group that does not exist.
pub(crate) const NO_GROUP: &str = "no-such-group";

/// A message to the daemon's thread.
enum Control {
    Commit(Vec<Event>, mpsc::Sender<()>),
    Stop,
}

pub(crate) struct TestDaemon {
    pub(crate) folder: tempfile::TempDir,
    control: UnboundedSender<Control>,
    requests: mpsc::Receiver<Request>,
    thread: Option<JoinHandle<()>>,
}

impl TestDaemon {
    pub(crate) fn responding(respond: impl Fn(&Request) -> Response + Send + 'static) -> Self {
        Self::with_group(NO_GROUP, respond)
    }

    /// Responds to every request with [`Response::Done`].
    pub(crate) fn accepting() -> Self {
        Self::responding(|_| Response::Done)
    }

    pub(crate) fn with_group(
        group: &'static str,
        respond: impl Fn(&Request) -> Response + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (control, mut messages) = unbounded_channel();
        let (log, requests) = mpsc::channel();
        let (started, ready) = mpsc::channel();
        let home = folder.path().to_owned();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let (store, _) = SqliteStore::open(&home.join("state.db")).unwrap();
                let (mut requests, daemon) = RequestQueue::new(store.clone());
                let server =
                    ControlServer::bind(&home.join("control.sock"), Some(group), daemon).unwrap();
                started.send(()).unwrap();
                loop {
                    tokio::select! {
                        pending = requests.next() => {
                            let _ = pending.respond_to.send(respond(&pending.request));
                            let _ = log.send(pending.request);
                        }
                        message = messages.recv() => match message {
                            Some(Control::Commit(events, done)) => {
                                let commit = Commit { events: &events, ..Commit::default() };
                                store.commit(commit).await.unwrap();
                                requests.notify_events();
                                done.send(()).unwrap();
                            }
                            Some(Control::Stop) | None => break,
                        },
                    }
                }
                drop(server);
                drop(requests);
                store.close().await;
            });
        });
        ready.recv_timeout(TIMEOUT).unwrap();
        Self {
            folder,
            control,
            requests,
            thread: Some(thread),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// The next request that reached the daemon.
    pub(crate) fn next_request(&self) -> Request {
        self.requests.recv_timeout(TIMEOUT).unwrap()
    }

    /// Whether another request reached the daemon.
    pub(crate) fn has_request(&self) -> bool {
        self.requests.try_recv().is_ok()
    }

    /// Commits the events of these numbers.
    pub(crate) fn commit(&self, numbers: std::ops::RangeInclusive<u32>) {
        let (done, committed) = mpsc::channel();
        let events = numbers.map(event).collect();
        self.control
            .send(Control::Commit(events, done))
            .unwrap_or_else(|_| panic!("the daemon has ended"));
        committed.recv_timeout(TIMEOUT).unwrap();
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.control.send(Control::Stop);
        self.thread.take().unwrap().join().unwrap();
    }

    /// Runs the program with these arguments as a client of this daemon.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.program(args).run()
    }

    pub(crate) fn program(&self, args: &[&str]) -> Program {
        program(self.folder.path(), args).env("FORGEWATCH_SOCKET", self.socket())
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.control.send(Control::Stop);
            let result = thread.join();
            // A second panic would hide the first.
            if !std::thread::panicking() {
                result.unwrap();
            }
        }
    }
}

pub(crate) fn runtime() -> tokio::runtime::LocalRuntime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
}

/// Runs `work` with a new store.
pub(crate) fn with_store<T>(work: impl AsyncFnOnce(&SqliteStore) -> T) -> T {
    let state = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (store, _) = SqliteStore::open(&state.path().join("state.db")).unwrap();
        let result = work(&store).await;
        store.close().await;
        result
    })
}

/// Binds a server at `path` while `check` runs.
pub(crate) fn bind<T>(
    path: &Path,
    group: &str,
    check: impl FnOnce(Result<ControlServer, BindError>) -> T,
) -> T {
    with_store(async |store| {
        let (_requests, daemon) = RequestQueue::new(store.clone());
        check(ControlServer::bind(path, Some(group), daemon))
    })
}

/// An event of forgewatch itself, `number` seconds after the epoch of the tests.
fn event(number: u32) -> Event {
    Event {
        id: EventId {
            watch: WatchId([0xa5; 16]),
            seq: number,
        },
        kind: EventType::WatchStarted,
        wall_ms: wall(number),
        job: None,
        meta: None,
        fields: EventFields::default(),
    }
}

pub(crate) fn wall(number: u32) -> i64 {
    1_800_000_000_000 + i64::from(number) * 1_000
}

/// The request as a client sends it.
pub(crate) fn frame(request: &Request) -> String {
    String::from_utf8(encode_request(request).unwrap()).unwrap()
}

pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(stream)
    }

    /// Sends the bytes. The server may have closed the connection.
    pub(crate) fn send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let _ = self.0.write_all(bytes.as_ref());
        self
    }

    /// Closes the connection for writing.
    pub(crate) fn shut(self) -> Self {
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Everything that the server sends until it closes the connection.
    pub(crate) fn read_all(mut self) -> String {
        let mut response = Vec::new();
        // Data in front of a reset counts.
        let _ = self.0.read_to_end(&mut response);
        String::from_utf8(response).unwrap()
    }

    /// The next line from the server.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") {
            self.0.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        String::from_utf8(line).unwrap()
    }
}

/// The program in `folder`, with a minimal environment.
pub(crate) fn program(folder: &Path, args: &[&str]) -> Program {
    // The runner may be a background job of a script, which ignores SIGINT; programs would inherit that.
    forgewatch::os::signals::reset_ignored();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forgewatch"));
    command
        .args(args)
        .env_clear()
        .env("HOME", folder)
        .env("LANG", "C.UTF-8")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Program(command)
}

pub(crate) struct Program(pub(crate) Command);

impl Program {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Child {
        self.0.spawn().unwrap()
    }

    /// Starts the program; its output is read line by line.
    pub(crate) fn follow(self) -> Running {
        let mut child = self.start();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines }
    }

    pub(crate) fn run(self) -> Done {
        let output = self.start().wait_with_output().unwrap();
        Done {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The running program, killed on drop.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// The next line; None at the end of the output.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(TIMEOUT) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("timeout"),
        }
    }

    /// The next line, if it is available.
    pub(crate) fn try_line(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for the end; returns exit status and standard error.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        assert_eq!(self.line(), None);
        let mut stderr = String::new();
        let mut stream = self.child.stderr.take().unwrap();
        stream.read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap(), stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fake daemon: sends each of these responses to one client and hangs up. Returns the requests.
pub(crate) fn fake_daemon(socket: &Path, responses: Vec<String>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let serve = |response: String| {
            let (stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            (&stream).write_all(response.as_bytes()).unwrap();
            request
        };
        responses.into_iter().map(serve).collect()
    })
}

/// Exit status and output of the program.
#[derive(Debug)]
pub(crate) struct Done {
    /// None if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }

    /// Both streams and the exit status, for a snapshot. The daemon's folder is shown as FOLDER.
    pub(crate) fn shown(&self, daemon: &TestDaemon) -> String {
        let status = self.status.unwrap();
        let text = format!("{}{}[{status}]", self.stdout, self.stderr);
        text.replace(daemon.folder.path().to_str().unwrap(), "FOLDER")
    }
}
