//! A server on a socket, a store behind it, and somebody who answers as each test wants; the program, and a client that
//! writes whatever bytes it likes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use forgewatch::control::protocol::{Answer, Request};
use forgewatch::control::server::{BindError, Server};
use forgewatch::store::{Commit, Sqlite, Store};
use forgewatch_core::event::{Event, EventFields, EventId, EventType, WatchId};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// No test waits longer for anything. Nothing takes a tenth of it unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// No machine has such a group.
pub(crate) const NO_GROUP: &str = "no-such-group";

/// What the daemon's thread is to do between requests.
enum Order {
    /// Events happen.
    Commit(Vec<Event>, mpsc::Sender<()>),
    /// The daemon ends.
    Stop,
}

/// A daemon that knows nothing but what a test has it answer.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    orders: UnboundedSender<Order>,
    asked: mpsc::Receiver<Request>,
    daemon: Option<JoinHandle<()>>,
}

impl Stage {
    /// One that answers like this.
    pub(crate) fn answering(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Self {
        Self::with_group(NO_GROUP, answer)
    }

    /// One that does as it is told, whatever that is.
    pub(crate) fn obedient() -> Self {
        Self::answering(|_| Answer::Done)
    }

    pub(crate) fn with_group(
        group: &'static str,
        answer: impl Fn(&Request) -> Answer + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (orders, mut ordered) = unbounded_channel();
        let (tell, asked) = mpsc::channel();
        let (begun, ready) = mpsc::channel();
        let home = folder.path().to_owned();
        let daemon = std::thread::spawn(move || {
            runtime().block_on(async {
                let (store, _) = Sqlite::open(&home.join("state.db")).unwrap();
                let mut server =
                    Server::bind(&home.join("control.sock"), group, store.clone()).unwrap();
                begun.send(()).unwrap();
                loop {
                    tokio::select! {
                        asked = server.next() => {
                            let _ = asked.reply.send(answer(&asked.request));
                            let _ = tell.send(asked.request);
                        }
                        order = ordered.recv() => match order {
                            Some(Order::Commit(events, done)) => {
                                let commit = Commit { events: &events, ..Commit::default() };
                                store.commit(commit).await.unwrap();
                                server.notify_events();
                                done.send(()).unwrap();
                            }
                            Some(Order::Stop) | None => break,
                        },
                    }
                }
                drop(server);
                store.close().await;
            });
        });
        ready.recv_timeout(PATIENCE).unwrap();
        Self {
            folder,
            orders,
            asked,
            daemon: Some(daemon),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// The next request that the daemon was asked.
    pub(crate) fn asked(&self) -> Request {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// Whether the daemon was asked anything that no test looked at yet.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.try_recv().is_ok()
    }

    /// The events of these numbers happen.
    pub(crate) fn commit(&self, numbers: std::ops::RangeInclusive<u32>) {
        let (done, committed) = mpsc::channel();
        let events = numbers.map(event).collect();
        self.orders
            .send(Order::Commit(events, done))
            .unwrap_or_else(|_| panic!("the daemon has ended"));
        committed.recv_timeout(PATIENCE).unwrap();
    }

    /// The daemon ends.
    pub(crate) fn stop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        self.daemon.take().unwrap().join().unwrap();
    }

    /// The program with these arguments, which speaks to this daemon.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.program(args).run()
    }

    pub(crate) fn program(&self, args: &[&str]) -> Program {
        program(self.folder.path(), args).env("FORGEWATCH_SOCKET", self.socket())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = self.orders.send(Order::Stop);
            let ended = daemon.join();
            // A test that fails already says enough.
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Does something with a store of its own.
pub(crate) fn with_store<T>(work: impl AsyncFnOnce(&Sqlite) -> T) -> T {
    let state = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (store, _) = Sqlite::open(&state.path().join("state.db")).unwrap();
        let result = work(&store).await;
        store.close().await;
        result
    })
}

/// Listens at `path` as a daemon does, for no longer than the answer is looked at.
pub(crate) fn bind<T>(
    path: &Path,
    group: &str,
    look: impl FnOnce(Result<Server, BindError>) -> T,
) -> T {
    with_store(async |store| look(Server::bind(path, group, store.clone())))
}

/// An event of the watcher's own, seen that many seconds after the first.
fn event(number: u32) -> Event {
    Event {
        id: EventId {
            watch: WatchId([0xa5; 16]),
            seq: number,
        },
        kind: EventType::WatchStarted,
        wall_ms: wall(number),
        job: None,
        about: None,
        facts: EventFields::default(),
    }
}

pub(crate) fn wall(number: u32) -> i64 {
    1_800_000_000_000 + i64::from(number) * 1_000
}

/// A client that writes bytes.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Sends the bytes. A server that has heard enough may have gone.
    pub(crate) fn send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let _ = self.0.write_all(bytes.as_ref());
        self
    }

    /// Says no more.
    pub(crate) fn shut(self) -> Self {
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// All that the server says until it closes the connection.
    pub(crate) fn hear(mut self) -> String {
        let mut heard = Vec::new();
        // What was said before the connection was reset counts.
        let _ = self.0.read_to_end(&mut heard);
        String::from_utf8(heard).unwrap()
    }

    /// The next line that the server says.
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

/// The program in `folder`, with nothing else around it.
pub(crate) fn program(folder: &Path, args: &[&str]) -> Program {
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

/// The program, about to be run.
pub(crate) struct Program(pub(crate) Command);

impl Program {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Child {
        self.0.spawn().unwrap()
    }

    /// Starts it, to be read line by line.
    pub(crate) fn follow(self) -> Running {
        let mut child = self.start();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
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

/// The program under way, its standard output line by line; killed when the test gives up on it.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// The next line, None behind the last.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the program prints nothing"),
        }
    }

    /// The next line, if it is there.
    pub(crate) fn line_by_now(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Its end, and what it said on standard error.
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

/// Something else behind a socket: says each of these to a client of its own and hangs up. Returns what was asked.
pub(crate) fn impostor(socket: &Path, says: Vec<String>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let serve = |says: String| {
            let (stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&stream).read_line(&mut asked).unwrap();
            (&stream).write_all(says.as_bytes()).unwrap();
            asked
        };
        says.into_iter().map(serve).collect()
    })
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// None where a signal ended it.
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

    /// Status and both streams, for a snapshot. The stage's folder is called STAGE.
    pub(crate) fn shown(&self, stage: &Stage) -> String {
        let status = self.status.unwrap();
        let text = format!("{}{}[{status}]", self.stdout, self.stderr);
        text.replace(stage.folder.path().to_str().unwrap(), "STAGE")
    }
}
