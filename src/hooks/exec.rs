//! One attempt of a hook that is a program: starts its supervisor, writes the event to it, reads its report.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::supervisor::{CapturedOutput, GRACE, HookEnd, HookReport};
use super::{HookProgram, StopSignal};
use forgewatch_core::delivery::{Attempt, AttemptResult, DeliveryFailure};

/// The running executable, even if its file has been replaced.
const SELF_EXE: &str = "/proc/self/exe";
/// Two streams of 64 KiB, if JSON has to escape or replace each of their bytes.
const MAX_REPORT: u64 = 1 << 20;
/// Time that the supervisor has beyond the hook's timeout, TERM and KILL.
const SUPERVISOR_SLACK: Duration = Duration::from_secs(20);
/// Most bytes of output in one log record. In JSON a byte can take six, and the journal breaks lines at 48 KiB
/// (`LineMax=`, `journald.conf(5)`).
const MAX_PART: usize = 6 * 1024;

impl HookProgram {
    /// Runs it once; the report is missing if the supervisor sent none. After the stop signal it gets TERM, and KILL five
    /// seconds later. Dropping the future kills it at once.
    pub(super) async fn run(
        &self,
        timeout: Duration,
        attempt: &Attempt,
        stop: StopSignal,
    ) -> (AttemptResult, Option<HookReport>) {
        let limit = timeout.saturating_add(2 * GRACE + SUPERVISOR_SLACK);
        let supervised = self.supervise(timeout, attempt, stop);
        let report = match tokio::time::timeout(limit, supervised).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                let result = failed(format!("the supervisor failed: {error}"), None);
                return (result, None);
            }
            Err(_) => {
                return (
                    failed("the supervisor sent no report".to_owned(), None),
                    None,
                );
            }
        };
        let result = self.result(&report.end, timeout);
        log_output(attempt, &result, &report);
        (result, Some(report))
    }

    async fn supervise(
        &self,
        timeout: Duration,
        attempt: &Attempt,
        stop: StopSignal,
    ) -> io::Result<HookReport> {
        let mut child = Command::new(SELF_EXE)
            .arg0("forgewatch")
            .args(["hook-supervisor", "--timeout-ms"])
            .arg(timeout.as_millis().to_string())
            .arg("--")
            .arg(&self.path)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs(attempt.payload.variables(attempt.number))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut report = Vec::new();
        let mut stdout = stdout.take(MAX_REPORT);
        tokio::select! {
            biased;
            read = stdout.read_to_end(&mut report) => read?,
            never = write_event(stdin, attempt.payload.body(), stop) => match never {},
        };
        let _ = child.wait().await;
        serde_json::from_slice(&report)
            .map_err(|_| io::Error::other("it ended without a report; it may have been killed"))
    }

    fn result(&self, end: &HookEnd, timeout: Duration) -> AttemptResult {
        match end {
            HookEnd::Exited(0) => AttemptResult::Delivered,
            HookEnd::Exited(status) => failed(format!("exit status {status}"), Some(*status)),
            HookEnd::Killed(signal) => failed(signal_text(*signal), None),
            HookEnd::NotStarted(why) => {
                failed(format!("cannot start {}: {why}", self.path.display()), None)
            }
            HookEnd::TimedOut => {
                let limit = humantime::format_duration(timeout);
                failed(format!("timed out after {limit}"), None)
            }
            HookEnd::Stopped => failed("interrupted".to_owned(), None),
        }
    }
}

fn failed(error: String, exit_status: Option<i32>) -> AttemptResult {
    AttemptResult::Failed {
        why: DeliveryFailure { error, exit_status },
        not_before: Duration::ZERO,
    }
}

fn signal_text(signal: i32) -> String {
    use signal_hook::consts::{SIGSYS, SIGTRAP};
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
    // A unit's system call filter sends these, and so does its ban on writable code.
    let hint = if matches!(signal, SIGSYS | SIGTRAP) {
        "; possibly by the unit's sandbox"
    } else {
        ""
    };
    format!("killed by signal {signal} ({name}){hint}")
}

/// Writes the event, then keeps the pipe open: closing it makes the supervisor kill the hook.
async fn write_event(
    mut stdin: ChildStdin,
    event: &str,
    stop: StopSignal,
) -> std::convert::Infallible {
    let length = (event.len() as u64).to_le_bytes();
    // A write error means that the supervisor has ended; the missing report says so.
    if stdin.write_all(&length).await.is_ok() {
        let _ = stdin.write_all(event.as_bytes()).await;
    }
    let _ = stop.await;
    let _ = stdin.write_all(b"!").await;
    std::future::pending().await
}

/// Logs the program's output as records of our own, so that a program cannot forge any.
fn log_output(attempt: &Attempt, result: &AttemptResult, report: &HookReport) {
    let (event_id, hook) = (attempt.id.event.to_string(), &*attempt.id.hook);
    let job = attempt.payload.job().map(tracing::field::display);
    let (attempt, delivered) = (attempt.number, *result == AttemptResult::Delivered);
    for (stream, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        for output in parts(captured) {
            if delivered {
                tracing::info!(target: "forgewatch::hooks", event_id, job, hook, attempt, stream, output, "hook output");
            } else {
                tracing::warn!(target: "forgewatch::hooks", event_id, job, hook, attempt, stream, output, "hook output");
            }
        }
    }
    if report.has_survivors {
        tracing::warn!(
            target: "forgewatch::hooks",
            event_id,
            hook,
            attempt,
            "processes started by the hook could not be killed"
        );
    }
}

/// Both streams as one text.
pub(super) fn output(report: &HookReport) -> String {
    let streams = [&report.stdout, &report.stderr].into_iter();
    streams.flat_map(parts).collect::<Vec<_>>().join("\n")
}

/// The output in parts that fit into a log record, split between lines where possible.
fn parts(captured: &CapturedOutput) -> Vec<String> {
    let mut parts = Vec::new();
    let mut split = |text: &str| {
        let mut rest = text.trim_end_matches('\n');
        while !rest.is_empty() {
            let limit = rest.floor_char_boundary(MAX_PART);
            let head = rest.get(..limit).unwrap_or(rest);
            let at = match head.rfind('\n') {
                Some(line) if limit < rest.len() => line + 1,
                _ => limit,
            };
            let (part, after) = rest.split_at(at);
            let part = part.trim_end_matches('\n');
            if !part.is_empty() {
                parts.push(part.to_owned());
            }
            rest = after;
        }
    };
    split(&captured.head);
    if captured.omitted > 0 {
        split(&format!("[{} bytes omitted]", captured.omitted));
    }
    split(&captured.tail);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_split_between_lines_and_counts_omitted_bytes() {
        let line = format!("{}\n", "x".repeat(99));
        let captured = CapturedOutput {
            head: format!("\n{}{}", "y".repeat(MAX_PART), line.repeat(200)),
            tail: "ä".repeat(MAX_PART),
            omitted: 7,
        };
        let parts = parts(&captured);
        assert!(
            parts
                .iter()
                .all(|part| part.len() <= MAX_PART && !part.is_empty())
        );
        assert!(parts.contains(&"[7 bytes omitted]".to_owned()));
        let lines = parts.iter().flat_map(|part| part.lines());
        assert_eq!(lines.filter(|l| *l == line.trim()).count(), 200);
        let last: String = parts.iter().rev().take(2).rev().cloned().collect();
        assert!(last.ends_with(&captured.tail));
    }

    #[test]
    fn a_signal_of_the_sandbox_gets_a_hint() {
        assert_eq!(signal_text(9), "killed by signal 9 (SIGKILL)");
        assert!(signal_text(31).ends_with("possibly by the unit's sandbox"));
    }
}
