//! Diagnostics: `tracing` events (and, through it, `log` records of the HTTP and TLS libraries) as lines on standard
//! error or, in json, as records of the same stream.
//!
//! A diagnostic never waits: while the queue is full, lines are dropped, and their number is reported later. Spans are
//! left out; fields of the event itself suffice.
//!
//! Secrets: no library here logs the `Authorization` header at any level. h2 omits header fields and data, hyper-util and
//! rustls log connections and handshakes.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::journal::JournalEntry;
use super::mode::OutputMode;
use super::sanitize::{LIMIT, json_line, sanitized};
use super::{OutputStream, WriterMessage, stdio};
use forgewatch_core::event::{MAX_LINE_BYTES, escaped_len, truncate_escaped};
use forgewatch_core::user_input::nearest;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Environment variable with the filter, in the syntax of `tracing`.
pub const VARIABLE: &str = "FORGEWATCH_LOG";

/// The most bytes of all texts of a line in JSON, so that a line with names and numbers is at most as long as an event
/// record may be.
const MAX_TEXTS: usize = MAX_LINE_BYTES - 8 * 1024;

/// Fields without a use for people.
const HIDDEN: [&str; 5] = ["error_kind", "event_id", "kind", "pause_ms", "stream"];

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(
        "{VARIABLE}: invalid filter {filter:?}: {cause}; use a level (error, warn, info, debug, trace) or \
         module=level, separated by commas"
    )]
    Filter { filter: String, cause: String },
    #[error("diagnostics are already set up")]
    Twice,
}

/// Sends diagnostics to `sink`. `filter` is the value of [`VARIABLE`]; without it, the default of the output mode holds.
pub fn install(sink: DiagnosticSink, filter: Option<&str>) -> Result<(), InstallError> {
    subscriber(sink, filter)?
        .try_init()
        .map_err(|_| InstallError::Twice)
}

pub(super) fn subscriber(
    sink: DiagnosticSink,
    filter: Option<&str>,
) -> Result<impl Subscriber + Send + Sync, InstallError> {
    let filter = match filter.filter(|f| !f.trim().is_empty()) {
        Some(given) => parse(given)?,
        None => parse(default_filter(sink.mode))?,
    };
    Ok(tracing_subscriber::registry()
        .with(filter)
        .with(LineLayer { sink }))
}

/// Checks a value of [`VARIABLE`]. A word similar to a level is an error: taken as the name of a module, it would silence
/// everything else.
pub fn check(filter: Option<&str>) -> Result<(), InstallError> {
    let Some(filter) = filter.filter(|f| !f.trim().is_empty()) else {
        return Ok(());
    };
    let typo = filter.split(',').find_map(|word| {
        let word = word.trim();
        let lower = word.to_ascii_lowercase();
        let meant = nearest(&lower, LEVELS)?;
        (meant != lower).then(|| (word.to_owned(), meant))
    });
    match typo {
        Some((word, meant)) => Err(InstallError::Filter {
            filter: filter.to_owned(),
            cause: format!("unknown level {word:?}; did you mean {meant}?"),
        }),
        None => parse(filter).map(drop),
    }
}

fn parse(filter: &str) -> Result<EnvFilter, InstallError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| InstallError::Filter {
            filter: filter.to_owned(),
            cause: error.to_string(),
        })
}

fn default_filter(mode: OutputMode) -> &'static str {
    match mode {
        OutputMode::Progress | OutputMode::Text => "warn",
        OutputMode::Json | OutputMode::Journal => "warn,forgewatch=info",
        OutputMode::Quiet => "error",
    }
}

#[derive(Clone, Debug)]
pub struct DiagnosticSink {
    mode: OutputMode,
    sentences: bool,
    queue: Option<mpsc::Sender<WriterMessage>>,
    dropped: Arc<AtomicU64>,
}

impl DiagnosticSink {
    /// Standard error without a queue, for commands without a [`super::Report`].
    pub fn stderr() -> Self {
        Self {
            mode: OutputMode::Text,
            sentences: false,
            queue: None,
            dropped: Arc::default(),
        }
    }

    pub(super) fn queue(
        mode: OutputMode,
        sentences: bool,
        queue: mpsc::Sender<WriterMessage>,
    ) -> Self {
        Self {
            mode,
            sentences,
            queue: Some(queue),
            dropped: Arc::default(),
        }
    }

    /// A line with the number of diagnostics dropped since the last call, if any.
    pub(super) fn take_dropped(&self) -> Option<WriterMessage> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        (dropped > 0).then(|| {
            let mut line = DiagnosticLine::new(Level::WARN, "forgewatch::report");
            "diagnostics dropped: the reader is too slow".clone_into(&mut line.message);
            line.fields.insert("dropped", dropped.into());
            self.message(&line)
        })
    }

    fn message(&self, line: &DiagnosticLine<'_>) -> WriterMessage {
        match self.mode {
            OutputMode::Json => WriterMessage::Line(OutputStream::Out, json_line(line)),
            OutputMode::Journal => WriterMessage::Entry(Box::new(line.entry())),
            _ if self.sentences => WriterMessage::Sentence(line.sentence()),
            OutputMode::Progress | OutputMode::Text | OutputMode::Quiet => {
                WriterMessage::Line(OutputStream::Err, line.text())
            }
        }
    }

    fn send(&self, message: WriterMessage) {
        let message = match &self.queue {
            Some(queue) => match queue.try_send(message) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                // The report is closed.
                Err(TrySendError::Closed(message)) => message,
            },
            None => message,
        };
        let (mut stream, line) = match message {
            WriterMessage::Line(OutputStream::Out, line) => (stdio::stdout(), line),
            WriterMessage::Line(OutputStream::Err, line) | WriterMessage::Sentence(line) => {
                (stdio::stderr(), line)
            }
            WriterMessage::Entry(entry) => (stdio::stderr(), entry.record),
            WriterMessage::Frame | WriterMessage::Close => return,
        };
        // An error cannot be reported anywhere else.
        let _ = stream.write_all((line + "\n").as_bytes());
    }
}

/// Turns `tracing` events into lines.
struct LineLayer {
    sink: DiagnosticSink,
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // An event that came through `log` has the original level and module in its fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = DiagnosticLine::new(*metadata.level(), metadata.target());
        event.record(&mut line);
        self.sink.send(self.sink.message(&line));
    }
}

/// The same first fields as an event's record, then its own, flat.
#[derive(Debug, Serialize)]
struct DiagnosticLine<'a> {
    timestamp: String,
    level: &'static str,
    target: &'a str,
    message: String,
    #[serde(flatten)]
    fields: BTreeMap<&'static str, Value>,
    /// The bytes left for texts, in JSON.
    #[serde(skip)]
    room: usize,
}

impl<'a> DiagnosticLine<'a> {
    fn new(level: Level, target: &'a str) -> Self {
        Self {
            timestamp: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            level: level.as_str(),
            target,
            message: String::new(),
            fields: BTreeMap::new(),
            room: MAX_TEXTS,
        }
    }

    /// The line for people: `2026-01-02T03:04:05.678Z  WARN forgewatch::engine: slow answer job=diff/1`.
    fn text(&self) -> String {
        let Self {
            timestamp,
            level,
            target,
            message,
            fields,
            ..
        } = self;
        let mut out = format!(
            "{timestamp} {level:>5} {target}: {}",
            sanitized(message, LIMIT)
        );
        for (name, value) in fields {
            let value = match value {
                Value::String(text) if text.is_empty() || text.contains(' ') => format!("{text:?}"),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // Writing to a string cannot fail.
            let _ = write!(out, " {name}={}", sanitized(&value, LIMIT));
        }
        out
    }

    fn entry(&self) -> JournalEntry {
        let field = |name| self.fields.get(name).and_then(Value::as_str);
        JournalEntry::of_diagnostic(
            self.level,
            &self.whole_sentence(),
            field("job"),
            field("hook"),
            json_line(self),
        )
    }

    /// The line for people at a terminal: `warning: hook attempt failed: exit status 3 (attempt 1, hook chat)`. Levels that
    /// only developers enable keep the full line.
    fn sentence(&self) -> String {
        let level = match self.level {
            "ERROR" => "error",
            "WARN" => "warning",
            "INFO" => "note",
            _ => return self.text(),
        };
        format!("{level}: {}", self.whole_sentence())
    }

    /// The message with the error and the fields.
    fn whole_sentence(&self) -> String {
        let mut out = sanitized(&self.message, LIMIT);
        let mut details = Vec::new();
        for (name, value) in &self.fields {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let value = sanitized(&value, LIMIT);
            match *name {
                "error_message" | "output" => out.extend([": ", &value]),
                name if HIDDEN.contains(&name) || self.message.contains(&value) => {}
                name => details.push(format!("{} {value}", name.replace('_', " "))),
            }
        }
        if !details.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(out, " ({})", details.join(", "));
        }
        out
    }

    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => {
                self.message = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                }
            }
            // Already set, or part of the normalized metadata.
            "timestamp" | "level" | "target" => {}
            name if name.starts_with("log.") => {}
            // In ECS, which log shippers use, `error` is an object.
            "error" => drop(self.fields.insert("error_message", value)),
            name => {
                self.fields.insert(name, value);
            }
        }
    }

    fn put_text(&mut self, field: &Field, mut text: String) {
        text.truncate(text.floor_char_boundary(LIMIT));
        text.truncate(truncate_escaped(&text, self.room).len());
        self.room = self.room.saturating_sub(escaped_len(&text));
        self.put(field, Value::String(text));
    }
}

impl Visit for DiagnosticLine<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put_text(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }
}
