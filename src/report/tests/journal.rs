//! `--output journal`, read back by a socket in the place of the journal.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::task::unconstrained;

use super::samples::{HOSTILE, PLAIN, every_event, failure};
use super::stream::CapturedStream;
use crate::report::{OutputMode, QUEUE, Report, Streams, TerminalSize, diagnostics};
use forgewatch_core::event::JobMeta;

type Fields = BTreeMap<String, String>;

/// What the kernel accepts in a datagram by default, less what it counts beside the bytes.
const MAX_ENTRY: usize = 200 * 1024;

fn start(journal: &Path) -> (Report, CapturedStream) {
    let err = CapturedStream::default();
    let streams = Streams {
        out: Box::new(CapturedStream::default()),
        err: Box::new(err.clone()),
        size: Arc::new(TerminalSize::default),
        journal: journal.to_owned(),
    };
    let report = Report::start(OutputMode::Journal, PLAIN, streams).unwrap();
    (report, err)
}

/// Reads an entry as `systemd.io/JOURNAL_NATIVE_PROTOCOL` describes it.
fn receive(journal: &UnixDatagram) -> Fields {
    let mut bytes = vec![0; MAX_ENTRY + 1];
    let length = journal.recv(&mut bytes).unwrap();
    assert!(length <= MAX_ENTRY, "{length}");
    let mut rest = &bytes[..length];
    let mut fields = Fields::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n').unwrap();
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        let (name, value) = if let Some((name, value)) = line.split_once('=') {
            (name, value.to_owned())
        } else {
            let (length, after) = rest.split_first_chunk().unwrap();
            let (value, after) = after.split_at(u64::from_le_bytes(*length) as usize);
            rest = after.strip_prefix(b"\n").unwrap();
            (line, String::from_utf8(value.to_vec()).unwrap())
        };
        let is_valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(name.len() <= 64 && name.chars().all(is_valid), "{name}");
        fields.insert(name.to_owned(), value);
    }
    fields
}

#[tokio::test]
async fn every_event_is_an_entry_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    let (mut report, err) = start(&socket);
    for event in every_event() {
        report.event(&event).await;
        let fields = receive(&journal);
        let record: Value = serde_json::from_str(&fields["FORGEWATCH_RECORD"]).unwrap();
        assert_eq!(record, serde_json::to_value(event.record()).unwrap());
        let priority = match event.kind.level() {
            "ERROR" => "3",
            "WARN" => "4",
            _ => "6",
        };
        assert_eq!(fields["PRIORITY"], priority);
        assert_eq!(fields["SYSLOG_IDENTIFIER"], "forgewatch");
        assert_eq!(fields["MESSAGE_ID"], event.kind.manual().message_id);
        assert_eq!(fields["FORGEWATCH_EVENT_TYPE"], event.kind.as_str());
        assert!(fields["MESSAGE"].starts_with(&event.message()));
        let job = event.job.map(|job| job.to_string());
        assert_eq!(fields.get("FORGEWATCH_JOB"), job.as_ref());
    }
    report.close().await;
    assert_eq!(err.text(), "");
}

#[tokio::test]
async fn untrusted_text_forges_no_field_and_labels_are_fields() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    let (mut report, _) = start(&socket);
    let mut event = failure(&format!("{HOSTILE}\nPRIORITY=0\nMESSAGE_ID=forged"));
    let long = "l".repeat(60);
    let labels = [
        ("app.name", "a\nPRIORITY=0"),
        (&long, "in the record alone"),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    event.meta = JobMeta::of_labels(labels.into());
    report.event(&event).await;
    let fields = receive(&journal);
    assert_eq!(fields["PRIORITY"], "3");
    assert_eq!(fields["FORGEWATCH_LABEL_APP_NAME"], "a\nPRIORITY=0");
    assert!(!fields["MESSAGE"].contains(['\n', '\u{1b}', '\u{9b}', '\u{202e}']));
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "FORGEWATCH_EVENT_TYPE",
            "FORGEWATCH_JOB",
            "FORGEWATCH_LABEL_APP_NAME",
            "FORGEWATCH_RECORD",
            "MESSAGE",
            "MESSAGE_ID",
            "PRIORITY",
            "SYSLOG_IDENTIFIER"
        ]
    );
}

#[tokio::test]
async fn a_diagnostic_is_an_entry_with_job_and_hook() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    let (report, _) = start(&socket);
    let subscriber = diagnostics::subscriber(report.diagnostics(), Some("debug")).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::debug!(job = "diff/1", hook = "chat", attempt = 2, "delivered");
    });
    let fields = receive(&journal);
    assert_eq!(fields["PRIORITY"], "7");
    assert_eq!(
        fields["MESSAGE"],
        "delivered (attempt 2, hook chat, job diff/1)"
    );
    assert_eq!(fields["FORGEWATCH_JOB"], "diff/1");
    assert_eq!(fields["FORGEWATCH_HOOK"], "chat");
    assert!(!fields.contains_key("MESSAGE_ID"));
    let record: Value = serde_json::from_str(&fields["FORGEWATCH_RECORD"]).unwrap();
    assert_eq!(
        (&record["level"], &record["attempt"]),
        (&"DEBUG".into(), &2.into())
    );
}

#[tokio::test]
async fn without_a_journal_records_go_to_standard_error_and_the_reason_is_printed_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let (mut report, err) = start(&socket);
    let events = every_event();
    report.event(&events[0]).await;
    report.event(&events[1]).await;
    while err.text().lines().count() < 3 {
        tokio::task::yield_now().await;
    }
    let journal = UnixDatagram::bind(&socket).unwrap();
    report.event(&events[2]).await;
    let back = receive(&journal);
    report.close().await;
    assert_eq!(back["FORGEWATCH_EVENT_TYPE"], events[2].kind.as_str());
    let text = err.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("forgewatch: cannot write to the journal: "),
        "{text}"
    );
    for (line, event) in lines[1..].iter().zip(&events[..2]) {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["event_id"], event.id.to_string());
    }
    assert_eq!(lines.len(), 3, "{text}");
}

#[tokio::test]
async fn a_journal_that_is_not_read_blocks_the_writer_alone_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    let (mut report, err) = start(&socket);
    let event = every_event().remove(1);
    let mut sent = 0;
    // The queue of the socket is short: beyond it the report keeps the entries, until it is full as well.
    // Unconstrained: the task budget of the runtime must not look like a full queue.
    while unconstrained(report.event(&event)).now_or_never().is_some() {
        sent += 1;
    }
    assert!(sent >= QUEUE, "{sent}");
    drop(journal);
    report.close().await;
    let text = err.text();
    let records = text.lines().filter(|line| line.starts_with('{')).count();
    // The few that were in the queue of the socket end with it.
    assert!(
        records <= sent && records + 1_024 > sent,
        "{records} of {sent}"
    );
    assert_eq!(text.lines().count(), records + 1);
}
