//! One run of the one-shot: setup, start, end, and what is reported last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::time::Instant;

use super::earlier::{EarlierEnd, confirm_ends};
use super::state_file::{EarlierWatch, StateFile};
use crate::app::ci::CiOutput;
use crate::app::closing::{Closing, at, deadline_after};
use crate::app::exit_status::{RunErrors, exit_status, status_if_unread};
use crate::app::{READER_GRACE, new_watch_id, throttle};
use crate::clanforge::ApiClient;
use crate::config::settings::{OneShotSettings, Settings};
use crate::daemon::{Watcher, WatcherParts};
use crate::engine::{Engine, SystemClock, SystemEvents};
use crate::hooks::{Actions, Dispatcher, Outbox};
use crate::os::signals::{TerminationSignal, TerminationSignals};
use crate::report::results::RunEnd;
use crate::report::{JobRow, Report};
use crate::store::{Commit, Store, calibration};
use forgewatch_core::event::{Event, EventFields, EventType, FinishedCounts, JobMeta};
use forgewatch_core::job::{JobRef, JobSpec, Outcome, Reason};
use forgewatch_core::schedule::{ServerCalibration, ServerKey};
use forgewatch_core::time::Moment;

#[derive(Debug)]
pub(in crate::app) struct Finished {
    pub(in crate::app) exit_code: u8,
    /// The signal that interrupted the watch.
    pub(in crate::app) stop: Option<TerminationSignal>,
    /// In the order in which the jobs ended.
    pub(in crate::app) outcomes: Vec<(JobRef, Outcome)>,
}

pub(super) struct OneShotParts {
    pub(super) settings: Settings,
    pub(super) options: OneShotSettings,
    pub(super) client: ApiClient,
    pub(super) actions: Actions,
    pub(super) report: Report,
    pub(super) ci: CiOutput,
    /// Whose jobs the calibration learns from, and its file.
    pub(super) server: Option<ServerKey>,
    pub(super) calibration_file: Option<PathBuf>,
    pub(super) state: StateFile,
}

type OneShotOutbox = Outbox<StateFile, SystemClock>;
type OneShotEngine = Engine<ApiClient, OneShotOutbox, SystemClock>;
type OneShotHooks = Dispatcher<StateFile, SystemClock, Actions>;

pub(super) struct OneShotRun {
    pub(super) engine: OneShotEngine,
    outbox: OneShotOutbox,
    pub(super) hooks: OneShotHooks,
    system_events: Rc<SystemEvents<SystemClock>>,
    pub(super) errors: RunErrors,
    /// How long to wait for hooks after the last job has ended; a second signal sets it to now.
    pub(super) hooks_until: Option<Instant>,
    pub(super) options: OneShotSettings,
    pub(super) report: Report,
    pub(super) ci: CiOutput,
    calibration_file: Option<PathBuf>,
    pub(super) stops: TerminationSignals,
    pub(super) began: Moment,
    /// Events that the report has not accepted yet.
    pub(super) unreported: VecDeque<Event>,
    pub(super) ended: Vec<JobRow>,
    ended_before: Vec<EarlierEnd>,
    pub(super) counts: FinishedCounts,
    pub(super) stop: Option<TerminationSignal>,
    /// The end of `--timeout`.
    pub(super) deadline: Option<Instant>,
    /// How long to wait for a reader that does not read; None unless the run is stopping.
    pub(super) stop_deadline: Option<Instant>,
}

impl OneShotRun {
    pub(super) async fn new(parts: OneShotParts) -> io::Result<Self> {
        let (settings, state) = (parts.settings, parts.state);
        let running = state.running().await.map_err(io::Error::other)?;
        let calibration_file = parts.calibration_file;
        let saved = calibration_file.as_deref().and_then(calibration::load);
        let deadline = deadline_after(parts.options.timeout);
        let jobs = settings.jobs.iter().map(|spec| spec.job);
        let mut earlier = (state
            .earlier_watches(jobs, running.watches, parts.options.again)
            .await)
            .map_err(io::Error::other)?;
        let mut stops = TerminationSignals::listen()?;
        let (ended_before, stop) = tokio::select! {
            ended = confirm_ends(&parts.client, &settings, &mut earlier) => (ended, None),
            () = at(deadline) => (Vec::new(), None),
            stop = stops.next() => (Vec::new(), Some(stop)),
        };
        let clock = SystemClock::start();
        let Watcher {
            engine,
            mut hooks,
            outbox,
            system_events,
        } = Watcher::new(WatcherParts {
            id: new_watch_id().map_err(no_entropy)?,
            seed: getrandom::u64().map_err(no_entropy)?,
            api: parts.client,
            store: state.clone(),
            clock,
            limits: settings.limits,
            throttle: throttle(&settings.api),
            calibration: ServerCalibration::new(parts.server, saved.as_deref()),
            hooks: &settings.hooks,
            executor: parts.actions,
        });
        hooks.load(running.deliveries).map_err(io::Error::other)?;
        let mut run = Self {
            began: engine.now(),
            engine,
            outbox,
            hooks,
            system_events,
            errors: RunErrors::default(),
            hooks_until: None,
            report: parts.report,
            ci: parts.ci,
            calibration_file,
            stops,
            unreported: VecDeque::new(),
            ended: Vec::new(),
            ended_before,
            counts: FinishedCounts::default(),
            stop: None,
            deadline,
            stop_deadline: None,
            options: parts.options,
        };
        run.start_watches(settings.jobs, earlier)?;
        if let Some(stop) = stop {
            run.stop(stop);
        }
        Ok(run)
    }

    /// Resumes the jobs that an earlier run left running, counts those that have ended since, and starts the others.
    fn start_watches(
        &mut self,
        jobs: Vec<JobSpec>,
        mut earlier: BTreeMap<JobRef, EarlierWatch>,
    ) -> io::Result<()> {
        self.report.widen(jobs.iter().map(|spec| spec.job));
        self.ci.add(jobs.iter().map(|spec| spec.job));
        for EarlierEnd {
            job,
            outcome,
            error,
        } in &self.ended_before
        {
            self.counts.add(*outcome);
            self.ci.end(*job, *outcome, error.clone());
            self.ended.push(JobRow::ended(*job, *outcome));
        }
        let ended: BTreeSet<JobRef> = self.ended_before.iter().map(|ended| ended.job).collect();
        let jobs = jobs.into_iter().filter(|spec| !ended.contains(&spec.job));
        for spec in jobs {
            match earlier.remove(&spec.job) {
                Some(EarlierWatch::Running(saved)) => {
                    self.engine.resume_saved(&saved).map_err(io::Error::other)?;
                }
                Some(EarlierWatch::Ended(_)) | None => self.engine.watch(
                    new_watch_id().map_err(no_entropy)?,
                    spec.job,
                    JobMeta::of_labels(spec.labels),
                ),
            }
        }
        Ok(())
    }

    /// Watches until every job has ended, or a signal, a timeout or an error stops the run.
    pub(super) async fn until_done(mut self) -> Finished {
        // Jobs that have ended at this point ended in an earlier run.
        let jobs = self.engine.watches().count() + self.ended.len();
        let jobs = Some(u32::try_from(jobs).unwrap_or(u32::MAX));
        let fields = EventFields {
            jobs,
            ..EventFields::default()
        };
        self.emit_system_event(EventType::WatchStarted, fields)
            .await;
        for ended in &self.ended_before {
            ended.log();
        }
        self.watch_jobs().await;
        self.wait_for_hooks().await;

        if let (Some(path), Some(json)) =
            (&self.calibration_file, self.engine.calibration().to_json())
        {
            calibration::save(path, &json);
        }
        let (_, outcome) = self.exit_status();
        let fields = EventFields {
            jobs,
            counts: Some(FinishedCounts {
                outcome,
                ..self.counts
            }),
            elapsed_ms: Some(self.elapsed_ms()),
            ..EventFields::default()
        };
        let finished = self
            .emit_system_event(EventType::WatchFinished, fields)
            .await;
        self.wait_for_hooks().await;
        // The delivery of `watch.finished` can fail too, and a signal can arrive.
        let (exit_status, outcome) = self.exit_status();
        let end = RunEnd {
            outcome,
            ..RunEnd::of(&finished, exit_status, self.began.wall_ms)
        };
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
        match self.close(&end).await {
            Ok(()) => Finished {
                exit_code: exit_status,
                stop,
                outcomes,
            },
            Err(stop) => Finished {
                exit_code: status_if_unread(exit_status, stop),
                stop,
                outcomes,
            },
        }
    }

    fn exit_status(&self) -> (u8, &'static str) {
        exit_status(
            &self.counts,
            self.options.squashed_as,
            self.stop,
            self.errors,
        )
    }

    /// Emits a `watch.*` event. Returns it.
    async fn emit_system_event(&mut self, kind: EventType, fields: EventFields) -> Event {
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
        self.unreported.push_back(event.clone());
        event
    }

    /// Writes the files for a CI system, reports the remaining events and restores the screen. Err if the reader has not
    /// read everything in time.
    async fn close(self, end: &RunEnd) -> Result<(), Option<TerminationSignal>> {
        let Self {
            mut report,
            mut ci,
            mut stops,
            unreported,
            ..
        } = self;
        // After an error of the state, jobs have no end.
        ci.end_active(Outcome::Abandoned(Reason::Interrupted));
        let problems = ci.finish(end);
        let closing = Closing {
            stop: self.stop,
            deadline: self.deadline,
            stop_deadline: self.stop_deadline,
        };
        let rest = async move {
            for problem in &problems {
                report.problem(problem).await;
            }
            for event in &unreported {
                report.event(event).await;
            }
            report.close().await;
        };
        closing.finish(&mut stops, rest).await
    }
}

fn no_entropy(error: getrandom::Error) -> io::Error {
    io::Error::other(error.to_string())
}
