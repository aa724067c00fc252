//! One lifetime: a daemon that is started, commanded, killed and started again, until the weather is calm and everything
//! has to come to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use forgewatch::control::protocol::Answer;
use forgewatch::daemon::{Daemon, DaemonConfig};
use forgewatch_core::event::{Event, WatchId};
use forgewatch_core::job::JobRef;
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::{Server, SimApi};
use crate::checker::{Violation, check};
use crate::clock::{SimClock, Wall};
use crate::commands;
use crate::config::Config;
use crate::crash::DiesAt;
use crate::disk::Disk;
use crate::faults::{Counts, Fault};
use crate::hooks::{SimHooks, cut_off};
use crate::log::{End, InForce, Life, Log, ToldOut};
use crate::planted_bugs::{Bug, PlantedApi, PlantedHooks, PlantedStore};
use crate::world::{Tracing, World};

/// How long a calm world may take to come to its end, in true time.
const CALM_MS: u64 = 12 * 3_600_000;
/// Longer than any clock jumps.
const FOR_EVER: Duration = Duration::from_hours(100_000);
/// How long running hooks may go on at a stop.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// The daemon under test, on simulated everything.
pub(crate) type Simulated = Daemon<PlantedApi, PlantedStore, SimClock, PlantedHooks>;

/// What a lifetime came to.
pub(crate) struct Story {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: Counts,
    pub(crate) trace_hash: u64,
    pub(crate) lives: u64,
    pub(crate) events: u64,
    pub(crate) deliveries: u64,
}

/// Everything that outlives a process.
pub(crate) struct Stage {
    pub(crate) world: Rc<World>,
    pub(crate) wall: Rc<Wall>,
    pub(crate) server: Rc<Server>,
    pub(crate) disk: Disk,
    /// The configuration file.
    pub(crate) file: RefCell<Config>,
    pub(crate) bug: Option<Bug>,
}

/// Lives the lifetime of this seed.
pub(crate) fn live(seed: u64, bug: Option<Bug>, tracing: Tracing) -> Story {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let world = Rc::new(World::new(seed, tracing));
        let wall = Rc::new(Wall::new(Rc::clone(&world)));
        let server = Rc::new(Server::new(Rc::clone(&world)));
        let jobs: Vec<JobRef> = server.jobs.keys().copied().collect();
        let stage = Stage {
            file: RefCell::new(world.roll(|rng| Config::first(rng, &jobs))),
            disk: Disk::new(Rc::clone(&world), Rc::clone(&wall)),
            world,
            wall,
            server,
            bug,
        };
        let lives = stage.world.roll(|rng| rng.between(1, 3));
        for _ in 0..lives {
            stage.life(false).await;
            stage.wait_for_the_next().await;
        }
        stage.world.calm_down();
        stage.life(true).await;
        stage.told()
    })
}

impl Stage {
    async fn life(&self, is_calm: bool) {
        let world = &self.world;
        let began = world.stamp();
        world.log(|log| {
            let (ready, wound_up) = (None, None);
            log.lives.push(Life {
                ready,
                wound_up,
                ended: began,
                end: End::Alive,
                is_calm,
            });
        });
        world.trace(|| format!("life {} begins", world.life()));
        let polls = if is_calm {
            u64::MAX
        } else {
            world.roll(|rng| rng.spread(3_000))
        };
        let process = Box::pin(self.process(is_calm));
        let end = DiesAt::new(process, polls, Rc::clone(&self.wall))
            .await
            .unwrap_or(End::Crashed);
        if end == End::Crashed {
            self.count_crash();
        }
        cut_off(world);
        self.disk.crash();
        let ended = world.stamp();
        world.trace(|| format!("life {} ends: {end:?}", world.life()));
        world.log(|log| {
            if let Some(life) = log.lives.last_mut() {
                (life.ended, life.end) = (ended, end);
            }
        });
    }

    fn count_crash(&self) {
        let world = &self.world;
        world.hit(Fault::Crash);
        let (in_start, in_stop, in_command) = world.log(|log| {
            let life = log.lives.last();
            let of_now = |command: &crate::log::Command| command.life + 1 == log.lives.len();
            let in_command = log
                .commands
                .last()
                .is_some_and(|c| of_now(c) && c.done.is_none());
            (
                life.is_some_and(|life| life.ready.is_none()),
                life.is_some_and(|life| life.wound_up.is_some()),
                in_command,
            )
        });
        for (is, fault) in [
            (in_start, Fault::CrashAtStart),
            (in_stop, Fault::CrashInStop),
            (in_command, Fault::CrashInCommand),
        ] {
            if is {
                world.hit(fault);
            }
        }
    }

    async fn wait_for_the_next(&self) {
        let long = self.world.may(Fault::LongDown, 0.1);
        if long {
            self.world.hit(Fault::LongDown);
        }
        let ms = self.world.roll(|rng| {
            if long {
                rng.spread(20_000_000)
            } else {
                rng.spread(2_000)
            }
        });
        sleep(Duration::from_millis(ms)).await;
        if self.world.roll(|rng| rng.chance(0.2)) {
            self.edit_the_file();
        }
    }

    /// Somebody edits the configuration file.
    pub(crate) fn edit_the_file(&self) {
        let jobs: Vec<JobRef> = self.server.jobs.keys().copied().collect();
        let edited = self.world.roll(|rng| self.file.borrow().edited(rng, &jobs));
        *self.file.borrow_mut() = edited;
    }

    /// What the file orders.
    pub(crate) fn orders(&self) -> DaemonConfig<PlantedApi, PlantedHooks> {
        let config = self.file.borrow().clone();
        let hooks = SimHooks::new(&self.world, &self.wall, &config);
        DaemonConfig {
            api: PlantedApi::new(SimApi(Rc::clone(&self.server)), self.bug),
            throttle: config.throttle,
            limits: config.limits,
            jobs: config.jobs,
            hooks: config.hooks,
            perform: PlantedHooks::new(hooks, self.bug),
            retain: config.retain,
        }
    }

    /// From here on the daemon goes by the file as it is.
    pub(crate) fn is_in_force(&self) {
        let (life, since) = (self.world.life(), self.world.stamp());
        let config = self.file.borrow().clone();
        self.world.trace(|| {
            let jobs: Vec<_> = config.jobs.iter().map(|job| job.job.to_string()).collect();
            let hooks: Vec<_> = config.hooks.iter().map(|hook| &*hook.name).collect();
            format!("in force: jobs {jobs:?}, hooks {hooks:?}")
        });
        let leaves = |log: &Log| {
            let before = log.configs.last();
            before.is_some_and(|before| {
                let mut gone = before
                    .config
                    .hooks
                    .iter()
                    .filter(|hook| config.hook(&hook.name).is_none());
                gone.any(|hook| self.disk.owes(&hook.name))
            })
        };
        if self.world.log(|log| leaves(log)) {
            self.world.hit(Fault::HookLeaves);
        }
        self.world.log(|log| {
            log.configs.push(InForce {
                life,
                since,
                config,
            });
        });
    }

    async fn process(&self, is_calm: bool) -> End {
        let world = &self.world;
        let store = PlantedStore::new(self.disk.clone(), self.bug);
        let loaded = store.load();
        self.is_in_force();
        let clock = SimClock::start(&self.wall);
        let seed = world.roll(crate::rng::Rng::bits);
        let mut orders = self.orders();
        if self.bug == Some(Bug::DeadlineNotClamped) {
            orders.limits.schedule.max_interval = FOR_EVER;
        }
        let daemon = Daemon::start(orders, store, loaded, clock, self.ids(), seed).await;
        let mut daemon = match daemon {
            Ok(daemon) => daemon,
            Err(error) => {
                world.trace(|| format!("no start: {error}"));
                return End::Failed;
            }
        };
        let ready = world.stamp();
        world.trace(|| "ready");
        world.log(|log| log.lives.last_mut().unwrap().ready = Some(ready));
        if is_calm {
            self.calmly(&mut daemon).await
        } else {
            self.busily(&mut daemon).await
        }
    }

    /// A life with clients, until somebody stops it.
    async fn busily(&self, daemon: &mut Simulated) -> End {
        let world = &self.world;
        let stop_at =
            Instant::now() + Duration::from_millis(world.roll(|rng| rng.spread(2_400_000)));
        let every = world.roll(|rng| rng.pick(&[2_000, 30_000, 600_000]));
        let mut removing = Vec::new();
        loop {
            let pause = Duration::from_millis(world.roll(|rng| rng.between(0, 2 * every)));
            let next = (Instant::now() + pause).min(stop_at);
            loop {
                tokio::select! {
                    biased;
                    told = daemon.advance() => match told {
                        Ok(events) => {
                            self.tell(events);
                            commands::answer_removals(self, daemon, &mut removing);
                        }
                        Err(_) => return End::Failed,
                    },
                    () = sleep_until(next) => break,
                }
            }
            if next >= stop_at {
                return self.stop(daemon).await;
            }
            commands::run_one(self, daemon, &mut removing).await;
        }
    }

    /// The last life: nothing goes wrong any more, and everything comes to its end.
    async fn calmly(&self, daemon: &mut Simulated) -> End {
        let until = self.world.at(self.world.now_ms() + CALM_MS);
        loop {
            let standing = daemon.standing();
            if standing.watching == 0 && standing.deliveries_waiting == 0 && daemon.is_settled() {
                return self.stop(daemon).await;
            }
            if Instant::now() >= until {
                return End::Endless;
            }
            tokio::select! {
                biased;
                told = daemon.advance() => match told {
                    Ok(events) => self.tell(events),
                    Err(_) => return End::Failed,
                },
                () = sleep_until((Instant::now() + Duration::from_mins(5)).min(until)) => {}
            }
        }
    }

    /// The orderly stop, as the command does it.
    async fn stop(&self, daemon: &mut Simulated) -> End {
        let world = &self.world;
        let wound_up = world.stamp();
        world.trace(|| "stop");
        world.log(|log| log.lives.last_mut().unwrap().wound_up = Some(wound_up));
        daemon.wind_up();
        let grace = Instant::now() + STOP_GRACE;
        while !daemon.is_settled() {
            tokio::select! {
                biased;
                told = daemon.advance() => match told {
                    Ok(events) => self.tell(events),
                    Err(_) => return End::Failed,
                },
                () = sleep_until(grace) => daemon.stop_hooks().await,
            }
        }
        self.tell(daemon.finished().await.into_iter().collect());
        End::Stopped
    }

    /// What goes to the output.
    pub(crate) fn tell(&self, events: Vec<Event>) {
        let life = self.world.life();
        for event in events {
            let at = self.world.stamp();
            self.world
                .trace(|| format!("told: {} {}", event.kind.as_str(), event.id));
            self.world
                .log(|log| log.told.push(ToldOut { life, at, event }));
        }
    }

    /// Random ids, as long as the machine has any to give.
    fn ids(&self) -> forgewatch::daemon::Ids {
        let world = Rc::clone(&self.world);
        let mut counted = 0_u128;
        let counts = self.bug == Some(Bug::IdFromACounter);
        Box::new(move || {
            counted += 1;
            if counts {
                return Ok(WatchId(counted.to_be_bytes()));
            }
            if world.may(Fault::NoEntropy, 0.01) {
                world.hit(Fault::NoEntropy);
                return Err("simulated: no random numbers".to_owned());
            }
            let (high, low) = world.roll(|rng| (rng.bits(), rng.bits()));
            Ok(WatchId(
                ((u128::from(high) << 64) | u128::from(low)).to_be_bytes(),
            ))
        })
    }

    fn told(&self) -> Story {
        let world = &self.world;
        let mut log: Log = world.take_log();
        log.left = self.disk.load();
        Story {
            violations: check(&log),
            counts: world.counts(),
            trace_hash: world.trace_hash(),
            lives: log.lives.len() as u64,
            events: log
                .writes
                .iter()
                .filter(|w| w.taken().is_some())
                .map(|w| w.events().len() as u64)
                .sum(),
            deliveries: log.attempts.iter().filter(|a| a.had_effect).count() as u64,
        }
    }
}

/// Whether a client was told that it can't be done.
pub(crate) fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { .. })
}
