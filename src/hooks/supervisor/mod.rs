//! The hidden command `forgewatch hook-supervisor`: runs one hook and sees to its end, whole.
//!
//! `exec` starts one for each attempt. It leads a session of its own and is the subreaper of all that the hook
//! starts: what leaves its group or its session is handed to it by the kernel and found below it. That nobody is left
//! it takes from the kernel alone, which then has no child to wait for. It never shares a stream with anybody: it keeps
//! the first and the last of each of the hook's and reports them at the end.
//!
//! Standard input is the line to whoever started it: eight bytes of length, the event, and then silence. A byte more
//! asks for an end (TERM to all, KILL five seconds later); an end of file means that nobody is there any more (KILL at
//! once: a watcher that comes back runs the attempt again, and two must not meet).

mod captured_output;
mod process_tree;

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, setsid, wait,
};
use serde::{Deserialize, Serialize};

use captured_output::Bounded;
pub(super) use captured_output::Kept;
use process_tree::signal_all;

/// How long a hook has between TERM and KILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// An event is far shorter.
const MAX_EVENT: u64 = 64 << 20;
/// How often KILL is sent until nobody is left.
const AGAIN: Duration = Duration::from_millis(10);
/// A process that does not even die of KILL hangs in the kernel: nothing more can be done.
const STUCK: Duration = Duration::from_secs(5);
/// How long the streams are waited for once nobody is left who could write.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is written on standard output at the end, in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) end: End,
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
    /// Something of the hook lives on: another user's process, or one that hangs in the kernel.
    pub(super) is_left: bool,
}

/// How the hook ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By somebody else's signal.
    Killed(i32),
    /// It never began.
    NotStarted(String),
    /// It took too long.
    TimedOut,
    /// Whoever started it did not want it any more.
    Stopped,
}

/// What the threads tell the main one.
enum News {
    /// An end is asked for.
    Stop,
    /// Whoever started it is gone.
    Orphaned,
    /// A child has ended: the hook itself, or something it left behind.
    Ended(Pid, WaitStatus),
    /// No process below this one is left.
    Alone,
    /// A stream has ended.
    Closed,
}

/// Runs the program given as the arguments, for at most `timeout`.
pub fn run(timeout: Duration, command: &[OsString]) -> ExitCode {
    // Fails where this process leads a group already; the subreaper finds everybody all the same.
    let _ = setsid();
    let mut stdin = io::stdin().lock();
    let prepared = set_child_subreaper(Some(getpid()))
        .map_err(io::Error::from)
        .and_then(|()| read_event(&mut stdin));
    drop(stdin);
    let report = match prepared {
        Ok(event) => supervise(timeout, command, event),
        Err(error) => Some(Report::of(End::NotStarted(error.to_string()))),
    };
    let written = report.map_or(Ok(()), |report| {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, &report)?;
        stdout.flush()
    });
    if written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn read_event(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length).min(MAX_EVENT);
    let mut event = Vec::new();
    from.take(length).read_to_end(&mut event)?;
    if (event.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(event)
}

/// None where nobody is left to report to.
fn supervise(timeout: Duration, command: &[OsString], event: Vec<u8>) -> Option<Report> {
    let (tell, news) = mpsc::channel();
    let (hook, streams) = match start(command, event, &tell) {
        Ok(started) => started,
        Err(error) => return Some(Report::of(End::NotStarted(error.to_string()))),
    };
    let mut watch = Watch {
        news,
        hook,
        ended: None,
        open: streams.len(),
        alone: false,
    };
    let end = match watch.until(timeout) {
        Woken::ByTheEnd => None,
        Woken::ByTime => Some(End::TimedOut),
        Woken::PendingRequest => Some(End::Stopped),
        Woken::Orphaned => {
            watch.kill_all();
            return None;
        }
    };
    if !watch.alone {
        watch.signal(Signal::TERM);
        watch.until_alone(GRACE);
        watch.kill_all();
    }
    watch.until_closed();
    let [stdout, stderr] = streams.map(|kept| lock(&kept).take());
    let end = end
        .or(watch.ended)
        .unwrap_or_else(|| End::NotStarted("it vanished".to_owned()));
    Some(Report {
        end,
        stdout,
        stderr,
        is_left: !watch.alone,
    })
}

type Shared = Arc<Mutex<Bounded>>;

/// Starts the program, and every thread before it: where the machine grants no more of them, nothing has begun.
fn start(
    command: &[OsString],
    event: Vec<u8>,
    tell: &Sender<News>,
) -> io::Result<(Pid, [Shared; 2])> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| io::Error::other("no program is given"))?;
    let (stdin, event_into) = io::pipe()?;
    let (from_stdout, stdout) = io::pipe()?;
    let (from_stderr, stderr) = io::pipe()?;
    hand_over(event_into, event)?;
    let streams = [
        drain(from_stdout, tell.clone())?,
        drain(from_stderr, tell.clone())?,
    ];
    listen(tell.clone())?;
    let (has_begun, begun) = mpsc::channel();
    reap(begun, tell.clone())?;
    // Our own copies of its ends of the pipes are gone with the command.
    let child = Command::new(program)
        .args(args)
        .process_group(0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    let _ = has_begun.send(());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a process without an id"))?;
    Ok((pid, streams))
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

/// A hook that does not read its event has its reasons.
fn hand_over(mut into: PipeWriter, event: Vec<u8>) -> io::Result<()> {
    spawn(move || {
        let _ = into.write_all(&event);
    })
}

fn drain(mut from: PipeReader, tell: Sender<News>) -> io::Result<Shared> {
    let kept = Shared::default();
    let into = Arc::clone(&kept);
    spawn(move || {
        let mut chunk = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            lock(&into).push(chunk.get(..n).unwrap_or_default());
        }
        let _ = tell.send(News::Closed);
    })?;
    Ok(kept)
}

/// Hears what whoever started it has to say.
fn listen(tell: Sender<News>) -> io::Result<()> {
    spawn(move || {
        let mut byte = [0];
        let mut stdin = io::stdin().lock();
        while let Ok(1) = stdin.read(&mut byte) {
            if tell.send(News::Stop).is_err() {
                return;
            }
        }
        let _ = tell.send(News::Orphaned);
    })
}

/// Once the program has begun, waits for every child there is, its own and those it inherits, until there is none.
fn reap(begun: Receiver<()>, tell: Sender<News>) -> io::Result<()> {
    spawn(move || {
        if begun.recv().is_err() {
            return;
        }
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => drop(tell.send(News::Ended(pid, status))),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let _ = tell.send(News::Alone);
    })
}

/// What the main thread knows.
struct Watch {
    news: Receiver<News>,
    hook: Pid,
    ended: Option<End>,
    open: usize,
    alone: bool,
}

/// Why waiting for the hook is over.
enum Woken {
    ByTheEnd,
    ByTime,
    PendingRequest,
    Orphaned,
}

impl Watch {
    /// Waits for the hook to end, for a word, or for this long.
    fn until(&mut self, timeout: Duration) -> Woken {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.next(deadline) {
                None => return Woken::ByTime,
                Some(News::Stop) => return Woken::PendingRequest,
                Some(News::Orphaned) => return Woken::Orphaned,
                Some(_) if self.ended.is_some() => return Woken::ByTheEnd,
                Some(_) => {}
            }
        }
    }

    /// The hook's number is its own until it has ended.
    fn signal(&self, signal: Signal) {
        signal_all(self.ended.is_none().then_some(self.hook), signal);
    }

    /// Waits until no process is left, a word that nobody is there any more, or for this long.
    fn until_alone(&mut self, most: Duration) {
        let deadline = Instant::now().checked_add(most);
        while !self.alone {
            match self.next(deadline) {
                None | Some(News::Orphaned) => return,
                Some(_) => {}
            }
        }
    }

    fn kill_all(&mut self) {
        let end = Instant::now() + STUCK;
        while !self.alone && Instant::now() < end {
            self.signal(Signal::KILL);
            self.until_alone(AGAIN);
        }
    }

    fn until_closed(&mut self) {
        let deadline = Instant::now().checked_add(LAST_WORDS);
        while self.open > 0 && self.next(deadline).is_some() {}
    }

    /// The next piece of news, taken note of; None at the deadline.
    fn next(&mut self, deadline: Option<Instant>) -> Option<News> {
        let left = deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let news = match self.news.recv_timeout(left) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        };
        match &news {
            News::Ended(pid, status) if *pid == self.hook => {
                self.ended = status
                    .exit_status()
                    .map(End::Exited)
                    .or_else(|| status.terminating_signal().map(End::Killed));
            }
            News::Alone => self.alone = true,
            News::Closed => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        Some(news)
    }
}

impl Report {
    fn of(end: End) -> Self {
        Self {
            end,
            stdout: Kept::default(),
            stderr: Kept::default(),
            is_left: false,
        }
    }
}

/// A thread that panicked leaves what it had.
fn lock(kept: &Mutex<Bounded>) -> std::sync::MutexGuard<'_, Bounded> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
