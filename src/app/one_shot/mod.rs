//! The one-shot, run by `watch --until-done` and `demo`: drives the engine until every job has ended.
//!
//! It owns deadlines, `--fail-fast`, signals, the screen and the exit status.

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

use super::exit_status::{OutcomeCounts, RunErrors, is_failure, status_if_unread};
use super::{READER_GRACE, new_watch_id, throttle, ticks};
use crate::clanforge::ApiClient;
use crate::config::settings::{OneShotSettings, Settings};
use crate::daemon::{Watcher, WatcherParts};
use crate::engine::{Engine, SystemClock, SystemEvents};
use crate::hooks::{Actions, Dispatcher, Outbox};
use crate::os::signals::{StopSignal, StopSignals};
use crate::report::{FRAME_INTERVAL, JobRow, Report};
use crate::store::{Commit, Store, StoreError, StoredState, calibration};
use forgewatch_core::event::{Event, EventFields, EventType, JobMeta};
use forgewatch_core::job::{JobRef, Outcome, Reason};
use forgewatch_core::schedule::Calibration;
use forgewatch_core::status::DiffNames;
use forgewatch_core::time::Moment;
use state_file::EarlierWatch;
pub(super) use state_file::StateFile;

#[derive(Debug)]
pub(super) struct Finished {
    pub(super) exit_code: u8,
    /// The signal that interrupted the watch.
    pub(super) stop: Option<StopSignal>,
    /// In the order in which the jobs ended.
    pub(super) outcomes: Vec<(JobRef, Outcome)>,
}

type OneShotOutbox = Outbox<StateFile, SystemClock>;
type OneShotEngine = Engine<ApiClient, OneShotOutbox, SystemClock>;
type OneShotHooks = Dispatcher<StateFile, SystemClock, Actions>;

pub(super) struct OneShotRun {
    engine: OneShotEngine,
    outbox: OneShotOutbox,
    hooks: OneShotHooks,
    system_events: Rc<SystemEvents<SystemClock>>,
    errors: RunErrors,
    /// How long to wait for hooks after the last job has ended; a second signal sets it to now.
    hooks_until: Option<Instant>,
    options: OneShotSettings,
    report: Report,
    stops: StopSignals,
    began: Moment,
    /// Events that the report has not accepted yet.
    unreported: VecDeque<Event>,
    ended: Vec<JobRow>,
    counts: OutcomeCounts,
    stop: Option<StopSignal>,
    /// The end of `--timeout`.
    deadline: Option<Instant>,
    /// How long to wait for a reader that does not read; None unless the run is stopping.
    stop_deadline: Option<Instant>,
}

impl OneShotRun {
    /// `calibration` is the file in which one-shots keep their calibration.
    pub(super) async fn new(
        settings: Settings,
        options: OneShotSettings,
        client: ApiClient,
        actions: Actions,
        report: Report,
        calibration: Option<&PathBuf>,
        (state, loaded): (StateFile, StoredState),
    ) -> io::Result<Self> {
        let throttle = throttle(&settings.api);
        let learned = calibration.map_or_else(Calibration::default, |path| calibration::load(path));
        let clock = SystemClock::start();
        let Watcher {
            mut engine,
            hooks,
            outbox,
            system_events,
        } = Watcher::new(WatcherParts {
            id: new_watch_id().map_err(no_entropy)?,
            seed: getrandom::u64().map_err(no_entropy)?,
            api: client,
            store: state.clone(),
            clock,
            limits: settings.limits,
            throttle,
            calibration: learned,
            hooks: &settings.hooks,
            executor: actions,
            deliveries: loaded.deliveries,
        })
        .map_err(io::Error::other)?;
        let jobs = settings.jobs.iter().map(|spec| spec.job);
        let mut earlier =
            (state.earlier_watches(jobs, loaded.watches).await).map_err(io::Error::other)?;
        let (mut counts, mut ended) = (OutcomeCounts::default(), Vec::new());
        for spec in settings.jobs {
            match earlier.remove(&spec.job) {
                Some(EarlierWatch::Running(saved)) => {
                    engine.resume_saved(&saved).map_err(io::Error::other)?;
                }
                Some(EarlierWatch::Ended(outcome)) => {
                    counts.add(outcome);
                    ended.push(rows::ended_before(spec.job, outcome));
                }
                None => engine.watch(
                    new_watch_id().map_err(no_entropy)?,
                    spec.job,
                    job_meta(spec.labels),
                ),
            }
        }
        Ok(Self {
            began: engine.now(),
            engine,
            outbox,
            hooks,
            system_events,
            errors: RunErrors::default(),
            hooks_until: None,
            report,
            stops: StopSignals::listen()?,
            unreported: VecDeque::new(),
            ended,
            counts,
            stop: None,
            deadline: options
                .timeout
                .and_then(|limit| Instant::now().checked_add(limit)),
            stop_deadline: None,
            options,
        })
    }

    /// Watches until every job has ended, or a signal, a timeout or an error stops the run.
    pub(super) async fn until_done(mut self, calibration: Option<&PathBuf>) -> Finished {
        // Jobs that have ended at this point ended in an earlier run.
        let jobs = self.engine.watches().count() + self.ended.len();
        let jobs = Some(u32::try_from(jobs).unwrap_or(u32::MAX));
        let fields = EventFields {
            jobs,
            ..EventFields::default()
        };
        self.emit_system_event(EventType::WatchStarted, fields)
            .await;
        rows::log_ended_before(&self.ended);
        self.drive().await;
        self.end_hooks().await;

        if let Some(path) = calibration.filter(|_| self.engine.has_learned()) {
            calibration::save(path, self.engine.calibration());
        }
        let (_, outcome) = self.exit_status();
        let fields = EventFields {
            jobs,
            counts: Some(self.counts.finished(outcome)),
            elapsed_ms: Some(self.elapsed_ms()),
            ..EventFields::default()
        };
        self.emit_system_event(EventType::WatchFinished, fields)
            .await;
        self.end_hooks().await;
        // The delivery of `watch.finished` can fail too, and a signal can arrive.
        let (exit_code, _) = self.exit_status();
        self.outbox.store().close().await;
        let stop_now = self
            .hooks_until
            .is_some_and(|until| until <= Instant::now());
        if self.errors.state_unusable && !stop_now {
            // The time so far was spent on the state, not on the reader.
            self.stop_deadline = Some(Instant::now() + READER_GRACE);
        }
        let outcomes = self
            .ended
            .iter()
            .filter_map(|row| Some((row.job, row.outcome?)))
            .collect();
        let stop = self.stop;
        match self.close().await {
            Ok(()) => Finished {
                exit_code,
                stop,
                outcomes,
            },
            Err(stop) => Finished {
                exit_code: status_if_unread(exit_code, stop),
                stop,
                outcomes,
            },
        }
    }

    fn exit_status(&self) -> (u8, &'static str) {
        self.counts
            .exit_status(self.options.squashed_as, self.stop, self.errors)
    }

    /// Runs the engine until every watch has ended, and reports events on the way. Once the run is stopping it does not
    /// wait for the reader: the exit status must not depend on one.
    async fn drive(&mut self) {
        let job_deadline = self
            .options
            .job_timeout
            .and_then(|d| Instant::now().checked_add(d));
        let deadline = [self.deadline, job_deadline].into_iter().flatten().min();
        let mut frames = ticks(FRAME_INTERVAL);
        let mut heartbeats = ticks(self.options.heartbeat.unwrap_or(FRAME_INTERVAL));
        let has_heartbeat = self.options.heartbeat.is_some();
        while !self.engine.is_done() && !self.errors.state_unusable {
            let stopping = self.stop_deadline.is_some();
            tokio::select! {
                biased;
                stop = self.stops.next() => {
                    self.stop(stop);
                    self.engine.stop_all(Outcome::Abandoned(Reason::Interrupted));
                }
                () = at(deadline), if !stopping => self.time_out(),
                events = self.engine.advance(), if stopping || self.unreported.is_empty() => {
                    for event in self.unless_failed(events) {
                        self.on_event(event);
                    }
                    // The bar of an ended job goes before its final line is printed.
                    self.show();
                }
                count = report_first(&mut self.report, &self.unreported), if !self.unreported.is_empty() => {
                    self.unreported.drain(..count);
                }
                failed = self.hooks.advance() => {
                    let failed = self.unless_failed(failed);
                    self.hooks_failed(failed);
                }
                // The disk is full or hangs.
                () = at(self.stop_deadline), if stopping => {
                    tracing::error!(
                        target: "forgewatch::watch",
                        "the outcomes could not be stored in time"
                    );
                    self.errors.state_unusable = true;
                }
                _ = frames.tick(), if self.report.has_bars() => self.show(),
                _ = heartbeats.tick(), if has_heartbeat => self.heartbeat(),
            }
        }
    }

    /// The events; none after an error, which ends the run.
    fn unless_failed(&mut self, events: Result<Vec<Event>, StoreError>) -> Vec<Event> {
        events.unwrap_or_else(|error| {
            tracing::error!(target: "forgewatch::watch", %error, "the state failed; stopping");
            self.errors.state_unusable = true;
            Vec::new()
        })
    }

    /// Stops the run after a signal. The second signal does not wait for reader or hooks.
    fn stop(&mut self, stop: StopSignal) {
        let grace = if self.stop.is_some() {
            self.hooks_until = Some(Instant::now());
            Duration::ZERO
        } else {
            READER_GRACE
        };
        self.stop_within(grace);
        self.stop.get_or_insert(stop);
    }

    /// Reports the jobs that are still running, and ends their watches.
    fn time_out(&mut self) {
        self.stop_within(READER_GRACE);
        let (rows, now) = (self.rows(), self.engine.now());
        self.engine.stop_all(Outcome::TimedOut);
        // These lines belong before the ending events. If the reader is behind, the ending events must do.
        if self.unreported.is_empty() {
            let _ = self.report.deadline(&rows, now.wall_ms).now_or_never();
        }
    }

    fn stop_within(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        self.stop_deadline = Some(self.stop_deadline.map_or(until, |set| set.min(until)));
    }

    /// Counts an outcome, and stops the other watches if `--fail-fast` says so.
    fn on_event(&mut self, event: Event) {
        if let (EventType::Ended(outcome), Some(job)) = (event.kind, event.job) {
            self.counts.add(outcome);
            self.ended.push(rows::ended(&event, job, outcome));
            if self.options.fail_fast && is_failure(outcome, self.options.squashed_as) {
                self.engine.stop_all(Outcome::Abandoned(Reason::FailFast));
            }
        }
        self.unreported.push_back(event);
    }

    /// Emits a `watch.*` event.
    async fn emit_system_event(&mut self, kind: EventType, fields: EventFields) {
        let event = self.system_events.event(kind, fields);
        let commit = Commit {
            events: std::slice::from_ref(&event),
            ..Commit::default()
        };
        if let Err(error) = self.outbox.commit(commit).await {
            tracing::error!(
                target: "forgewatch::watch",
                event_id = %event.id,
                %error,
                "an event could not be stored; hooks do not receive it"
            );
        }
        self.unreported.push_back(event);
    }

    /// Reports the remaining events and restores the screen. Waits for a slow reader until a signal or `--timeout`, and
    /// then for [`READER_GRACE`]. Err if it has not read everything by then.
    async fn close(self) -> Result<(), Option<StopSignal>> {
        let Self {
            mut report,
            mut stops,
            unreported,
            mut stop,
            deadline,
            mut stop_deadline,
            ..
        } = self;
        let mut rest = pin!(async move {
            for event in &unreported {
                report.event(event).await;
            }
            report.close().await;
        });
        loop {
            let grace_end = Some(Instant::now() + READER_GRACE);
            tokio::select! {
                biased;
                () = &mut rest => return Ok(()),
                signal = stops.next() => {
                    if stop.is_some() {
                        return Err(stop);
                    }
                    stop = Some(signal);
                    stop_deadline = stop_deadline.or(grace_end);
                }
                () = at(stop_deadline) => return Err(stop),
                () = at(deadline), if stop_deadline.is_none() => stop_deadline = grace_end,
            }
        }
    }
}

/// Reports the first of the events; returns how many were reported. Cancel-safe.
async fn report_first(report: &mut Report, events: &VecDeque<Event>) -> usize {
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

fn job_meta(labels: BTreeMap<String, String>) -> Option<Arc<JobMeta>> {
    (!labels.is_empty()).then(|| {
        Arc::new(JobMeta {
            labels,
            names: DiffNames::default(),
        })
    })
}

fn no_entropy(error: getrandom::Error) -> io::Error {
    io::Error::other(error.to_string())
}
