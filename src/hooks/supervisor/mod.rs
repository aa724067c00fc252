//! The hidden command `forgewatch hook-supervisor`: runs one hook and ends it with every process that it started.
//!
//! `exec` starts a supervisor per attempt. It leads its own session and is the subreaper of the hook's processes: the
//! kernel makes those that leave their group or session children of the supervisor. All have ended when `wait` finds no
//! child. The hook has pipes of its own; the first and last bytes of each stream are part of the report at the end.
//!
//! Standard input is the connection to forgewatch: eight bytes of length, then the event. A further byte requests the
//! end (TERM to all, KILL five seconds later). End of file means that forgewatch has died: KILL at once, because after
//! its restart it runs the attempt again, and two attempts must not overlap.

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

pub(super) use captured_output::CapturedOutput;
use captured_output::OutputBuffer;
use process_tree::signal_all;

/// Time between TERM and KILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// Events are far shorter.
const MAX_EVENT: u64 = 64 << 20;
/// Interval of KILL signals until no process is left.
const KILL_INTERVAL: Duration = Duration::from_millis(10);
/// A process that survives KILL for this long hangs in the kernel, or belongs to another user.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the rest of the output once no writer is left.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// Written to standard output at the end, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HookReport {
    pub(super) end: HookEnd,
    pub(super) stdout: CapturedOutput,
    pub(super) stderr: CapturedOutput,
    /// Some process of the hook could not be killed.
    pub(super) has_survivors: bool,
}

/// How the hook ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HookEnd {
    Exited(i32),
    /// Signal of another process.
    Killed(i32),
    NotStarted(String),
    TimedOut,
    Stopped,
}

/// Sent by the threads to the main thread.
enum ProcessEvent {
    /// Forgewatch requests the end.
    Stop,
    /// Forgewatch has died.
    Orphaned,
    /// A child has ended: the hook, or an orphan of it.
    Ended(Pid, WaitStatus),
    AllEnded,
    /// A stream is at its end.
    Closed,
}

/// Runs `command` for at most `timeout`.
pub fn run(timeout: Duration, command: &[OsString]) -> ExitCode {
    // Fails if this process leads a group already; the subreaper works without it.
    let _ = setsid();
    let mut stdin = io::stdin().lock();
    let prepared = set_child_subreaper(Some(getpid()))
        .map_err(io::Error::from)
        .and_then(|()| read_event(&mut stdin));
    drop(stdin);
    let report = match prepared {
        Ok(event) => supervise(timeout, command, event),
        Err(error) => Some(HookReport::of(HookEnd::NotStarted(error.to_string()))),
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

/// None if forgewatch has died: nothing would read the report.
fn supervise(timeout: Duration, command: &[OsString], event: Vec<u8>) -> Option<HookReport> {
    let (sender, events) = mpsc::channel();
    let (hook, streams) = match start(command, event, &sender) {
        Ok(started) => started,
        Err(error) => return Some(HookReport::of(HookEnd::NotStarted(error.to_string()))),
    };
    let mut process = HookProcess {
        events,
        pid: hook,
        ended: None,
        open_streams: streams.len(),
        all_ended: false,
    };
    let end = match process.wait(timeout) {
        WaitEnd::HookEnded => None,
        WaitEnd::TimedOut => Some(HookEnd::TimedOut),
        WaitEnd::StopRequested => Some(HookEnd::Stopped),
        WaitEnd::Orphaned => {
            process.kill_all();
            return None;
        }
    };
    if !process.all_ended {
        process.signal(Signal::TERM);
        process.wait_for_all(GRACE);
        process.kill_all();
    }
    process.wait_for_output();
    let [stdout, stderr] = streams.map(|buffer| lock(&buffer).take());
    let end = end
        .or(process.ended)
        .unwrap_or_else(|| HookEnd::NotStarted("its end was not observed".to_owned()));
    Some(HookReport {
        end,
        stdout,
        stderr,
        has_survivors: !process.all_ended,
    })
}

type SharedBuffer = Arc<Mutex<OutputBuffer>>;

/// Starts all threads, then the program: if a thread cannot be started, the program is not started either.
fn start(
    command: &[OsString],
    event: Vec<u8>,
    sender: &Sender<ProcessEvent>,
) -> io::Result<(Pid, [SharedBuffer; 2])> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| io::Error::other("no program is given"))?;
    let (stdin, event_into) = io::pipe()?;
    let (from_stdout, stdout) = io::pipe()?;
    let (from_stderr, stderr) = io::pipe()?;
    write_event(event_into, event)?;
    let streams = [
        drain(from_stdout, sender.clone())?,
        drain(from_stderr, sender.clone())?,
    ];
    listen(sender.clone())?;
    let (has_started, started) = mpsc::channel();
    reap(started, sender.clone())?;
    // Dropping the command closes our copies of its ends of the pipes.
    let child = Command::new(program)
        .args(args)
        .process_group(0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    let _ = has_started.send(());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the process has no id"))?;
    Ok((pid, streams))
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

/// A hook may end without reading its event: errors are ignored.
fn write_event(mut into: PipeWriter, event: Vec<u8>) -> io::Result<()> {
    spawn(move || {
        let _ = into.write_all(&event);
    })
}

fn drain(mut from: PipeReader, sender: Sender<ProcessEvent>) -> io::Result<SharedBuffer> {
    let buffer = SharedBuffer::default();
    let into = Arc::clone(&buffer);
    spawn(move || {
        let mut chunk = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            lock(&into).push(chunk.get(..n).unwrap_or_default());
        }
        let _ = sender.send(ProcessEvent::Closed);
    })?;
    Ok(buffer)
}

/// Reads standard input for requests of forgewatch.
fn listen(sender: Sender<ProcessEvent>) -> io::Result<()> {
    spawn(move || {
        let mut byte = [0];
        let mut stdin = io::stdin().lock();
        while let Ok(1) = stdin.read(&mut byte) {
            if sender.send(ProcessEvent::Stop).is_err() {
                return;
            }
        }
        let _ = sender.send(ProcessEvent::Orphaned);
    })
}

/// Once the program has started, reaps all children, inherited ones included, until none is left.
fn reap(started: Receiver<()>, sender: Sender<ProcessEvent>) -> io::Result<()> {
    spawn(move || {
        if started.recv().is_err() {
            return;
        }
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => drop(sender.send(ProcessEvent::Ended(pid, status))),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let _ = sender.send(ProcessEvent::AllEnded);
    })
}

/// State of the main thread.
struct HookProcess {
    events: Receiver<ProcessEvent>,
    pid: Pid,
    ended: Option<HookEnd>,
    open_streams: usize,
    all_ended: bool,
}

enum WaitEnd {
    HookEnded,
    TimedOut,
    StopRequested,
    Orphaned,
}

impl HookProcess {
    /// Waits until the hook ends, a request arrives, or the timeout expires.
    fn wait(&mut self, timeout: Duration) -> WaitEnd {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.next(deadline) {
                None => return WaitEnd::TimedOut,
                Some(ProcessEvent::Stop) => return WaitEnd::StopRequested,
                Some(ProcessEvent::Orphaned) => return WaitEnd::Orphaned,
                Some(_) if self.ended.is_some() => return WaitEnd::HookEnded,
                Some(_) => {}
            }
        }
    }

    /// Once the hook has ended, its pid may belong to another process.
    fn signal(&self, signal: Signal) {
        signal_all(self.ended.is_none().then_some(self.pid), signal);
    }

    /// Waits until no process is left, forgewatch has died, or `limit` is over.
    fn wait_for_all(&mut self, limit: Duration) {
        let deadline = Instant::now().checked_add(limit);
        while !self.all_ended {
            match self.next(deadline) {
                None | Some(ProcessEvent::Orphaned) => return,
                Some(_) => {}
            }
        }
    }

    fn kill_all(&mut self) {
        let end = Instant::now() + KILL_TIMEOUT;
        while !self.all_ended && Instant::now() < end {
            self.signal(Signal::KILL);
            self.wait_for_all(KILL_INTERVAL);
        }
    }

    fn wait_for_output(&mut self) {
        let deadline = Instant::now().checked_add(OUTPUT_TIMEOUT);
        while self.open_streams > 0 && self.next(deadline).is_some() {}
    }

    /// Receives and applies the next event; None at the deadline.
    fn next(&mut self, deadline: Option<Instant>) -> Option<ProcessEvent> {
        let left = deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let event = match self.events.recv_timeout(left) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        };
        match &event {
            ProcessEvent::Ended(pid, status) if *pid == self.pid => {
                self.ended = status
                    .exit_status()
                    .map(HookEnd::Exited)
                    .or_else(|| status.terminating_signal().map(HookEnd::Killed));
            }
            ProcessEvent::AllEnded => self.all_ended = true,
            ProcessEvent::Closed => self.open_streams = self.open_streams.saturating_sub(1),
            _ => {}
        }
        Some(event)
    }
}

impl HookReport {
    fn of(end: HookEnd) -> Self {
        Self {
            end,
            stdout: CapturedOutput::default(),
            stderr: CapturedOutput::default(),
            has_survivors: false,
        }
    }
}

/// A thread that panicked leaves a usable buffer.
fn lock(buffer: &Mutex<OutputBuffer>) -> std::sync::MutexGuard<'_, OutputBuffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}
