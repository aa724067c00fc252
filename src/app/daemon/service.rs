//! The running daemon: its loop, reload and shutdown.

mod requests;

use std::iter;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, OptionFuture};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::credential_refresh::RefreshingClient;
use super::load_config::{SqliteDaemon, http_access, load_config};
use super::output::{EventOutput, announce_lag};
use super::removals::PendingRemovals;
use super::{SignalListener, shutdown};
use crate::app::command_error::CommandError;
use crate::app::{READER_GRACE, new_watch_id, ticks};
use crate::config::settings::Settings;
use crate::config::{self, CommandLine, Env};
use crate::control::protocol::ReloadReport;
use crate::control::{ControlServer, RequestQueue};
use crate::daemon::{
    DISK_SPACE, Daemon, DaemonConfig, DaemonParts, LOCKED_FILE, StartupError,
    retry_while_unwritable,
};
use crate::engine::{Clock, SystemClock};
use crate::hooks::Actions;
use crate::http_api::HttpServer;
use crate::os::notify;
use crate::os::signals::Signal;
use crate::report::{FRAME_INTERVAL, Report};
use crate::store::{OpenError, SqliteStore, StoreError, StoredState};
use forgewatch_core::event::Event;

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
    /// From both servers.
    requests: RequestQueue,
    server: ControlServer,
    http: Option<HttpServer>,
    output: EventOutput,
    removals: PendingRemovals,
    last_reload: Option<ReloadReport>,
    /// When the configuration in use was applied, Unix milliseconds.
    applied_at_ms: i64,
    /// The status line as the service manager has it.
    status: String,
    status_is_stale: bool,
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
        let (requests, handle) = RequestQueue::new(store.clone());
        let server = ControlServer::bind(&control.socket, control.group.as_deref(), handle.clone())
            .map_err(CommandError::failed)?;
        let access = http_access(&settings.http).map_err(CommandError::internal)?;
        let listen = settings.http.listen;
        let http = listen.map(|listen| HttpServer::bind(listen, access, handle));
        let http = http.transpose().map_err(CommandError::failed)?;
        Ok(Self {
            command_line,
            env,
            settings,
            daemon,
            actions,
            store,
            requests,
            server,
            http,
            output: EventOutput::new(report, clock),
            removals: PendingRemovals::default(),
            last_reload: None,
            applied_at_ms: clock.now().wall_ms,
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
                request = self.requests.next() => {
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
        self.requests.notify_events();
        // The bar of an ended job goes before its final line is printed.
        self.output.show(self.daemon.watches());
        self.output.publish(events);
        self.announce_lag();
        self.removals.complete(&mut self.daemon);
    }

    /// Announces dropped lines, once the reader reads again.
    fn announce_lag(&mut self) {
        if let Some(lag) = self.output.take_lag() {
            announce_lag(&mut self.daemon, lag);
        }
    }

    /// Applies the configuration as a whole or not at all.
    async fn reload(&mut self) -> Result<(), Vec<String>> {
        notify::reloading();
        let result = self.apply_config().await;
        let at_ms = SystemClock::start().now().wall_ms;
        if result.is_ok() {
            self.applied_at_ms = at_ms;
        }
        let errors = result.as_ref().err().cloned().unwrap_or_default();
        self.last_reload = Some(ReloadReport { at_ms, errors });
        self.status = self.daemon.summary().to_string();
        notify::ready(&self.status);
        result
    }

    async fn apply_config(&mut self) -> Result<(), Vec<String>> {
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let loaded = load_config(&self.command_line, &self.env).map_err(lines)?;
        let (settings, daemon_config) = (loaded.settings, loaded.daemon);
        let restart = config::needs_restart(&self.settings, &settings);
        if !restart.is_empty() {
            return Err(restart);
        }
        let access = http_access(&settings.http).map_err(lines)?;
        let actions = daemon_config.executor.clone();
        self.daemon.reload(daemon_config).await.map_err(lines)?;
        self.actions = actions;
        if let Some(http) = &self.http {
            http.set_access(access);
        }
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
            requests,
            server,
            http,
            output,
            removals,
            ..
        } = self;
        // Their clients learn that the daemon is stopping.
        drop(removals);
        drop((requests, server, http));
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
