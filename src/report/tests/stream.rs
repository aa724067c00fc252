//! The whole way from the engine's call to the bytes, with streams that do what readers do.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::samples::{HOSTILE, MODERN, PLAIN, every_event, failure, handful};
use crate::report::diagnostics::{self, InstallError};
use crate::report::{Mode, QUEUE, Report, Size, Streams, Style, json};
use forgewatch_core::event::{Event, LONGEST_LINE};

/// A stream that keeps what is written to it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream whose reader reads nothing until it is told to, and says when it is first written to.
struct Stuck {
    begun: Sender<()>,
    go: Receiver<()>,
    into: Kept,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.begun.send(());
        // Told once, for good: from then on the other end is gone and this returns at once.
        let _ = self.go.recv();
        self.into.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that answers each write by the next of these errors, and then keeps the rest.
struct Failing {
    errors: Vec<io::ErrorKind>,
    into: Kept,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.errors.pop() {
            Some(kind) => Err(kind.into()),
            // A byte at a time: nobody promises that a write is whole.
            None => self.into.write(&bytes[..1]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(mode: Mode, style: Style, out: impl Write + Send + 'static) -> (Report, Kept) {
    let err = Kept::default();
    let streams = Streams {
        out: Box::new(out),
        err: Box::new(err.clone()),
        size: Arc::new(Size::default),
    };
    (Report::start(mode, style, streams).unwrap(), err)
}

async fn tell_all(mut report: Report) {
    for event in every_event() {
        report.event(&event).await;
    }
    report.close().await;
}

fn bad_ends() -> usize {
    let ended = |event: &&Event| event.kind.level() == "ERROR";
    every_event().iter().filter(ended).count()
}

#[tokio::test]
async fn json_is_objects_on_standard_output_and_nothing_else() {
    let out = Kept::default();
    let (report, err) = start(Mode::Json, PLAIN, out.clone());
    let subscriber = diagnostics::subscriber(report.diagnostics(), Some("debug")).unwrap();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::debug!(job = "diff/1", tries = 3, level = "forged", why = ?HOSTILE, "slow\nanswer");
    drop(guard);
    tell_all(report).await;
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
    // The same head, in the same order, as an event's.
    let text = out.text();
    let keys = |line: &str| {
        let at = ["timestamp", "level", "target", "message"]
            .map(|key| line.find(&format!("\"{key}\":")).unwrap());
        at.is_sorted() && line.starts_with("{\"timestamp\"")
    };
    assert!(text.lines().all(keys), "{text}");
}

#[tokio::test]
async fn text_is_lines_on_standard_output_and_diagnostics_on_standard_error() {
    let out = Kept::default();
    let (report, err) = start(Mode::Text, PLAIN, out.clone());
    let subscriber = diagnostics::subscriber(report.diagnostics(), None).unwrap();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("not told unless asked for");
    tracing::warn!(why = HOSTILE, tries = 3, "a\u{202e}b");
    drop(guard);
    tell_all(report).await;
    assert_eq!(out.text().lines().count(), every_event().len());
    let told = err.text();
    let (_, told) = told.split_once("Z  ").unwrap();
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn quiet_prints_the_bad_ends_on_standard_error_and_nothing_on_standard_output() {
    let out = Kept::default();
    let (report, err) = start(Mode::Quiet, PLAIN, out.clone());
    tell_all(report).await;
    assert_eq!(out.text(), "");
    assert_eq!(err.text().lines().count(), bad_ends());
}

#[tokio::test]
async fn progress_without_a_terminal_prints_its_final_lines_and_no_bars() {
    let out = Kept::default();
    let (mut report, err) = start(Mode::Progress, PLAIN, out.clone());
    assert!(!report.wants_rows());
    report.rows(&handful(), Duration::ZERO);
    tell_all(report).await;
    assert_eq!(out.text(), "");
    assert!(err.text().contains("diff/1234     COMPLETED"));
    assert!(!err.text().contains('\x1b'));
}

#[tokio::test]
async fn bars_go_when_the_report_is_closed() {
    let (mut report, err) = start(Mode::Progress, MODERN, Kept::default());
    report.rows(&handful(), Duration::ZERO);
    report.event(&failure("disk full")).await;
    report.close().await;
    assert_only_the_failure_is_shown(&err);
}

#[tokio::test]
async fn bars_go_when_the_report_is_only_dropped() {
    let (mut report, err) = start(Mode::Progress, MODERN, Kept::default());
    report.rows(&handful(), Duration::ZERO);
    report.event(&failure("disk full")).await;
    // As after a second Ctrl-C. The writer keeps no one waiting here, so that the moment it is given is enough.
    drop(report);
    assert_only_the_failure_is_shown(&err);
}

fn assert_only_the_failure_is_shown(err: &Kept) {
    let mut terminal = vt100::Parser::new(24, 80, 0);
    terminal.process(err.text().replace('\n', "\r\n").as_bytes());
    assert_eq!(
        terminal.screen().contents(),
        "diff/1234     FAILED     at 45 %, after 2m 1s, 14 requests\n    | disk full"
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_makes_events_wait_but_never_blocks() {
    let (begun, has_begun) = channel();
    let (go, told_to_go) = channel();
    let out = Kept::default();
    let stuck = Stuck {
        begun,
        go: told_to_go,
        into: out.clone(),
    };
    let (mut report, _) = start(Mode::Json, PLAIN, stuck);
    let subscriber = diagnostics::subscriber(report.diagnostics(), None).unwrap();
    let event = failure("disk full");
    report.event(&event).await;
    has_begun.recv().unwrap();
    for _ in 0..QUEUE {
        report.event(&event).await;
    }
    // The queue is full: the next waits, and given up it was not told.
    assert_eq!(report.event(&event).now_or_never(), None);
    // Diagnostics never wait: these two are dropped, counted, and the count is told.
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!("one");
        tracing::warn!("two");
    });
    drop(go);
    report.event(&event).await;
    report.close().await;
    let text = out.text();
    let line = json::line(&event.record());
    let (events, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|&l| l == line);
    assert_eq!(events.len(), QUEUE + 2);
    assert_eq!(others.len(), 1, "{others:?}");
    assert!(others[0].ends_with(r#""dropped":2}"#), "{others:?}");
}

#[tokio::test]
async fn a_diagnostic_full_of_anything_is_a_line_that_no_journal_breaks() {
    let out = Kept::default();
    let (report, _) = start(Mode::Json, PLAIN, out.clone());
    let subscriber = diagnostics::subscriber(report.diagnostics(), None).unwrap();
    let text = "\u{1}\u{202e}".repeat(4_000);
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(error = text, output = text, "{text}");
    });
    report.close().await;
    let line = out.text();
    assert!(line.len() < LONGEST_LINE, "{} bytes", line.len());
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(
        told["message"]
            .as_str()
            .is_some_and(|m| text.starts_with(m))
    );
    assert_eq!(told["level"], "WARN");
}

#[tokio::test]
async fn a_closed_standard_output_is_silence_and_no_end() {
    let failing = Failing {
        errors: vec![io::ErrorKind::BrokenPipe],
        into: Kept::default(),
    };
    let kept = failing.into.clone();
    let (report, err) = start(Mode::Text, PLAIN, failing);
    tell_all(report).await;
    assert_eq!((kept.text(), err.text()), (String::new(), String::new()));
}

#[tokio::test]
async fn a_standard_output_that_fails_is_told_of_once() {
    let failing = Failing {
        errors: vec![io::ErrorKind::StorageFull],
        into: Kept::default(),
    };
    let (mut report, err) = start(Mode::Text, PLAIN, failing);
    for _ in 0..3 {
        report.event(&failure("x")).await;
        tokio::task::yield_now().await;
    }
    report.close().await;
    assert_eq!(
        err.text(),
        "forgewatch: cannot write to standard output: no storage space; the watch goes on without it\n"
    );
}

#[tokio::test]
async fn interrupted_and_partial_writes_lose_nothing() {
    let failing = Failing {
        errors: vec![io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted],
        into: Kept::default(),
    };
    let kept = failing.into.clone();
    let (report, err) = start(Mode::Text, PLAIN, failing);
    tell_all(report).await;
    assert_eq!(kept.text().lines().count(), every_event().len());
    assert_eq!(err.text(), "");
}

#[tokio::test]
async fn heartbeats_are_for_text_and_deadlines_for_people() {
    for (mode, heartbeat, deadline) in [
        (Mode::Text, "out", "out"),
        (Mode::Json, "", ""),
        (Mode::Quiet, "", "err"),
        (Mode::Progress, "", "err"),
    ] {
        let told = |out: &Kept, err: &Kept| match (out.text().as_str(), err.text().as_str()) {
            ("", "") => "",
            (_, "") => "out",
            ("", _) => "err",
            _ => "both",
        };
        let out = Kept::default();
        let (mut report, err) = start(mode, PLAIN, out.clone());
        report.heartbeat(&handful(), 0).await;
        report.close().await;
        assert_eq!(told(&out, &err), heartbeat, "{mode:?}");
        let out = Kept::default();
        let (mut report, err) = start(mode, PLAIN, out.clone());
        report.deadline(&handful(), 0).await;
        report.close().await;
        assert_eq!(told(&out, &err), deadline, "{mode:?}");
    }
}

#[test]
fn a_filter_that_is_none_is_an_error_that_names_the_variable() {
    let sink = diagnostics::Sink::stderr();
    let error = diagnostics::subscriber(sink, Some("forgewatch=loud"))
        .err()
        .unwrap();
    assert!(matches!(error, InstallError::Filter { .. }));
    insta::assert_snapshot!(error.to_string());
}
