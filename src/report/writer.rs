//! The writer thread: lines in the order of the queue, the bars below them.
//!
//! [`super::Report`] and [`super::diagnostics`] fill the queue. A slow reader blocks only this thread; lines for a closed
//! stream are dropped.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use terminal_size::{Height, Width, terminal_size_of};
use tokio::sync::mpsc;

use super::bars::render_bars;
use super::diagnostics::DiagnosticSink;
use super::journal::{self, Journal};
use super::mode::Style;
use super::terminal_status::TerminalStatus;
use super::width::wrapped;
use super::{JobRow, OutputStream, WriterMessage, stdio};

/// The most bytes combined into one write.
const BATCH: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

impl Default for TerminalSize {
    /// The size of a VT100.
    fn default() -> Self {
        Self {
            width: 80,
            height: 24,
        }
    }
}

pub type TerminalSizeFn = Arc<dyn Fn() -> TerminalSize + Send + Sync>;

pub struct Streams {
    /// Standard output, unbuffered.
    pub out: Box<dyn Write + Send>,
    /// Standard error, unbuffered.
    pub err: Box<dyn Write + Send>,
    /// The size of the terminal behind `err`.
    pub size: TerminalSizeFn,
    /// The socket of the journal.
    pub journal: PathBuf,
}

impl Streams {
    /// The streams of the process. Unbuffered, so that the result of each write is known.
    pub fn standard() -> Self {
        Self {
            out: Box::new(stdio::stdout()),
            err: Box::new(stdio::stderr()),
            journal: journal::SOCKET.into(),
            size: Arc::new(|| {
                terminal_size_of(io::stderr()).map_or_else(
                    TerminalSize::default,
                    |(Width(width), Height(height))| {
                        // Some pseudo-terminals have no size.
                        let of = |value, default| if value == 0 { default } else { value };
                        TerminalSize {
                            width: of(width, TerminalSize::default().width),
                            height: of(height, TerminalSize::default().height),
                        }
                    },
                )
            }),
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// The status of all jobs at one time.
#[derive(Debug, Default)]
struct Frame {
    rows: Vec<JobRow>,
    elapsed: Duration,
}

/// The newest frame that the writer has not taken yet.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameSlot(Arc<Mutex<Option<Frame>>>);

impl FrameSlot {
    /// Replaces the frame. Returns whether the slot was empty, so that the writer must be woken.
    pub(super) fn put(&self, rows: &[JobRow], elapsed: Duration) -> bool {
        let rows = rows.to_vec();
        self.slot().replace(Frame { rows, elapsed }).is_none()
    }

    fn take(&self) -> Option<Frame> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Frame>> {
        // The frame is valid even if a thread panicked with the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Writer {
    out: BufferedStream,
    err: BufferedStream,
    size: TerminalSizeFn,
    style: Style,
    frames: FrameSlot,
    frame: Frame,
    above: Vec<String>,
    painter: TerminalPainter,
    status: TerminalStatus,
    sink: DiagnosticSink,
    journal: Journal,
}

impl Writer {
    pub(super) fn new(
        streams: Streams,
        style: Style,
        frames: FrameSlot,
        sink: DiagnosticSink,
    ) -> Self {
        Self {
            out: BufferedStream::new("standard output", streams.out),
            err: BufferedStream::new("standard error", streams.err),
            size: streams.size,
            style,
            frames,
            frame: Frame::default(),
            above: Vec::new(),
            painter: TerminalPainter::default(),
            status: TerminalStatus::default(),
            sink,
            journal: Journal::new(streams.journal),
        }
    }

    /// Writes until [`WriterMessage::Close`] or until all senders are gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<WriterMessage>) {
        while let Some(first) = queue.blocking_recv() {
            let mut open = self.take(first);
            // Combines waiting messages, so that a burst needs few writes.
            while open && self.out.buffer.len() < BATCH && self.above.len() < 1_000 {
                match queue.try_recv() {
                    Ok(message) => open = self.take(message),
                    Err(_) => break,
                }
            }
            if let Some(message) = self.sink.take_dropped() {
                self.take(message);
            }
            self.write();
            if !open {
                break;
            }
        }
        self.frame.rows.clear();
        self.write();
    }

    fn take(&mut self, message: WriterMessage) -> bool {
        match message {
            WriterMessage::Line(stream, text) => self.put(stream, &text),
            WriterMessage::Sentence(text) => {
                let room = usize::from((self.size)().width).saturating_sub(1);
                self.above.extend(wrapped(&text, room.max(20), "", "    "));
            }
            WriterMessage::Entry(entry) => {
                if let Err(text) = self.journal.write(&entry) {
                    self.put(OutputStream::Err, &text);
                }
            }
            WriterMessage::Frame => {}
            WriterMessage::Close => return false,
        }
        true
    }

    fn put(&mut self, stream: OutputStream, text: &str) {
        match stream {
            OutputStream::Out => {
                self.out.buffer.push_str(text);
                self.out.buffer.push('\n');
            }
            OutputStream::Err => self.above.extend(text.lines().map(str::to_owned)),
        }
    }

    fn write(&mut self) {
        let error = self.out.write();
        self.above.extend(error);
        if let Some(frame) = self.frames.take() {
            self.frame = frame;
        }
        let above = std::mem::take(&mut self.above);
        if self.style.bars {
            let size = (self.size)();
            let Frame { rows, elapsed } = &self.frame;
            let (width, height) = (usize::from(size.width), usize::from(size.height));
            let bars = render_bars(rows, width, height, *elapsed, self.style);
            let status = self.status.update(rows, self.style);
            self.err.buffer.push_str(&status);
            self.err
                .buffer
                .extend(self.painter.paint(&above, bars, size));
        } else {
            for line in above {
                self.err.buffer.push_str(&line);
                self.err.buffer.push('\n');
            }
        }
        // An error of standard error cannot be reported.
        let _ = self.err.write();
    }
}

struct BufferedStream {
    name: &'static str,
    stream: Option<Box<dyn Write + Send>>,
    buffer: String,
}

impl BufferedStream {
    fn new(name: &'static str, stream: Box<dyn Write + Send>) -> Self {
        Self {
            name,
            stream: Some(stream),
            buffer: String::new(),
        }
    }

    /// Writes the buffer. After an error the stream is not used again; the returned line reports it, unless the reader
    /// closed the stream.
    fn write(&mut self) -> Option<String> {
        let result = match self.stream.as_mut() {
            Some(stream) if !self.buffer.is_empty() => stream.write_all(self.buffer.as_bytes()),
            _ => Ok(()),
        };
        self.buffer.clear();
        let error = result.err()?;
        self.stream = None;
        (error.kind() != ErrorKind::BrokenPipe).then(|| {
            format!(
                "forgewatch: cannot write to {}: {error}; continuing without it",
                self.name
            )
        })
    }
}

/// Prints lines above the bars, repaints the bars, and keeps what is on the screen.
///
/// The cursor rests on an empty line **above** the bars. However a resize wraps or cuts the lines below, one "erase
/// below" removes all of them, without knowing at which width they were drawn. The cursor is never hidden, so that no
/// state needs restoring however the process ends. Two things remain: lines that a narrower window pushes into the
/// scrollback, and the bars after `kill -9`.
///
/// `indicatif` does not do this: it pads lines to the full width and erases as many lines as it drew. After a resize to
/// a narrower window each of them has wrapped, and half of them stay on the screen.
#[derive(Debug, Default)]
pub(super) struct TerminalPainter {
    bars: Vec<String>,
    size: TerminalSize,
}

impl TerminalPainter {
    /// The bytes that print the lines `above` and replace the bars below them. None if nothing changes. The bars and the
    /// cursor's line must fit on the screen.
    pub(super) fn paint(
        &mut self,
        above: &[String],
        bars: Vec<String>,
        size: TerminalSize,
    ) -> Option<String> {
        if above.is_empty() && bars == self.bars && size == self.size {
            return None;
        }
        let mut out = String::new();
        if !self.bars.is_empty() {
            // The cursor's line may show a `^C`, so it is erased too. "Erase below" starts on the next line: at the top
            // of the screen some terminals move what it erases into the scrollback.
            out.push_str("\r\x1b[K\n\x1b[J\x1b[A");
        }
        for line in above {
            out.push_str(line);
            out.push('\n');
        }
        if !bars.is_empty() {
            for bar in &bars {
                out.push('\n');
                out.push_str(bar);
            }
            let _ = write!(out, "\r\x1b[{}A", bars.len());
        }
        self.bars = bars;
        self.size = size;
        Some(out)
    }
}
