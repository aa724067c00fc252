//! The one thread that writes: lines in the order of the queue, the bars below them.
//!
//! [`super::Report`] and [`super::diagnostics`] fill the queue. A reader that is slow stops this thread and nothing
//! else; a reader that is gone is no end either: from then on its lines are dropped.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use terminal_size::{Height, Width, terminal_size_of};
use tokio::sync::mpsc;

use super::bars::frame;
use super::diagnostics::Sink;
use super::terminal::{Painter, Size};
use super::{Row, Style};

/// How many bytes are joined to one write at most, while more wait.
const BATCH: usize = 64 * 1024;
/// How long to wait where a stream that somebody else made non-blocking is full.
const FULL: Duration = Duration::from_millis(10);

/// Tells how large the terminal is.
pub type SizeOf = Arc<dyn Fn() -> Size + Send + Sync>;

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// What the queue carries.
#[derive(Debug)]
pub(super) enum Message {
    /// One line or several, without the last line's end.
    Line(Stream, String),
    /// There is a new frame in [`Frames`].
    Frame,
    /// Nothing follows: take the bars off the screen.
    Close,
}

/// Where the writer writes, and how large the screen is.
pub struct Streams {
    /// Standard output, unbuffered.
    pub out: Box<dyn Write + Send>,
    /// Standard error, unbuffered.
    pub err: Box<dyn Write + Send>,
    /// The size of the terminal behind `err`.
    pub size: SizeOf,
}

impl Streams {
    /// The process's own. Unbuffered, so that what was written whole by one write is known.
    pub fn standard() -> Self {
        Self {
            out: unbuffered(&io::stdout()),
            err: unbuffered(&io::stderr()),
            size: Arc::new(|| {
                terminal_size_of(io::stderr()).map_or_else(
                    Size::default,
                    |(Width(width), Height(height))| {
                        // Some pseudo-terminals were never told their size.
                        let of = |value, default| if value == 0 { default } else { value };
                        Size {
                            width: of(width, Size::default().width),
                            height: of(height, Size::default().height),
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

fn unbuffered(stream: &impl AsFd) -> Box<dyn Write + Send> {
    match stream.as_fd().try_clone_to_owned() {
        Ok(fd) => Box::new(File::from(fd)),
        // A stream that cannot be had is as good as closed.
        Err(_) => Box::new(io::sink()),
    }
}

/// Where all jobs stand at one time.
#[derive(Debug, Default)]
struct Standing {
    rows: Vec<Row>,
    elapsed: Duration,
}

/// The newest frame, where the writer has not yet taken it.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames(Arc<Mutex<Option<Standing>>>);

impl Frames {
    /// Puts a frame in place of one not yet taken; says whether there was none, so that the writer must be woken.
    pub(super) fn put(&self, rows: &[Row], elapsed: Duration) -> bool {
        let rows = rows.to_vec();
        self.slot().replace(Standing { rows, elapsed }).is_none()
    }

    fn take(&self) -> Option<Standing> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Standing>> {
        // Nothing can panic while it is held; were it so, the rows would still be rows.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's side of the queue.
pub(super) struct Writer {
    out: Outlet,
    err: Outlet,
    size: SizeOf,
    style: Style,
    frames: Frames,
    standing: Standing,
    above: Vec<String>,
    painter: Painter,
    sink: Sink,
}

impl Writer {
    pub(super) fn new(streams: Streams, style: Style, frames: Frames, sink: Sink) -> Self {
        Self {
            out: Outlet::new("standard output", streams.out),
            err: Outlet::new("standard error", streams.err),
            size: streams.size,
            style,
            frames,
            standing: Standing::default(),
            above: Vec::new(),
            painter: Painter::default(),
            sink,
        }
    }

    /// Writes until it is told to close, or nobody is left who could say anything.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(first) = queue.blocking_recv() {
            let mut open = self.take(first);
            // What waits is written together, so that a burst is a few writes rather than thousands.
            while open && self.out.waiting.len() < BATCH && self.above.len() < 1_000 {
                match queue.try_recv() {
                    Ok(message) => open = self.take(message),
                    Err(_) => break,
                }
            }
            if let Some(line) = self.sink.lost() {
                self.put(self.sink.stream(), &line);
            }
            self.write();
            if !open {
                break;
            }
        }
        self.standing.rows.clear();
        self.write();
    }

    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Line(stream, text) => self.put(stream, &text),
            Message::Frame => {}
            Message::Close => return false,
        }
        true
    }

    fn put(&mut self, stream: Stream, text: &str) {
        match stream {
            Stream::Out => {
                self.out.waiting.push_str(text);
                self.out.waiting.push('\n');
            }
            Stream::Err => self.above.extend(text.lines().map(str::to_owned)),
        }
    }

    fn write(&mut self) {
        let trouble = self.out.write();
        self.above.extend(trouble);
        if let Some(standing) = self.frames.take() {
            self.standing = standing;
        }
        let above = std::mem::take(&mut self.above);
        if self.style.bars {
            let size = (self.size)();
            let Standing { rows, elapsed } = &self.standing;
            let (width, height) = (usize::from(size.width), usize::from(size.height));
            let bars = frame(rows, width, height, *elapsed, self.style);
            self.err
                .waiting
                .extend(self.painter.paint(&above, bars, size));
        } else {
            for line in above {
                self.err.waiting.push_str(&line);
                self.err.waiting.push('\n');
            }
        }
        // Trouble with standard error has nowhere to be told.
        let _ = self.err.write();
    }
}

/// One stream and what waits to be written to it.
struct Outlet {
    name: &'static str,
    stream: Option<Box<dyn Write + Send>>,
    waiting: String,
}

impl Outlet {
    fn new(name: &'static str, stream: Box<dyn Write + Send>) -> Self {
        Self {
            name,
            stream: Some(stream),
            waiting: String::new(),
        }
    }

    /// Writes all that waits. Where that fails the stream is given up for good; a line says so, unless it was
    /// closed, which is how readers say that they have had enough.
    fn write(&mut self) -> Option<String> {
        let result = match self.stream.as_mut() {
            Some(stream) if !self.waiting.is_empty() => {
                write_whole(stream, self.waiting.as_bytes())
            }
            _ => Ok(()),
        };
        self.waiting.clear();
        let error = result.err()?;
        self.stream = None;
        (error.kind() != ErrorKind::BrokenPipe).then(|| {
            format!(
                "forgewatch: cannot write to {}: {error}; the watch goes on without it",
                self.name
            )
        })
    }
}

/// As [`Write::write_all`], but a stream set non-blocking (a build agent's pipe, say) is waited for rather than
/// failed.
fn write_whole(stream: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) => return Err(error),
        }
    }
    stream.flush()
}
