//! The output: a line or record for each event, the bars, and diagnostics.
//!
//! The application passes every [`Event`] to [`Report`] and, several times a second, the status of all jobs ([`JobRow`]).
//! All output, diagnostics included, goes through one queue to one writer thread: a slow reader never slows polling, and
//! nothing tears the bars. The [`OutputMode`] is chosen by the [`StreamInfo`] of the process.
//!
//! | mode | events | bars | diagnostics |
//! |---|---|---|---|
//! | progress | one final line per job, on standard error | standard error | standard error, above the bars |
//! | text | one line per event, on standard output | none | standard error |
//! | json | one record per event, on standard output | none | records of the same stream |
//! | journal | one entry per event, in the journal of systemd | none | entries of the journal |
//! | quiet | failures and the final line, on standard error | none | standard error, errors only |

use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::JobRef;

mod annotations;
mod bars;
pub mod diagnostics;
pub mod files;
mod job_row;
mod journal;
mod mode;
mod progress;
pub mod results;
pub mod sanitize;
pub mod stdio;
mod terminal_status;
mod text;
mod totals;
mod width;
mod writer;

pub use annotations::AnnotationStyle;
pub use job_row::JobRow;
pub use mode::{OutputMode, StreamInfo, Style, has_color};
pub use text::recorded as recorded_line;
pub(crate) use width::{cut_to_width, wrapped};
pub use writer::{Streams, TerminalSize, TerminalSizeFn};

use annotations::Annotator;
use diagnostics::DiagnosticSink;
use journal::JournalEntry;
use results::JobProblem;
use sanitize::json_line;
use writer::Writer;

/// The interval at which the application calls [`Report::update_bars`].
pub const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// The most lines waiting to be written.
const QUEUE: usize = 10_000;
/// How long dropping a report waits for its writer.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputStream {
    Out,
    Err,
}

/// A message to the writer.
#[derive(Debug)]
enum WriterMessage {
    /// One or more lines, without the last newline.
    Line(OutputStream, String),
    /// A sentence for people at a terminal, on standard error.
    Sentence(String),
    /// An entry of the journal.
    Entry(Box<JournalEntry>),
    /// The slot for frames has a new frame.
    Frame,
    /// The last message: remove the bars.
    Close,
}

/// The application's side of the output. It waits only while the queue is full.
pub struct Report {
    mode: OutputMode,
    style: Style,
    size: TerminalSizeFn,
    queue: mpsc::Sender<WriterMessage>,
    frames: writer::FrameSlot,
    sink: DiagnosticSink,
    done: oneshot::Receiver<()>,
    /// The width of the longest job name so far.
    names: usize,
    annotator: Option<Annotator>,
}

impl Report {
    /// Starts the writer thread.
    pub fn start(mode: OutputMode, style: Style, streams: Streams) -> std::io::Result<Self> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let frames = writer::FrameSlot::default();
        let sink = DiagnosticSink::queue(mode, style.sentences, queue.clone());
        let (finished, done) = oneshot::channel();
        let size = streams.size.clone();
        let writer = Writer::new(streams, style, frames.clone(), sink.clone());
        std::thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || {
                writer.run(messages);
                // Fails if the report was dropped instead of closed.
                let _ = finished.send(());
            })?;
        Ok(Self {
            mode,
            style,
            size,
            queue,
            frames,
            sink,
            done,
            names: job_row::NAME,
            annotator: None,
        })
    }

    /// Adds annotations for a CI system.
    pub fn annotate(&mut self, style: AnnotationStyle) {
        self.annotator = Some(Annotator::new(style));
    }

    /// The sink for diagnostics, which keeps bars and records intact.
    pub fn diagnostics(&self) -> DiagnosticSink {
        self.sink.clone()
    }

    /// Whether [`Report::update_bars`] has an effect.
    pub fn has_bars(&self) -> bool {
        self.mode == OutputMode::Progress && self.style.bars
    }

    /// Whether [`Report::event`] would return without waiting.
    pub fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Makes room for the names of these jobs, so that columns align from the first line on.
    pub fn widen(&mut self, jobs: impl IntoIterator<Item = JobRef>) {
        let widths = jobs.into_iter().map(|job| job.to_string().len());
        self.names = widths.fold(self.names, usize::max);
    }

    /// Reports one event. Waits while the queue is full; canceled while it waits, it reports nothing.
    pub async fn event(&mut self, event: &Event) {
        let message = match self.mode {
            OutputMode::Json | OutputMode::Journal => {
                Some(self.record_message(event, json_line(&event.record())))
            }
            _ => self.line(event),
        };
        self.send_annotated(event, message).await;
    }

    /// Reports an event of another process, in `json` as it was recorded. Otherwise like [`Report::event`].
    pub async fn recorded(&mut self, record: &RawValue, event: &Event) {
        let message = match self.mode {
            OutputMode::Json | OutputMode::Journal => {
                Some(self.record_message(event, json_line(record)))
            }
            _ => self.line(event),
        };
        self.send_annotated(event, message).await;
    }

    fn record_message(&self, event: &Event, record: String) -> WriterMessage {
        match self.mode {
            OutputMode::Journal => {
                WriterMessage::Entry(Box::new(JournalEntry::of_event(event, record)))
            }
            _ => WriterMessage::Line(OutputStream::Out, record),
        }
    }

    /// The lines of an event for people.
    fn line(&mut self, event: &Event) -> Option<WriterMessage> {
        self.widen(event.job);
        if self.mode == OutputMode::Progress {
            let width = usize::from((self.size)().width);
            let lines = progress::event(event, width, self.names, self.style);
            return lines.map(|lines| WriterMessage::Line(OutputStream::Err, lines));
        }
        let stream = match self.mode {
            OutputMode::Text => OutputStream::Out,
            _ => OutputStream::Err,
        };
        let is_shown = self.mode != OutputMode::Quiet
            || event.kind.level() == "ERROR"
            || event.kind == EventType::WatchFinished;
        is_shown
            .then(|| WriterMessage::Line(stream, text::event(event, self.names, self.style.color)))
    }

    /// The annotation of a problem without an event.
    pub async fn problem(&mut self, problem: &JobProblem) {
        let annotation = self.annotator.as_ref().and_then(|a| a.problem(problem));
        if let Some(line) = annotation {
            self.send(self.annotation_stream(), line).await;
        }
    }

    /// Shows the status of all jobs as bars. Never waits; a newer frame replaces an older one.
    pub fn update_bars(&mut self, rows: &[JobRow], elapsed: Duration) {
        if self.has_bars() && self.frames.put(rows, elapsed) {
            // If the queue is full, the writer is awake and takes the frame too.
            let _ = self.queue.try_send(WriterMessage::Frame);
        }
    }

    /// Prints the heartbeat line of `text`.
    pub async fn heartbeat(&mut self, rows: &[JobRow], wall_ms: i64) {
        if self.mode == OutputMode::Text {
            self.send(OutputStream::Out, text::heartbeat(rows, wall_ms))
                .await;
        }
    }

    /// Prints the jobs that are active at a timeout. For people only: json has the ending events.
    pub async fn deadline(&mut self, rows: &[JobRow], wall_ms: i64) {
        let stream = match self.mode {
            OutputMode::Json | OutputMode::Journal => return,
            OutputMode::Text => OutputStream::Out,
            OutputMode::Progress | OutputMode::Quiet => OutputStream::Err,
        };
        for line in text::deadline(rows, wall_ms) {
            self.send(stream, line).await;
        }
    }

    /// Removes the bars and waits until everything is written, as long as the reader takes. Dropping a report does the
    /// same for `DROP_TIMEOUT`.
    pub async fn close(mut self) {
        if self.queue.send(WriterMessage::Close).await.is_ok() {
            // An error means that the writer is gone.
            let _ = (&mut self.done).await;
        }
    }

    /// Sends the lines of an event between its annotations: all of them, or none if canceled.
    async fn send_annotated(&mut self, event: &Event, message: Option<WriterMessage>) {
        let stream = self.annotation_stream();
        let annotation = |line: Option<String>| line.map(|line| WriterMessage::Line(stream, line));
        let (before, after) =
            (self.annotator.as_mut()).map_or((None, None), |a| (a.before(event), a.after(event)));
        let messages = [annotation(before), message, annotation(after)];
        let messages: Vec<WriterMessage> = messages.into_iter().flatten().collect();
        // Fails if the writer is gone, which outlives every report.
        if let Ok(permits) = self.queue.reserve_many(messages.len()).await {
            for (permit, message) in permits.zip(messages) {
                permit.send(message);
            }
        }
    }

    /// Beside the lines for people, apart from the bars and from the records.
    fn annotation_stream(&self) -> OutputStream {
        match self.mode {
            OutputMode::Text | OutputMode::Quiet => OutputStream::Out,
            OutputMode::Progress | OutputMode::Json | OutputMode::Journal => OutputStream::Err,
        }
    }

    async fn send(&self, stream: OutputStream, text: String) {
        // The writer outlives every report.
        let _ = self.queue.send(WriterMessage::Line(stream, text)).await;
    }
}

impl Drop for Report {
    /// Restores the terminal, unless the reader is slow.
    fn drop(&mut self) {
        // Fails if the report was closed.
        if self.queue.try_send(WriterMessage::Close).is_err() {
            return;
        }
        let end = Instant::now() + DROP_TIMEOUT;
        while self.done.try_recv() == Err(TryRecvError::Empty) && Instant::now() < end {
            std::thread::sleep(DROP_TIMEOUT / 200);
        }
    }
}

#[cfg(test)]
mod tests;
