//! What people and machines read: a line or a record for each event, the bars, and diagnostics.
//!
//! `cli` tells [`Report`] every [`Event`] and, a few times a second, where all jobs stand ([`Row`]). Everything that
//! is printed, diagnostics included, goes through one queue to one writer thread: a slow reader never slows the asking,
//! and nothing tears the bars. `cli` chooses the [`Mode`] from the [`StreamFacts`] of the process.
//!
//! | mode | events | bars | diagnostics |
//! |---|---|---|---|
//! | progress | a final line a job, on standard error | standard error | standard error, above the bars |
//! | text | a line each, on standard output (`text.rs`) | none | standard error |
//! | json | a record each, on standard output (`json.rs`) | none | records of the same stream |
//! | quiet | the bad ends and hooks given up, on standard error | none | standard error, errors alone |

use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use forgewatch_core::event::Event;
use forgewatch_core::job::{JobRef, JobState, Outcome};
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Watch;

mod bars;
pub mod diagnostics;
pub mod json;
mod mode;
mod progress;
pub mod sanitize;
mod terminal;
mod text;
mod writer;

pub(crate) use bars::cut_to_width;
pub use mode::{Mode, StreamFacts, Style};
pub use terminal::Size;
pub use writer::{SizeOf, Streams};

use diagnostics::Sink;
use writer::{Message, Stream, Writer};

/// How often whoever watches calls [`Report::rows`]: so often the bars move.
pub const FRAME: Duration = Duration::from_millis(100);
/// How many lines may wait to be written.
const QUEUE: usize = 10_000;
/// How long a report that was dropped waits for its writer.
const PARTING: Duration = Duration::from_secs(1);

/// A job as the bars, the heartbeat and a deadline's summary show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The job.
    pub job: JobRef,
    /// Where it stands; None before the first answer.
    pub state: Option<JobState>,
    /// Percent, 0 to 100.
    pub progress: Option<f32>,
    /// The best guess of the time left.
    pub left: Option<Duration>,
    /// Until it is asked again.
    pub next_poll: Option<Duration>,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// Whether asking fails at present.
    pub unreachable: bool,
    /// Since the first poll.
    pub elapsed: Duration,
}

impl Row {
    /// Where a watched job stands now.
    pub fn of(watch: &Watch, now: Moment) -> Self {
        let since = watch
            .first_poll()
            .map_or(0, |at| now.up_ms.saturating_sub(at));
        Self {
            job: watch.job(),
            state: watch.state(),
            progress: watch.progress(),
            left: watch.left(now),
            next_poll: Some(watch.next_poll(now)),
            outcome: None,
            unreachable: watch.is_unreachable(),
            elapsed: Duration::from_millis(since),
        }
    }

    /// The one word that says most about it.
    fn word(&self) -> &'static str {
        match (self.outcome, self.unreachable, self.state) {
            (Some(outcome), _, _) => text::outcome_word(outcome),
            (None, true, _) => "unreachable",
            (None, false, Some(state)) => state.as_str(),
            (None, false, None) => "asking",
        }
    }

    /// Its progress as it is told.
    fn percent(&self) -> Option<u8> {
        self.progress.map(whole_percent)
    }
}

/// The engine's side of the output: cheap, and waits only where the queue is full.
pub struct Report {
    mode: Mode,
    style: Style,
    size: SizeOf,
    queue: mpsc::Sender<Message>,
    frames: writer::Frames,
    sink: Sink,
    done: oneshot::Receiver<()>,
}

impl Report {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(mode: Mode, style: Style, streams: Streams) -> std::io::Result<Self> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let frames = writer::Frames::default();
        let sink = Sink::queue(mode, queue.clone());
        let (finished, done) = oneshot::channel();
        let size = streams.size.clone();
        let writer = Writer::new(streams, style, frames.clone(), sink.clone());
        std::thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || {
                writer.run(messages);
                // Nobody waits where the report was dropped rather than closed.
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
        })
    }

    /// Where diagnostics go so that they tear neither the bars nor the stream of records.
    pub fn diagnostics(&self) -> Sink {
        self.sink.clone()
    }

    /// Whether [`Report::rows`] shows anything, and so is worth calling.
    pub fn wants_rows(&self) -> bool {
        self.mode == Mode::Progress && self.style.bars
    }

    /// Whether [`Report::event`] would not have to wait.
    pub fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Tells one event. Waits while the queue is full; dropped while it waits, nothing was told.
    pub async fn event(&mut self, event: &Event) {
        match self.mode {
            Mode::Json => {
                let line = json::line(&event.record());
                self.send(Stream::Out, line).await;
            }
            Mode::Text => {
                let line = text::event(event, self.style.color);
                self.send(Stream::Out, line).await;
            }
            Mode::Progress => {
                let width = usize::from((self.size)().width);
                if let Some(lines) = progress::event(event, width, self.style) {
                    self.send(Stream::Err, lines).await;
                }
            }
            Mode::Quiet => {
                if event.kind.level() == "ERROR" {
                    let line = text::event(event, self.style.color);
                    self.send(Stream::Err, line).await;
                }
            }
        }
    }

    /// Shows where all jobs stand: a new frame of the bars, ended jobs counted in. Never waits; the newest frame
    /// wins. Only [`Mode::Progress`] shows it.
    pub fn rows(&mut self, rows: &[Row], elapsed: Duration) {
        if self.wants_rows() && self.frames.put(rows, elapsed) {
            // A full queue has something to write anyhow, and then looks at the frame too.
            let _ = self.queue.try_send(Message::Frame);
        }
    }

    /// Says that the watch is alive: one line, in text alone. The engine calls it once a `--heartbeat`.
    pub async fn heartbeat(&mut self, rows: &[Row], wall_ms: i64) {
        if self.mode == Mode::Text {
            self.send(Stream::Out, text::heartbeat(rows, wall_ms)).await;
        }
    }

    /// Says which jobs are still going at a deadline, with state, percent and time left. For people alone: in json
    /// the events of the ends say it.
    pub async fn deadline(&mut self, rows: &[Row], wall_ms: i64) {
        let stream = match self.mode {
            Mode::Json => return,
            Mode::Text => Stream::Out,
            Mode::Progress | Mode::Quiet => Stream::Err,
        };
        for line in text::deadline(rows, wall_ms) {
            self.send(stream, line).await;
        }
    }

    /// Takes the bars off the screen and waits until all is written. As long as the reader takes: the caller sets
    /// the bound. Dropped rather than closed, a report tries the same for a moment.
    pub async fn close(mut self) {
        if self.queue.send(Message::Close).await.is_ok() {
            // An error means that the writer is gone, and with it what it had to write.
            let _ = (&mut self.done).await;
        }
    }

    async fn send(&self, stream: Stream, text: String) {
        // The writer outlives every report; were it gone, there would be nobody to tell.
        let _ = self.queue.send(Message::Line(stream, text)).await;
    }
}

impl Drop for Report {
    /// Whoever does not wait for a slow reader still leaves a tidy terminal.
    fn drop(&mut self) {
        // Fails where the report was closed, as nobody takes messages any more.
        if self.queue.try_send(Message::Close).is_err() {
            return;
        }
        let end = Instant::now() + PARTING;
        while self.done.try_recv() == Err(TryRecvError::Empty) && Instant::now() < end {
            std::thread::sleep(PARTING / 200);
        }
    }
}

#[cfg(test)]
mod tests;
