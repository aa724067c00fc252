//! `forgewatch watch` without `--until-done`: the daemon and what surrounds it on a machine.
//!
//! [`crate::daemon`] watches, remembers and delivers. Here are the signals, the control socket, the service manager, the
//! output, and the reading of the configuration, at the start and at a reload.

mod credential_refresh;
mod output;
mod service_timeout;
mod shutdown;
mod signal_listener;
mod startup;

use std::iter;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, OptionFuture};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::setup::{Ready, ready};
use super::watch::{CommandError, mode_of};
use super::{STUCK_READER, new_id, throttle, ticks};
use crate::config::settings::{Output, Settings};
use crate::config::{self, Env, Given};
use crate::control::protocol::{Answer, Request};
use crate::control::server::{PendingRequest, Server};
use crate::daemon::{Daemon, DaemonConfig, StartError};
use crate::engine::SystemClock;
use crate::hooks::Actions;
use crate::hooks::HookAction;
use crate::hooks::HookSpec;
use crate::os::signals::{Signal, Signals};
use crate::os::{notify, privacy};
use crate::report::{FRAME, Mode, Report, StreamFacts, Streams, diagnostics};
use crate::store::{Sqlite, StoreError};
use credential_refresh::CredentialRefresh;
use forgewatch_core::event::{Event, EventFields, EventType, Lag, WatchId};
use forgewatch_core::job::JobRef;
use output::EventOutput;
use service_timeout::with_extended_timeout;
use signal_listener::SignalListener;

/// The status line is renewed this often at most.
const STATUS_EVERY: Duration = Duration::from_secs(1);

type Watching = Daemon<CredentialRefresh, Sqlite, SystemClock, Actions>;

/// Watches until a signal ends it. Ok is an end in order.
pub(super) fn run(given: Given, env: &Env) -> Result<(), CommandError> {
    let (settings, orders, output) = read(&given, env).map_err(|e| CommandError::usage(&e))?;
    let surroundings = StreamFacts::gather();
    let mode = match output {
        Output::Auto => Mode::Json,
        output => mode_of(output, &surroundings),
    };
    // Hooks run as the same user, and the credentials are none of their business.
    privacy::keep();
    let filter = env
        .text(diagnostics::VARIABLE)
        .map_err(|e| CommandError::usage(&e))?;
    let report = Report::start(mode, surroundings.style(mode), Streams::standard())
        .map_err(|e| CommandError::internal(&e))?;
    diagnostics::install(report.diagnostics(), filter).map_err(|e| CommandError::usage(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CommandError::internal(&e))?;
    let ended = runtime.block_on(async {
        let mut ear =
            SignalListener::new(Signals::catch().map_err(|e| CommandError::internal(&e))?);
        let starting = Box::pin(Service::start(given, env.clone(), settings, orders, report));
        match ear
            .unless_stopped(with_extended_timeout(None, starting))
            .await
        {
            Some(service) => service?.run(ear).await,
            None => Ok(()),
        }
    });
    // A name lookup under way blocks a thread that nobody needs to wait for.
    runtime.shutdown_background();
    ended
}

/// Reads the configuration, and all that it names. Err has a line an error.
fn read(
    given: &Given,
    env: &Env,
) -> Result<(Settings, DaemonConfig<CredentialRefresh, Actions>, Output), String> {
    let Ready { loaded, client, .. } = ready(config::load_daemon(given, env), env)?;
    let mut settings = loaded.settings;
    let socket = absolute(&settings.control.socket)?;
    settings
        .hooks
        .iter_mut()
        .for_each(|hook| tell_socket(hook, &socket));
    let perform = Actions::new(&settings.hooks, settings.api.ca_file.as_deref())?;
    let api = CredentialRefresh::new(
        client,
        settings.api.clone(),
        loaded.credentials_file,
        env.clone(),
    );
    let orders = DaemonConfig {
        api,
        throttle: throttle(&settings.api),
        limits: settings.limits.clone(),
        jobs: settings.jobs.clone(),
        hooks: settings.hooks.clone(),
        perform,
        retain: settings.state.retain,
    };
    Ok((settings, orders, loaded.output))
}

/// A hook runs elsewhere, and has to find the socket from there.
fn absolute(socket: &Path) -> Result<std::path::PathBuf, String> {
    std::path::absolute(socket).map_err(|e| format!("{}: {e}", socket.display()))
}

fn tell_socket(hook: &mut HookSpec, socket: &Path) {
    if let HookAction::Run { env, .. } = &mut hook.action {
        env.push(("FORGEWATCH_SOCKET".to_owned(), socket.into()));
    }
}

/// A daemon at work.
struct Service {
    given: Given,
    env: Env,
    settings: Settings,
    daemon: Watching,
    store: Sqlite,
    server: Server,
    telling: EventOutput,
    /// Clients that wait for the end of a watch to be on record.
    removing: Vec<Removing>,
    /// The status line as it was told last.
    status: String,
    /// Something has changed since.
    is_stale: bool,
}

struct Removing {
    left: Vec<(JobRef, WatchId)>,
    answer: Answer,
    reply: oneshot::Sender<Answer>,
}

/// Why the loop was left.
enum Leave {
    Stop,
    Failed(StoreError),
}

impl Service {
    async fn start(
        given: Given,
        env: Env,
        settings: Settings,
        orders: DaemonConfig<CredentialRefresh, Actions>,
        report: Report,
    ) -> Result<Self, CommandError> {
        let (store, loaded) = startup::open(&settings.state.path).await?;
        let path = settings.state.path.display();
        let clock = SystemClock::start();
        let seed = getrandom::u64().map_err(|e| CommandError::internal(&e))?;
        let daemon = Daemon::start(
            orders,
            store.clone(),
            loaded,
            clock,
            Box::new(|| new_id().map_err(|e| e.to_string())),
            seed,
        );
        let daemon = daemon.await.map_err(|error| match error {
            StartError::Row(why) => CommandError::unusable(&format!(
                "{path}: the state is damaged: {why}; rescue what is readable with: forgewatch state recover --from \
                 {path}"
            )),
            StartError::Store(error) => CommandError::failed(&format!("{path}: {error}")),
            StartError::Entropy(why) => CommandError::internal(&why),
        })?;
        let control = &settings.control;
        let server = Server::bind(&control.socket, &control.group, store.clone())
            .map_err(|e| CommandError::failed(&e))?;
        Ok(Self {
            given,
            env,
            settings,
            daemon,
            store,
            server,
            telling: EventOutput::new(report, clock),
            removing: Vec::new(),
            status: String::new(),
            is_stale: false,
        })
    }

    async fn run(mut self, mut ear: SignalListener) -> Result<(), CommandError> {
        self.status = self.daemon.standing().to_string();
        notify::ready(&self.status);
        let left = self.drive(&mut ear).await;
        notify::stopping();
        match left {
            Leave::Stop => {
                // Nobody is asked any more: bars would stand still.
                self.telling.show(iter::empty());
                self.stop(ear).await;
                Ok(())
            }
            Leave::Failed(error) => {
                let _ = timeout(STUCK_READER, self.telling.report.close()).await;
                Err(CommandError::failed(&error))
            }
        }
    }

    async fn drive(&mut self, ear: &mut SignalListener) -> Leave {
        let beat = notify::watchdog_interval();
        let mut beats = interval(beat.unwrap_or(Duration::MAX / 4));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status = ticks(STATUS_EVERY);
        let mut frames = ticks(FRAME);
        let mut flushing: Option<LocalBoxFuture<'static, Result<(), StoreError>>> = None;
        loop {
            tokio::select! {
                biased;
                signal = ear.next() => match signal {
                    Signal::Stop(_) => return Leave::Stop,
                    Signal::Reload => {
                        let Some(reloaded) = ear.unless_stopped(self.reload()).await else {
                            return Leave::Stop;
                        };
                        for error in reloaded.err().into_iter().flatten() {
                            tracing::error!(error, "the configuration stays as it was");
                        }
                    }
                    Signal::Summary => self.summary(),
                },
                told = self.daemon.advance() => match told {
                    Ok(events) => self.told(&events),
                    Err(error) => return Leave::Failed(error),
                },
                // Whatever failed, a client's request or a poll's note: the next start opens it anew.
                error = self.store.failed() => return Leave::Failed(error),
                asked = self.server.next() => {
                    if ear.unless_stopped(self.answer(asked)).await.is_none() {
                        return Leave::Stop;
                    }
                }
                // Alive is who gets here, with a store that answers.
                _ = beats.tick(), if beat.is_some() && flushing.is_none() => {
                    let store = self.store.clone();
                    flushing = Some(Box::pin(async move { store.flush().await }));
                }
                Some(flushed) = OptionFuture::from(flushing.as_mut()), if flushing.is_some() => {
                    flushing = None;
                    match flushed {
                        Err(error @ StoreError::Fatal(_)) => return Leave::Failed(error),
                        // A full disk is no hang: it gets better once there is room.
                        _ => notify::watchdog(),
                    }
                }
                _ = status.tick(), if self.is_stale || self.telling.owes() => {
                    self.confess();
                    self.tell_status();
                }
                _ = frames.tick(), if self.telling.report.wants_rows() => {
                    self.telling.show(self.daemon.watches());
                }
            }
        }
    }

    /// What is on record: told, and whoever waited for it is answered.
    fn told(&mut self, events: &[Event]) {
        self.is_stale = true;
        self.server.notify_events();
        // A job's final line and its bar are never seen together.
        self.telling.show(self.daemon.watches());
        self.telling.tell(events);
        self.confess();
        self.removing.retain(|removing| !removing.reply.is_closed());
        for removing in &mut self.removing {
            let daemon = &self.daemon;
            let runs = |&mut (job, id): &mut (JobRef, WatchId)| daemon.watch_of(job) == Some(id);
            removing.left.retain_mut(runs);
        }
        for done in self.removing.extract_if(.., |r| r.left.is_empty()) {
            // Whoever asked may have gone.
            let _ = done.reply.send(done.answer);
        }
    }

    /// Says which lines are missing, once somebody reads again.
    fn confess(&mut self) {
        if let Some(lag) = self.telling.confession() {
            announce_lag(&mut self.daemon, lag);
        }
    }

    async fn answer(&mut self, asked: PendingRequest) {
        let PendingRequest { request, reply } = asked;
        let daemon = &mut self.daemon;
        let answer = match request {
            Request::Add {
                jobs,
                labels,
                again,
            } => daemon.add(jobs, labels, again).await,
            Request::Remove { jobs } => {
                let (removed, unknown) = daemon.remove(jobs);
                let left = removed
                    .iter()
                    .filter_map(|&job| Some((job, daemon.watch_of(job)?)));
                self.removing.push(Removing {
                    left: left.collect(),
                    answer: Answer::Removed { removed, unknown },
                    reply,
                });
                return self.told(&[]);
            }
            Request::List { all } => daemon.list(all).await,
            Request::Show { job } => daemon.show(job).await,
            Request::Hooks => daemon.hooks().await,
            Request::RetryHook { delivery } => daemon.retry_hook(&delivery).await,
            Request::DiscardHook { delivery } => daemon.discard_hook(&delivery).await,
            Request::DiscardGivenUp => daemon.discard_given_up().await,
            Request::Reload => match self.reload().await {
                Ok(()) => Answer::Done,
                Err(errors) => Answer::Refused { errors },
            },
            // The connection answers it from the store.
            Request::Events { .. } => Answer::refused("events are not asked of the daemon itself"),
        };
        self.is_stale = true;
        let _ = reply.send(answer);
    }

    /// Takes the configuration anew, whole or not at all.
    async fn reload(&mut self) -> Result<(), Vec<String>> {
        notify::reloading();
        let result = self.take_over().await;
        self.status = self.daemon.standing().to_string();
        notify::ready(&self.status);
        result
    }

    async fn take_over(&mut self) -> Result<(), Vec<String>> {
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (settings, orders, _) = read(&self.given, &self.env).map_err(lines)?;
        let restart = config::needs_restart(&self.settings, &settings);
        if !restart.is_empty() {
            return Err(restart);
        }
        self.daemon.reload(orders).await.map_err(lines)?;
        self.settings = settings;
        Ok(())
    }

    fn summary(&self) {
        let standing = self.daemon.standing();
        let ends = self.daemon.ends();
        tracing::info!(
            watching = standing.watching,
            unreachable = standing.unreachable,
            deliveries_waiting = standing.deliveries_waiting,
            completed = ends.completed,
            failed = ends.failed,
            squashed = ends.squashed,
            other = ends.other,
            "summary: {standing}"
        );
    }

    fn tell_status(&mut self) {
        let standing = self.daemon.standing();
        // A delivery that arrives tells of nothing.
        self.is_stale = standing.deliveries_waiting > 0;
        let status = standing.to_string();
        if status != self.status {
            notify::status(&status);
            self.status = status;
        }
    }

    /// Stops in order; a second signal ends it at once.
    async fn stop(self, mut ear: SignalListener) {
        let Self {
            settings,
            daemon,
            store,
            server,
            telling,
            removing,
            ..
        } = self;
        // Whoever waits for an end is told that it may not come.
        drop(removing);
        drop(server);
        let grace = settings.control.stop_grace;
        let orderly = Box::pin(shutdown::in_order(daemon, store, telling, grace));
        let second = async { while !matches!(ear.next().await, Signal::Stop(_)) {} };
        tokio::select! {
            biased;
            () = second => {}
            () = orderly => {}
        }
    }
}

/// Has it recorded which lines are missing.
fn announce_lag(daemon: &mut Watching, lag: Lag) {
    let facts = EventFields {
        lag: Some(Box::new(lag)),
        ..EventFields::default()
    };
    daemon.announce(EventType::WatchLagged, facts);
}
