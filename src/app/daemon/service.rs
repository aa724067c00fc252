//! The running daemon: its loop, requests of clients, reload and shutdown.

use std::iter;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, OptionFuture};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::credential_refresh::RefreshingClient;
use super::load_config::{SqliteDaemon, load_config};
use super::output::{EventOutput, announce_lag};
use super::responses::respond;
use super::{SignalListener, responses, shutdown};
use crate::app::command_error::CommandError;
use crate::app::{READER_GRACE, new_watch_id, ticks};
use crate::config::settings::Settings;
use crate::config::{self, CommandLine, Env};
use crate::control::protocol::{Request, Response};
use crate::control::{ControlServer, PendingRequest};
use crate::daemon::{
    DISK_SPACE, Daemon, DaemonConfig, DaemonParts, LOCKED_FILE, StartupError,
    retry_while_unwritable,
};
use crate::engine::{Clock, SystemClock};
use crate::hooks::Actions;
use crate::os::notify;
use crate::os::signals::Signal;
use crate::report::{FRAME_INTERVAL, Report};
use crate::store::{OpenError, SqliteStore, StoreError, StoredState};
use forgewatch_core::delivery::{HookTestReport, HookTestRequest};
use forgewatch_core::event::{Event, WatchId};
use forgewatch_core::job::JobRef;

/// The least time between two updates of the status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Service {
    command_line: CommandLine,
    env: Env,
    settings: Settings,
    daemon: SqliteDaemon,
    /// Those of the daemon, to test them.
    actions: Actions,
    store: SqliteStore,
    server: ControlServer,
    output: EventOutput,
    removals: Vec<PendingRemoval>,
    /// The status line as the service manager has it.
    status: String,
    status_is_stale: bool,
}

/// A `remove` request whose client waits until the ends of these watches are stored.
struct PendingRemoval {
    running: Vec<(JobRef, WatchId)>,
    response: Response,
    respond_to: oneshot::Sender<Response>,
}

enum LoopExit {
    Stop,
    Failed(StoreError),
}

impl Service {
    pub(super) async fn start(
        command_line: CommandLine,
        env: Env,
        settings: Settings,
        daemon_config: DaemonConfig<RefreshingClient, Actions>,
        mut report: Report,
    ) -> Result<Self, CommandError> {
        let (store, stored) = open_state(&settings.state.path).await?;
        let path = settings.state.path.display();
        let clock = SystemClock::start();
        let seed = getrandom::u64().map_err(CommandError::internal)?;
        let actions = daemon_config.executor.clone();
        let daemon = Daemon::start(DaemonParts {
            config: daemon_config,
            store: store.clone(),
            stored,
            clock,
            new_watch_id: Box::new(|| new_watch_id().map_err(|e| e.to_string())),
            seed,
        });
        let daemon = daemon.await.map_err(|error| match error {
            StartupError::Row(why) => CommandError::unusable(format!(
                "{path}: the state is damaged: {why}; recover what is readable with: forgewatch state recover --from \
                 {path}"
            )),
            StartupError::Store(error) => CommandError::failed(format!("{path}: {error}")),
            StartupError::Entropy(why) => CommandError::internal(why),
        })?;
        report.widen(daemon.watches().map(|(watch, _)| watch.job()));
        let control = &settings.control;
        let server = ControlServer::bind(&control.socket, &control.group, store.clone())
            .map_err(CommandError::failed)?;
        Ok(Self {
            command_line,
            env,
            settings,
            daemon,
            actions,
            store,
            server,
            output: EventOutput::new(report, clock),
            removals: Vec::new(),
            status: String::new(),
            status_is_stale: false,
        })
    }

    pub(super) async fn run(mut self, mut signals: SignalListener) -> Result<(), CommandError> {
        self.status = self.daemon.summary().to_string();
        notify::ready(&self.status);
        let exit = self.drive(&mut signals).await;
        notify::stopping();
        match exit {
            LoopExit::Stop => {
                // The bars would not move any more.
                self.output.show(iter::empty());
                self.stop(signals).await;
                Ok(())
            }
            LoopExit::Failed(error) => {
                let _ = timeout(READER_GRACE, self.output.report.close()).await;
                Err(CommandError::failed(error))
            }
        }
    }

    async fn drive(&mut self, signals: &mut SignalListener) -> LoopExit {
        let watchdog = notify::watchdog_interval();
        let mut watchdog_ticks = interval(watchdog.unwrap_or(Duration::MAX / 4));
        watchdog_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status = ticks(STATUS_INTERVAL);
        let mut frames = ticks(FRAME_INTERVAL);
        let mut flushing: Option<LocalBoxFuture<'static, Result<(), StoreError>>> = None;
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Stop(_) => return LoopExit::Stop,
                    Signal::Reload => {
                        let Some(reloaded) = signals.unless_stopped(self.reload()).await else {
                            return LoopExit::Stop;
                        };
                        for error in reloaded.err().into_iter().flatten() {
                            tracing::error!(
                                target: "forgewatch::daemon",
                                error,
                                "configuration not reloaded"
                            );
                        }
                    }
                    Signal::Summary => self.log_summary(),
                },
                events = self.daemon.advance() => match events {
                    Ok(events) => self.publish(&events),
                    Err(error) => return LoopExit::Failed(error),
                },
                // A write that had no caller failed; a restart opens the store again.
                error = self.store.failed() => return LoopExit::Failed(error),
                request = self.server.next_request() => {
                    if signals.unless_stopped(self.handle(request)).await.is_none() {
                        return LoopExit::Stop;
                    }
                }
                // The watchdog is fed only if this loop runs and the store responds.
                _ = watchdog_ticks.tick(), if watchdog.is_some() && flushing.is_none() => {
                    let store = self.store.clone();
                    flushing = Some(Box::pin(async move { store.flush().await }));
                }
                Some(flushed) = OptionFuture::from(flushing.as_mut()), if flushing.is_some() => {
                    flushing = None;
                    match flushed {
                        Err(error @ StoreError::Fatal(_)) => return LoopExit::Failed(error),
                        // A full disk is not a hang: a restart would not help.
                        _ => notify::watchdog(),
                    }
                }
                _ = status.tick(), if self.status_is_stale || self.output.has_lag() => {
                    self.announce_lag();
                    self.update_status();
                }
                _ = frames.tick(), if self.output.report.has_bars() => {
                    self.output.show(self.daemon.watches());
                }
            }
        }
    }

    /// Reports stored events, and responds to the removals that they complete.
    fn publish(&mut self, events: &[Event]) {
        self.status_is_stale = true;
        self.server.notify_events();
        // The bar of an ended job goes before its final line is printed.
        self.output.show(self.daemon.watches());
        self.output.publish(events);
        self.announce_lag();
        self.removals
            .retain(|removal| !removal.respond_to.is_closed());
        for removal in &mut self.removals {
            let daemon = &self.daemon;
            let is_running =
                |&mut (job, id): &mut (JobRef, WatchId)| daemon.watch_of(job) == Some(id);
            removal.running.retain_mut(is_running);
        }
        for done in self.removals.extract_if(.., |r| r.running.is_empty()) {
            // The client may have disconnected.
            let _ = done.respond_to.send(done.response);
        }
    }

    /// Announces dropped lines, once the reader reads again.
    fn announce_lag(&mut self) {
        if let Some(lag) = self.output.take_lag() {
            announce_lag(&mut self.daemon, lag);
        }
    }

    async fn handle(&mut self, pending: PendingRequest) {
        let PendingRequest {
            request,
            respond_to,
        } = pending;
        let daemon = &mut self.daemon;
        let response = match request {
            Request::Add {
                jobs,
                labels,
                again,
            } => respond(daemon.add(jobs, labels, again).await, responses::added),
            Request::Remove { jobs } => {
                let (removed, unknown) = daemon.remove(jobs);
                let running = removed
                    .iter()
                    .filter_map(|&job| Some((job, daemon.watch_of(job)?)));
                self.removals.push(PendingRemoval {
                    running: running.collect(),
                    response: Response::Removed { removed, unknown },
                    respond_to,
                });
                return self.publish(&[]);
            }
            Request::List(list) => {
                let after = list.after.as_deref();
                let page = daemon.list(list.all, &list.jobs, &list.labels, after);
                respond(page.await, responses::jobs)
            }
            Request::Show { job } => respond(daemon.show(job).await, responses::job),
            Request::ListDeliveries => respond(daemon.deliveries().await, responses::deliveries),
            Request::RetryDelivery { delivery } => {
                respond(daemon.retry(&delivery).await, |()| Response::Done)
            }
            Request::DiscardDelivery { delivery } => {
                respond(daemon.discard(&delivery).await, |()| Response::Done)
            }
            Request::TestHook(request) => match self.test_hook(&request) {
                Ok(test) => return test_in_background(test, respond_to),
                Err(error) => Response::error(error),
            },
            Request::DiscardFailed => respond(daemon.discard_failed().await, Response::Discarded),
            Request::Reload => match self.reload().await {
                Ok(()) => Response::Done,
                Err(errors) => Response::Error { messages: errors },
            },
            // The connection serves it from the store.
            Request::Events { .. } => Response::error("events are served by the connection"),
        };
        self.status_is_stale = true;
        let _ = respond_to.send(response);
    }

    fn test_hook(
        &self,
        request: &HookTestRequest,
    ) -> Result<LocalBoxFuture<'static, HookTestReport>, String> {
        let watch = new_watch_id().map_err(|error| error.to_string())?;
        let origin = self.settings.limits.origin.clone();
        let now = SystemClock::start().now().wall_ms;
        self.actions
            .test(&self.settings.hooks, request, watch, now, origin)
    }

    /// Applies the configuration as a whole or not at all.
    async fn reload(&mut self) -> Result<(), Vec<String>> {
        notify::reloading();
        let result = self.apply_config().await;
        self.status = self.daemon.summary().to_string();
        notify::ready(&self.status);
        result
    }

    async fn apply_config(&mut self) -> Result<(), Vec<String>> {
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (settings, daemon_config, _) =
            load_config(&self.command_line, &self.env).map_err(lines)?;
        let restart = config::needs_restart(&self.settings, &settings);
        if !restart.is_empty() {
            return Err(restart);
        }
        let actions = daemon_config.executor.clone();
        self.daemon.reload(daemon_config).await.map_err(lines)?;
        self.actions = actions;
        self.settings = settings;
        Ok(())
    }

    fn log_summary(&self) {
        let summary = self.daemon.summary();
        let outcomes = self.daemon.outcomes();
        tracing::info!(
            target: "forgewatch::daemon",
            watching = summary.watching,
            unreachable = summary.unreachable,
            deliveries_pending = summary.deliveries_pending,
            completed = outcomes.completed,
            failed = outcomes.failed,
            squashed = outcomes.squashed,
            other = outcomes.other,
            "summary: {summary}"
        );
    }

    fn update_status(&mut self) {
        let summary = self.daemon.summary();
        // No event follows a delivery that succeeds.
        self.status_is_stale = summary.deliveries_pending > 0;
        let status = summary.to_string();
        if status != self.status {
            notify::status(&status);
            self.status = status;
        }
    }

    /// Shuts down gracefully; a second signal exits at once.
    async fn stop(self, mut signals: SignalListener) {
        let Self {
            settings,
            daemon,
            store,
            server,
            output,
            removals,
            ..
        } = self;
        // Their clients learn that the daemon is stopping.
        drop(removals);
        drop(server);
        let grace = settings.control.stop_grace;
        let shutdown = Box::pin(shutdown::graceful(daemon, store, output, grace));
        let second_signal = async { while !matches!(signals.next().await, Signal::Stop(_)) {} };
        tokio::select! {
            biased;
            () = second_signal => {}
            () = shutdown => {}
        }
    }
}

/// The test ends early when its client has gone.
fn test_in_background(
    test: LocalBoxFuture<'static, HookTestReport>,
    mut respond_to: oneshot::Sender<Response>,
) {
    spawn_local(async move {
        let report = tokio::select! {
            report = test => report,
            () = respond_to.closed() => return,
        };
        let _ = respond_to.send(Response::HookTested(Box::new(report)));
    });
}

/// Opens the state, and waits while the disk is full or the file locked.
async fn open_state(path: &Path) -> Result<(SqliteStore, StoredState), CommandError> {
    let opened = retry_while_unwritable(
        |error| match error {
            Ok(error @ OpenError::Unavailable { .. }) => Some((DISK_SPACE, error.to_string())),
            Ok(error @ OpenError::Locked { .. }) => Some((LOCKED_FILE, error.to_string())),
            _ => None,
        },
        async || {
            let file = path.to_owned();
            // Reads every row; in a thread, so that signals are still received.
            match spawn_blocking(move || SqliteStore::open(&file)).await {
                Ok(opened) => opened.map_err(Ok),
                Err(error) => Err(Err(error)),
            }
        },
    );
    opened.await.map_err(|error| match error {
        Ok(error) => CommandError::unusable(error),
        Err(error) => CommandError::internal(error),
    })
}
