//! One run of `wait`: its loop, and what is reported last.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::line::{Line, report_first};
use super::rows::Rows;
use crate::app::ci::CiOutput;
use crate::app::closing::{Closing, at, deadline_after};
use crate::app::command_error::CommandError;
use crate::app::exit_status::{RunErrors, exit_status, is_failure, status_if_unread};
use crate::app::{READER_GRACE, new_watch_id, ticks};
use crate::config::settings::OneShotSettings;
use crate::control::client::{self, ClientError, DaemonAddress};
use crate::control::follower::{FollowError, Update, list_jobs};
use crate::control::protocol::{JobSummary, Request, Response};
use crate::engine::{Clock, SystemClock, SystemEvents};
use crate::os::signals::{TerminationSignal, TerminationSignals};
use crate::report::results::RunEnd;
use crate::report::{FRAME_INTERVAL, Report};
use forgewatch_core::event::{
    Event, EventFields, EventOrigin, EventType, FinishedCounts, ParsedRecord,
};
use forgewatch_core::job::{JobRef, Outcome, Reason};
use forgewatch_core::time::Moment;
use forgewatch_core::wait::WaitSet;

/// Time limit for the details of a job that has ended. Its outcome is known without them.
const SHOW_TIMEOUT: Duration = Duration::from_secs(5);
const SHOW_RETRY: Duration = Duration::from_millis(100);
/// How often bars get the daemon's list.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct WaitParts {
    pub(super) daemon: DaemonAddress,
    /// The name of this forgewatch in its own events.
    pub(super) origin: EventOrigin,
    pub(super) options: OneShotSettings,
    pub(super) give_up_after: Option<Duration>,
    pub(super) any: bool,
    pub(super) report: Report,
    pub(super) ci: CiOutput,
    pub(super) updates: mpsc::Receiver<Update>,
}

type Listing = JoinHandle<Result<Vec<JobSummary>, FollowError>>;

pub(super) struct WaitRun {
    parts: WaitParts,
    clock: SystemClock,
    began: Moment,
    system_events: SystemEvents<SystemClock>,
    stops: TerminationSignals,
    stop: Option<TerminationSignal>,
    errors: RunErrors,
    set: WaitSet,
    rows: Rows,
    unreported: VecDeque<Line>,
    deadline: Option<Instant>,
    /// Since when the daemon cannot be reached, and why.
    disconnected: Option<(Instant, String)>,
    listing: Option<Listing>,
    has_list: bool,
    /// Whether a heartbeat follows the list that is being read.
    heartbeat_due: bool,
    failed: Option<FollowError>,
}

impl WaitRun {
    pub(super) fn new(parts: WaitParts) -> io::Result<Self> {
        let clock = SystemClock::start();
        let id = new_watch_id().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            began: clock.now(),
            system_events: SystemEvents::new(id, parts.origin.clone(), clock),
            clock,
            stops: TerminationSignals::listen()?,
            stop: None,
            errors: RunErrors::default(),
            set: WaitSet::default(),
            rows: Rows::default(),
            unreported: VecDeque::new(),
            deadline: deadline_after(parts.options.timeout),
            disconnected: None,
            listing: None,
            has_list: false,
            heartbeat_due: false,
            failed: None,
            parts,
        })
    }

    /// Waits until the jobs have ended, or a signal, a time limit or an error ends the wait. Returns the exit status.
    pub(super) async fn until_done(mut self) -> Result<u8, CommandError> {
        self.drive().await;
        if let Some(error) = self.failed {
            self.parts.report.close().await;
            return Err(match error {
                FollowError::UnknownJobs(_) | FollowError::NothingSelected(_) => {
                    CommandError::usage(error)
                }
                _ => CommandError::failed(error),
            });
        }
        Ok(self.finish().await)
    }

    async fn drive(&mut self) {
        let mut frames = ticks(FRAME_INTERVAL);
        let mut lists = ticks(LIST_INTERVAL);
        let heartbeat = self.parts.options.heartbeat;
        let mut heartbeats = ticks(heartbeat.unwrap_or(LIST_INTERVAL));
        while !self.is_done() {
            let has_bars = self.parts.report.has_bars();
            let give_up = self.give_up_at();
            tokio::select! {
                biased;
                stop = self.stops.next() => self.stop = Some(stop),
                () = at(self.deadline) => self.time_out(),
                () = at(give_up) => self.errors.daemon_unreachable = true,
                () = report_first(&mut self.parts.report, &self.unreported), if !self.unreported.is_empty() => {
                    self.unreported.pop_front();
                }
                update = self.parts.updates.recv(), if self.unreported.is_empty() => match update {
                    Some(update) => self.on_update(update).await,
                    // The follower's thread ends only after an error, or by a bug.
                    None => self.failed = Some(FollowError::Client(ClientError::ConnectionLost)),
                },
                Some(list) = OptionFuture::from(self.listing.as_mut()) => {
                    self.listing = None;
                    if let Ok(Ok(list)) = list {
                        self.rows.on_list(&list, self.clock.now().wall_ms);
                    }
                    self.heartbeat();
                }
                _ = frames.tick(), if has_bars => self.show(),
                _ = lists.tick(), if has_bars => self.list(),
                _ = heartbeats.tick(), if heartbeat.is_some() => {
                    self.heartbeat_due = true;
                    self.list();
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let stops_at = |outcome| {
            self.parts.any
                || (self.parts.options.fail_fast
                    && (is_failure(outcome, self.parts.options.squashed_as)
                        || outcome == Outcome::Removed))
        };
        self.stop.is_some()
            || self.failed.is_some()
            || self.errors.daemon_unreachable
            || self.errors.wait_timed_out
            || self.set.ended().any(|(_, outcome)| stops_at(outcome))
            || (!self.set.is_empty() && self.set.active().next().is_none())
    }

    fn give_up_at(&self) -> Option<Instant> {
        let (since, _) = self.disconnected.as_ref()?;
        since.checked_add(self.parts.give_up_after?)
    }

    async fn on_update(&mut self, update: Update) {
        match update {
            Update::Started(jobs) => {
                let fields = EventFields {
                    jobs: Some(count(jobs.len())),
                    ..EventFields::default()
                };
                self.parts.report.widen(jobs.iter().copied());
                self.parts.ci.add(jobs.iter().copied());
                self.set = WaitSet::new(jobs);
                let event = self.system_events.event(EventType::WatchStarted, fields);
                self.unreported.push_back(Line::Own(Box::new(event)));
            }
            Update::Listed(list) => {
                if self.disconnected.take().is_some() {
                    tracing::info!(target: "forgewatch::wait", "connected to the daemon again");
                }
                let listed = self.rows.on_list(&list, self.clock.now().wall_ms);
                for (job, outcome) in self.set.on_list(listed) {
                    self.on_missed_end(job, outcome).await;
                }
                if !std::mem::replace(&mut self.has_list, true) && !self.is_done() {
                    // The next event may take its time.
                    self.heartbeat_due = true;
                    self.heartbeat();
                }
            }
            Update::Event(record) => self.on_record(record),
            Update::Disconnected(error) => {
                if self.disconnected.is_none() {
                    tracing::warn!(target: "forgewatch::wait", "{error}; trying again");
                    self.disconnected = Some((Instant::now(), error));
                }
            }
            Update::Failed(error) => self.failed = Some(error),
        }
    }

    /// Takes an event of a job that is waited for.
    fn on_record(&mut self, record: Box<RawValue>) {
        match record.get().parse::<ParsedRecord>() {
            Ok(parsed) if self.set.on_event(&parsed.event) => self.report(record, parsed.event),
            Ok(_) => {}
            // Of a later version of the daemon; the list has its end.
            Err(error) => tracing::debug!(target: "forgewatch::wait", %error, "event ignored"),
        }
    }

    fn report(&mut self, record: Box<RawValue>, event: Event) {
        self.errors.job_removed |= event.kind == EventType::Ended(Outcome::Removed);
        self.parts.ci.on_event(&event);
        self.rows.on_event(&event);
        self.show();
        self.unreported
            .push_back(Line::Recorded(record, Box::new(event)));
    }

    /// Reports the end of a job that has ended already, as recorded.
    async fn on_missed_end(&mut self, job: JobRef, outcome: Outcome) {
        self.errors.job_removed |= outcome == Outcome::Removed;
        let show = timeout(SHOW_TIMEOUT, show(&self.parts.daemon, job));
        let record = match show.await {
            Ok(Response::Job(details)) => details.events.into_iter().next_back(),
            _ => None,
        };
        let end = record.and_then(|record| {
            let parsed: ParsedRecord = record.get().parse().ok()?;
            (parsed.event.kind == EventType::Ended(outcome)).then_some((record, parsed.event))
        });
        if let Some((record, event)) = end {
            return self.report(record, event);
        }
        self.parts.ci.end(job, outcome, None);
        self.rows.end(job, outcome);
        let outcome = outcome.as_str();
        tracing::warn!(
            target: "forgewatch::wait",
            %job,
            "{job} has ended ({outcome}); its events are gone"
        );
    }

    fn time_out(&mut self) {
        self.errors.wait_timed_out = true;
        let (rows, now) = (self.rows.all(), self.clock.now());
        // If the reader is behind, the exit status must do.
        let _ = self
            .parts
            .report
            .deadline(&rows, now.wall_ms)
            .now_or_never();
    }

    /// Reads the daemon's list.
    fn list(&mut self) {
        if self.listing.is_some() || self.set.is_empty() {
            return;
        }
        let (daemon, jobs) = (
            self.parts.daemon.clone(),
            self.set.active().collect::<Vec<_>>(),
        );
        self.listing = Some(spawn_blocking(move || list_jobs(&daemon, &jobs)));
    }

    /// Reports a heartbeat if one is due, unless the reader is behind.
    fn heartbeat(&mut self) {
        if std::mem::take(&mut self.heartbeat_due) {
            let (rows, now) = (self.rows.all(), self.clock.now());
            let _ = self
                .parts
                .report
                .heartbeat(&rows, now.wall_ms)
                .now_or_never();
            if let Some((_, error)) = &self.disconnected {
                tracing::warn!(target: "forgewatch::wait", "{error}; trying again");
            }
        }
    }

    fn show(&mut self) {
        if self.parts.report.has_bars() {
            self.parts
                .report
                .update_bars(&self.rows.all(), Duration::from_millis(self.elapsed_ms()));
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.clock.now().up_ms.saturating_sub(self.began.up_ms)
    }

    /// Reports the end and returns the exit status.
    async fn finish(mut self) -> u8 {
        let outcome_of_active = self.outcome_of_active();
        let mut counts = self.set.counts();
        if let Some(outcome) = outcome_of_active {
            self.set.active().for_each(|_| counts.add(outcome));
        }
        let squashed_as = self.parts.options.squashed_as;
        let (exit_status, outcome) = exit_status(&counts, squashed_as, self.stop, self.errors);
        let fields = EventFields {
            jobs: Some(count(self.set.len())),
            counts: Some(FinishedCounts { outcome, ..counts }),
            elapsed_ms: Some(self.elapsed_ms()),
            ..EventFields::default()
        };
        let event = self.system_events.event(EventType::WatchFinished, fields);
        if let Some(outcome) = outcome_of_active {
            self.parts.ci.end_active(outcome);
        }
        let end = RunEnd::of(&event, exit_status, self.began.wall_ms);
        let problems = self.parts.ci.finish(&end);
        self.unreported.push_back(Line::Own(Box::new(event)));
        self.show();
        let closing = Closing {
            stop: self.stop,
            stop_deadline: self
                .is_stopped_early()
                .then(|| Instant::now() + READER_GRACE),
            deadline: self.deadline.filter(|_| !self.errors.wait_timed_out),
        };
        let (mut report, unreported) = (self.parts.report, self.unreported);
        let rest = async move {
            for problem in &problems {
                report.problem(problem).await;
            }
            for line in &unreported {
                line.report(&mut report).await;
            }
            report.close().await;
        };
        match closing.finish(&mut self.stops, rest).await {
            Ok(()) => exit_status,
            Err(stop) => status_if_unread(exit_status, stop),
        }
    }

    /// The outcome of jobs that have not ended; None with `--any`.
    fn outcome_of_active(&self) -> Option<Outcome> {
        if self.stop.is_some() {
            Some(Outcome::Abandoned(Reason::Interrupted))
        } else if self.errors.wait_timed_out {
            Some(Outcome::TimedOut)
        } else if self.errors.daemon_unreachable {
            Some(Outcome::GaveUp)
        } else {
            (!self.parts.any).then_some(Outcome::Abandoned(Reason::FailFast))
        }
    }

    fn is_stopped_early(&self) -> bool {
        self.stop.is_some() || self.errors.wait_timed_out
    }
}

/// The daemon's details of a job; it may restart meanwhile.
async fn show(daemon: &DaemonAddress, job: JobRef) -> Response {
    loop {
        let daemon = daemon.clone();
        let call = spawn_blocking(move || client::call(&daemon, &Request::Show { job }));
        if let Ok(Ok(response)) = call.await {
            return response;
        }
        sleep(SHOW_RETRY).await;
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn the_details_of_a_job_are_requested_again_after_a_lost_connection() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (mut client, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&client).read_line(&mut request).unwrap();
            client.write_all(b"\"done\"\n").unwrap();
            request
        });
        let job = "diff/1".parse().unwrap();
        let response = show(&DaemonAddress::Socket(socket), job).await;
        assert!(matches!(response, Response::Done), "{response:?}");
        assert!(daemon.join().unwrap().contains("diff/1"));
    }
}
