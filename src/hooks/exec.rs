//! One attempt of a hook that is a program: starts its supervisor, hands the event over, reads the report.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::payload::EventPayload;
use super::queue::Attempt;
use super::supervisor::{End, GRACE, Kept, Report};
use crate::hooks::HookSpec;
use forgewatch_core::delivery::{DeliveryFailure, DeliveryId};

/// This very program, even where a newer one has taken its place on disk.
const OURSELVES: &str = "/proc/self/exe";
/// What two streams of 64 KiB become in JSON where each byte of them needs an escape or a substitute.
const MAX_REPORT: u64 = 1 << 20;
/// What the supervisor may take beyond the time-out, TERM and KILL before it is given up itself.
const SLACK: Duration = Duration::from_secs(20);
/// One record of the log holds this much of an output. In JSON a byte can take six, and the journal breaks lines at
/// 48 KiB (`LineMax=`, `journald.conf(5)`).
const PART: usize = 6 * 1024;

/// A program to run.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, std::ffi::OsString)>,
    timeout: Duration,
}

impl Program {
    pub(super) fn new(
        spec: &HookSpec,
        program: &Path,
        args: &[String],
        env: &[(String, std::ffi::OsString)],
    ) -> Self {
        Self {
            path: program.to_owned(),
            args: args.to_owned(),
            env: env.to_owned(),
            timeout: spec.timeout,
        }
    }

    /// Runs it once. Once `stop` holds true it is ended: TERM, and KILL five seconds later. Dropped, it is killed at
    /// once.
    pub(super) async fn attempt(
        &self,
        id: &DeliveryId,
        told: &EventPayload,
        attempt: u32,
        stop: watch::Receiver<bool>,
    ) -> Attempt {
        let most = self.timeout.saturating_add(2 * GRACE + SLACK);
        let report = match timeout(most, self.run(told, attempt, stop)).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => return failed(format!("the supervisor failed: {error}"), None),
            Err(_) => return failed("the supervisor did not answer".to_owned(), None),
        };
        let result = self.judge(&report.end);
        log_output(id, attempt, &result, &report);
        result
    }

    async fn run(
        &self,
        told: &EventPayload,
        attempt: u32,
        stop: watch::Receiver<bool>,
    ) -> io::Result<Report> {
        let mut child = Command::new(OURSELVES)
            .arg0("forgewatch")
            .args(["hook-supervisor", "--timeout-ms"])
            .arg(self.timeout.as_millis().to_string())
            .arg("--")
            .arg(&self.path)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs(told.variables(attempt))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let text = tokio::select! {
            biased;
            text = read_report(stdout) => text?,
            never = talk(stdin, told.body(), stop) => match never {},
        };
        let _ = child.wait().await;
        serde_json::from_slice(&text)
            .map_err(|_| io::Error::other("it ended without a report; was it killed?"))
    }

    fn judge(&self, end: &End) -> Attempt {
        match end {
            End::Exited(0) => Attempt::Delivered,
            End::Exited(status) => failed(format!("exit status {status}"), Some(*status)),
            End::Killed(signal) => failed(killed(*signal), None),
            End::NotStarted(why) => failed(
                format!("{} could not be started: {why}", self.path.display()),
                None,
            ),
            End::TimedOut => {
                let limit = humantime::format_duration(self.timeout);
                failed(format!("it took longer than {limit}"), None)
            }
            End::Stopped => failed("interrupted".to_owned(), None),
        }
    }
}

fn failed(error: String, exit_status: Option<i32>) -> Attempt {
    Attempt::Failed {
        why: DeliveryFailure { error, exit_status },
        not_before: Duration::ZERO,
    }
}

fn killed(signal: i32) -> String {
    use signal_hook::consts::{SIGSYS, SIGTRAP};
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
    // What a unit's system call filter, or its ban on writable code, looks like from outside.
    let hint = if matches!(signal, SIGSYS | SIGTRAP) {
        "; was it the unit's sandbox?"
    } else {
        ""
    };
    format!("killed by signal {signal} ({name}){hint}")
}

async fn read_report(stdout: ChildStdout) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    stdout.take(MAX_REPORT).read_to_end(&mut text).await?;
    Ok(text)
}

/// Hands the event over, and then keeps the line open: dropping it says that nobody is there any more.
async fn talk(
    mut stdin: ChildStdin,
    event: &str,
    mut stop: watch::Receiver<bool>,
) -> std::convert::Infallible {
    let length = (event.len() as u64).to_le_bytes();
    // Errors mean that the supervisor is gone, which its report tells better.
    if stdin.write_all(&length).await.is_ok() {
        let _ = stdin.write_all(event.as_bytes()).await;
    }
    if stop.wait_for(|&stop| stop).await.is_ok() {
        let _ = stdin.write_all(b"!").await;
    }
    std::future::pending().await
}

/// What the program printed, as records of our own log: in it, a program cannot forge anything.
fn log_output(id: &DeliveryId, attempt: u32, result: &Attempt, report: &Report) {
    let event_id = id.event.to_string();
    let (hook, ok) = (&*id.hook, *result == Attempt::Delivered);
    for (stream, kept) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        for output in parts(kept) {
            if ok {
                tracing::info!(event_id, hook, attempt, stream, output, "a hook printed");
            } else {
                tracing::warn!(event_id, hook, attempt, stream, output, "a hook printed");
            }
        }
    }
    if report.is_left {
        tracing::warn!(
            event_id,
            hook,
            attempt,
            "a hook left processes behind that can't be ended"
        );
    }
}

/// An output in pieces that a record can hold, cut between lines where there are any.
fn parts(kept: &Kept) -> Vec<String> {
    let mut parts = Vec::new();
    let mut cut = |text: &str| {
        let mut rest = text.trim_end_matches('\n');
        while !rest.is_empty() {
            let most = rest.floor_char_boundary(PART);
            let head = rest.get(..most).unwrap_or(rest);
            let at = match head.rfind('\n') {
                Some(line) if most < rest.len() => line + 1,
                _ => most,
            };
            let (part, after) = rest.split_at(at);
            let part = part.trim_end_matches('\n');
            if !part.is_empty() {
                parts.push(part.to_owned());
            }
            rest = after;
        }
    };
    cut(&kept.head);
    if kept.left_out > 0 {
        cut(&format!("[{} bytes left out]", kept.left_out));
    }
    cut(&kept.tail);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_output_is_cut_between_lines_and_says_what_is_missing() {
        let line = format!("{}\n", "x".repeat(99));
        let kept = Kept {
            head: format!("\n{}{}", "y".repeat(PART), line.repeat(200)),
            tail: "ä".repeat(PART),
            left_out: 7,
        };
        let parts = parts(&kept);
        assert!(
            parts
                .iter()
                .all(|part| part.len() <= PART && !part.is_empty())
        );
        assert!(parts.contains(&"[7 bytes left out]".to_owned()));
        let lines = parts.iter().flat_map(|part| part.lines());
        assert_eq!(lines.filter(|l| *l == line.trim()).count(), 200);
        let last: String = parts.iter().rev().take(2).rev().cloned().collect();
        assert!(last.ends_with(&kept.tail));
    }

    #[test]
    fn a_signal_of_a_sandbox_is_told_as_one() {
        assert_eq!(killed(9), "killed by signal 9 (SIGKILL)");
        assert!(killed(31).ends_with("was it the unit's sandbox?"));
    }
}
