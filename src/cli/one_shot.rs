//! A watch that ends: drives the engine, tells what happens, and knows when it is over.
//!
//! `watch --until-done` and `demo` run it. It owns what is the one-shot's own: deadlines, `--fail-fast`, signals,
//! the screen and the exit status.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::exit::{Ends, is_failure};
use crate::clanforge::Client;
use crate::config::settings::{OneShot, Settings};
use crate::core::event::{About, Event, EventId, EventType, Facts, WatchId};
use crate::core::job::{JobRef, Outcome, Reason};
use crate::core::schedule::Memory;
use crate::core::status::Names;
use crate::core::time::Moment;
use crate::core::watch::Watch;
use crate::engine::{Engine, SeededDice, SystemClock, Throttle};
use crate::os::signals::{Stop, Stops};
use crate::report::{Report, Row};
use crate::store::{self, calibration};

/// The bars move this often.
const FRAME: Duration = Duration::from_millis(100);
/// Once it is to stop, a reader that does not read is waited for this long.
const STUCK_READER: Duration = Duration::from_secs(5);

/// How a one-shot went.
#[derive(Debug)]
pub(super) struct Finished {
    /// The status to leave with.
    pub(super) status: u8,
    /// Each job's end, in the order of the ends.
    pub(super) ends: Vec<(JobRef, Outcome)>,
}

type Watching = Engine<Client, store::Memory, SystemClock>;

/// A one-shot under way.
pub(super) struct Run {
    engine: Watching,
    options: OneShot,
    report: Report,
    stops: Stops,
    /// The watcher's own events: an id of this process, and how many there were.
    id: WatchId,
    seq: u32,
    began: Moment,
    /// Events that the reader has not taken yet.
    untold: VecDeque<Event>,
    ended: Vec<Row>,
    ends: Ends,
    stop: Option<Stop>,
    /// Every watch is being ended: nobody waits for a reader that does not read any more.
    stopping: bool,
}

impl Run {
    /// Sets everything up; nothing is asked yet. `calibration` names the file of what earlier ends taught.
    pub(super) fn new(
        settings: Settings,
        options: OneShot,
        client: Client,
        report: Report,
        calibration: Option<&PathBuf>,
    ) -> io::Result<Self> {
        let throttle = Throttle {
            max_in_flight: settings.api.max_in_flight,
            max_requests_per_second: settings.api.max_requests_per_second,
        };
        let memory = calibration.map_or_else(Memory::default, |path| calibration::load(path));
        let dice = SeededDice::new(getrandom::u64().map_err(no_entropy)?);
        let clock = SystemClock::start();
        let mut engine = Engine::new(
            client,
            store::Memory::default(),
            clock,
            dice,
            settings.limits,
            throttle,
            memory,
        )
        .with_job_timeout(options.job_timeout);
        for spec in settings.jobs {
            let about = (!spec.labels.is_empty()).then(|| {
                Arc::new(About {
                    labels: spec.labels,
                    names: Names::default(),
                })
            });
            engine.watch(new_id()?, spec.job, about);
        }
        Ok(Self {
            began: engine.now(),
            engine,
            options,
            report,
            stops: Stops::catch()?,
            id: new_id()?,
            seq: 0,
            untold: VecDeque::new(),
            ended: Vec::new(),
            ends: Ends::default(),
            stop: None,
            stopping: false,
        })
    }

    /// Watches until every job has ended, or until it is to stop.
    pub(super) async fn until_done(mut self, calibration: Option<&PathBuf>) -> Finished {
        let jobs = self.engine.watches().count();
        let jobs = Some(u32::try_from(jobs).unwrap_or(u32::MAX));
        self.tell_own(
            EventType::WatchStarted,
            Facts {
                jobs,
                ..Facts::default()
            },
        );
        self.drive().await;

        if let Some(path) = calibration.filter(|_| self.engine.has_learnt()) {
            calibration::save(path, self.engine.memory());
        }
        let (status, outcome) = self.ends.status(self.options.squashed_as, self.stop);
        let facts = Facts {
            jobs,
            tally: Some(self.ends.tally(outcome)),
            elapsed_ms: Some(self.engine.now().up_ms.saturating_sub(self.began.up_ms)),
            ..Facts::default()
        };
        self.tell_own(EventType::WatchFinished, facts);
        let ends = self
            .ended
            .iter()
            .filter_map(|row| Some((row.job, row.outcome?)))
            .collect();
        self.close().await;
        Finished { status, ends }
    }

    async fn drive(&mut self) {
        let now = Instant::now();
        let deadline = self
            .options
            .timeout
            .and_then(|limit| now.checked_add(limit));
        let mut frames = ticks(FRAME);
        let mut beats = ticks(self.options.heartbeat.unwrap_or(FRAME));
        let beats_at_all = self.options.heartbeat.is_some();
        let mut last_wait = None;
        while !(self.engine.is_done() && self.untold.is_empty()) {
            tokio::select! {
                biased;
                stop = self.stops.next() => {
                    if self.stop.replace(stop).is_some() {
                        return;
                    }
                    self.stopping = true;
                    self.engine.stop_all(Outcome::Abandoned(Reason::Interrupted));
                }
                () = at(deadline), if !self.stopping => {
                    self.stopping = true;
                    let (rows, now) = (self.rows(), self.engine.now());
                    self.engine.stop_all(Outcome::TimedOut);
                    let _ = timeout(STUCK_READER, self.report.deadline(&rows, now.wall_ms)).await;
                }
                () = at(last_wait), if self.stopping => return,
                told = tell(&mut self.report, &self.untold), if !self.untold.is_empty() => {
                    self.untold.drain(..told);
                }
                events = self.engine.advance(), if self.stopping || self.untold.is_empty() => {
                    for event in events {
                        self.take_note(event);
                    }
                    // A job's final line and its bar are never seen together.
                    self.show();
                }
                _ = frames.tick(), if self.report.wants_rows() => self.show(),
                _ = beats.tick(), if beats_at_all => {
                    let (rows, now) = (self.rows(), self.engine.now());
                    // Where the reader is behind there is enough to read already.
                    let _ = self.report.heartbeat(&rows, now.wall_ms).now_or_never();
                }
            }
            if self.stopping && last_wait.is_none() {
                last_wait = Instant::now().checked_add(STUCK_READER);
            }
        }
    }

    /// Counts an end, and stops the others where the user wants that.
    fn take_note(&mut self, event: Event) {
        if let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) {
            self.ends.count(outcome);
            self.ended.push(Row {
                job,
                state: event.facts.state,
                progress: event.facts.progress.map(f32::from),
                left: None,
                next_poll: None,
                outcome: Some(outcome),
                unreachable: false,
                elapsed: Duration::from_millis(event.facts.elapsed_ms.unwrap_or(0)),
            });
            if self.options.fail_fast && is_failure(outcome, self.options.squashed_as) {
                self.engine.stop_all(Outcome::Abandoned(Reason::FailFast));
            }
        }
        self.untold.push_back(event);
    }

    fn tell_own(&mut self, kind: EventType, facts: Facts) {
        self.seq += 1;
        self.untold.push_back(Event {
            id: EventId {
                watch: self.id,
                seq: self.seq,
            },
            kind,
            wall_ms: self.engine.now().wall_ms,
            job: None,
            about: None,
            facts,
        });
    }

    /// What is left to tell, and then the screen as it was found. A second signal, or a reader that does not read
    /// when the process is to stop, ends the waiting.
    async fn close(mut self) {
        let limit = if self.stopping {
            STUCK_READER
        } else {
            Duration::MAX
        };
        let rest = async {
            while !self.untold.is_empty() {
                let told = tell(&mut self.report, &self.untold).await;
                self.untold.drain(..told);
            }
            self.report.close().await;
        };
        tokio::select! {
            biased;
            _ = timeout(limit, rest) => {}
            _ = self.stops.next() => {}
        }
    }

    fn show(&mut self) {
        if !self.report.wants_rows() {
            return;
        }
        let rows = self.rows();
        let elapsed = self.engine.now().up_ms.saturating_sub(self.began.up_ms);
        self.report.rows(&rows, Duration::from_millis(elapsed));
    }

    fn rows(&self) -> Vec<Row> {
        let now = self.engine.now();
        let live = self.engine.watches().map(|watch| row(watch, now));
        self.ended.iter().cloned().chain(live).collect()
    }
}

/// Where a watched job stands.
fn row(watch: &Watch, now: Moment) -> Row {
    let since = watch
        .first_poll()
        .map_or(0, |at| now.up_ms.saturating_sub(at));
    Row {
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

/// Tells the first of the events; returns how many that were. Dropped while it waits, it told none.
async fn tell(report: &mut Report, events: &VecDeque<Event>) -> usize {
    match events.front() {
        Some(event) => {
            report.event(event).await;
            1
        }
        None => 0,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn new_id() -> io::Result<WatchId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(no_entropy)?;
    Ok(WatchId(id))
}

fn no_entropy(error: getrandom::Error) -> io::Error {
    io::Error::other(error.to_string())
}
