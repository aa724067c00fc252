//! What the program says about itself: `tracing` (and, through it, what the HTTP and TLS client say by `log`), as
//! lines on standard error or, in json, as records of the same stream.
//!
//! `cli` calls [`install`] once. A line never waits: while the queue is full, lines are dropped and counted, and the
//! count is told when there is room again. Spans are left out; what matters is in an event's own fields.
//!
//! Secrets: no library here prints the `Authorization` header at any level. h2 leaves header fields and data out of
//! what it traces, hyper-util and rustls speak of connections and handshakes, proxies are named without their
//! passwords. reqwest would print all that goes over the wire, but only with `connection_verbose(true)`: never set
//! that.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
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

use super::json;
use super::mode::Mode;
use super::sanitize::{LIMIT, neutral};
use super::writer::{Message, Stream};
use forgewatch_core::event::{LONGEST_LINE, short, spelled};
use forgewatch_core::suggest::nearest;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The variable that sets the filter, in the syntax of `tracing`.
pub const VARIABLE: &str = "FORGEWATCH_LOG";

/// What all texts of a line take together in JSON at most: a line is as short as an event's record has to be, names and
/// numbers included.
const TEXTS: usize = LONGEST_LINE - 8 * 1024;

/// Why diagnostics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The filter is none: a usage error.
    #[error(
        "{VARIABLE}: {filter:?} is not a filter: {cause}; write a level (error, warn, info, debug, trace) or \
         module=level, with commas between them"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Called twice: a bug.
    #[error("diagnostics are already set up")]
    Twice,
}

/// Sends diagnostics to `sink` from now on. `filter` is the value of [`VARIABLE`]; where it is absent or empty, the
/// mode's own: errors in quiet, warnings for people, what a service's log is read for in json.
pub fn install(sink: Sink, filter: Option<&str>) -> Result<(), InstallError> {
    subscriber(sink, filter)?
        .try_init()
        .map_err(|_| InstallError::Twice)
}

pub(super) fn subscriber(
    sink: Sink,
    filter: Option<&str>,
) -> Result<impl Subscriber + Send + Sync, InstallError> {
    let filter = match filter.filter(|f| !f.trim().is_empty()) {
        Some(given) => parse(given)?,
        None => parse(default_filter(sink.mode))?,
    };
    Ok(tracing_subscriber::registry()
        .with(filter)
        .with(Lines { sink }))
}

/// Whether a value of [`VARIABLE`] is a filter. A single word near the name of a level is a slip of the fingers: as
/// the name of a module, which it would count as, it would silence everything.
pub fn check(filter: Option<&str>) -> Result<(), InstallError> {
    let Some(filter) = filter.filter(|f| !f.trim().is_empty()) else {
        return Ok(());
    };
    let slip = filter.split(',').find_map(|word| {
        let word = word.trim();
        let lower = word.to_ascii_lowercase();
        let meant = nearest(&lower, LEVELS)?;
        (meant != lower).then(|| (word.to_owned(), meant))
    });
    match slip {
        Some((word, meant)) => Err(InstallError::Filter {
            filter: filter.to_owned(),
            cause: format!("{word:?} is no level; did you mean {meant}?"),
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

fn default_filter(mode: Mode) -> &'static str {
    match mode {
        Mode::Progress | Mode::Text => "warn",
        Mode::Json => "warn,forgewatch=info",
        Mode::Quiet => "error",
    }
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Sink {
    mode: Mode,
    queue: Option<mpsc::Sender<Message>>,
    lost: Arc<AtomicU64>,
}

impl Sink {
    /// Straight to standard error, for commands that have no [`super::Report`].
    pub fn stderr() -> Self {
        Self {
            mode: Mode::Text,
            queue: None,
            lost: Arc::default(),
        }
    }

    pub(super) fn queue(mode: Mode, queue: mpsc::Sender<Message>) -> Self {
        Self {
            mode,
            queue: Some(queue),
            lost: Arc::default(),
        }
    }

    /// The stream that diagnostics are lines of.
    pub(super) fn stream(&self) -> Stream {
        match self.mode {
            Mode::Json => Stream::Out,
            Mode::Progress | Mode::Text | Mode::Quiet => Stream::Err,
        }
    }

    /// A line on what was dropped since the last call, if anything was.
    pub(super) fn lost(&self) -> Option<String> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        (lost > 0).then(|| {
            let mut line = Line::new(Level::WARN, "forgewatch::report");
            "diagnostics were dropped: they are not read fast enough".clone_into(&mut line.message);
            line.fields.insert("dropped", lost.into());
            self.print(&line)
        })
    }

    fn print(&self, line: &Line<'_>) -> String {
        match self.mode {
            Mode::Json => json::line(line),
            Mode::Progress | Mode::Text | Mode::Quiet => line.text(),
        }
    }

    fn send(&self, line: String) {
        let message = Message::Line(self.stream(), line);
        let message = match &self.queue {
            Some(queue) => match queue.try_send(message) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                // The report is closed: what is said after it goes straight out.
                Err(TrySendError::Closed(message)) => message,
            },
            None => message,
        };
        if let Message::Line(stream, line) = message {
            let line = line + "\n";
            // Nobody is left to hear of an error here.
            let _ = match stream {
                Stream::Out => io::stdout().write_all(line.as_bytes()),
                Stream::Err => io::stderr().write_all(line.as_bytes()),
            };
        }
    }
}

/// The layer that makes lines of events.
struct Lines {
    sink: Sink,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Of a line that came through `log` the real level and module are among its fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = Line::new(*metadata.level(), metadata.target());
        event.record(&mut line);
        self.sink.send(self.sink.print(&line));
    }
}

/// One diagnostic: the same head as an event's record, then its own fields, flat.
#[derive(Debug, Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    target: &'a str,
    message: String,
    #[serde(flatten)]
    fields: BTreeMap<&'static str, Value>,
    /// How many more bytes its texts may take in JSON.
    #[serde(skip)]
    room: usize,
}

impl<'a> Line<'a> {
    fn new(level: Level, target: &'a str) -> Self {
        Self {
            timestamp: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            level: level.as_str(),
            target,
            message: String::new(),
            fields: BTreeMap::new(),
            room: TEXTS,
        }
    }

    /// As people read it: `2026-01-02T03:04:05.678Z  WARN forgewatch::engine: slow answer job=diff/1`.
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
            neutral(message, LIMIT)
        );
        for (name, value) in fields {
            let value = match value {
                Value::String(text) if text.is_empty() || text.contains(' ') => format!("{text:?}"),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // Writing to a string cannot fail.
            let _ = write!(out, " {name}={}", neutral(&value, LIMIT));
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
            // The head's own, and what `normalized_metadata` has told already.
            "timestamp" | "level" | "target" => {}
            name if name.starts_with("log.") => {}
            name => {
                self.fields.insert(name, value);
            }
        }
    }

    fn put_text(&mut self, field: &Field, mut text: String) {
        text.truncate(text.floor_char_boundary(LIMIT));
        text.truncate(short(&text, self.room).len());
        self.room = self.room.saturating_sub(spelled(&text));
        self.put(field, Value::String(text));
    }
}

impl Visit for Line<'_> {
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
