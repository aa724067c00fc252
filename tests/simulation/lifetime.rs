//! One lifetime: daemon processes that start, receive commands and crash, then a last one without faults in which every
//! watch and delivery must end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use forgewatch::daemon::{Daemon, DaemonConfig, DaemonParts};
use forgewatch_core::event::{Event, WatchId};
use forgewatch_core::job::JobRef;
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::{ApiServer, SimApi, server_key};
use crate::checker::{Violation, check};
use crate::clock::{SimClock, WallClock};
use crate::commands;
use crate::config::Config;
use crate::crash::CrashAfter;
use crate::disk::SimDisk;
use crate::faults::{Fault, FaultCounts};
use crate::follower::Follower;
use crate::hooks::SimHooks;
use crate::log::{ActiveConfig, ClientCommand, Log, ProcessEnd, ProcessRun, Publication};
use crate::planted_bugs::{Bug, PlantedApi, PlantedHooks, PlantedStore};
use crate::world::{TraceMode, World};

/// Time limit of the last process, in true time.
const DRAIN_LIMIT_MS: u64 = 12 * 3_600_000;
/// Longer than any clock jump.
const FOREVER: Duration = Duration::from_hours(100_000);
/// How long running hooks may continue during a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(15);

/// The daemon under test, on simulated everything.
pub(crate) type Simulated = Daemon<PlantedApi, PlantedStore, SimClock, PlantedHooks>;

/// The result of a lifetime.
pub(crate) struct LifetimeReport {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: FaultCounts,
    pub(crate) trace_hash: u64,
    pub(crate) processes: u64,
    pub(crate) events: u64,
    pub(crate) deliveries: u64,
}

/// The parts that outlive a process.
pub(crate) struct Simulation {
    pub(crate) world: Rc<World>,
    pub(crate) wall_clock: Rc<WallClock>,
    pub(crate) server: Rc<ApiServer>,
    pub(crate) disk: SimDisk,
    follower: RefCell<Option<Follower>>,
    pub(crate) config_file: RefCell<Config>,
    pub(crate) bug: Option<Bug>,
}

/// Runs the lifetime of this seed.
pub(crate) fn run_lifetime(seed: u64, bug: Option<Bug>, tracing: TraceMode) -> LifetimeReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let world = Rc::new(World::new(seed, tracing));
        let wall_clock = Rc::new(WallClock::new(Rc::clone(&world)));
        let server = Rc::new(ApiServer::new(Rc::clone(&world)));
        let jobs: Vec<JobRef> = server.jobs.keys().copied().collect();
        let sim = Simulation {
            config_file: RefCell::new(world.draw(|rng| Config::initial(rng, &jobs))),
            disk: SimDisk::new(Rc::clone(&world), Rc::clone(&wall_clock)),
            follower: RefCell::new(None),
            world,
            wall_clock,
            server,
            bug,
        };
        let processes = sim.world.draw(|rng| rng.between(1, 3));
        for _ in 0..processes {
            sim.run_process(false).await;
            sim.wait_until_restart().await;
        }
        sim.world.disable_faults();
        sim.run_process(true).await;
        // For events that the last process stored and did not publish.
        sim.connect_follower().await;
        sim.report()
    })
}

impl Simulation {
    async fn run_process(&self, faults_disabled: bool) {
        let world = &self.world;
        let began = world.stamp();
        world.log(|log| {
            let (ready, stopping_since) = (None, None);
            log.processes.push(ProcessRun {
                ready,
                stopping_since,
                ended: began,
                end: ProcessEnd::Running,
                faults_disabled,
            });
        });
        world.trace(|| format!("process {} starts", world.current_process()));
        let polls = if faults_disabled {
            u64::MAX
        } else {
            world.draw(|rng| rng.log_uniform(3_000))
        };
        let process = Box::pin(self.run_daemon(faults_disabled));
        let end = CrashAfter::new(process, polls, Rc::clone(&self.wall_clock))
            .await
            .unwrap_or(ProcessEnd::Crashed);
        if end == ProcessEnd::Crashed {
            self.count_crash();
        }
        self.disk.crash();
        let ended = world.stamp();
        world.trace(|| format!("process {} ends: {end:?}", world.current_process()));
        world.log(|log| {
            if let Some(process) = log.processes.last_mut() {
                (process.ended, process.end) = (ended, end);
            }
        });
    }

    fn count_crash(&self) {
        let world = &self.world;
        world.record_fault(Fault::Crash);
        let (in_startup, in_shutdown, in_command) = world.log(|log| {
            let process = log.processes.last().unwrap();
            let is_in_flight =
                |c: &ClientCommand| c.process + 1 == log.processes.len() && c.confirmed.is_none();
            (
                process.ready.is_none(),
                process.stopping_since.is_some(),
                log.commands.last().is_some_and(is_in_flight),
            )
        });
        for (applies, fault) in [
            (in_startup, Fault::CrashInStartup),
            (in_shutdown, Fault::CrashInShutdown),
            (in_command, Fault::CrashInCommand),
        ] {
            if applies {
                world.record_fault(fault);
            }
        }
    }

    async fn wait_until_restart(&self) {
        let long = self.world.occurs(Fault::LongDowntime, 0.1);
        if long {
            self.world.record_fault(Fault::LongDowntime);
        }
        let ms = self.world.draw(|rng| {
            if long {
                rng.log_uniform(20_000_000)
            } else {
                rng.log_uniform(2_000)
            }
        });
        sleep(Duration::from_millis(ms)).await;
        if self.world.draw(|rng| rng.chance(0.2)) {
            self.edit_config_file();
        }
    }

    pub(crate) fn edit_config_file(&self) {
        let jobs: Vec<JobRef> = self.server.jobs.keys().copied().collect();
        let edited = self
            .world
            .draw(|rng| self.config_file.borrow().edited(rng, &jobs));
        *self.config_file.borrow_mut() = edited;
    }

    /// The daemon's configuration by the file.
    pub(crate) fn daemon_config(&self) -> DaemonConfig<PlantedApi, PlantedHooks> {
        let config = self.config_file.borrow().clone();
        let hooks = SimHooks::new(&self.world, &self.wall_clock, &config);
        DaemonConfig {
            api: PlantedApi::new(SimApi(Rc::clone(&self.server)), self.bug),
            server: Some(server_key()),
            throttle: config.throttle,
            limits: config.limits,
            jobs: config.jobs,
            hooks: config.hooks,
            executor: PlantedHooks::new(hooks, self.bug),
            retain: config.retain,
        }
    }

    /// Logs that the daemon uses the file from now on.
    pub(crate) fn record_active_config(&self) {
        let (process, since) = (self.world.current_process(), self.world.stamp());
        let config = self.config_file.borrow().clone();
        self.world.trace(|| {
            let jobs: Vec<_> = config.jobs.iter().map(|job| job.job.to_string()).collect();
            let hooks: Vec<_> = config.hooks.iter().map(|hook| &*hook.rules.name).collect();
            format!("active: jobs {jobs:?}, hooks {hooks:?}")
        });
        let removes_hook = |log: &Log| {
            let before = log.configs.last();
            before.is_some_and(|before| {
                let mut removed = before
                    .config
                    .hooks
                    .iter()
                    .filter(|hook| config.hook(&hook.rules.name).is_none());
                removed.any(|hook| self.disk.has_deliveries_for(&hook.rules.name))
            })
        };
        if self.world.log(|log| removes_hook(log)) {
            self.world.record_fault(Fault::HookRemoved);
        }
        self.world.log(|log| {
            log.configs.push(ActiveConfig {
                process,
                since,
                config,
            });
        });
    }

    async fn run_daemon(&self, faults_disabled: bool) -> ProcessEnd {
        let world = &self.world;
        let store = PlantedStore::new(self.disk.clone(), self.bug);
        let stored = store.load();
        self.connect_follower().await;
        self.record_active_config();
        let clock = SimClock::start(&self.wall_clock);
        let seed = world.draw(crate::rng::SimRng::bits);
        let mut daemon_config = self.daemon_config();
        if self.bug == Some(Bug::DeadlineNotClamped) {
            daemon_config.limits.schedule.max_interval = FOREVER;
        }
        let daemon = Daemon::start(DaemonParts {
            config: daemon_config,
            store,
            stored,
            clock,
            new_watch_id: self.ids(),
            seed,
        });
        let daemon = daemon.await;
        let mut daemon = match daemon {
            Ok(daemon) => daemon,
            Err(error) => {
                world.trace(|| format!("startup failed: {error}"));
                return ProcessEnd::Failed;
            }
        };
        let ready = world.stamp();
        world.trace(|| "ready");
        world.log(|log| log.processes.last_mut().unwrap().ready = Some(ready));
        if faults_disabled {
            self.drain(&mut daemon).await
        } else {
            self.run_with_clients(&mut daemon).await
        }
    }

    /// Runs with clients that send commands, until the shutdown.
    async fn run_with_clients(&self, daemon: &mut Simulated) -> ProcessEnd {
        let world = &self.world;
        let stop_at =
            Instant::now() + Duration::from_millis(world.draw(|rng| rng.log_uniform(2_400_000)));
        let every = world.draw(|rng| rng.pick(&[2_000, 30_000, 600_000]));
        let mut pending_removals = Vec::new();
        loop {
            let pause = Duration::from_millis(world.draw(|rng| rng.between(0, 2 * every)));
            let next = (Instant::now() + pause).min(stop_at);
            loop {
                tokio::select! {
                    biased;
                    result = daemon.advance() => match result {
                        Ok(events) => {
                            self.publish(events);
                            commands::confirm_removals(self, daemon, &mut pending_removals);
                        }
                        Err(_) => return ProcessEnd::Failed,
                    },
                    () = sleep_until(next) => break,
                }
            }
            if next >= stop_at {
                return self.shut_down(daemon).await;
            }
            if world.occurs(Fault::ShardLost, world.fault_rates.shards) {
                self.disk.lose_random_shard();
            }
            commands::run_random_command(self, daemon, &mut pending_removals).await;
        }
    }

    /// The last process: runs until no watch and no delivery is left.
    async fn drain(&self, daemon: &mut Simulated) -> ProcessEnd {
        let until = self.world.at(self.world.now_ms() + DRAIN_LIMIT_MS);
        loop {
            let summary = daemon.summary();
            if summary.watching == 0 && summary.deliveries_pending == 0 && daemon.is_drained() {
                return self.shut_down(daemon).await;
            }
            if Instant::now() >= until {
                return ProcessEnd::NotDrained;
            }
            tokio::select! {
                biased;
                result = daemon.advance() => match result {
                    Ok(events) => self.publish(events),
                    Err(_) => return ProcessEnd::Failed,
                },
                () = sleep_until((Instant::now() + Duration::from_mins(5)).min(until)) => {}
            }
        }
    }

    /// The orderly shutdown, as the application does it.
    async fn shut_down(&self, daemon: &mut Simulated) -> ProcessEnd {
        let world = &self.world;
        let stopping_since = world.stamp();
        world.trace(|| "shutdown");
        world.log(|log| log.processes.last_mut().unwrap().stopping_since = Some(stopping_since));
        daemon.drain();
        let grace = Instant::now() + SHUTDOWN_GRACE;
        while !daemon.is_drained() {
            tokio::select! {
                biased;
                result = daemon.advance() => match result {
                    Ok(events) => self.publish(events),
                    Err(_) => return ProcessEnd::Failed,
                },
                () = sleep_until(grace) => daemon.stop_hooks().await,
            }
        }
        self.publish(daemon.record_finished().await.into_iter().collect());
        ProcessEnd::Stopped
    }

    async fn connect_follower(&self) {
        let follower = Follower::connect(&self.world, &self.disk).await;
        *self.follower.borrow_mut() = Some(follower);
    }

    /// Logs events that the daemon returned for output.
    pub(crate) fn publish(&self, events: Vec<Event>) {
        let process = self.world.current_process();
        for event in events {
            let at = self.world.stamp();
            self.world
                .trace(|| format!("published: {} {}", event.kind.as_str(), event.id));
            self.world
                .log(|log| log.published.push(Publication { process, at, event }));
        }
        if let Some(follower) = &mut *self.follower.borrow_mut() {
            follower.notify(&self.world);
        }
    }

    /// Random ids, or an error if the system provides no random numbers.
    fn ids(&self) -> forgewatch::daemon::NewWatchId {
        let world = Rc::clone(&self.world);
        let mut counted = 0_u128;
        let counts = self.bug == Some(Bug::SequentialIds);
        Box::new(move || {
            counted += 1;
            if counts {
                return Ok(WatchId(counted.to_be_bytes()));
            }
            if world.occurs(Fault::NoEntropy, 0.01) {
                world.record_fault(Fault::NoEntropy);
                return Err("simulated: no random numbers".to_owned());
            }
            let (high, low) = world.draw(|rng| (rng.bits(), rng.bits()));
            Ok(WatchId(
                ((u128::from(high) << 64) | u128::from(low)).to_be_bytes(),
            ))
        })
    }

    fn report(&self) -> LifetimeReport {
        let world = &self.world;
        let mut log: Log = world.take_log();
        log.final_state = self.disk.content().running();
        LifetimeReport {
            violations: check(&log),
            counts: world.counts(),
            trace_hash: world.trace_hash(),
            processes: log.processes.len() as u64,
            events: log
                .writes
                .iter()
                .filter(|w| w.applied().is_some())
                .map(|w| w.events().len() as u64)
                .sum(),
            deliveries: log.attempts.iter().filter(|a| a.had_effect).count() as u64,
        }
    }
}
