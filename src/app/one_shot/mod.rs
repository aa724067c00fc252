//! A watch that ends: drives the engine, tells what happens, and knows when it is over.
//!
//! `watch --until-done` and `demo` run it. It owns what is the one-shot's own: deadlines, `--fail-fast`, signals,
//! the screen and the exit status.

mod hooks_end;
mod rows;
mod state_file;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::exit_status::{OutcomeCounts, RunErrors, is_failure, status_of_unread};
use super::{STUCK_READER, new_id, throttle, ticks};
use crate::clanforge::Client;
use crate::config::settings::{OneShot, Settings};
use crate::engine::{Engine, SystemClock, SystemEvents};
use crate::hooks::{Actions, Hooks, Outbox};
use crate::os::signals::{Stop, Stops};
use crate::report::{FRAME, Report, Row};
use crate::store::{Commit, Loaded, Store, StoreError, calibration};
use forgewatch_core::event::{Event, EventFields, EventType, JobMeta};
use forgewatch_core::job::{JobRef, Outcome, Reason};
use forgewatch_core::rng::SeededRng;
use forgewatch_core::schedule::Calibration;
use forgewatch_core::status::Names;
use forgewatch_core::time::Moment;
use forgewatch_core::watch::Watch;
use state_file::Left;
pub(super) use state_file::StateFile;

/// How a one-shot went.
#[derive(Debug)]
pub(super) struct Finished {
    /// The status to leave with.
    pub(super) status: u8,
    /// The signal that ended it before its time.
    pub(super) stop: Option<Stop>,
    /// Each job's end, in the order of the ends.
    pub(super) ends: Vec<(JobRef, Outcome)>,
}

/// What is told goes to the hooks through it.
type Telling = Outbox<StateFile, SystemClock>;
type Watching = Engine<Client, Telling, SystemClock>;
type Delivering = Hooks<StateFile, SystemClock, Actions>;

/// A one-shot under way.
pub(super) struct Run {
    engine: Watching,
    outbox: Telling,
    hooks: Delivering,
    system_events: Rc<SystemEvents<SystemClock>>,
    flaws: RunErrors,
    /// Until when the hooks are waited for, once all else is over; past already where nobody wants to wait.
    hooks_until: Option<Instant>,
    options: OneShot,
    report: Report,
    stops: Stops,
    began: Moment,
    /// Events that the reader has not taken yet.
    untold: VecDeque<Event>,
    ended: Vec<Row>,
    ends: OutcomeCounts,
    stop: Option<Stop>,
    /// When the whole watch has to be over.
    deadline: Option<Instant>,
    /// Until when a reader that does not read is waited for; None while nothing is to stop.
    patience: Option<Instant>,
}

impl Run {
    /// Sets everything up; nothing is asked yet. `calibration` names the file of what earlier ends taught.
    pub(super) async fn new(
        settings: Settings,
        options: OneShot,
        client: Client,
        actions: Actions,
        report: Report,
        calibration: Option<&PathBuf>,
        (kept, loaded): (StateFile, Loaded),
    ) -> io::Result<Self> {
        let throttle = throttle(&settings.api);
        let memory = calibration.map_or_else(Calibration::default, |path| calibration::load(path));
        let clock = SystemClock::start();
        let system_events = Rc::new(SystemEvents::new(new_id().map_err(no_entropy)?, clock));
        let outbox = Outbox::new(kept.clone(), clock, &system_events.id().to_string());
        let mut hooks = Hooks::new(
            &settings.hooks,
            actions,
            outbox.clone(),
            Rc::clone(&system_events),
            clock,
            rng()?,
        );
        hooks.load(loaded.deliveries).map_err(io::Error::other)?;
        let limits = settings.limits.clone();
        let mut engine = Engine::new(
            client,
            outbox.clone(),
            clock,
            rng()?,
            settings.limits,
            throttle,
            memory,
        );
        let jobs = settings.jobs.iter().map(|spec| spec.job);
        let mut left = (kept.left(jobs, loaded.watches).await).map_err(io::Error::other)?;
        let (mut ends, mut ended) = (OutcomeCounts::default(), Vec::new());
        for spec in settings.jobs {
            match left.remove(&spec.job) {
                Some(Left::Running(saved)) => {
                    let watch = Watch::load(&saved.row, engine.now(), &limits);
                    engine.resume(watch.map_err(io::Error::other)?);
                }
                Some(Left::Ended(outcome)) => {
                    ends.count(outcome);
                    ended.push(rows::ended_before(spec.job, outcome));
                }
                None => engine.watch(new_id().map_err(no_entropy)?, spec.job, about(spec.labels)),
            }
        }
        Ok(Self {
            began: engine.now(),
            engine,
            outbox,
            hooks,
            system_events,
            flaws: RunErrors::default(),
            hooks_until: None,
            report,
            stops: Stops::catch()?,
            untold: VecDeque::new(),
            ended,
            ends,
            stop: None,
            deadline: options
                .timeout
                .and_then(|limit| Instant::now().checked_add(limit)),
            patience: None,
            options,
        })
    }

    /// Watches until every job has ended, or until it is to stop.
    pub(super) async fn until_done(mut self, calibration: Option<&PathBuf>) -> Finished {
        // So far, what has ended did so in an earlier run.
        let jobs = self.engine.watches().count() + self.ended.len();
        let jobs = Some(u32::try_from(jobs).unwrap_or(u32::MAX));
        let facts = EventFields {
            jobs,
            ..EventFields::default()
        };
        self.tell_own(EventType::WatchStarted, facts).await;
        rows::tell_ended_before(&self.ended);
        self.drive().await;
        self.end_hooks().await;

        if let Some(path) = calibration.filter(|_| self.engine.has_learnt()) {
            calibration::save(path, self.engine.memory());
        }
        let (_, outcome) = self.status();
        let facts = EventFields {
            jobs,
            tally: Some(self.ends.tally(outcome)),
            elapsed_ms: Some(self.elapsed_ms()),
            ..EventFields::default()
        };
        self.tell_own(EventType::WatchFinished, facts).await;
        self.end_hooks().await;
        // A hook that wanted to hear of the very end can fail too, and a signal can come.
        let (status, _) = self.status();
        self.outbox.store().close().await;
        let is_hasty = self
            .hooks_until
            .is_some_and(|until| until <= Instant::now());
        if self.flaws.state_unusable && !is_hasty {
            // So far the state was waited for, not the reader.
            self.patience = Some(Instant::now() + STUCK_READER);
        }
        let ends = self
            .ended
            .iter()
            .filter_map(|row| Some((row.job, row.outcome?)))
            .collect();
        let stop = self.stop;
        match self.close().await {
            Ok(()) => Finished { status, stop, ends },
            Err(stop) => Finished {
                status: status_of_unread(status, stop),
                stop,
                ends,
            },
        }
    }

    fn status(&self) -> (u8, &'static str) {
        self.ends
            .status(self.options.squashed_as, self.stop, self.flaws)
    }

    /// Runs the engine until every watch has ended. Events are told on the way, but once all is to stop nobody waits
    /// for the reader: how the jobs ended has to be known whether anybody reads it or not.
    async fn drive(&mut self) {
        let job_deadline = self
            .options
            .job_timeout
            .and_then(|d| Instant::now().checked_add(d));
        let deadline = [self.deadline, job_deadline].into_iter().flatten().min();
        let mut frames = ticks(FRAME);
        let mut beats = ticks(self.options.heartbeat.unwrap_or(FRAME));
        let beats_at_all = self.options.heartbeat.is_some();
        while !self.engine.is_done() && !self.flaws.state_unusable {
            let stopping = self.patience.is_some();
            tokio::select! {
                biased;
                stop = self.stops.next() => {
                    self.stop(stop);
                    self.engine.stop_all(Outcome::Abandoned(Reason::Interrupted));
                }
                () = at(deadline), if !stopping => {
                    self.out_of_time();
                }
                events = self.engine.advance(), if stopping || self.untold.is_empty() => {
                    for event in self.unbroken(events) {
                        self.take_note(event);
                    }
                    // A job's final line and its bar are never seen together.
                    self.show();
                }
                told = tell(&mut self.report, &self.untold), if !self.untold.is_empty() => {
                    self.untold.drain(..told);
                }
                failed = self.hooks.advance() => {
                    let failed = self.unbroken(failed);
                    self.hooks_failed(failed);
                }
                // A full disk, or one that hangs, takes no ends.
                () = at(self.patience), if stopping => {
                    tracing::error!("the ends could not be recorded in time");
                    self.flaws.state_unusable = true;
                }
                _ = frames.tick(), if self.report.wants_rows() => self.show(),
                _ = beats.tick(), if beats_at_all => self.heartbeat(),
            }
        }
    }

    /// The events, or none and a note of why there will be none any more.
    fn unbroken(&mut self, events: Result<Vec<Event>, StoreError>) -> Vec<Event> {
        events.unwrap_or_else(|error| {
            tracing::error!(%error, "the watch ends here");
            self.flaws.state_unusable = true;
            Vec::new()
        })
    }

    /// A signal: everything is to stop, at the second one without waiting for reader or hooks.
    fn stop(&mut self, stop: Stop) {
        let patience = if self.stop.is_some() {
            self.hooks_until = Some(Instant::now());
            Duration::ZERO
        } else {
            STUCK_READER
        };
        self.be_patient_for(patience);
        self.stop.get_or_insert(stop);
    }

    /// Says which jobs are still going, and ends them.
    fn out_of_time(&mut self) {
        self.be_patient_for(STUCK_READER);
        let (rows, now) = (self.rows(), self.engine.now());
        self.engine.stop_all(Outcome::TimedOut);
        // The lines belong between what was told before and the ends; where the reader is behind, the ends say it too.
        if self.untold.is_empty() {
            let _ = self.report.deadline(&rows, now.wall_ms).now_or_never();
        }
    }

    fn be_patient_for(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        self.patience = Some(self.patience.map_or(until, |set| set.min(until)));
    }

    /// Counts an end, and stops the others where the user wants that.
    fn take_note(&mut self, event: Event) {
        if let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) {
            self.ends.count(outcome);
            self.ended.push(rows::ended(&event, job, outcome));
            if self.options.fail_fast && is_failure(outcome, self.options.squashed_as) {
                self.engine.stop_all(Outcome::Abandoned(Reason::FailFast));
            }
        }
        self.untold.push_back(event);
    }

    /// Tells one of the watcher's own events.
    async fn tell_own(&mut self, kind: EventType, facts: EventFields) {
        let event = self.system_events.event(kind, facts);
        let commit = Commit {
            events: std::slice::from_ref(&event),
            ..Commit::default()
        };
        if let Err(error) = self.outbox.commit(commit).await {
            tracing::error!(event_id = %event.id, %error, "no hook hears of an event");
        }
        self.untold.push_back(event);
    }

    /// What is left to tell, and then the screen as it was found. A reader that is slow is waited for, until a signal
    /// or `--timeout` says otherwise, and then a little longer. Err where it has not read all by then.
    async fn close(self) -> Result<(), Option<Stop>> {
        let Self {
            mut report,
            mut stops,
            untold,
            mut stop,
            deadline,
            mut patience,
            ..
        } = self;
        let mut rest = pin!(async move {
            for event in &untold {
                report.event(event).await;
            }
            report.close().await;
        });
        loop {
            let little_longer = Some(Instant::now() + STUCK_READER);
            tokio::select! {
                biased;
                () = &mut rest => return Ok(()),
                signal = stops.next() => {
                    if stop.is_some() {
                        return Err(stop);
                    }
                    stop = Some(signal);
                    patience = patience.or(little_longer);
                }
                () = at(patience) => return Err(stop),
                () = at(deadline), if patience.is_none() => patience = little_longer,
            }
        }
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

fn about(labels: BTreeMap<String, String>) -> Option<Arc<JobMeta>> {
    (!labels.is_empty()).then(|| {
        Arc::new(JobMeta {
            labels,
            names: Names::default(),
        })
    })
}

fn rng() -> io::Result<SeededRng> {
    getrandom::u64().map(SeededRng::new).map_err(no_entropy)
}

fn no_entropy(error: getrandom::Error) -> io::Error {
    io::Error::other(error.to_string())
}
