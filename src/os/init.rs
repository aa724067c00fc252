//! Process 1 of a container: it runs the program as its child, forwards signals, and reaps the processes that others leave
//! behind. A process that reaps any child cannot also await its own ones, as the runtime does.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::signals;

const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
/// What shells add to the number of the signal that ended a process.
const KILLED: i32 = 128;

/// Runs the program with these arguments as a child and returns its exit status. None if this is not process 1, or if the
/// child cannot be started: without `/proc`, the program does not find its own file.
pub fn run(args: &[OsString]) -> Option<u8> {
    if !getpid().is_init() {
        return None;
    }
    let handled = signals::not_ignored(&FORWARDED).chain([SIGCHLD]);
    let mut signals = SignalsInfo::<WithOrigin>::new(handled).ok()?;
    // Its environment holds the same secrets.
    super::protect_memory();
    let child = Command::new("/proc/self/exe")
        .arg0(args.first()?)
        .args(&args[1..])
        .spawn()
        .ok()?;
    signals::keep_process_1();
    let child = Pid::from_child(&child);
    loop {
        for signal in signals.wait() {
            if signal.signal == SIGCHLD {
                if let Some(status) = reap(child) {
                    return Some(status);
                }
            // Those of the terminal reach the child as well.
            } else if signal.cause != Cause::Kernel
                && let Some(forwarded) = Signal::from_named_raw(signal.signal)
            {
                // Fails if the child has ended: SIGCHLD follows.
                let _ = kill_process(child, forwarded);
            }
        }
    }
}

/// Reaps all children that have ended. Returns the exit status of `child` if it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = Some(exit_status(status));
        }
    }
    ended
}

fn exit_status(status: WaitStatus) -> u8 {
    let killed = status.terminating_signal().map(|signal| KILLED + signal);
    let code = status.exit_status().or(killed);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}
