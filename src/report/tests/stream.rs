//! The path from a call of the report to the written bytes, with streams that behave like readers.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::samples::{HOSTILE, MODERN, PLAIN, every_event, failure, handful};
use crate::report::diagnostics::{self, InstallError};
use crate::report::sanitize::json_line;
use crate::report::{OutputMode, QUEUE, Report, Streams, Style, TerminalSize};
use forgewatch_core::event::{Event, MAX_LINE_BYTES};

/// Keeps the written bytes.
#[derive(Clone, Default)]
pub(super) struct CapturedStream(Arc<Mutex<Vec<u8>>>);

impl CapturedStream {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for CapturedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks each write until `go` is closed, and reports writes through `begun`.
struct BlockedStream {
    begun: Sender<()>,
    go: Receiver<()>,
    into: CapturedStream,
}

impl Write for BlockedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.begun.send(());
        // Returns at once when the sender is dropped.
        let _ = self.go.recv();
        self.into.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails each write with the next of these errors, then keeps the bytes.
struct FailingStream {
    errors: Vec<io::ErrorKind>,
    into: CapturedStream,
}

impl Write for FailingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.errors.pop() {
            Some(kind) => Err(kind.into()),
            // One byte at a time: a write may be partial.
            None => self.into.write(&bytes[..1]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(
    mode: OutputMode,
    style: Style,
    out: impl Write + Send + 'static,
) -> (Report, CapturedStream) {
    let err = CapturedStream::default();
    let streams = Streams {
        out: Box::new(out),
        err: Box::new(err.clone()),
        size: Arc::new(TerminalSize::default),
        journal: "/nonexistent".into(),
    };
    (Report::start(mode, style, streams).unwrap(), err)
}

async fn report_every_event(mut report: Report) {
    for event in every_event() {
        report.event(&event).await;
    }
    report.close().await;
}

fn failures() -> usize {
    let ended = |event: &&Event| event.kind.level() == "ERROR";
    every_event().iter().filter(ended).count()
}

#[tokio::test]
async fn json_prints_only_objects_on_standard_output() {
    let out = CapturedStream::default();
    let (report, err) = start(OutputMode::Json, PLAIN, out.clone());
    let subscriber = diagnostics::subscriber(report.diagnostics(), Some("debug")).unwrap();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::debug!(job = "diff/1", tries = 3, level = "forged", why = ?HOSTILE, "slow\nanswer");
    drop(guard);
    report_every_event(report).await;
    assert_eq!(err.text(), "");
    let lines: Vec<serde_json::Value> = out
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1 + every_event().len());
    let diagnostic = &lines[0];
    assert_eq!(diagnostic["level"], "DEBUG");
    assert_eq!(diagnostic["target"], module_path!());
    assert_eq!(diagnostic["message"], "slow\nanswer");
    assert_eq!(diagnostic["job"], "diff/1");
    assert_eq!(diagnostic["tries"], 3);
    assert_eq!(
        diagnostic["timestamp"].as_str().unwrap().len(),
        "2026-01-02T03:04:05.678Z".len()
    );
    // The same first fields, in the same order, as an event.
    let text = out.text();
    let keys = |line: &str| {
        let at = ["timestamp", "level", "target", "message"]
            .map(|key| line.find(&format!("\"{key}\":")).unwrap());
        at.is_sorted() && line.starts_with("{\"timestamp\"")
    };
    assert!(text.lines().all(keys), "{text}");
}

#[tokio::test]
async fn text_prints_events_on_standard_output_and_diagnostics_on_standard_error() {
    let out = CapturedStream::default();
    let (report, err) = start(OutputMode::Text, PLAIN, out.clone());
    let subscriber = diagnostics::subscriber(report.diagnostics(), None).unwrap();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("below the default level");
    tracing::warn!(why = HOSTILE, tries = 3, "a\u{202e}b");
    drop(guard);
    report_every_event(report).await;
    assert_eq!(out.text().lines().count(), every_event().len());
    let text = err.text();
    let (_, line) = text.split_once("Z  ").unwrap();
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn quiet_prints_failures_and_the_final_line_on_standard_error() {
    let out = CapturedStream::default();
    let (report, err) = start(OutputMode::Quiet, PLAIN, out.clone());
    report_every_event(report).await;
    assert_eq!(out.text(), "");
    let lines = err.text();
    assert_eq!(lines.lines().count(), failures() + 1);
    assert!(lines.contains("of 5 completed"), "{lines}");
}

#[tokio::test]
async fn progress_without_a_terminal_prints_its_final_lines_and_no_bars() {
    let out = CapturedStream::default();
    let (mut report, err) = start(OutputMode::Progress, PLAIN, out.clone());
    assert!(!report.has_bars());
    report.update_bars(&handful(), Duration::ZERO);
    report_every_event(report).await;
    assert_eq!(out.text(), "");
    assert!(err.text().contains("diff/1234     COMPLETED"));
    assert!(!err.text().contains('\x1b'));
}

#[tokio::test]
async fn bars_are_removed_when_the_report_is_closed() {
    let (mut report, err) = start(OutputMode::Progress, MODERN, CapturedStream::default());
    report.update_bars(&handful(), Duration::ZERO);
    report.event(&failure("disk full")).await;
    report.close().await;
    assert_only_the_failure_is_shown(&err);
}

#[tokio::test]
async fn bars_are_removed_when_the_report_is_dropped() {
    let (mut report, err) = start(OutputMode::Progress, MODERN, CapturedStream::default());
    report.update_bars(&handful(), Duration::ZERO);
    report.event(&failure("disk full")).await;
    // As after a second Ctrl-C. The writer is not blocked here, so its time suffices.
    drop(report);
    assert_only_the_failure_is_shown(&err);
}

fn assert_only_the_failure_is_shown(err: &CapturedStream) {
    let mut terminal = vt100::Parser::new(24, 80, 0);
    terminal.process(err.text().replace('\n', "\r\n").as_bytes());
    assert_eq!(
        terminal.screen().contents(),
        "diff/1234     FAILED     at 45%, after 2m 1s, 14 requests\n    | disk full"
    );
}

#[tokio::test]
async fn a_stuck_reader_makes_events_wait_without_blocking() {
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let out = CapturedStream::default();
    let stuck = BlockedStream {
        begun,
        go: may_go,
        into: out.clone(),
    };
    let (mut report, _) = start(OutputMode::Json, PLAIN, stuck);
    let subscriber = diagnostics::subscriber(report.diagnostics(), None).unwrap();
    let event = failure("disk full");
    report.event(&event).await;
    has_begun.recv().unwrap();
    for _ in 0..QUEUE {
        report.event(&event).await;
    }
    // The queue is full: the next event waits and, canceled, is not reported.
    assert_eq!(report.event(&event).now_or_never(), None);
    // Diagnostics never wait: these two are dropped and counted.
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!("one");
        tracing::warn!("two");
    });
    drop(go);
    report.event(&event).await;
    report.close().await;
    let text = out.text();
    let line = json_line(&event.record());
    let (events, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|&l| l == line);
    assert_eq!(events.len(), QUEUE + 2);
    assert_eq!(others.len(), 1, "{others:?}");
    assert!(others[0].ends_with(r#""dropped":2}"#), "{others:?}");
}

#[tokio::test]
async fn a_long_diagnostic_fits_a_journal_line() {
    let out = CapturedStream::default();
    let (report, _) = start(OutputMode::Json, PLAIN, out.clone());
    let subscriber = diagnostics::subscriber(report.diagnostics(), None).unwrap();
    let text = "\u{1}\u{202e}".repeat(4_000);
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(error = text, output = text, "{text}");
    });
    report.close().await;
    let line = out.text();
    assert!(line.len() < MAX_LINE_BYTES, "{} bytes", line.len());
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(
        parsed["message"]
            .as_str()
            .is_some_and(|m| text.starts_with(m))
    );
    assert_eq!(parsed["level"], "WARN");
}

#[tokio::test]
async fn a_closed_standard_output_is_ignored() {
    let failing = FailingStream {
        errors: vec![io::ErrorKind::BrokenPipe],
        into: CapturedStream::default(),
    };
    let kept = failing.into.clone();
    let (report, err) = start(OutputMode::Text, PLAIN, failing);
    report_every_event(report).await;
    assert_eq!((kept.text(), err.text()), (String::new(), String::new()));
}

#[tokio::test]
async fn a_failing_standard_output_is_reported_once() {
    let failing = FailingStream {
        errors: vec![io::ErrorKind::StorageFull],
        into: CapturedStream::default(),
    };
    let (mut report, err) = start(OutputMode::Text, PLAIN, failing);
    for _ in 0..3 {
        report.event(&failure("x")).await;
        tokio::task::yield_now().await;
    }
    report.close().await;
    assert_eq!(
        err.text(),
        "forgewatch: cannot write to standard output: no storage space; continuing without it\n"
    );
}

#[tokio::test]
async fn interrupted_and_partial_writes_lose_nothing() {
    let failing = FailingStream {
        errors: vec![io::ErrorKind::Interrupted],
        into: CapturedStream::default(),
    };
    let kept = failing.into.clone();
    let (report, err) = start(OutputMode::Text, PLAIN, failing);
    report_every_event(report).await;
    assert_eq!(kept.text().lines().count(), every_event().len());
    assert_eq!(err.text(), "");
}

#[tokio::test]
async fn heartbeats_are_for_text_and_timeouts_for_people() {
    for (mode, heartbeat, deadline) in [
        (OutputMode::Text, "out", "out"),
        (OutputMode::Json, "", ""),
        (OutputMode::Quiet, "", "err"),
        (OutputMode::Progress, "", "err"),
    ] {
        let stream = |out: &CapturedStream, err: &CapturedStream| match (
            out.text().as_str(),
            err.text().as_str(),
        ) {
            ("", "") => "",
            (_, "") => "out",
            ("", _) => "err",
            _ => "both",
        };
        let out = CapturedStream::default();
        let (mut report, err) = start(mode, PLAIN, out.clone());
        report.heartbeat(&handful(), 0).await;
        report.close().await;
        assert_eq!(stream(&out, &err), heartbeat, "{mode:?}");
        let out = CapturedStream::default();
        let (mut report, err) = start(mode, PLAIN, out.clone());
        report.deadline(&handful(), 0).await;
        report.close().await;
        assert_eq!(stream(&out, &err), deadline, "{mode:?}");
    }
}

#[test]
fn an_invalid_filter_is_an_error_that_names_the_variable() {
    let sink = diagnostics::DiagnosticSink::stderr();
    let error = diagnostics::subscriber(sink, Some("forgewatch=loud"))
        .err()
        .unwrap();
    assert!(matches!(error, InstallError::Filter { .. }));
    insta::assert_snapshot!(error.to_string());
}
